/* SPDX-License-Identifier: BSD-3-Clause
 *
 * `modeconn reproduce table1`, `fig-...` and `all`: the parts.
 *
 *   reproduce_scale.c   the constants: scales, recipes of models, experiments
 *   reproduce_cell.c    cells: results on disk that are not computed twice
 *   reproduce_model.c   a cell of a model: made by its recipe, evaluated on every view
 *   reproduce_path.c    a cell of a path between two models
 *   reproduce_table.c   Table 1, of models
 *   reproduce_figure.c  the figures, of paths
 *   reproduce_theory.c  the theory's networks on slabs
 *   reproduce_write.c   JSON, CSV, markdown, captions
 *   reproduce_run.c     the command line and the course
 */
#ifndef CLI_REPRODUCE_H
#define CLI_REPRODUCE_H

#include "cli.h"

/* ---- constants (reproduce_scale.c) ---------------------------------------------------------- */

typedef struct repro_scale {
    const char *name, *data; /* NULL data: --data is to be given */
    const char *arch;
    double width;
    int64_t train_samples, test_samples; /* 0: all that there are */
    int64_t clean_samples;
    int64_t points, bn_samples, bn_batch_size; /* of paths */
    int64_t seeds;
    const char *training, *naive, *llrt, *lpft, *cbft; /* settings of the options' kinds */
    const char *path_fit;
    int64_t theory_epochs;
} repro_scale;

/* NULL: there is none of that name. */
const repro_scale *repro_scale_find(const char *name);

/* How a model comes about. Settings are those of the scale's field that `base` names, then its
 * own. */
typedef struct repro_recipe {
    const char *name, *title;
    const char *parent; /* the model that is fine-tuned; NULL: trained from scratch */
    size_t base;        /* offset of the scale's settings */
    const char *settings;
    bool cued;           /* depends on the cue proportion */
    int64_t seed_offset; /* of a trained model, to the run's seed */
} repro_recipe;

/* NULL: there is none of that name. */
const repro_recipe *repro_recipe_find(const char *name);

/* One path of a figure, at a cue proportion in percent. */
typedef struct repro_line {
    const char *first, *second, *family; /* family: a row of reproduce_path.c */
    int proportion;
} repro_line;

typedef struct repro_job repro_job;

typedef struct repro_experiment {
    const char *name, *title, *help, *question;
    int (*run)(repro_job *job, const struct repro_experiment *experiment);
    const char *const *models; /* of a table: recipes, NULL-ended */
    const repro_line *lines;   /* of a figure */
    int n_lines;
} repro_experiment;

extern const repro_experiment repro_experiments[];
extern const int repro_n_experiments;

enum { REPRO_VIEWS = 4, REPRO_MOST_PROPORTIONS = 16, REPRO_SEED_STEP = 1000 };
extern const char *const repro_views[REPRO_VIEWS];

/* ---- a run --------------------------------------------------------------------------------- */

struct repro_job {
    const cli_args *args;
    const repro_scale *scale;
    const char *data, *out;
    int64_t first_seed, seeds;
    int proportions[REPRO_MOST_PROPORTIONS], n_proportions; /* percent */
    bool finished;                                          /* show what is finished, run nothing */

    modeconn_context *context;
    modeconn_dataset *all, *test;
    modeconn_dataset *clean, *train; /* of split_seed, without the cue; disjoint */
    int64_t split_seed;              /* -1: none yet */
    cli_progress bar;
    int made;        /* cells */
    json_t *builds;  /* that made the cells of the running experiment */
    json_t *results; /* by experiment, for --json */
};

/* The clean samples and, from the others, those that pretrain: drawn by the run's seed. */
int repro_split(repro_job *job, int64_t seed);

/* ---- cells --------------------------------------------------------------------------------- */

/* OUT/PREFIX NAME SUFFIX, to be freed; NULL after a message. */
char *repro_path(const repro_job *job, const char *prefix, const char *name, const char *suffix);

/* The finished cell of that name if its settings are these and, with `model`, its model file is
 * there; NULL otherwise (also for a damaged file: it is computed again). */
json_t *repro_cell_read(repro_job *job, const char *name, const json_t *settings, bool model);

/* A cell that is about to be computed: the old one goes. An exit status. */
int repro_cell_begin(repro_job *job, const char *name);

/* Writes the finished cell, with the build that made it as "build". An exit status. */
int repro_cell_write(repro_job *job, const char *name, json_t *cell);

/* cli_failed(), but silent where Ctrl-C stopped a call: the end of the run says that once. */
bool repro_failed(const repro_job *job, int32_t status);

/* Settings that every cell of images has: data, samples, architecture, version. */
json_t *repro_common_settings(const repro_job *job);

/* ---- cells of models and paths ------------------------------------------------------------- */

/* The cell {"settings", "views", "history", ...} of a model, read or made; with `model` the model
 * too. *cell is NULL if only finished cells are wanted and it is not. */
int repro_model(repro_job *job, const repro_recipe *recipe, int proportion, int64_t seed,
                json_t **cell, modeconn_model **model);

/* Likewise of a path: {"settings", "t", "views", "verdict", ...}. */
int repro_line_cell(repro_job *job, const repro_line *line, int64_t seed, json_t **cell);

/* ---- experiments --------------------------------------------------------------------------- */

int repro_run_table(repro_job *job, const repro_experiment *experiment);
int repro_run_figure(repro_job *job, const repro_experiment *experiment);
int repro_run_theory(repro_job *job, const repro_experiment *experiment);

/* ---- output (reproduce_write.c) ------------------------------------------------------------ */

/* Mean and sample standard deviation of what is finite (NaN for fewer than two). */
typedef struct repro_mean {
    int n;
    double mean, deviation;
} repro_mean;
repro_mean repro_average(const double *values, int n);

/* {"n", "mean", "sd", "values"}. */
json_t *repro_average_json(const double *values, int n);

/* "75.7 +- 0.4", "75.7" of one value, "-" of none; times `factor`. */
void repro_print_average(FILE *out, const json_t *average, double factor, int decimals);

/* One sentence: scale, data, model, samples, settings, seeds. To be freed. */
char *repro_caption(const repro_job *job);
/* The same in one line of a picture. */
void repro_short_caption(const repro_job *job, char *text, size_t size);

/* Prints and writes an experiment's table (markdown, of open_memstream, closed here), CSV and JSON
 * to OUT/NAME.*; takes `results` over and adds "builds", which made its cells. */
int repro_finish(repro_job *job, const char *name, json_t *results, FILE *markdown, char **text,
                 FILE *csv, char **table);
/* Closes a stream of open_memstream (NULL is fine) that is of no use any more. */
void repro_drop(FILE *stream, char **text);

#endif
