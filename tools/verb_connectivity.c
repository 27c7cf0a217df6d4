/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn connectivity: is the straight line between two models, or a saved path,
 * mechanistically connected (Definition 5)?
 */
#include "measure.h"

#include <stdlib.h>

typedef struct connectivity_job {
    cli_measure measure;
    bool patterns;
    modeconn_path *path;
    modeconn_connectivity *connectivity;
    modeconn_patterns *of_path;
} connectivity_job;

/* The patterns at the same points, batch norm's statistics treated alike. */
static modeconn_options *patterns_options(const cli_args *args)
{
    static const char *const shared[] = {"points", "bn_samples", "bn_batch_size", "seed"};
    const modeconn_options *from = cli_options(args, "connectivity");
    modeconn_options *options = NULL;
    const char *policy = "reset";
    bool ok = !cli_failed(args, modeconn_options_create(NULL, "patterns", &options)) &&
              !cli_failed(args, modeconn_options_get_str(from, "statistics", &policy)) &&
              !cli_failed(args, modeconn_options_set_str(options, "statistics", policy));
    for (int i = 0; ok && i < CLI_COUNT(shared); i++) {
        int64_t value = 0;
        ok = !cli_failed(args, modeconn_options_get_i64(from, shared[i], &value)) &&
             !cli_failed(args, modeconn_options_set_i64(options, shared[i], value));
    }
    if (!ok) {
        modeconn_options_destroy(options);
        return NULL;
    }
    return options;
}

static int measure_path(connectivity_job *job, const cli_args *args)
{
    cli_progress bar;
    modeconn_options *options = job->patterns ? patterns_options(args) : NULL;
    if ((job->patterns && options == NULL) ||
        cli_path_open(&job->measure, args, &job->path) != CLI_OK) {
        modeconn_options_destroy(options);
        return CLI_FAILED;
    }
    cli_progress_begin(&bar, job->patterns ? 2.0 : 1.0);
    int32_t done = MODECONN_OK;
    if (job->patterns) { /* first: models without ReLUs are refused before the long work */
        cli_progress_phase(&bar, 1.0, "activation patterns");
        done = modeconn_patterns_measure(job->path, job->measure.train, job->measure.test, options,
                                         cli_progress_step, &bar, &job->of_path);
    }
    if (done == MODECONN_OK) {
        cli_progress_phase(&bar, 1.0, "measuring the path");
        done = modeconn_connectivity_measure(job->path, job->measure.train, job->measure.test,
                                             cli_options(args, "connectivity"), cli_progress_step,
                                             &bar, &job->connectivity);
    }
    cli_progress_end(&bar);
    modeconn_options_destroy(options);
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
}

static void say_patterns(const cli_args *args, const modeconn_patterns *patterns)
{
    int64_t layers = 0, points = 0;
    modeconn_patterns_size(patterns, &layers, &points);
    cli_say(args, "activation patterns of the two ends: pairs that agree (beyond chance)\n");
    for (int64_t layer = 0; layer < layers; layer++) {
        const char *name = "";
        double *agreement = calloc((size_t)points, sizeof(*agreement));
        double *kappa = calloc((size_t)points, sizeof(*kappa));
        if (agreement != NULL && kappa != NULL &&
            modeconn_patterns_layer(patterns, layer, &name, NULL) == MODECONN_OK &&
            modeconn_patterns_values(patterns, layer, 0, agreement, kappa, NULL, points) ==
                MODECONN_OK) {
            cli_say(args, "  %-24s %5.1f %% (%.2f)\n", name, 100.0 * agreement[points - 1],
                    kappa[points - 1]);
        }
        free(kappa);
        free(agreement);
    }
}

static void say(const connectivity_job *job, const cli_args *args)
{
    const modeconn_connectivity *made = job->connectivity;
    int64_t views = 0;
    int32_t verdict = 0;
    double t = 0.0;
    const char *weakest = "";
    modeconn_connectivity_size(made, &views);
    cli_say(args, "rise of the loss over the line between the ends' losses, nats\n");
    for (int64_t i = 0; i < views; i++) {
        const char *name = "";
        double height = 0.0, low = 0.0, high = 0.0, at = 0.0, first = 0.0, second = 0.0;
        modeconn_connectivity_view(made, i, &name);
        modeconn_connectivity_get(made, name, &verdict, &height, &low, &high, &at);
        modeconn_connectivity_end(made, name, 0, &first, NULL);
        modeconn_connectivity_end(made, name, 1, &second, NULL);
        cli_say(args, "%-10s %-12s %.3f [%.3f, %.3f] at t = %.3g; the ends have %.3f and %.3f\n",
                name, modeconn_verdict_name(verdict), height, low, high, at, first, second);
    }
    modeconn_connectivity_verdict(made, &verdict);
    modeconn_connectivity_weakest(made, &weakest, &t);
    cli_say(args, "mechanistically %s along this %s (view %s, t = %.3g)\n",
            modeconn_verdict_name(verdict), job->measure.path_file != NULL ? "path" : "line",
            weakest, t);
    if (job->of_path != NULL) {
        say_patterns(args, job->of_path);
    }
}

static int report(const connectivity_job *job, const cli_args *args)
{
    json_t *result = cli_connectivity_json(job->connectivity);
    say(job, args);
    cli_path_name(&job->measure, result);
    if (job->of_path != NULL) {
        json_object_set_new(result, "patterns", cli_patterns_json(job->of_path));
    }
    int status = cli_json(args, result);
    json_decref(result);
    return status;
}

int cli_verb_connectivity(int argc, char **argv)
{
    connectivity_job job = {.patterns = false};
    const cli_option options[] = {
        CLI_PATH_OPTIONS(job.measure),
        CLI_DATA_OPTION(&job.measure.data),
        CLI_ARCH_OPTION(&job.measure.arch),
        {.name = "patterns",
         .flag = &job.patterns,
         .help = "also compare, layer by layer, which ReLUs are active along the path"},
    };
    static const char *const except[] = {"view", CLI_TRAINING_KEYS, NULL};
    static const char *const data_words[] = CLI_TEST_WORDS;
    static const char *const words[] = CLI_STATISTICS_WORDS("reset");
    cli_kind kinds[] = {
        {.kind = "dataset",
         .title = "Data (--limit is of the test set):",
         .except = except,
         .reword = data_words},
        {.kind = "connectivity", .title = "Connectivity:", .reword = words},
    };
    cli_args args = {
        .verb = "connectivity",
        .about = "Tells whether the straight line between two models, or a fitted curve, is "
                 "mechanistically connected: connected where the loss rises on no view, "
                 "counterfactual ones included, by more than --tolerance over the line between the "
                 "ends' losses; disconnected where it does on some view; undecided where the data "
                 "cannot tell.\v"
                 "Batch-norm statistics are treated at each point as by `modeconn barrier'. The "
                 "losses of the ends are reported; --minimum-loss judges whether the ends are "
                 "minimizers on every view, which Definition 5 of the paper asks too. Another path "
                 "may connect what this one does not.",
        .needs = "[--cue=box]",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_path_given(&job.measure, &args);
    }
    if (status == CLI_OK) {
        status = cli_measure_open(&job.measure, &args, "connectivity");
    }
    if (status == CLI_OK) {
        status = measure_path(&job, &args);
    }
    if (status == CLI_OK) {
        status = report(&job, &args);
    }
    modeconn_patterns_destroy(job.of_path);
    modeconn_connectivity_destroy(job.connectivity);
    modeconn_path_destroy(job.path);
    cli_measure_close(&job.measure);
    cli_args_free(&args);
    return status;
}
