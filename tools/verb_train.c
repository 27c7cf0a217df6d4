/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn train: trains a model of a built-in architecture on one view of a dataset.
 */
#include "cli.h"

typedef struct train_job {
    const cli_args *args;
    const char *data, *arch, *out, *checkpoint, *resume;
    modeconn_context *context;
    modeconn_dataset *dataset;
    modeconn_model *model;
    modeconn_trainer *trainer;
} train_job;

static int prepare(train_job *job)
{
    const cli_args *args = job->args;
    if (!cli_known_arch(args, job->arch)) {
        return CLI_USAGE;
    }
    int status = cli_outputs(args);
    if (status == CLI_OK) {
        status = cli_context(args, &job->context);
    }
    if (status == CLI_OK) {
        status = cli_data_train(args, job->context, job->data, &job->dataset);
    }
    if (status != CLI_OK) {
        return status;
    }
    status = cli_outcome(args, modeconn_model_create(job->context, job->arch, job->dataset,
                                                     cli_options(args, "model"), &job->model));
    if (status == CLI_OK) {
        status =
            cli_outcome(args, modeconn_trainer_create(job->model, job->dataset,
                                                      cli_options(args, "train"), &job->trainer));
    }
    if (status == CLI_OK && job->resume != NULL &&
        cli_failed(args, modeconn_trainer_load(job->trainer, job->resume))) {
        status = CLI_FAILED;
    }
    return status;
}

static void say_epoch(const train_job *job, int64_t epoch, int64_t total)
{
    modeconn_history *history = NULL;
    if (modeconn_model_history(job->model, &history) == MODECONN_OK) {
        cli_say_epoch(job->args, history, epoch, total);
    }
    modeconn_history_destroy(history);
}

static int save_checkpoint(const train_job *job, const char *why)
{
    if (job->checkpoint == NULL) {
        if (why != NULL) {
            cli_error(job->args, "%s; nothing new is kept (--checkpoint FILE would keep it)", why);
        }
        return CLI_OK;
    }
    if (cli_failed(job->args, modeconn_trainer_save(job->trainer, job->checkpoint))) {
        return CLI_FAILED;
    }
    if (why != NULL) {
        cli_error(job->args, "%s; %s holds what was reached, --resume %s goes on from there", why,
                  job->checkpoint, job->checkpoint);
    }
    return CLI_OK;
}

/* Epoch by epoch, so that each is told and kept as soon as it is there. */
static int run(train_job *job)
{
    int64_t done = 0, total = 0;
    int status = CLI_OK;
    cli_progress bar;
    if (cli_failed(job->args, modeconn_trainer_epochs(job->trainer, &done, &total))) {
        return CLI_FAILED;
    }
    if (job->resume != NULL) {
        cli_say(job->args, "resumed after %d of %d epochs\n", (int)done, (int)total);
    }
    cli_progress_begin(&bar, total > done ? (double)(total - done) : 1.0);
    while (done < total && status == CLI_OK) {
        cli_progress_phase(&bar, 1.0, "epoch %d/%d", (int)done + 1, (int)total);
        int32_t result = modeconn_trainer_run(job->trainer, 1, cli_progress_step, &bar);
        cli_progress_clear(&bar);
        if (result == MODECONN_ERROR_CANCELLED) {
            save_checkpoint(job, "stopped");
            status = CLI_FAILED;
        } else if (cli_failed(job->args, result)) {
            save_checkpoint(job, "training failed");
            status = CLI_FAILED;
        } else {
            say_epoch(job, done, total);
            modeconn_trainer_epochs(job->trainer, &done, &total);
            status = save_checkpoint(job, NULL);
        }
    }
    cli_progress_end(&bar);
    return status;
}

/* All that the run was told, the seed of the weights too. */
static json_t *options_json(const train_job *job)
{
    json_t *options = cli_options_json(cli_options(job->args, "train"));
    int64_t seed = 0;
    modeconn_options_get_i64(cli_options(job->args, "model"), "seed", &seed);
    json_object_set_new(options, "init_seed", json_integer(seed));
    return options;
}

/* The file itself says what it was trained on, and how. */
static int save(const train_job *job, const json_t *dataset, const json_t *options)
{
    int status = cli_note(job->args, job->model, "training_data", dataset);
    if (status == CLI_OK) {
        status = cli_note(job->args, job->model, "training_options", options);
    }
    if (status == CLI_OK && cli_failed(job->args, modeconn_model_save(job->model, job->out))) {
        status = CLI_FAILED;
    }
    return status;
}

static json_t *result(const train_job *job, json_t *dataset, json_t *options, double seconds)
{
    json_t *object = cli_history_json(job->model);
    json_object_set_new(object, "out", cli_text(job->out));
    json_object_set_new(object, "model", cli_model_json(job->model));
    json_object_set(object, "data", dataset);
    json_object_set(object, "options", options);
    json_object_set_new(object, "build", cli_build_json(job->args));
    json_object_set_new(object, "seconds", cli_real(seconds));
    return object;
}

int cli_verb_train(int argc, char **argv)
{
    train_job job = {.arch = "vgg13"};
    char architectures[CLI_HELP];
    cli_architecture_help(architectures);
    const cli_option options[] = {
        CLI_DATA_OPTION(&job.data),
        {.name = "arch",
         .value = "ARCH",
         .text = &job.arch,
         .help = architectures,
         .by_default = "vgg13"},
        {.name = "out",
         .value = "FILE",
         .text = &job.out,
         .output = true,
         .required = true,
         .help = "the model, as safetensors"},
        {.name = "checkpoint",
         .value = "FILE",
         .text = &job.checkpoint,
         .output = true,
         .help = "complete state, written after each epoch and when stopped"},
        {.name = "resume",
         .value = "STATE",
         .text = &job.resume,
         .help = "go on from a --checkpoint file of the same model, data and options"},
    };
    static const char *const shape_keys[] = {"channels", "height", "width_pixels", "classes", NULL};
    static const char *const init_seed[] = {"seed", "init-seed", NULL};
    static const char *const data_seed[] = {"seed", "data-seed", NULL};
    static const char *const view_seed[] = {"seed", "view-seed", NULL};
    static const char *const data_words[] = {
        "view", "view to train on; default cue with a --cue, otherwise nocue", "seed",
        "seed of the random views; default --seed", NULL};
    static const char *const model_words[] = {"seed", "seed of the initial weights; default --seed",
                                              NULL};
    static const char *const train_words[] = {"seed", "seed of the samples' order; default --seed",
                                              NULL};
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data:", .rename = view_seed, .reword = data_words},
        {.kind = "model",
         .title = "Model:",
         .except = shape_keys,
         .rename = init_seed,
         .reword = model_words},
        {.kind = "train", .title = "Training:", .rename = data_seed, .reword = train_words},
    };
    cli_args args = {
        .verb = "train",
        .about = "Trains a model on one view of a training set and writes it.\v"
                 "With --cue box the training images carry the cue on the share "
                 "--cue-proportion of each class (view cue); without --cue they are clean; --view "
                 "wins over both. Models trained with the same --init-seed start from the same "
                 "weights, with the same --data-seed they see samples in the same order; both "
                 "default to --seed. Ctrl-C ends after the running batch.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    job.args = &args;
    double started = cli_seconds();
    json_t *dataset = NULL, *settings = NULL, *object = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = prepare(&job);
    }
    if (status == CLI_OK) {
        status = run(&job);
    }
    if (status == CLI_OK) {
        dataset = cli_dataset_json(job.dataset);
        settings = options_json(&job);
        status = save(&job, dataset, settings);
    }
    if (status == CLI_OK) {
        object = result(&job, dataset, settings, cli_seconds() - started);
        cli_say(&args, "wrote %s (%.1f s)\n", job.out, cli_seconds() - started);
        status = cli_json(&args, object);
    }
    json_decref(object);
    json_decref(settings);
    json_decref(dataset);
    modeconn_trainer_destroy(job.trainer);
    modeconn_model_destroy(job.model);
    modeconn_dataset_destroy(job.dataset);
    modeconn_context_destroy(job.context);
    cli_args_free(&args);
    return status;
}
