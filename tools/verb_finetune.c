/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn finetune: fine-tunes a model on clean samples drawn from a training set, which --view
 * shows; the samples that were not drawn, with the cue, are the cue data of CBFT (paper, section
 * 5).
 */
#include "cli.h"

#include <string.h>

typedef struct tune_job {
    const cli_args *args;
    const char *data, *arch, *model_file, *out;
    int64_t n_clean;
    modeconn_context *context;
    modeconn_dataset *all, *clean, *rest, *cued;
    modeconn_model *model, *tuned;
} tune_job;

/* "key=value,key=value": keys that are not on the command line. */
static bool apply_defaults(const cli_args *args, modeconn_options *options, const char *defaults)
{
    char setting[128];
    for (const char *at = defaults; *at != '\0'; at += strspn(at, ",")) {
        size_t size = strcspn(at, ",");
        snprintf(setting, sizeof(setting), "%.*s", (int)size, at);
        char *value = strchr(setting, '=');
        at += size;
        if (value == NULL) {
            continue;
        }
        *value = '\0';
        char option[128];
        for (size_t i = 0; i <= strlen(setting); i++) {
            option[i] = (char)(setting[i] == '_' ? '-' : setting[i]);
        }
        if (!cli_given(args, option) &&
            cli_failed(args, modeconn_options_set_text(options, setting, value + 1))) {
            return false;
        }
    }
    return true;
}

/* The method's own defaults, where the command line says nothing else, become part of the options:
 * so the result tells what was done. A wrong name says which there are. */
static bool settle_method(const cli_args *args, const char *method)
{
    modeconn_options *options = cli_options(args, "finetune");
    int64_t n = 0;
    char list[256] = "";
    size_t used = 0;
    modeconn_finetune_method_count(&n);
    for (int64_t i = 0; i < n; i++) {
        const char *name = "", *defaults = "";
        modeconn_finetune_method_describe(i, &name, NULL);
        modeconn_finetune_method_defaults(i, &defaults);
        if (strcmp(name, method) == 0) {
            return apply_defaults(args, options, defaults);
        }
        if (used < sizeof(list)) {
            used +=
                (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i > 0 ? ", " : "", name);
        }
    }
    cli_usage(args, "--method %s: there is %s", method, list);
    return false;
}

/* CBFT compares clean samples with cue data: where both are seen alike there is nothing to unlearn.
 * Says which views would do. */
static int views_alike(const tune_job *job, const char *view)
{
    int64_t n = 0;
    char list[512] = "";
    size_t used = 0;
    modeconn_dataset_view_count(job->all, &n);
    for (int64_t i = 0; i < n; i++) {
        const char *name = "";
        modeconn_dataset_view_name(job->all, i, &name);
        if (strcmp(name, view) != 0 && used < sizeof(list)) {
            used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", used > 0 ? ", " : "",
                                     name);
        }
    }
    if (n <= 1) {
        return cli_usage(job->args, "--method cbft needs a --cue: %s has no other attribute",
                         job->data);
    }
    return cli_usage(job->args,
                     "--method cbft: the cue data are seen through view %s, so --view is one of %s",
                     view, list);
}

/* The clean samples through `clean_view`; the others as the data have them, with their cue: needed
 * where that is another view, or where there is a cue to be tracked. */
static int split(tune_job *job, const char *clean_view, const char *cue_view, double proportion)
{
    modeconn_dataset *drawn = NULL;
    int32_t done = modeconn_dataset_split(job->all, job->n_clean, -1, &drawn, &job->rest);
    if (done == MODECONN_OK) {
        done = modeconn_dataset_view(drawn, clean_view, proportion, &job->clean);
    }
    if (done == MODECONN_OK &&
        (strcmp(cue_view, "cue") == 0 || strcmp(cue_view, clean_view) != 0)) {
        done = modeconn_dataset_view(job->rest, cue_view, proportion, &job->cued);
    }
    modeconn_dataset_destroy(drawn);
    return cli_failed(job->args, done) ? CLI_FAILED : CLI_OK;
}

static int open_data(tune_job *job)
{
    const cli_args *args = job->args;
    modeconn_options *options = cli_options(args, "dataset");
    const char *cue = "none", *method = "", *view = "nocue";
    double proportion = 1.0;
    if (cli_failed(args, modeconn_options_get_str(options, "cue", &cue)) ||
        (cli_given(args, "view") &&
         cli_failed(args, modeconn_options_get_str(options, "view", &view))) ||
        cli_failed(args, modeconn_options_get_f64(options, "cue_proportion", &proportion)) ||
        cli_failed(args,
                   modeconn_options_get_str(cli_options(args, "finetune"), "method", &method))) {
        return CLI_FAILED;
    }
    if (!settle_method(args, method)) {
        return CLI_USAGE;
    }
    int status = cli_data_train(args, job->context, job->data, &job->all);
    if (status != CLI_OK) {
        return status;
    }
    const char *cue_view = strcmp(cue, "none") != 0 ? "cue" : "nocue";
    if (strcmp(method, "cbft") == 0 && strcmp(view, cue_view) == 0) {
        return views_alike(job, cue_view);
    }
    int64_t n = 0;
    modeconn_dataset_shape(job->all, &n, NULL, NULL, NULL, NULL);
    if (job->n_clean >= n) {
        return cli_usage(args, "--clean %lld: %s has %lld training samples, and some must be left",
                         (long long)job->n_clean, job->data, (long long)n);
    }
    return split(job, view, cue_view, proportion);
}

static int run(tune_job *job)
{
    const cli_args *args = job->args;
    int status = cli_outputs(args);
    if (status == CLI_OK) {
        status = cli_context(args, &job->context);
    }
    if (status == CLI_OK) {
        status = open_data(job);
    }
    if (status == CLI_OK) {
        status =
            cli_model_load(args, job->context, job->model_file, job->arch, job->clean, &job->model);
    }
    if (status != CLI_OK) {
        return status;
    }
    cli_progress bar;
    cli_progress_begin(&bar, 1.0);
    cli_progress_phase(&bar, 1.0, "fine-tuning");
    int32_t done =
        modeconn_finetune(job->model, job->clean, job->cued, cli_options(args, "finetune"),
                          cli_progress_step, &bar, &job->tuned);
    cli_progress_end(&bar);
    if (done == MODECONN_ERROR_CANCELLED) {
        return cli_error(args, "stopped; nothing was written");
    }
    return cli_outcome(args, done);
}

/* All that was told, the seed that drew the clean samples too. */
static json_t *options_json(const tune_job *job)
{
    json_t *options = cli_options_json(cli_options(job->args, "finetune"));
    int64_t seed = 0;
    modeconn_options_get_i64(job->args->context.options, "seed", &seed);
    json_object_set_new(options, "clean_seed", json_integer(seed));
    return options;
}

/* The cue data of CBFT; the other methods use none, whatever is measured on them, and whatever the
 * model that was given tells of its own making. */
static int note_cue_data(const tune_job *job)
{
    const char *method = "";
    modeconn_options_get_str(cli_options(job->args, "finetune"), "method", &method);
    if (job->cued == NULL || strcmp(method, "cbft") != 0) {
        int32_t done = modeconn_model_set_metadata(job->tuned, "finetuning_cue_data", NULL);
        return cli_failed(job->args, done) ? CLI_FAILED : CLI_OK;
    }
    json_t *cued = cli_dataset_json(job->cued);
    int status = cli_note(job->args, job->tuned, "finetuning_cue_data", cued);
    json_decref(cued);
    return status;
}

/* The file itself says what it was made of, and how. */
static int save(const tune_job *job)
{
    json_t *from = cli_text(job->model_file); /* metadata are UTF-8, file names need not be */
    json_t *clean = cli_dataset_json(job->clean);
    json_t *options = options_json(job);
    int status = cli_note(job->args, job->tuned, "finetuned_from", from);
    if (status == CLI_OK) {
        status = cli_note(job->args, job->tuned, "finetuning_data", clean);
    }
    if (status == CLI_OK) {
        status = note_cue_data(job);
    }
    if (status == CLI_OK) {
        status = cli_note(job->args, job->tuned, "finetuning_options", options);
    }
    if (status == CLI_OK && cli_failed(job->args, modeconn_model_save(job->tuned, job->out))) {
        status = CLI_FAILED;
    }
    json_decref(options);
    json_decref(clean);
    json_decref(from);
    return status;
}

static json_t *result(const tune_job *job, double seconds)
{
    json_t *object = cli_history_json(job->tuned);
    json_object_set_new(object, "out", cli_text(job->out));
    json_object_set_new(object, "from", cli_text(job->model_file));
    json_object_set_new(object, "options", options_json(job));
    json_object_set_new(object, "clean", cli_dataset_json(job->clean));
    json_object_set_new(object, "cue",
                        job->cued == NULL ? json_null() : cli_dataset_json(job->cued));
    json_object_set_new(object, "model", cli_model_json(job->tuned));
    json_object_set_new(object, "build", cli_build_json(job->args));
    json_object_set_new(object, "seconds", cli_real(seconds));
    return object;
}

/* The last epoch, every column of it. */
static void say(const tune_job *job)
{
    modeconn_history *history = NULL;
    int64_t epochs = 0, columns = 0;
    if (modeconn_model_history(job->tuned, &history) == MODECONN_OK &&
        modeconn_history_size(history, &epochs, &columns) == MODECONN_OK && epochs > 0) {
        cli_say(job->args, "after %d epochs:", (int)epochs);
        for (int64_t i = 0; i < columns; i++) {
            const char *name = "";
            double value = 0.0;
            modeconn_history_column(history, i, &name);
            modeconn_history_value(history, name, epochs - 1, &value);
            cli_say(job->args, "  %s %.4g", name, value);
        }
        cli_say(job->args, "\nwrote %s\n", job->out);
    }
    modeconn_history_destroy(history);
}

int cli_verb_finetune(int argc, char **argv)
{
    tune_job job = {.n_clean = 1000};
    const cli_option options[] = {
        {.name = "model",
         .value = "FILE",
         .text = &job.model_file,
         .required = true,
         .help = "the model to start from (theta_C)"},
        CLI_DATA_OPTION(&job.data),
        {.name = "out",
         .value = "FILE",
         .text = &job.out,
         .output = true,
         .required = true,
         .help = "the fine-tuned model"},
        {.name = "clean",
         .value = "N",
         .integer = &job.n_clean,
         .min = 1,
         .max = 1e12,
         .help = "clean samples to draw from the training set",
         .by_default = "1000"},
        CLI_ARCH_OPTION(&job.arch),
    };
    static const char *const data_seed[] = {"seed", "data-seed", NULL};
    static const char *const data_words[] = {
        "cue_proportion",
        "cbft: share of each class of the cue data that carries the cue; in [0, 1]; default 1",
        "view",
        "view that shows the clean samples, randslab1 for instance: what is random in it is to be "
        "unlearnt; default nocue",
        NULL};
    static const char *const tune_words[] = {
        "method",
        "naive; llrt: a fresh last layer alone; lpft: that, then naive; or cbft: "
        "connectivity-based fine-tuning, which needs a --cue or a --view; default cbft",
        "seed", "seed of the samples' order, of t and of a fresh last layer; default --seed", NULL};
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data (the training set):", .reword = data_words},
        {.kind = "finetune", .title = "Fine-tuning:", .rename = data_seed, .reword = tune_words},
    };
    cli_args args = {
        .verb = "finetune",
        .about = "Fine-tunes a model on clean samples and writes the result.\v"
                 "Draws --clean samples from the training set without replacement (by --seed) and "
                 "shows them without the cue, or through --view; the others, with the cue on "
                 "--cue-proportion of each class, or as they are where there is none, are the cue "
                 "data of the method cbft.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    job.args = &args;
    double started = cli_seconds();
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = run(&job);
    }
    if (status == CLI_OK) {
        status = save(&job);
    }
    if (status == CLI_OK) {
        say(&job);
        if (args.json != NULL) {
            json_t *object = result(&job, cli_seconds() - started);
            status = cli_json(&args, object);
            json_decref(object);
        }
    }
    modeconn_model_destroy(job.tuned);
    modeconn_model_destroy(job.model);
    modeconn_dataset_destroy(job.cued);
    modeconn_dataset_destroy(job.rest);
    modeconn_dataset_destroy(job.clean);
    modeconn_dataset_destroy(job.all);
    modeconn_context_destroy(job.context);
    cli_args_free(&args);
    return status;
}
