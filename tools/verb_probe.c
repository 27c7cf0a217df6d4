/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn probe: what a model is invariant to.
 */
#include "measure.h"

int cli_verb_probe(int argc, char **argv)
{
    cli_measure measure = {.arch = NULL};
    const cli_option options[] = {
        {.name = "model",
         .value = "FILE",
         .text = &measure.models[0],
         .required = true,
         .help = "the model to probe"},
        CLI_DATA_OPTION(&measure.data),
        CLI_ARCH_OPTION(&measure.arch),
    };
    static const char *const except[] = {"view", CLI_TRAINING_KEYS, NULL};
    static const char *const words[] = CLI_TEST_WORDS;
    cli_kind kinds[] = {
        {.kind = "dataset", .title = "Data (the test set):", .except = except, .reword = words},
        {.kind = "probe", .title = "Probe:"},
    };
    cli_args args = {
        .verb = "probe",
        .about = "Tells whether randomising the cue, the image or another attribute raises a "
                 "model's loss on images with the cue: invariant, dependent, or undecided where "
                 "the data cannot tell.",
        .needs = "[--cue=box]",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    modeconn_probe *probe = NULL;
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_measure_open(&measure, &args, NULL);
    }
    if (status == CLI_OK) {
        cli_progress bar;
        cli_progress_begin(&bar, 1.0);
        cli_progress_phase(&bar, 1.0, "probing");
        int32_t done = modeconn_probe_measure_with_progress(measure.model[0], measure.test,
                                                            cli_options(&args, "probe"),
                                                            cli_progress_step, &bar, &probe);
        cli_progress_end(&bar);
        status = cli_failed(&args, done) ? CLI_FAILED : CLI_OK;
    }
    if (status == CLI_OK) {
        result = cli_probe_json(probe);
        json_object_set_new(result, "model", cli_text(measure.models[0]));
        cli_say_probe(&args, probe);
        status = cli_json(&args, result);
    }
    json_decref(result);
    modeconn_probe_destroy(probe);
    cli_measure_close(&measure);
    cli_args_free(&args);
    return status;
}
