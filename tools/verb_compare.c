/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn compare: are two models invariant to the same attributes (Definition 4)? And, on
 * request, how alike are their representations?
 */
#include "measure.h"

#include <math.h>

typedef struct compare_job {
    cli_measure measure;
    bool with_cka;
    modeconn_comparison *comparison;
    modeconn_cka *cka;
} compare_job;

static int compare(compare_job *job, const cli_args *args)
{
    const cli_measure *measure = &job->measure;
    cli_progress bar;
    cli_progress_begin(&bar, job->with_cka ? 2.0 : 1.0);
    cli_progress_phase(&bar, 1.0, "probing");
    int32_t done = modeconn_compare_with_progress(measure->model[0], measure->model[1],
                                                  measure->test, cli_options(args, "probe"),
                                                  cli_progress_step, &bar, &job->comparison);
    if (done == MODECONN_OK && job->with_cka) {
        cli_progress_phase(&bar, 1.0, "comparing layers");
        done = modeconn_cka_measure(measure->model[0], measure->model[1], measure->test, NULL,
                                    cli_progress_step, &bar, &job->cka);
    }
    cli_progress_end(&bar);
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
}

static void say_cka(const cli_args *args, const modeconn_cka *cka)
{
    int64_t layers = 0;
    modeconn_cka_size(cka, &layers);
    cli_say(args, "CKA of the representations (debiased)\n");
    for (int64_t i = 0; i < layers; i++) {
        const char *name = "";
        double value = NAN, debiased = NAN;
        modeconn_cka_get(cka, i, &name, NULL, &value, &debiased);
        cli_say(args, "  %-24s %.3f (%.3f)\n", name, value, debiased);
    }
}

static int say(const cli_args *args, const modeconn_comparison *comparison)
{
    for (int32_t which = 0; which < 2; which++) {
        const modeconn_probe *probe = NULL;
        if (cli_failed(args, modeconn_comparison_probe(comparison, which, &probe))) {
            return CLI_FAILED;
        }
        cli_say(args, "%s\n", args->operand[which]);
        cli_say_probe(args, probe);
    }
    int32_t verdict = 0;
    if (cli_failed(args, modeconn_comparison_verdict(comparison, &verdict))) {
        return CLI_FAILED;
    }
    cli_say(args, "mechanistically %s\n", modeconn_verdict_name(verdict));
    return CLI_OK;
}

int cli_verb_compare(int argc, char **argv)
{
    compare_job job = {.with_cka = false};
    const cli_option options[] = {
        CLI_DATA_OPTION(&job.measure.data),
        CLI_ARCH_OPTION(&job.measure.arch),
        {.name = "cka",
         .flag = &job.with_cka,
         .help = "also measure how alike the representations are, layer by layer (linear CKA)"},
    };
    static const char *const except[] = {"view", CLI_TRAINING_KEYS, NULL};
    static const char *const words[] = CLI_TEST_WORDS;
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data (the test set):", .except = except, .reword = words},
        {.kind = "probe", .title = "Probe:"},
    };
    cli_args args = {
        .verb = "compare",
        .about = "Probes two models on the same test images and compares their invariances: "
                 "similar when all are decided and equal, dissimilar when one model is invariant "
                 "to what the other depends on.",
        .operands = "FIRST SECOND",
        .min_operands = 2,
        .max_operands = 2,
        .needs = "[--cue=box]",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    job.measure.models[0] = args.operand[0];
    job.measure.models[1] = args.operand[1];
    if (status == CLI_OK) {
        status = cli_measure_open(&job.measure, &args, NULL);
    }
    if (status == CLI_OK) {
        status = compare(&job, &args);
    }
    if (status == CLI_OK) {
        status = say(&args, job.comparison);
    }
    if (status == CLI_OK) {
        result = cli_comparison_json(job.comparison);
        json_object_set_new(result, "first", cli_text(args.operand[0]));
        json_object_set_new(result, "second", cli_text(args.operand[1]));
        if (job.cka != NULL) {
            say_cka(&args, job.cka);
            json_object_set_new(result, "cka", cli_cka_json(job.cka));
        }
        status = cli_json(&args, result);
    }
    json_decref(result);
    modeconn_cka_destroy(job.cka);
    modeconn_comparison_destroy(job.comparison);
    cli_measure_close(&job.measure);
    cli_args_free(&args);
    return status;
}
