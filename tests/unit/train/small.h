/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Small contexts, data and models for the tests of training, paths and fine-tuning.
 */
#ifndef MC_TEST_SMALL_H
#define MC_TEST_SMALL_H

#include "failing.h"
#include "unit.h"
#include "core/core.h"
#include <math.h>
#include <stdio.h>

static inline modeconn_context *small_context(int64_t threads)
{
    char settings[64];
    snprintf(settings, sizeof(settings), "threads=%lld,seed=7", (long long)threads);
    return context_of(settings);
}

/* n images of built-in shapes, 9x9, with the box cue; view as named. */
static inline modeconn_dataset *small_shapes(modeconn_context *context, int64_t n, const char *view)
{
    char spec[64];
    modeconn_options *options = options_of("dataset", "cue=box");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_options_set_str(options, "view", view));
    snprintf(spec, sizeof(spec), "shapes:size=9,train=%lld", (long long)n);
    OK(modeconn_dataset_open(context, spec, "train", options, &dataset));
    modeconn_options_destroy(options);
    return dataset;
}

/* n points [1][2][2] in 3 classes, a pure function of n and seed. */
static inline modeconn_dataset *small_points(modeconn_context *context, int64_t n, uint64_t seed)
{
    float *x = malloc((size_t)n * 4 * sizeof(*x));
    int32_t *y = malloc((size_t)n * sizeof(*y));
    modeconn_dataset *dataset = NULL;
    ck_assert(x != NULL && y != NULL);
    for (int64_t i = 0; i < n; i++) {
        y[i] = (int32_t)(i % 3);
        for (int64_t j = 0; j < 4; j++)
            x[4 * i + j] = (float)(mc_random_normal(seed, 1000, (uint64_t)i, (uint32_t)j) +
                                   (j == y[i] ? 1 : 0));
    }
    OK(modeconn_dataset_from_f32(context, x, y, n, 1, 2, 2, 3, NULL, &dataset));
    free(x);
    free(y);
    return dataset;
}

static inline modeconn_model *small_model(modeconn_context *context, const char *arch,
                                          const char *settings, const modeconn_dataset *like)
{
    modeconn_options *options = options_of("model", "seed=3");
    modeconn_model *model = NULL;
    if (strcmp(arch, "mlp") == 0)
        OK(modeconn_options_set_str(options, "hidden", settings));
    else
        OK(modeconn_options_set_text(options, "width", settings));
    OK(modeconn_model_create(context, arch, like, options, &model));
    modeconn_options_destroy(options);
    return model;
}

/* Parameters, then statistics; the caller frees them. */
static inline float *small_state(const modeconn_model *model, int64_t *size)
{
    int64_t n_theta = 0, n_stats = 0;
    OK(modeconn_model_parameter_count(model, &n_theta));
    OK(modeconn_model_statistics_count(model, &n_stats));
    float *state = malloc((size_t)(n_theta + n_stats + 1) * sizeof(*state));
    ck_assert(state != NULL);
    OK(modeconn_model_get_parameters(model, state, n_theta));
    OK(modeconn_model_get_statistics(model, state + n_theta, n_stats));
    *size = n_theta + n_stats;
    return state;
}

static inline bool small_equal(const modeconn_model *a, const modeconn_model *b)
{
    int64_t size_a, size_b;
    float *state_a = small_state(a, &size_a), *state_b = small_state(b, &size_b);
    bool equal = size_a == size_b && memcmp(state_a, state_b, (size_t)size_a * sizeof(float)) == 0;
    free(state_a);
    free(state_b);
    return equal;
}

/* Cancels at the step given. */
typedef struct small_stop {
    int64_t at, calls, last_step, last_total, last_epoch;
    double last_loss, last_accuracy, last_rate;
} small_stop;

static inline int32_t small_progress(void *user, int64_t epoch, int64_t step, int64_t total,
                                     double loss, double accuracy, double rate, double left)
{
    small_stop *stop = user;
    (void)left;
    stop->calls++;
    stop->last_epoch = epoch;
    stop->last_step = step;
    stop->last_total = total;
    stop->last_loss = loss;
    stop->last_accuracy = accuracy;
    stop->last_rate = rate;
    return step == stop->at;
}

#endif
