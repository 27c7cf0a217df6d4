/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the golden tests share: the files that make_goldens.py wrote from PyTorch, and comparison
 * by relative L2 distance per tensor. A missing tensor, or one of another size, fails the test.
 */
#ifndef MC_GOLDEN_H
#define MC_GOLDEN_H

#include "io/io.h"
#include "nn/nn.h"
#include "unit.h"
#include <math.h>
#include <stdio.h>

/* Relative L2 distances that the library is held to. */
#define TOLERANCE_LOGITS 1e-5
#define TOLERANCE_GRADIENT 1e-4
#define TOLERANCE_STATISTICS 1e-5
#define TOLERANCE_LOSS 1e-5
#define TOLERANCE_CURVE 1e-4
#define TOLERANCE_STEPS 1e-3

enum { GOLDEN_NAME = 160 };

typedef struct golden {
    modeconn_context *context;
    mc_safetensors *file;
    char path[1024];
} golden;

/* Path of a file, valid until the next call. */
static inline const char *golden_path(const char *name)
{
    static char path[1024];
    snprintf(path, sizeof(path), "%s/%s.safetensors", GOLDEN_DATA, name);
    return path;
}

static inline void golden_open(golden *g, modeconn_context *context, const char *name)
{
    g->context = context;
    strcpy(g->path, golden_path(name));
    OK(mc_safetensors_read(context, g->path, &g->file));
    ck_assert_ptr_nonnull(mc_safetensors_meta(g->file, "torch"));
}

static inline void golden_close(golden *g)
{
    mc_safetensors_free(g->file);
}

/* Tensor by name, as printf makes it. */
__attribute__((format(printf, 2, 3))) static inline const mc_tensor *
golden_tensor(const golden *g, const char *format, ...)
{
    char name[GOLDEN_NAME];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(name, sizeof(name), format, arguments);
    va_end(arguments);
    const mc_tensor *tensor = mc_safetensors_find(g->file, name);
    ck_assert_msg(tensor != NULL, "%s: no tensor %s", g->path, name);
    return tensor;
}

/* Values of an F32 or F64 tensor; free() them. */
static inline double *golden_f64(const mc_tensor *tensor)
{
    bool wide = strcmp(tensor->dtype, "F64") == 0;
    ck_assert(wide || strcmp(tensor->dtype, "F32") == 0);
    double *values = malloc((size_t)tensor->size * sizeof(double));
    ck_assert_ptr_nonnull(values);
    for (int64_t i = 0; i < tensor->size; i++) {
        float narrow;
        if (wide) {
            memcpy(&values[i], (const char *)tensor->data + 8 * i, 8);
        } else {
            memcpy(&narrow, (const char *)tensor->data + 4 * i, 4);
            values[i] = (double)narrow;
        }
    }
    return values;
}

static inline float *golden_f32(const mc_tensor *tensor)
{
    float *values = malloc((size_t)tensor->size * sizeof(float));
    ck_assert_ptr_nonnull(values);
    OK(mc_tensor_to_f32(tensor, values));
    return values;
}

/* Labels and indices are stored as whole float32 numbers. */
static inline int32_t *golden_i32(const mc_tensor *tensor)
{
    double *values = golden_f64(tensor);
    int32_t *whole = malloc((size_t)tensor->size * sizeof(int32_t));
    ck_assert_ptr_nonnull(whole);
    for (int64_t i = 0; i < tensor->size; i++) {
        whole[i] = (int32_t)values[i];
        ck_assert_double_eq((double)whole[i], values[i]);
    }
    free(values);
    return whole;
}

/* || value - expected || / || expected ||, both less `base` (may be NULL): what a training step
 * did, rather than where it ended. Not a number where a value is none. */
static inline double golden_distance(const float *value, const double *expected, const float *base,
                                     int64_t n)
{
    double apart = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)value[i] - expected[i];
        double e = expected[i] - (base != NULL ? (double)base[i] : 0);
        apart += d * d;
        norm += e * e;
    }
    return sqrt(apart) / sqrt(norm);
}

/* Fails unless distance <= tolerance (also when it is not a number). */
static inline void golden_check(double distance, double tolerance, const golden *g,
                                const char *name)
{
    ck_assert_msg(distance <= tolerance, "%s: %s is %.3g off, at most %.3g allowed", g->path, name,
                  distance, tolerance);
}

static inline void golden_near(const golden *g, const mc_tensor *tensor, const float *values,
                               int64_t size, double tolerance)
{
    ck_assert_msg(tensor->size == size, "%s: %s has %lld values, the library %lld", g->path,
                  tensor->name, (long long)tensor->size, (long long)size);
    double *expected = golden_f64(tensor);
    golden_check(golden_distance(values, expected, NULL, size), tolerance, g, tensor->name);
    free(expected);
}

/* Likewise for numbers that the library gives in double. */
static inline void golden_near_f64(const golden *g, const mc_tensor *tensor, const double *values,
                                   int64_t size, double tolerance)
{
    double apart = 0, norm = 0, *expected = golden_f64(tensor);
    ck_assert_int_eq(tensor->size, size);
    for (int64_t i = 0; i < size; i++) {
        apart += (values[i] - expected[i]) * (values[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    golden_check(sqrt(apart) / sqrt(norm), tolerance, g, tensor->name);
    free(expected);
}

/* One block of a flat vector against a tensor that holds all of it, or output channels 0, 3, 6...
 */
static inline void golden_block_near(const golden *g, const mc_tensor *tensor,
                                     const mc_block *block, const float *vector, const float *base,
                                     double tolerance)
{
    ck_assert_int_eq(tensor->rank, block->rank);
    for (int32_t i = 1; i < block->rank; i++)
        ck_assert_int_eq(tensor->shape[i], block->shape[i]);
    int64_t rows = block->shape[0], row = block->size / rows, step = 1;
    if (tensor->shape[0] != rows)
        step = 3;
    ck_assert_int_eq(tensor->shape[0], (rows + step - 1) / step);

    float *values = malloc((size_t)tensor->size * sizeof(float));
    float *from = calloc((size_t)tensor->size, sizeof(float));
    double *expected = golden_f64(tensor);
    ck_assert(values != NULL && from != NULL);
    for (int64_t i = 0; i < tensor->shape[0]; i++) {
        int64_t offset = block->offset + i * step * row;
        memcpy(values + i * row, vector + offset, (size_t)row * sizeof(float));
        if (base != NULL)
            memcpy(from + i * row, base + offset, (size_t)row * sizeof(float));
    }
    golden_check(golden_distance(values, expected, from, tensor->size), tolerance, g, tensor->name);
    free(values);
    free(from);
    free(expected);
}

/* Every parameter block of a vector laid out as theta against PREFIX.NAME. With `base` the
 * distances are relative to what changed since. */
static inline void golden_theta_near(const golden *g, const char *prefix,
                                     const modeconn_model *model, const float *vector,
                                     const float *base, double tolerance)
{
    for (int64_t i = 0; i < model->n_blocks_theta; i++) {
        const mc_block *block = &model->blocks[i];
        golden_block_near(g, golden_tensor(g, "%s.%s", prefix, block->name), block, vector, base,
                          tolerance);
    }
}

/* Likewise for statistics blocks. */
static inline void golden_statistics_near(const golden *g, const char *prefix,
                                          const modeconn_model *model, const float *statistics,
                                          double tolerance)
{
    for (int64_t i = 0; i < model->n_blocks_stats; i++) {
        const mc_block *block = &model->blocks[model->n_blocks_theta + i];
        golden_block_near(g, golden_tensor(g, "%s.%s", prefix, block->name), block, statistics,
                          NULL, tolerance);
    }
}

/* Dataset of the tensors PREFIXimages and PREFIXlabels, without a cue unless options say so. */
static inline modeconn_dataset *golden_dataset(const golden *g, const char *prefix, int64_t classes,
                                               const modeconn_options *options)
{
    modeconn_dataset *dataset = NULL;
    const mc_tensor *images = golden_tensor(g, "%simages", prefix);
    float *x = golden_f32(images);
    int32_t *y = golden_i32(golden_tensor(g, "%slabels", prefix));
    ck_assert_int_eq(images->rank, 4);
    OK(modeconn_dataset_from_f32(g->context, x, y, images->shape[0], images->shape[1],
                                 images->shape[2], images->shape[3], classes, options, &dataset));
    free(x);
    free(y);
    return dataset;
}

/* Model of a PyTorch state dict. */
static inline modeconn_model *golden_model(modeconn_context *context, const char *name,
                                           const char *arch, const modeconn_dataset *like)
{
    modeconn_model *model = NULL;
    OK(modeconn_model_load_as(context, golden_path(name), arch, like, &model));
    return model;
}

/* A copy of n floats. */
static inline float *golden_copy(const float *values, int64_t n)
{
    float *copy = malloc((size_t)n * sizeof(float));
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, values, (size_t)n * sizeof(float));
    return copy;
}

#endif
