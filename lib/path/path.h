/* SPDX-License-Identifier: BSD-3-Clause
 *
 * path: curves in parameter space. A family is one row of mc_path_families (path.c).
 */
#ifndef MC_PATH_H
#define MC_PATH_H

#include "train/train.h"
#include <modeconn/path.h>

#define MC_PATH_POINTS_MAX 64

/* gamma(t) = sum_i w_i(t) P_i over control points P_0 .. P_{count-1}, the ends included. `gram`
 * [legs][legs], legs = count - 1, holds the products of the differences P_{k+1} - P_k: all that a
 * length depends on. */
typedef struct mc_path_family {
    const char *name;
    int64_t least, most;                                 /* control points, the ends included */
    void (*weights)(double t, int64_t count, double *w); /* exact 0 and 1 at the ends */
    double (*length)(const double *gram, int64_t legs, double t); /* Euclidean, of [0, t] */
} mc_path_family;
extern const mc_path_family mc_path_linear, mc_path_bezier, mc_path_chain;
extern const mc_path_family *const mc_path_families[];
extern const int64_t mc_path_families_count;

struct modeconn_path {
    mc_ref ref;
    const mc_path_family *family;
    modeconn_context *context;
    modeconn_model **points;   /* control points, snapshots */
    int64_t n_points;          /* at most MC_PATH_POINTS_MAX */
    modeconn_history *history; /* of the last fit; NULL before */
    char *fit;                 /* likewise how, {"settings", "data": [...]} as JSON */
};

extern const mc_option_kind mc_kind_path, mc_kind_path_fit;

/* The gram of the path's control points; an array to be freed, NULL when out of memory. */
double *mc_path_gram(const modeconn_path *path);
/* The t at which the share u in [0, 1] of the whole length is behind; u where that is 0. */
double mc_path_arc(const modeconn_path *path, const double *gram, double u);

/* One update of the control points between the ends (fit.c) from the gradient `grad` of the loss
 * at theta = gamma(t); `scaled` [n_theta] is working memory, velocity[i] [n_theta] belongs to
 * control point i and is not read at the ends. */
typedef struct mc_path_update {
    mc_sgd sgd;               /* its weight decay is that of the control points */
    double rate, curve_decay; /* weight decay of gamma(t) */
    bool reference, first;
} mc_path_update;
void mc_path_step(modeconn_path *path, const mc_path_update *update, double t, const float *theta,
                  const float *grad, float *scaled, float *const *velocity);

/* ---- fitting (fit.c, fit_file.c) ---------------------------------------------------------- */

struct modeconn_fitter {
    mc_run run;
    modeconn_path *path;
    modeconn_dataset **views; /* [n_views] */
    int64_t n_views;
    bool reference, arc;
    double curve_decay; /* weight decay of gamma(t); that of the control points is in run.sgd */
    /* [n_points][n_theta], NULL at the ends: momentum, and the points at the start of the epoch */
    float *velocity[MC_PATH_POINTS_MAX], *start[MC_PATH_POINTS_MAX];
    float *theta, *scaled; /* [n_theta]: gamma(t), a control point's gradient */
    char *told;            /* for `fit` of the path */
};

/* Replaces the path's history (takes the caller's reference) and `fit` (takes the text). */
void mc_path_set_record(modeconn_path *path, modeconn_history *history, char *fit);

/* ---- paths (create.c, path.c) ------------------------------------------------------------- */

/* Row of mc_path_families by name, and that a path of it may have `count` control points. */
int32_t mc_path_family_find(const char *name, int64_t count, const mc_path_family **family);

/* Which control points keep metadata and history: the others are placed by the caller. */
typedef enum mc_path_names { MC_NAMES_ALL, MC_NAMES_ENDS, MC_NAMES_FIRST } mc_path_names;

/* A path over snapshots of `points` [n_points], all of one shape. */
int32_t mc_path_create(const mc_path_family *family, const modeconn_model *const *points,
                       int64_t n_points, mc_path_names names, modeconn_path **out);

/* theta [n_theta] and interpolated statistics [n_stats] (may be NULL) at t. */
void mc_path_at(const modeconn_path *path, double t, float *theta, float *statistics);

/* out[i] = sum_k w[k] p[k][i] in double, rounded once, over [count] vectors of n floats; where one
 * weight is 1 and the others are 0 a copy, exact to the bit. Spread over the context's threads. */
void mc_combine(modeconn_context *context, int64_t count, const double *w, const float *const *p,
                int64_t n, float *out);

/* out[i] = (1 - t) a[i] + t b[i] in double, rounded once; exact at t = 0 and 1. Spread over the
 * context's threads. */
void mc_interpolate(modeconn_context *context, double t, const float *a, const float *b, int64_t n,
                    float *out);

#endif
