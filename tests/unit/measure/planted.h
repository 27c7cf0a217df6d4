/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Planted data and models whose losses and effects are known in closed form.
 *
 * Images are 12x12 with one channel and ten classes. The box cue covers rows 0-2, 4-6 and 9-11;
 * what the images themselves show lies in rows between:
 *
 *   row 3, columns 0..9   noise, N(0, 1), independent of the label
 *   row 7, column label   1
 *
 * A planted model is linear: logit k = cue * [box at place k] + signal * (row 7, column k)
 *                                      + noise * (row 3, column k).
 *
 * Effect of the cue, for signal = 0 and labels uniform: the logit of the label falls by cue unless
 * the label is 9 or the drawn value is the true one, by 0.9 * 0.9 * cue in the mean; the
 * log-sum-exp has the same law with the true and the drawn value. Hence 0.81 * cue, exactly.
 * Whatever the signal, no sample's loss changes by more than cue. The effect of the image is 0
 * for signal = 0.
 */
#ifndef MC_PLANTED_H
#define MC_PLANTED_H

#include "failing.h"
#include "measure/measure.h"
#include "unit.h"
#include <jansson.h>
#include <math.h>

enum { SIDE = 12, PIXELS = SIDE * SIDE, CLASSES = 10, NOISE_ROW = 3, SIGNAL_ROW = 7 };

/* Streams of these tests' own, apart from the library's. */
enum { STREAM_LABEL = 9001, STREAM_NOISE = 9002, STREAM_SYNTHETIC = 9003 };

static inline modeconn_context *context_with(int64_t threads, int64_t seed)
{
    modeconn_options *options = NULL;
    modeconn_context *context = NULL;
    OK(modeconn_options_create(NULL, "context", &options));
    OK(modeconn_options_set_i64(options, "threads", threads));
    OK(modeconn_options_set_i64(options, "seed", seed));
    OK(modeconn_context_create(options, &context));
    modeconn_options_destroy(options);
    return context;
}

static inline modeconn_dataset *planted_data(modeconn_context *context, int64_t n, int64_t seed,
                                             const char *cue)
{
    float *images = calloc((size_t)n * PIXELS, sizeof(*images));
    int32_t *labels = calloc((size_t)n, sizeof(*labels));
    ck_assert_ptr_nonnull(images);
    ck_assert_ptr_nonnull(labels);
    for (int64_t i = 0; i < n; i++) {
        uint64_t key = (uint64_t)seed, sample = (uint64_t)i;
        float *image = images + i * PIXELS;
        labels[i] = (int32_t)mc_random_below(key, STREAM_LABEL, sample, 0, CLASSES);
        image[SIGNAL_ROW * SIDE + labels[i]] = 1.0F;
        for (uint32_t k = 0; k < CLASSES; k++) {
            double noise = mc_random_normal(key, STREAM_NOISE, sample, k);
            image[NOISE_ROW * SIDE + (int)k] = (float)noise;
        }
    }
    modeconn_options *options = options_of("dataset", "");
    OK(modeconn_options_set_str(options, "cue", cue));
    OK(modeconn_options_set_i64(options, "seed", seed));
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_f32(context, images, labels, n, 1, SIDE, SIDE, CLASSES, options,
                                 &dataset));
    modeconn_options_destroy(options);
    free(images);
    free(labels);
    return dataset;
}

static inline modeconn_model *planted_model(modeconn_context *context, double cue, double signal,
                                            double noise)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t input = 0, output = 0;
    OK(modeconn_graph_create(context, 1, SIDE, SIDE, &graph));
    OK(modeconn_graph_add(graph, "linear", "fc", "out_features=10,bias=0", &input, 1, &output));
    OK(modeconn_model_from_graph(graph, output, 0, &model));
    modeconn_graph_destroy(graph);
    static const int offsets[3] = {0, 4, 9};
    float theta[CLASSES * PIXELS] = {0};
    for (int k = 0; k < CLASSES; k++) {
        float *weights = theta + k * PIXELS;
        for (int pixel = 0; k < 9 && pixel < 9; pixel++) {
            int row = offsets[k / 3] + pixel / 3, column = offsets[k % 3] + pixel % 3;
            weights[row * SIDE + column] = (float)(cue / 9.0);
        }
        weights[SIGNAL_ROW * SIDE + k] = (float)signal;
        weights[NOISE_ROW * SIDE + k] = (float)noise;
    }
    OK(modeconn_model_set_parameters(model, theta, CLASSES * PIXELS));
    return model;
}

/* conv - batch norm - ReLU - pooling - linear, for what batch-norm statistics do. */
static inline modeconn_model *normed_model(modeconn_context *context, int64_t seed)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, SIDE, SIDE, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "conv", "out_channels=6,kernel=3,padding=1", &node, 1,
                          &node));
    OK(modeconn_graph_add(graph, "batch_norm", "bn", NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "global_avg_pool", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "fc", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, seed, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* Loss and accuracy of a view, from the logits: sum over samples of log sum_k exp(z_k) - z_y. */
static inline void expect_view(const modeconn_model *model, const modeconn_dataset *data,
                               const char *view, double *loss, double *accuracy)
{
    modeconn_dataset *seen = NULL;
    int64_t n = 0;
    OK(modeconn_dataset_view(data, view, 1.0, &seen));
    OK(modeconn_dataset_shape(seen, &n, NULL, NULL, NULL, NULL));
    float *images = malloc((size_t)n * PIXELS * sizeof(*images));
    float *logits = malloc((size_t)n * CLASSES * sizeof(*logits));
    int32_t *labels = malloc((size_t)n * sizeof(*labels));
    OK(modeconn_dataset_read(seen, NULL, n, images, labels));
    OK(modeconn_model_logits(model, images, n, logits));
    double sum = 0.0;
    int64_t hits = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * CLASSES;
        double total = 0.0;
        int best = 0;
        for (int k = 0; k < CLASSES; k++) {
            total += exp((double)z[k]);
            best = z[k] > z[best] ? k : best;
        }
        sum += log(total) - (double)z[labels[i]];
        hits += best == labels[i];
    }
    *loss = sum / (double)n;
    *accuracy = (double)hits / (double)n;
    free(images);
    free(logits);
    free(labels);
    modeconn_dataset_destroy(seen);
}

static inline json_t *parse_json(char *text)
{
    json_error_t error;
    json_t *value = json_loads(text, 0, &error);
    ck_assert_msg(value != NULL, "not JSON: %s", error.text);
    free(text);
    return value;
}

/* Value under a path of keys, ended by NULL. */
static inline json_t *json_in(json_t *value, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        value = json_object_get(value, *keys);
        ck_assert_msg(value != NULL, "no key %s", *keys);
    }
    return value;
}
#define JSON_AT(value, ...) json_in(value, (const char *const[]){__VA_ARGS__, NULL})

#endif
