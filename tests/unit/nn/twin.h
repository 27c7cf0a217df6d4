/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random inputs and parameters for graph tests, and the distance between float results and their
 * double twins: of values, and of gradients of the loss.
 */
#ifndef MC_TWIN_H
#define MC_TWIN_H

#include "nn/graph.h"
#include "unit.h"
#include <math.h>

/* Uniform in [-1, 1), a function of (seed, index). */
static inline double twin_random(uint64_t seed, int64_t index)
{
    return 2.0 * mc_random_f64(seed, 1000, (uint64_t)index, 0) - 1.0;
}

/* |a - b| / |b| in L2; |a| where b is zero. */
static inline double twin_distance(const float *a, const double *b, int64_t n)
{
    double d = 0.0, s = 0.0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += b[i] * b[i];
    }
    return s > 0.0 ? sqrt(d / s) : sqrt(d);
}

/* One model at random parameters, with the same numbers in double for the plain twin. */
typedef struct twin {
    modeconn_model *model;
    int64_t n, pixels;
    float *x, *grad;
    double *x64, *theta64, *stats64, *grad64;
    int32_t *y;
} twin;

static inline void *twin_alloc(int64_t n, size_t size)
{
    void *memory = calloc((size_t)(n > 0 ? n : 1), size);
    ck_assert_ptr_nonnull(memory);
    return memory;
}

/* Takes the model. Batch norm's gammas and statistics are moved off 1 and 0. */
static inline void twin_init(twin *t, modeconn_model *model, int64_t n, uint64_t seed)
{
    t->model = model;
    t->n = n;
    t->pixels = model->channels * model->height * model->width;
    t->x = twin_alloc(n * t->pixels, sizeof(float));
    t->x64 = twin_alloc(n * t->pixels, sizeof(double));
    t->y = twin_alloc(n, sizeof(int32_t));
    t->grad = twin_alloc(model->n_theta, sizeof(float));
    t->grad64 = twin_alloc(model->n_theta, sizeof(double));
    t->theta64 = twin_alloc(model->n_theta, sizeof(double));
    t->stats64 = twin_alloc(model->n_stats, sizeof(double));
    for (int64_t i = 0; i < n * t->pixels; i++) {
        t->x[i] = (float)twin_random(seed, i);
        t->x64[i] = (double)t->x[i];
    }
    for (int64_t i = 0; i < n; i++) {
        t->y[i] = (int32_t)(mc_random_u64(seed, 1001, (uint64_t)i, 0) % (uint64_t)model->classes);
    }
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] += 0.1f * (float)twin_random(seed + 1, i);
        t->theta64[i] = (double)model->theta[i];
    }
    for (int64_t i = 0; i < model->n_stats; i++) {
        model->statistics[i] += 0.3f * (float)twin_random(seed + 2, i);
        t->stats64[i] = (double)model->statistics[i];
    }
}

static inline void twin_free(twin *t)
{
    modeconn_model_destroy(t->model);
    free(t->x);
    free(t->x64);
    free(t->y);
    free(t->grad);
    free(t->grad64);
    free(t->theta64);
    free(t->stats64);
}

/* Adds a layer behind one node. */
static inline int32_t twin_layer(modeconn_graph *graph, const char *type, const char *name,
                                 const char *settings, int32_t input)
{
    int32_t node = -1;
    OK(modeconn_graph_add(graph, type, name, settings, &input, 1, &node));
    return node;
}

/* Mean cross-entropy in double and its cotangents. */
static inline double twin_loss(const twin *t, const double *logits, double *d)
{
    double sum = 0.0;
    int64_t classes = t->model->classes;
    for (int64_t i = 0; i < t->n; i++) {
        const double *z = logits + i * classes;
        double total = 0.0, top = z[0];
        for (int64_t j = 1; j < classes; j++) {
            top = z[j] > top ? z[j] : top;
        }
        for (int64_t j = 0; j < classes; j++) {
            total += exp(z[j] - top);
        }
        sum += log(total) - (z[t->y[i]] - top);
        for (int64_t j = 0; d != NULL && j < classes; j++) {
            d[i * classes + j] =
                (exp(z[j] - top) / total - (j == t->y[i] ? 1.0 : 0.0)) / (double)t->n;
        }
    }
    return sum / (double)t->n;
}

/* Per block, so that a wrong small one cannot hide behind a large one. A convolution before batch
 * norm has a bias gradient of zero: compare with the whole gradient's size there. */
static inline void twin_check_gradient(const twin *t, double limit)
{
    const modeconn_model *model = t->model;
    double whole = 0.0;
    for (int64_t i = 0; i < model->n_theta; i++) {
        whole += t->grad64[i] * t->grad64[i];
    }
    for (int64_t k = 0; k < model->n_blocks_theta; k++) {
        const mc_block *block = &model->blocks[k];
        const double *exact = t->grad64 + block->offset;
        double size = 0.0, d = twin_distance(t->grad + block->offset, exact, block->size);
        for (int64_t i = 0; i < block->size; i++) {
            size += exact[i] * exact[i];
        }
        ck_assert_msg(d < limit || d * sqrt(size) < 1e-2 * limit * sqrt(whole),
                      "gradient of %s differs by %g", block->name, d);
    }
}

#endif
