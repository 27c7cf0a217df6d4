/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn reproduce demo: the paper's story at small scale. Trains theta_C on images whose cue
 * gives the label away and theta_NC on the same images without it, fine-tunes theta_C on clean
 * images in four ways, and asks of each model what it relies on and what lies between it and
 * theta_C.
 */
#include "demo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- preparation ----------------------------------------------------------------------------- */

/* Makes the folder and those above it. */
static int make_folder(const demo_job *demo)
{
    int status = cli_make_folder(demo->args, demo->out);
    if (status == CLI_OK) {
        char *file = demo_path(demo, "", "results", ".json");
        status =
            file == NULL ? cli_error(demo->args, "out of memory") : cli_writable(demo->args, file);
        free(file);
    }
    return status;
}

static int open_dataset(const demo_job *demo, const char *split, int64_t limit,
                        modeconn_dataset **out)
{
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(demo->context, "dataset", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "cue", "box");
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(options, "view", "nocue");
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "limit", limit);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_open(demo->context, demo->scale.data, split, options, out);
    }
    modeconn_options_destroy(options);
    if (status == MODECONN_ERROR_UNKNOWN || status == MODECONN_ERROR_ARGUMENT) {
        return cli_usage(demo->args, "--data %s: %s", demo->scale.data, modeconn_last_error());
    }
    return cli_failed(demo->args, status) ? CLI_FAILED : CLI_OK;
}

/* The clean samples first, then theta_C's from what is left: disjoint, as in the paper. */
static int split(demo_job *demo, const modeconn_dataset *all)
{
    const demo_scale *scale = &demo->scale;
    modeconn_dataset *rest = NULL;
    int64_t n = 0, left = 0;
    modeconn_dataset_shape(all, &n, NULL, NULL, NULL, NULL);
    left = n - scale->clean_samples;
    if (left < scale->train_samples) {
        return cli_error(demo->args,
                         "%s has %d training images; %d to train on and %d clean ones are wanted",
                         scale->data, (int)n, (int)scale->train_samples, (int)scale->clean_samples);
    }
    int32_t status = modeconn_dataset_split(all, scale->clean_samples, -1, &demo->clean, &rest);
    if (status == MODECONN_OK && left == scale->train_samples) {
        demo->train = rest;
        rest = NULL;
    } else if (status == MODECONN_OK) {
        status = modeconn_dataset_split(rest, scale->train_samples, -1, &demo->train, NULL);
    }
    if (status == MODECONN_OK) {
        status =
            modeconn_dataset_view(demo->train, "cue", scale->cue_proportion, &demo->train_cued);
    }
    modeconn_dataset_destroy(rest);
    return cli_failed(demo->args, status) ? CLI_FAILED : CLI_OK;
}

static int prepare(demo_job *demo)
{
    modeconn_dataset *all = NULL;
    int status = cli_known_arch(demo->args, demo->scale.arch) ? demo_options(demo) : CLI_USAGE;
    if (status == CLI_OK && demo->out[0] == '\0') {
        status = cli_usage(demo->args, "--out: the name of a folder is wanted");
    }
    if (status == CLI_OK) {
        status = cli_outputs(demo->args);
    }
    if (status == CLI_OK) {
        status = make_folder(demo);
    }
    if (status == CLI_OK) {
        status = cli_context(demo->args, &demo->context);
    }
    if (status == CLI_OK) {
        status = open_dataset(demo, "train", 0, &all);
    }
    if (status == CLI_OK) {
        status = split(demo, all);
    }
    if (status == CLI_OK) {
        status = open_dataset(demo, "test", demo->scale.test_samples, &demo->test);
    }
    modeconn_dataset_destroy(all);
    return status;
}

/* ---- the models ---------------------------------------------------------------------------- */

/* Forward passes of one sample; a step of training counts three. */
static double train_work(const demo_job *demo)
{
    return 3.0 * (double)(demo->scale.epochs * demo->scale.train_samples);
}

static double tune_work(const demo_job *demo, const demo_tuning *tuning)
{
    /* CBFT runs a clean batch, a cue batch, and a cue batch between the two models. */
    double batches = tuning->cued ? 3.0 : 1.0;
    return 3.0 * batches * (double)(demo->scale.tune_epochs * demo->scale.clean_samples);
}

static double all_work(const demo_job *demo)
{
    double work = 2.0 * train_work(demo) + demo_measure_work(demo, false) +
                  (1 + DEMO_TUNINGS) * demo_measure_work(demo, true);
    for (int i = 0; i < DEMO_TUNINGS; i++) {
        work += tune_work(demo, &demo_tunings[i]);
    }
    return work;
}

/* Writes the model as soon as it is there, then measures it. */
static int finish(demo_job *demo, const char *name, const char *made_by, modeconn_model *model,
                  const modeconn_options *options, double seconds)
{
    char *path = demo_path(demo, "", name, ".safetensors");
    if (path == NULL) {
        return cli_error(demo->args, "out of memory");
    }
    int status = CLI_OK;
    if (cli_failed(demo->args, modeconn_model_set_metadata(model, "made_by", made_by)) ||
        cli_failed(demo->args, modeconn_model_save(model, path))) {
        status = CLI_FAILED;
    } else {
        demo_keep(demo, path);
        double started = cli_seconds();
        status = demo_measure(demo, name, made_by, model, options, seconds);
        cli_progress_clear(&demo->bar);
        if (status == CLI_OK) {
            fprintf(stderr, "%d/%d %-9s made in %.1f s, measured in %.1f s: %s\n", demo->stage,
                    demo->stages, name, seconds, cli_seconds() - started, path);
        }
    }
    free(path);
    return status == CLI_OK && cli_interrupted() ? CLI_FAILED : status;
}

/* `seed` of the initial weights and of the order of the samples. */
static int train(demo_job *demo, const char *name, const char *made_by, int64_t seed,
                 const modeconn_dataset *data, modeconn_model **out)
{
    modeconn_model *model = NULL;
    double started = cli_seconds();
    demo->stage++;
    cli_progress_phase(&demo->bar, train_work(demo), "%d/%d %s: training", demo->stage,
                       demo->stages, name);
    int32_t status = modeconn_options_set_i64(demo->model_options, "seed", seed);
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(demo->train_options, "seed", seed);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_create(demo->context, demo->scale.arch, data, demo->model_options,
                                       &model);
    }
    if (status == MODECONN_OK) {
        status = modeconn_train(model, data, demo->train_options, cli_progress_step, &demo->bar);
    }
    int result = CLI_FAILED;
    *out = model;
    if (!demo_failed(demo, status)) {
        if (demo->origin == NULL) {
            demo->origin = model;
        }
        result = finish(demo, name, made_by, model, demo->train_options, cli_seconds() - started);
    }
    return result;
}

static int tune(demo_job *demo, int which)
{
    const demo_tuning *tuning = &demo_tunings[which];
    modeconn_model *model = NULL;
    double started = cli_seconds();
    demo->stage++;
    cli_progress_phase(&demo->bar, tune_work(demo, tuning), "%d/%d %s: fine-tuning", demo->stage,
                       demo->stages, tuning->name);
    int32_t status =
        modeconn_finetune(demo->origin, demo->clean, demo->train_cued, demo->tune_options[which],
                          cli_progress_step, &demo->bar, &model);
    int result = CLI_FAILED;
    if (!demo_failed(demo, status)) {
        result = finish(demo, tuning->name, tuning->made_by, model, demo->tune_options[which],
                        cli_seconds() - started);
    }
    modeconn_model_destroy(model);
    return result;
}

static int run(demo_job *demo)
{
    modeconn_model *cue = NULL, *no_cue = NULL;
    char made_by[96];
    int64_t seed = 0;
    modeconn_options_get_i64(demo->args->context.options, "seed", &seed);
    demo->models = json_object();
    demo->stages = 2 + DEMO_TUNINGS;
    cli_progress_begin(&demo->bar, all_work(demo));
    snprintf(made_by, sizeof(made_by), "trained, cue on %.3g %%",
             100.0 * demo->scale.cue_proportion);
    int status = train(demo, "theta_C", made_by, seed, demo->train_cued, &cue);
    if (status == CLI_OK) {
        /* A run of its own, as two checkpoints that somebody has would be. */
        status = train(demo, "theta_NC", "trained without the cue", seed + 1, demo->train, &no_cue);
    }
    for (int i = 0; i < DEMO_TUNINGS && status == CLI_OK; i++) {
        status = tune(demo, i);
    }
    if (status != CLI_OK && cli_interrupted()) {
        cli_progress_clear(&demo->bar);
        cli_error(demo->args, "stopped; %s%s",
                  demo->kept != NULL ? "no results.json was written, but kept: "
                                     : "no file was written",
                  demo->kept != NULL ? demo->kept : "");
    }
    cli_progress_end(&demo->bar);
    modeconn_model_destroy(no_cue);
    modeconn_model_destroy(cue);
    demo->origin = NULL;
    return status;
}

/* ---- results ------------------------------------------------------------------------------- */

/* Breaks lines at spaces before column 100. */
static void print_wrapped(FILE *out, const char *text)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > 0 && column + 1 + word > 100) {
            fputc('\n', out);
            column = 0;
        }
        if (column > 0) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += word;
        text += word;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static int print_results(FILE *out, const json_t *results)
{
    char *text = NULL;
    size_t size = 0, i;
    json_t *line;
    fputc('\n', out);
    cli_demo_table(out, results);
    fputc('\n', out);
    FILE *stream = open_memstream(&text, &size);
    if (stream == NULL) {
        return CLI_FAILED;
    }
    json_array_foreach(json_object_get(results, "words"), i, line)
    {
        fprintf(stream, "%s ", json_string_value(line));
    }
    if (fclose(stream) != 0) {
        return CLI_FAILED;
    }
    print_wrapped(out, text);
    free(text);
    stream = open_memstream(&text, &size);
    if (stream == NULL) {
        return CLI_FAILED;
    }
    cli_demo_caption(stream, results);
    if (fclose(stream) != 0) {
        return CLI_FAILED;
    }
    fputc('\n', out);
    print_wrapped(out, text);
    free(text);
    return CLI_OK;
}

static int write_results(demo_job *demo)
{
    char *json = demo_path(demo, "", "results", ".json");
    char *html = demo_path(demo, "", "report", ".html"), *page = NULL;
    size_t size = 0;
    int status = CLI_FAILED;
    json_t *results = json_object();
    json_object_set_new(results, "scale", demo_scale_json(demo));
    json_object_set(results, "models", demo->models);
    json_object_set_new(results, "words", cli_demo_words(results));
    FILE *stream = open_memstream(&page, &size);
    if (json == NULL || html == NULL || results == NULL || stream == NULL) {
        cli_error(demo->args, "out of memory");
        goto out;
    }
    cli_html_report(stream, results);
    status = cli_json_save(demo->args, json, results);
    int page_status = cli_stream_save(demo->args, html, stream, &page);
    stream = NULL;
    if (status == CLI_OK) {
        status = page_status;
    }
    if (status == CLI_OK) {
        /* With --json - standard output is for the JSON alone. */
        bool quiet = demo->args->json != NULL && strcmp(demo->args->json, "-") == 0;
        FILE *text = quiet ? stderr : stdout;
        status = print_results(text, results);
        fprintf(text, "\nWrote %s, and models, curves (CSV, SVG) and results.json beside it.\n",
                html);
    }
    if (status == CLI_OK) {
        status = cli_json(demo->args, results);
    }
out:
    if (stream != NULL) {
        fclose(stream);
        free(page);
    }
    json_decref(results);
    free(html);
    free(json);
    return status;
}

/* ---- command line -------------------------------------------------------------------------- */

/* What was given replaces the scale's. */
static int merge(demo_job *demo, const char *scale_name, const demo_scale *given)
{
    const demo_scale *base = demo_scale_find(scale_name);
    if (base == NULL) {
        return cli_usage(demo->args, "--scale %s: there is demo, tiny", scale_name);
    }
    demo_scale *s = &demo->scale;
    *s = *base;
    s->data = given->data != NULL ? given->data : s->data;
    s->arch = given->arch != NULL ? given->arch : s->arch;
    s->width = given->width > 0.0 ? given->width : s->width;
    s->cue_proportion = given->cue_proportion > 0.0 ? given->cue_proportion : s->cue_proportion;
    s->tolerance = given->tolerance > 0.0 ? given->tolerance : s->tolerance;
    s->train_samples = given->train_samples > 0 ? given->train_samples : s->train_samples;
    s->test_samples = given->test_samples > 0 ? given->test_samples : s->test_samples;
    s->clean_samples = given->clean_samples > 0 ? given->clean_samples : s->clean_samples;
    s->epochs = given->epochs > 0 ? given->epochs : s->epochs;
    s->tune_epochs = given->tune_epochs > 0 ? given->tune_epochs : s->tune_epochs;
    s->points = given->points > 0 ? given->points : s->points;
    s->bn_samples = given->bn_samples > 0 ? given->bn_samples : s->bn_samples;
    return CLI_OK;
}

int cli_reproduce_demo(int argc, char **argv)
{
    demo_job demo = {.out = "demo-results",
                     .train_settings = "",
                     .tune_settings = "",
                     .cbft_settings = "",
                     .started = cli_seconds()};
    demo_scale given = {.name = NULL};
    const char *scale_name = "demo";
    const double many = 1e9;
    char architectures[CLI_HELP];
    cli_architecture_help(architectures);
    const cli_option options[] = {
        {.name = "out",
         .value = "DIR",
         .text = &demo.out,
         .help = "folder for everything it writes",
         .by_default = "demo-results"},
        {.name = "scale",
         .value = "demo|tiny",
         .text = &scale_name,
         .help = "constants to start from, of which the defaults here are demo's; tiny takes "
                 "seconds and "
                 "shows only that it runs",
         .by_default = "demo"},
        {.name = "data",
         .value = "DATA",
         .text = &given.data,
         .help = "as in `modeconn train'; tiny: shapes",
         .by_default = "fashion-mnist"},
        {.name = "train-samples",
         .value = "N",
         .integer = &given.train_samples,
         .min = 1,
         .max = many,
         .help = "images that theta_C and theta_NC are trained on",
         .by_default = "10000"},
        {.name = "limit",
         .value = "N",
         .integer = &given.train_samples,
         .min = 1,
         .max = many,
         .help = "the same as --train-samples"},
        {.name = "test-samples",
         .value = "N",
         .integer = &given.test_samples,
         .min = 1,
         .max = many,
         .help = "test images",
         .by_default = "2000"},
        {.name = "clean",
         .value = "N",
         .integer = &given.clean_samples,
         .min = 2,
         .max = many,
         .help = "clean images for fine-tuning, none of them theta_C's",
         .by_default = "1000"},
        {.name = "cue-proportion",
         .value = "P",
         .real = &given.cue_proportion,
         .min = 1e-6,
         .max = 1.0,
         .help = "share of theta_C's images that carry the cue",
         .by_default = "0.9"},
        {.name = "arch",
         .value = "ARCH",
         .text = &given.arch,
         .help = architectures,
         .by_default = "vgg13"},
        {.name = "width",
         .value = "W",
         .real = &given.width,
         .min = 1e-3,
         .max = 64.0,
         .help = "multiplier of the channel counts",
         .by_default = "0.25"},
        {.name = "epochs",
         .value = "N",
         .integer = &given.epochs,
         .min = 1,
         .max = many,
         .help = "epochs of theta_C and theta_NC",
         .by_default = "8"},
        {.name = "finetune-epochs",
         .value = "N",
         .integer = &given.tune_epochs,
         .min = 1,
         .max = many,
         .help = "epochs of each fine-tuning",
         .by_default = "20"},
        {.name = "points",
         .value = "N",
         .integer = &given.points,
         .min = 2,
         .max = 100001,
         .help = "points of a curve, both ends included",
         .by_default = "11"},
        {.name = "bn-samples",
         .value = "N",
         .integer = &given.bn_samples,
         .min = 2,
         .max = many,
         .help = "training images that statistics are reset on at each point",
         .by_default = "2000"},
        {.name = "tolerance",
         .value = "NATS",
         .real = &given.tolerance,
         .min = 1e-9,
         .max = 1e9,
         .help = "smallest height that the words call a barrier",
         .by_default = "0.1"},
        {.name = "train-settings",
         .value = "KEY=VALUE,...",
         .text = &demo.train_settings,
         .help = "changes to training; keys as in `modeconn train'"},
        {.name = "finetune-settings",
         .value = "KEY=VALUE,...",
         .text = &demo.tune_settings,
         .help = "changes to naive fine-tuning; keys as in `modeconn finetune'"},
        {.name = "cbft-settings",
         .value = "KEY=VALUE,...",
         .text = &demo.cbft_settings,
         .help = "changes to CBFT; keys as in `modeconn finetune'"},
    };
    cli_args args = {
        .verb = "reproduce demo",
        .about = "The paper's story in minutes: trains theta_C on images with the box cue and "
                 "theta_NC without, fine-tunes theta_C on clean images with a large, a medium and "
                 "a small rate and by CBFT, probes each, and measures the line from each to "
                 "theta_C.\vWrites models, curves (CSV, SVG), results.json and report.html into "
                 "--out. Ctrl-C keeps the files of finished stages and says which.",
        .options = options,
        .n_options = CLI_COUNT(options),
    };
    demo.args = &args;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = merge(&demo, scale_name, &given);
    }
    if (status == CLI_OK) {
        status = prepare(&demo);
    }
    if (status == CLI_OK) {
        status = run(&demo);
    }
    if (status == CLI_OK) {
        status = write_results(&demo);
    }
    json_decref(demo.models);
    free(demo.kept);
    modeconn_dataset_destroy(demo.test);
    modeconn_dataset_destroy(demo.train_cued);
    modeconn_dataset_destroy(demo.train);
    modeconn_dataset_destroy(demo.clean);
    demo_options_free(&demo);
    modeconn_context_destroy(demo.context);
    cli_args_free(&args);
    return status;
}
