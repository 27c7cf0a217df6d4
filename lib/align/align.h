/* SPDX-License-Identifier: BSD-3-Clause
 *
 * align: permutations of a model's units that leave what it computes as it is, chosen so that the
 * units match those of another model. A method is one row of mc_align_methods (align.c).
 */
#ifndef MC_ALIGN_H
#define MC_ALIGN_H

#include "train/train.h"
#include <modeconn/align.h>

extern const mc_option_kind mc_kind_align;

/* ---- linear sum assignment (assignment.c) -------------------------------------------------- */

/* Assigns each of min(rows, cols) rows to a column of its own so that the sum of cost [rows][cols]
 * is least (largest if `maximise`). column[i] is row i's, -1 where there are more rows than columns
 * and it has none. The duals u [rows], v [cols] (both NULL, or both given) prove it: for a minimum
 * u_i + v_j <= cost_ij with equality where assigned, u_i or v_j 0 where row or column is left over
 * and none of them above 0 on the longer side; for a maximum the signs of all inequalities turn.
 *
 * Of several optimal assignments the first is given: least column of row 0, of these least column
 * of row 1, and so on, -1 behind all others. Sums are equal here where they differ by less than
 * rounding, 1e-13 of the largest value a pair; with whole numbers that is exact.
 * MODECONN_ERROR_NUMERIC for a value that is not finite (names its place), _MEMORY. */
int32_t mc_assignment(const modeconn_context *context, const double *cost, int64_t rows,
                      int64_t cols, bool maximise, int64_t *column, double *u, double *v);
/* From any optimal assignment with its duals to the first; `tolerance` is the largest reduced cost
 * that counts as none (assignment_ties.c). */
int32_t mc_assignment_first(const modeconn_context *context, const double *cost, int64_t rows,
                            int64_t cols, const double *u, const double *v, double tolerance,
                            int64_t *column);

/* ---- moments of activations (moments.c) ---------------------------------------------------- */

typedef enum mc_similarity {
    MC_SIMILARITY_CORRELATION, /* centred cosine */
    MC_SIMILARITY_COVARIANCE,
    MC_SIMILARITY_COSINE
} mc_similarity;

/* Sums over the rows seen of the units of two models [size] each: a's means and squared deviations,
 * b's, and the products of deviations. */
typedef struct mc_moments {
    modeconn_context *context;
    int64_t size;
    double count;
    double *mean[2], *square[2]; /* [size] */
    double *cross;               /* [size][size]: unit of a, unit of b */
    float *product;              /* [size][size], of one chunk */
} mc_moments;
int32_t mc_moments_init(mc_moments *moments, modeconn_context *context, int64_t size);
void mc_moments_free(mc_moments *moments);

/* Rows of one chunk; each is centred at its own means. */
enum { MC_MOMENT_ROWS = 4096 };
/* One model's values [rows][size], chunk by chunk: deviations [rows][size] from the chunk's means
 * [chunks][size], and the sums of their squares [chunks][size]. */
typedef struct mc_centred {
    int64_t rows, size;
    float *deviation;
    double *mean, *square;
    float *shift; /* [chunks][3][size]: means in float, ones, means negated */
    double *rest; /* [chunks][size] */
} mc_centred;
int32_t mc_centred_init(mc_centred *centred, const modeconn_context *context, int64_t rows,
                        int64_t size);
void mc_centred_free(mc_centred *centred, const modeconn_context *context);
/* At most as many rows as it was made for. */
void mc_centred_take(mc_centred *centred, modeconn_context *context, const float *values,
                     int64_t rows);

/* Joins equally many rows of both models. */
void mc_moments_add(mc_moments *moments, const mc_centred *a, const mc_centred *b);
/* out [size][size]; 0 for a unit that does not vary (is zero throughout, for the cosine). */
void mc_moments_similarity(const mc_moments *moments, mc_similarity kind, double *out);

/* ---- alignments (alignment.c) -------------------------------------------------------------- */

struct modeconn_alignment {
    modeconn_context *context;
    mc_symmetry *symmetry;
    const char *method;   /* a static string: a row's name, or "given" */
    char *settings;       /* what the method was told, as "key=value,..."; "" for none */
    int64_t samples;      /* that decided; 0 where none did */
    int64_t *permutation; /* all groups', one after the other */
    int64_t *offset;      /* [groups] where each begins */
    double *similarity;   /* [groups]: mean of the matched units; NaN where there is none */
    int64_t units;
};

/* The identity over a model's groups. */
int32_t mc_alignment_create(const modeconn_model *model, const char *method,
                            modeconn_alignment **out);
/* Permuted copies: out = P in over theta [n_theta] and statistics [n_stats]. */
int32_t mc_alignment_permute(const modeconn_alignment *alignment, const modeconn_model *model,
                             float *theta, float *statistics);
/* MODECONN_ERROR_ARGUMENT naming the group and the place of what is no permutation. */
int32_t mc_alignment_check(const modeconn_alignment *alignment);
/* One axis of a block: to [outer][i][inner] = from [outer][permutation[i]][inner]. */
void mc_permute_axis(const float *from, float *to, const int64_t *permutation, int64_t outer,
                     int64_t size, int64_t inner);

/* ---- methods ------------------------------------------------------------------------------- */

typedef struct mc_align_job {
    const modeconn_model *target, *model;
    const modeconn_dataset *data; /* may be NULL */
    const modeconn_options *options;
    mc_progress progress;
    modeconn_alignment *alignment; /* its permutations are to be filled in */
} mc_align_job;

typedef struct mc_align_method {
    const char *name;
    bool needs_data;
    int32_t (*run)(mc_align_job *job);
} mc_align_method;
int32_t mc_align_activations(mc_align_job *job); /* activations.c */
int32_t mc_align_weights(mc_align_job *job);     /* weights.c */

#endif
