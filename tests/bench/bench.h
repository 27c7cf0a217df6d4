/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_jobs: what its sources share. A job is opened from settings (a JSON object), run any
 * number of times, and closed.
 */
#ifndef MC_BENCH_H
#define MC_BENCH_H

#include "nn/nn.h"
#include <jansson.h>
#include <modeconn/modeconn.h>

typedef struct bench_job bench_job;

/* One row of bench_kinds (bench_runs.c). */
typedef struct bench_kind {
    const char *name;
    int32_t (*open)(bench_job *job, const json_t *settings);
    /* Does `steps` steps (batches; one whole measurement for "curve" and "cbft") and tells how
     * long they took. */
    int32_t (*run)(bench_job *job, int64_t steps, double *seconds);
} bench_kind;
extern const bench_kind bench_kinds[];
extern const int64_t bench_kinds_count;

/* Everything that some job needs; NULL where this one does not. */
struct bench_job {
    const bench_kind *kind;
    modeconn_context *context;
    modeconn_dataset *data[2]; /* training or clean set; test or cue set */
    modeconn_model *model[2];
    modeconn_options *options;
    modeconn_trainer *trainer;
    modeconn_path *path;
    mc_session *session;
    float *images; /* [n][C][H][W] of data[0], normalised */
    float *logits; /* [batch][classes] */
    int64_t n, batch, next;
};

/* Opens a job of settings->"job"; bench_close() releases it, also after a failure. */
int32_t bench_open(const json_t *settings, bench_job *job);
void bench_close(bench_job *job);

/* settings[key] as a whole number, or `otherwise`. */
int64_t bench_number(const json_t *settings, const char *key, int64_t otherwise);

/* Where the time of a training step goes, over `steps` steps after two that are not counted:
 * {"steps", "seconds", "parts": {"gather": s, ...}, "layers": [{"type", "in", "out", "forward",
 * "backward", ...}, ...]}, seconds a step. bench_profile.c. */
int32_t bench_profile(const json_t *settings, int64_t steps, json_t **out);

#endif
