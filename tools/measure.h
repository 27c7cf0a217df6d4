/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What eval, probe, compare, connectivity, barrier and align share: models, the test set and, where
 * the statistics policy needs one, the training set.
 */
#ifndef CLI_MEASURE_H
#define CLI_MEASURE_H

#include "cli.h"

typedef struct cli_measure {
    const char *data, *arch; /* --data, --arch */
    const char *models[2];   /* files */
    modeconn_context *context;
    modeconn_dataset *train; /* NULL where no statistics are to be taken */
    modeconn_dataset *test;
    modeconn_model *model[2];
} cli_measure;

/* What --help says of the kind "dataset" where a test set is measured. */
#define CLI_TEST_WORDS                                                                             \
    {                                                                                              \
        "view", "measure this view only; default every view that there is", "cue_proportion",      \
            "of training sets; here it is ignored: what is measured carries the cue on every "     \
            "sample",                                                                              \
            NULL                                                                                   \
    }

/* ... and of "statistics" in the kinds that have it. */
#define CLI_STATISTICS_WORDS(by_default)                                                           \
    {                                                                                              \
        "statistics",                                                                              \
            "where batch norm's statistics come from: reset = anew from clean training images, "   \
            "ema = as the paper's code does that, interpolate = between the two ends, batch = "    \
            "the evaluated batch, keep = the (first) model's own; default " by_default,            \
            NULL                                                                                   \
    }

/* Opens everything; `kind` is the kind of options with "statistics" and "views", or NULL for a
 * probe, which has neither and needs a cue. An exit status; cli_measure_close() either way. */
int cli_measure_open(cli_measure *measure, const cli_args *args, const char *kind);
void cli_measure_close(cli_measure *measure);

/* Prints what a probe found, a line per attribute. */
void cli_say_probe(const cli_args *args, const modeconn_probe *probe);

#endif
