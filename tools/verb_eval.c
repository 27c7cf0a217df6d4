/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn eval: loss and accuracy of a model on every view of a test set.
 */
#include "measure.h"

static void say(const cli_args *args, const json_t *result)
{
    const char *name;
    json_t *view;
    cli_say(args, "view         loss, nats  accuracy, %%       n\n");
    json_object_foreach(json_object_get(result, "views"), name, view)
    {
        cli_say(args, "%-11s %11.4f %12.2f %7.0f\n", name, cli_number(view, "loss"),
                100.0 * cli_number(view, "accuracy"), cli_number(view, "n"));
    }
}

int cli_verb_eval(int argc, char **argv)
{
    cli_measure measure = {.arch = NULL};
    const cli_option options[] = {
        {.name = "model",
         .value = "FILE",
         .text = &measure.models[0],
         .required = true,
         .help = "the model to evaluate"},
        CLI_DATA_OPTION(&measure.data),
        CLI_ARCH_OPTION(&measure.arch),
    };
    static const char *const except[] = {CLI_TRAINING_KEYS, NULL};
    static const char *const data_words[] = CLI_TEST_WORDS;
    static const char *const evaluate_words[] = CLI_STATISTICS_WORDS("keep");
    cli_kind kinds[] = {
        {.kind = "dataset",
         .title = "Data (the test set):",
         .except = except,
         .reword = data_words},
        {.kind = "evaluate", .title = "Evaluation:", .reword = evaluate_words},
    };
    cli_args args = {
        .verb = "eval",
        .about = "Mean loss and accuracy of a model on every view of a test set: nocue, and with "
                 "--cue also cue, randcue and randimg, the cue on all samples.",
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    modeconn_evaluation *evaluation = NULL;
    json_t *result = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_measure_open(&measure, &args, "evaluate");
    }
    if (status == CLI_OK) {
        cli_progress bar;
        cli_progress_begin(&bar, 1.0);
        cli_progress_phase(&bar, 1.0, "evaluating");
        int32_t done =
            modeconn_evaluate(measure.model[0], measure.train, measure.test,
                              cli_options(&args, "evaluate"), cli_progress_step, &bar, &evaluation);
        cli_progress_end(&bar);
        status = cli_outcome(&args, done);
    }
    if (status == CLI_OK) {
        result = cli_evaluation_json(evaluation);
        json_object_set_new(result, "model", cli_text(measure.models[0]));
        say(&args, result);
        status = cli_json(&args, result);
    }
    json_decref(result);
    modeconn_evaluation_destroy(evaluation);
    cli_measure_close(&measure);
    cli_args_free(&args);
    return status;
}
