/* SPDX-License-Identifier: BSD-3-Clause
 *
 * align: permutations of a model's units that leave what it computes as it is, chosen so that the
 * units match those of another model. A method is one row of `methods` (align.c).
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
/* Whether all that was taken are numbers, which the means show. */
bool mc_centred_is_finite(const mc_centred *centred);

/* Joins equally many rows of both models. */
void mc_moments_add(mc_moments *moments, const mc_centred *a, const mc_centred *b);
/* out [size][size]; 0 for a unit that does not vary (is zero throughout, for the cosine). */
void mc_moments_similarity(const mc_moments *moments, mc_similarity kind, double *out);
/* Mean over the pairs (i, permutation[i]). */
double mc_moments_mean(const mc_moments *moments, mc_similarity kind, const int64_t *permutation);

/* ---- alignments (alignment.c) -------------------------------------------------------------- */

struct modeconn_alignment {
    modeconn_context *context;
    mc_symmetry *symmetry;
    const char *method;   /* a static string: a row's name, or "given" */
    char *settings;       /* what the method was told, as "key=value,..."; "" for none */
    int64_t samples;      /* that decided; 0 where none did */
    char *data;           /* where they are from, as JSON; NULL where there are none */
    int64_t *permutation; /* all groups', one after the other */
    int64_t *offset;      /* [groups] where each begins */
    double *similarity;   /* [groups]: mean of the matched units; NaN where there is none */
    int64_t units;
};

/* The identity over a model's groups. */
int32_t mc_alignment_create(const modeconn_model *model, const char *method,
                            modeconn_alignment **out);
/* Back to the identity. */
void mc_alignment_reset(modeconn_alignment *alignment);
/* Permutes theta [n_theta] and statistics [n_stats] in place; either may be NULL. */
int32_t mc_alignment_permute(const modeconn_alignment *alignment, const modeconn_model *model,
                             float *theta, float *statistics);
/* Likewise some groups alone (NULL: the first n), by permutations that lie as the alignment's;
 * `old` has room for the largest block. */
void mc_permute_groups(const modeconn_alignment *alignment, const modeconn_model *model,
                       const int64_t *groups, int64_t n, const int64_t *permutation, float *theta,
                       float *statistics, float *old);
int64_t mc_largest_block(const modeconn_model *model); /* floats */
/* MODECONN_ERROR_ARGUMENT naming the group and the place of what is no permutation, or takes units
 * out of their bundles. */
int32_t mc_alignment_check(const modeconn_alignment *alignment);

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

/* ---- units in bundles (bundles.c) ---------------------------------------------------------- */

/* One group of an assignment. */
typedef struct mc_bundled {
    const double *score; /* [size][size]: the target's unit, the model's */
    int64_t size;
    int64_t *column; /* [size]: receives the model's unit for each of the target's */
    bool *tight;     /* [size][size], or NULL: receives what may be matched in an optimal one */
    double rounding; /* of its scores, a pair: filled in where tight is wanted */
} mc_bundled;

/* Groups whose bundles change place with those of group g, if it is the first of them; g alone
 * where its bundles stay. Returns how many. */
int64_t mc_family_of(const mc_symmetry *symmetry, int64_t g, int64_t *groups);
/* Scores of the largest family; `groups` has room for any. */
int64_t mc_family_scores(const mc_symmetry *symmetry, int64_t *groups);
/* The assignment of all groups of a family that makes the sum of all scores largest: each in as
 * many bundles, which change places alike, or `stay`. Of equal ones, as mc_assignment() chooses
 * among bundles, then in each. */
int32_t mc_assign_bundles(const modeconn_context *context, mc_bundled *groups, int64_t n,
                          int64_t bundles, bool stay);

/* ---- inner products of weights (products.c) ------------------------------------------------ */

/* The target's parameters beside the model's under the alignment's permutations so far. */
typedef struct mc_products {
    mc_align_job *job;
    modeconn_context *context;
    float *theta;        /* [n_theta]: permuted */
    float *undo;         /* [n_theta] */
    float *old;          /* [largest block] */
    bool *touched;       /* [blocks of theta]: by the groups of a step */
    double *score;       /* room for those of the largest family */
    double *slices[2];   /* [largest group][columns taken at a time] */
    int64_t *step;       /* as the alignment's: permutations on top of those so far */
    int64_t *composed;   /* [largest group] */
    int64_t *family;     /* [groups]: of a step */
    mc_bundled *bundled; /* [groups] */
} mc_products;
int32_t mc_products_init(mc_products *products, mc_align_job *job);
void mc_products_free(mc_products *products);
/* The alignment's permutations have changed: takes theta anew. */
int32_t mc_products_restart(mc_products *products);
/* score [n][n]: of the target's unit at places[i] and the model's that is now at places[j], with
 * all other groups as they are. NULL: all places, n of them. `incoming`: by the weights that make
 * the units only, not by those that read them. */
void mc_products_score(mc_products *products, int64_t group, const int64_t *places, int64_t n,
                       bool incoming, double *score);
/* Takes the `step` of n groups into theta and the alignment. */
void mc_products_take(mc_products *products, const int64_t *groups, int64_t n);
/* The same if the product grows by it; by how much, or 0. */
double mc_products_step(mc_products *products, const int64_t *groups, int64_t n);
double mc_products_whole(const mc_products *products);

/* ---- units with equal similarities (tied.c) ------------------------------------------------ */

/* Of one group; without memory where n is 0. */
typedef struct mc_tied {
    int64_t n;
    int64_t *places; /* [n]: that could have each other's units */
    bool *tight;     /* [size][size]: target's unit, model's unit: may be matched */
} mc_tied;
/* Of n groups `which` from their optimal assignment, whose tight pairs it takes over. `whole`:
 * where any place could, all of them, for their bundles change place as a whole. */
int32_t mc_tied_find(const modeconn_context *context, mc_bundled *groups, const int64_t *which,
                     int64_t n, bool whole, mc_tied *tied);
void mc_tied_free(mc_tied *tied, const modeconn_context *context);
/* Chooses among them by the weights; tied [groups]. */
int32_t mc_tied_match(mc_align_job *job, const mc_tied *tied);

int32_t mc_align_activations(mc_align_job *job); /* activations.c */
int32_t mc_align_weights(mc_align_job *job);     /* weights.c */

#endif
