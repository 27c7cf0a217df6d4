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
    const char *path_file;   /* --path, in place of two models */
    modeconn_context *context;
    modeconn_dataset *train; /* NULL where no statistics are to be taken */
    modeconn_dataset *test;
    modeconn_model *model[2];
} cli_measure;

/* Keys of the kind "dataset" that are of training passes alone: nothing that is measured is cropped
 * or flipped. */
#define CLI_TRAINING_KEYS "crop", "flip"

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

/* The options of a verb that measures a path, a line or a saved one. */
#define CLI_PATH_OPTIONS(measure)                                                                  \
    {.name = "from", .value = "FILE", .text = &(measure).models[0], .help = "the model at t = 0"}, \
        {.name = "to",                                                                             \
         .value = "FILE",                                                                          \
         .text = &(measure).models[1],                                                             \
         .help = "the model at t = 1"},                                                            \
    {                                                                                              \
        .name = "path", .value = "FILE", .text = &(measure).path_file,                             \
        .help = "instead of --from and --to: a curve that `modeconn connect' fitted"               \
    }
/* CLI_OK where these options name one path. */
int cli_path_given(const cli_measure *measure, const cli_args *args);
/* The path they name, behind cli_measure_open(); an exit status. */
int cli_path_open(const cli_measure *measure, const cli_args *args, modeconn_path **out);
/* Its files, into a result. */
void cli_path_name(const cli_measure *measure, json_t *result);

/* Prints what a probe found, a line per attribute. */
void cli_say_probe(const cli_args *args, const modeconn_probe *probe);

#endif
