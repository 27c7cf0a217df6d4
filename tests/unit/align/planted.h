/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Planted permutations: models with units to tell apart, permuted and found again.
 */
#ifndef MC_ALIGN_PLANTED_H
#define MC_ALIGN_PLANTED_H

#include "align/align.h"
#include "train/small.h"

/* Batch norm's statistics as the data give them: far from them deep layers would hardly vary. */
static inline void fit_statistics(modeconn_model *model, const modeconn_dataset *data)
{
    int64_t n = 0, c = 0, h = 0, w = 0;
    mc_session *session = NULL;
    OK(modeconn_dataset_shape(data, &n, &c, &h, &w, NULL));
    float *x = malloc((size_t)(n * c * h * w) * sizeof(*x));
    int32_t *y = malloc((size_t)n * sizeof(*y));
    ck_assert(x != NULL && y != NULL);
    OK(mc_dataset_gather(data, NULL, 0, n, x, y));
    mc_batch batch = {x, y, n};
    OK(model->ops->session_create(model, n, 1, false, &session));
    OK(model->ops->bind(session, model->theta, NULL));
    OK(model->ops->statistics_begin(session));
    OK(model->ops->statistics_add(session, &batch));
    OK(model->ops->statistics_finish(session, model->statistics));
    model->ops->session_destroy(session);
    free(x);
    free(y);
}

/* Parameters of a trained look: batch norm that differs from unit to unit; biases that keep every
 * unit alive, for dead ones look all alike. */
static inline void randomise(modeconn_model *model, const modeconn_dataset *data)
{
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] *= (float)(1 + 0.3 * mc_random_normal(3, 900, (uint64_t)i, 0));
    }
    for (int64_t b = 0; b < model->n_blocks_theta; b++) {
        for (int64_t i = 0; i < model->blocks[b].size && model->blocks[b].rank == 1; i++) {
            bool bias = strstr(model->blocks[b].name, "bias") != NULL;
            model->theta[model->blocks[b].offset + i] += bias ? 0.7F : 0.0F;
        }
    }
    fit_statistics(model, data);
}

/* A permutation of a group: of its bundles, as its order says, and of the units in each. */
static inline void draw(const modeconn_symmetry *symmetry, int64_t g, uint64_t seed, int64_t *p)
{
    int64_t size = 0, bundles = 0, order = 0, at[64] = {0};
    OK(modeconn_symmetry_group(symmetry, g, NULL, &size, NULL));
    OK(modeconn_symmetry_bundles(symmetry, g, &bundles, &order));
    ck_assert_int_le(bundles, 64);
    for (int64_t q = 0; q < bundles; q++) {
        at[q] = q;
    }
    if (order >= 0) {
        mc_random_permutation(seed, 903, (uint64_t)order, bundles, at);
    }
    int64_t units = size / bundles;
    for (int64_t q = 0; q < bundles; q++) {
        mc_random_permutation(seed + (uint64_t)q, 902, (uint64_t)g, units, p + q * units);
        for (int64_t i = 0; i < units; i++) {
            p[q * units + i] += at[q] * units;
        }
    }
}

static inline int64_t *plant(const modeconn_model *model, uint64_t seed, modeconn_alignment **out)
{
    modeconn_symmetry *symmetry = NULL;
    int64_t groups = 0, units = 0, size = 0;
    OK(modeconn_symmetry_create(model, &symmetry));
    OK(modeconn_symmetry_size(symmetry, &groups));
    int64_t *p = malloc(100000 * sizeof(*p));
    ck_assert_ptr_nonnull(p);
    for (int64_t g = 0; g < groups; g++, units += size) {
        OK(modeconn_symmetry_group(symmetry, g, NULL, &size, NULL));
        draw(symmetry, g, seed, p + units);
    }
    OK(modeconn_alignment_from_permutations(model, p, units, out));
    modeconn_symmetry_destroy(symmetry);
    return p;
}

/* Permuting with p and finding the way back: q[p^-1] ... q maps places of the target to units of
 * the permuted model, so p[q[i]] = i. */
static inline void check_way_back(const modeconn_alignment *found, const int64_t *p,
                                  const char *what)
{
    int64_t groups = 0, size = 0;
    OK(modeconn_alignment_size(found, &groups, NULL));
    for (int64_t g = 0, at = 0; g < groups; g++, at += size) {
        int64_t q[2048], differ = 0;
        const char *name = NULL;
        OK(modeconn_alignment_group(found, g, &name, &size, NULL, NULL));
        OK(modeconn_alignment_permutation(found, g, q, 2048));
        for (int64_t i = 0; i < size; i++) {
            differ += p[at + q[i]] != i;
        }
        ck_assert_msg(differ == 0, "%s: %lld of %lld units of %s", what, (long long)differ,
                      (long long)size, name);
    }
}

/* Permutes the model by p, which `given` holds, aligns it again, and gives what that made of it:
 * the model to the bit. */
static inline modeconn_model *find_given(const modeconn_model *model,
                                         const modeconn_alignment *given, const int64_t *p,
                                         const modeconn_dataset *data, const char *how)
{
    modeconn_model *moved = NULL, *back = NULL;
    modeconn_alignment *found = NULL;
    modeconn_options *options = options_of("align", how);
    OK(modeconn_alignment_apply(given, model, &moved));
    ck_assert_mem_ne(model->theta, moved->theta, (size_t)model->n_theta * sizeof(float));
    OK(modeconn_align(model, moved, data, options, NULL, NULL, &found));
    check_way_back(found, p, how);
    OK(modeconn_alignment_apply(found, moved, &back));
    ck_assert_mem_eq(model->theta, back->theta, (size_t)model->n_theta * sizeof(float));
    ck_assert_mem_eq(model->statistics, back->statistics, (size_t)model->n_stats * sizeof(float));
    modeconn_options_destroy(options);
    modeconn_alignment_destroy(found);
    modeconn_model_destroy(moved);
    return back;
}

/* The same by permutations that are drawn. */
static inline modeconn_model *find_again(const modeconn_model *model, const modeconn_dataset *data,
                                         const char *how)
{
    modeconn_alignment *given = NULL;
    int64_t *p = plant(model, 4, &given);
    modeconn_model *back = find_given(model, given, p, data, how);
    free(p);
    modeconn_alignment_destroy(given);
    return back;
}

/* Values of a block of parameters. */
static inline float *block_of(modeconn_model *model, const char *name)
{
    int64_t b = 0;
    while (strcmp(model->blocks[b].name, name) != 0) {
        b++;
        ck_assert_int_lt(b, model->n_blocks_theta);
    }
    return model->theta + model->blocks[b].offset;
}

/* Sets `value` at [i][i] of a block [rows][columns], and 0 elsewhere. */
static inline void set_diagonal(modeconn_model *model, const char *name, int64_t rows,
                                int64_t columns, float value)
{
    float *x = block_of(model, name);
    for (int64_t i = 0; i < rows * columns; i++) {
        x[i] = i / columns == i % columns ? value : 0.0F;
    }
}

static inline void set_all(modeconn_model *model, const char *name, int64_t n, float value)
{
    float *x = block_of(model, name);
    for (int64_t i = 0; i < n; i++) {
        x[i] = value;
    }
}

/* Of each group units 2, 3 and 4 dead on any data, and 1 and 5 made as 0 is, but read differently.
 * Learned weights stay in what is dead, so that its place matters once the line leaves the ends. */
static inline void cripple(modeconn_model *model)
{
    mc_symmetry *symmetry = NULL;
    OK(mc_symmetry_create(model, &symmetry));
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        for (int64_t k = 0; k < symmetry->groups[g].n_members; k++) {
            mc_symmetry_member member = symmetry->groups[g].members[k];
            const mc_block *block = &model->blocks[member.block];
            bool statistic = member.block >= model->n_blocks_theta;
            float *x = (statistic ? model->statistics : model->theta) + block->offset;
            if (member.outer != 1 || member.bundles != 1) {
                continue;
            }
            memcpy(x + member.inner, x, (size_t)member.inner * sizeof(*x));
            memcpy(x + 5 * member.inner, x, (size_t)member.inner * sizeof(*x));
            for (int64_t i = 2; i < 5 && strstr(block->name, "bias") != NULL; i++) {
                x[i] -= 100;
            }
        }
    }
    mc_symmetry_free(symmetry);
}

/* Largest rise of the loss over the line between two models, statistics reset on the way. */
static inline double barrier_between(const modeconn_model *a, const modeconn_model *b,
                                     const modeconn_dataset *data)
{
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    modeconn_options *options = options_of("curve", "points=5,views=nocue");
    double height = NAN;
    OK(modeconn_path_linear(a, b, &line));
    OK(modeconn_curve_measure(line, data, data, options, NULL, NULL, &curve));
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_LINEAR, &height));
    modeconn_options_destroy(options);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    return height;
}

/* Finds a crippled model again, also by three samples, which leave more units unexcited. */
static inline void find_crippled_again(const modeconn_model *model, const modeconn_dataset *data)
{
    static const char *const hows[] = {"", "samples=3", "reference=1,batch_size=30",
                                       "similarity=cosine", "similarity=covariance"};
    for (int k = 0; k < 5; k++) {
        modeconn_model *back = find_again(model, data, hows[k]);
        ck_assert_double_le(barrier_between(model, back, data), 1e-9);
        modeconn_model_destroy(back);
    }
}

/* Training that leaves units a reason to be where they are. */
static inline void train_shortly(modeconn_model *model, const modeconn_dataset *data)
{
    modeconn_options *training = options_of("train", "epochs=12,batch_size=20,learning_rate=0.1");
    OK(modeconn_train(model, data, training, NULL, NULL));
    modeconn_options_destroy(training);
}

static inline void check_group(const modeconn_symmetry *symmetry, int64_t index, const char *name,
                               int64_t size, int64_t members)
{
    const char *got = NULL;
    int64_t n = 0, m = 0;
    OK(modeconn_symmetry_group(symmetry, index, &got, &n, &m));
    ck_assert_str_eq(got, name);
    ck_assert_int_eq(n, size);
    ck_assert_int_eq(m, members);
}

#endif
