/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn compare: are two models invariant to the same attributes (Definition 4)?
 */
#include "measure.h"

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
    cli_measure measure = {.arch = NULL};
    const cli_option options[] = {
        CLI_DATA_OPTION(&measure.data),
        CLI_ARCH_OPTION(&measure.arch),
    };
    static const char *const except[] = {"view", NULL};
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
        .needs = "--cue=box",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    modeconn_comparison *comparison = NULL;
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    measure.models[0] = args.operand[0];
    measure.models[1] = args.operand[1];
    if (status == CLI_OK) {
        status = cli_measure_open(&measure, &args, NULL);
    }
    if (status == CLI_OK) {
        int32_t done = modeconn_compare(measure.model[0], measure.model[1], measure.test,
                                        cli_options(&args, "probe"), &comparison);
        status = cli_failed(&args, done) ? CLI_FAILED : CLI_OK;
    }
    if (status == CLI_OK) {
        status = say(&args, comparison);
    }
    if (status == CLI_OK) {
        result = cli_comparison_json(comparison);
        json_object_set_new(result, "first", cli_text(args.operand[0]));
        json_object_set_new(result, "second", cli_text(args.operand[1]));
        status = cli_json(&args, result);
    }
    json_decref(result);
    modeconn_comparison_destroy(comparison);
    cli_measure_close(&measure);
    cli_args_free(&args);
    return status;
}
