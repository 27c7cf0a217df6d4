/* SPDX-License-Identifier: BSD-3-Clause
 *
 * finetune: methods that change what a model relies on. A method is one row of mc_methods
 * (finetune.c).
 */
#ifndef MC_FINETUNE_H
#define MC_FINETUNE_H

#include "path/path.h"
#include <modeconn/finetune.h>

typedef struct mc_finetune_job {
    const modeconn_model *origin; /* theta_C */
    modeconn_model *tuned;        /* starts as its copy; trained in place */
    const modeconn_dataset *clean, *cued;
    const modeconn_options *options; /* kind "finetune" */
    modeconn_progress_fn progress;
    void *user;
} mc_finetune_job;

typedef struct mc_method {
    const char *name, *description;
    bool needs_cued;
    int32_t (*run)(mc_finetune_job *job); /* fills job->tuned and its history */
} mc_method;
extern const mc_method mc_methods[];
extern const int64_t mc_methods_count;

int32_t mc_finetune_naive(mc_finetune_job *job);
int32_t mc_finetune_cbft(mc_finetune_job *job);

/* t of step k (Lubana et al. 2023, and its code): "truncated" or "clipped". */
double mc_cbft_draw_t(uint64_t seed, bool clipped, int64_t step);

/* L_CE of batch a (clean) + weight * L_I of batches a and b (cue), a mc_pair_fn's user. */
typedef struct mc_cbft_objective {
    modeconn_context *context;
    double weight; /* lambda / K; 0: L_I is measured but has no gradient */
    /* Values of the last call. */
    double loss_ce, loss_invariance;
    int64_t hits;      /* samples of batch a whose arg max is the label, ties to the lowest class */
    double *mean[2];   /* [classes][width] class means of batch a and b */
    int64_t *count[2]; /* [classes] */
} mc_cbft_objective;
int32_t mc_cbft_objective_init(mc_cbft_objective *objective, const modeconn_model *model);
void mc_cbft_objective_free(mc_cbft_objective *objective);

/* The mc_pair_fn: adds both cotangents to the pair's. MODECONN_ERROR_NUMERIC where a value is not
 * finite. */
int32_t mc_cbft_objective_pair(void *user, const mc_pair *pair);

extern const mc_option_kind mc_kind_finetune;

#endif
