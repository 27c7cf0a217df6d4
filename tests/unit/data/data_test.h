/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of lib/data share: small datasets, gzip files, and the loop that fails every
 * allocation in turn.
 */
#ifndef MC_DATA_TEST_H
#define MC_DATA_TEST_H

#include "data/data.h"
#include "failing.h"
#include "unit.h"
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* ---- small datasets ---------------------------------------------------------------------- */

/* n float images [n][1][side][side] with every pixel i / n - 0.5 in image i (so that a pixel tells
 * the image) and label i % classes. */
static inline modeconn_dataset *numbered(modeconn_context *context, int64_t n, int64_t side,
                                         int64_t classes, const char *settings)
{
    float *images = calloc((size_t)(n * side * side), sizeof(*images));
    int32_t *labels = calloc((size_t)n, sizeof(*labels));
    ck_assert(images != NULL && labels != NULL);
    for (int64_t i = 0; i < n; i++) {
        for (int64_t p = 0; p < side * side; p++) {
            images[i * side * side + p] = (float)i / (float)n - 0.5F;
        }
        labels[i] = (int32_t)(i % classes);
    }
    modeconn_options *options = options_of("dataset", settings);
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_f32(context, images, labels, n, 1, side, side, classes, options,
                                 &dataset));
    modeconn_options_destroy(options);
    free(labels);
    free(images);
    return dataset;
}

/* Every image of a dataset as its view shows it; the caller frees it. */
static inline float *images_of(const modeconn_dataset *dataset)
{
    int64_t n = 0, channels = 0, height = 0, width = 0;
    OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, NULL));
    float *images = calloc((size_t)(n * channels * height * width), sizeof(*images));
    ck_assert_ptr_nonnull(images);
    OK(modeconn_dataset_read(dataset, NULL, n, images, NULL));
    return images;
}

static inline int32_t *labels_of(const modeconn_dataset *dataset)
{
    int64_t n = 0;
    OK(modeconn_dataset_shape(dataset, &n, NULL, NULL, NULL, NULL));
    int32_t *labels = calloc((size_t)n, sizeof(*labels));
    ck_assert_ptr_nonnull(labels);
    OK(modeconn_dataset_read(dataset, NULL, n, NULL, labels));
    return labels;
}

static inline int32_t *values_of(const modeconn_dataset *dataset)
{
    int64_t n = 0;
    OK(modeconn_dataset_shape(dataset, &n, NULL, NULL, NULL, NULL));
    int32_t *values = calloc((size_t)n, sizeof(*values));
    ck_assert_ptr_nonnull(values);
    OK(modeconn_dataset_cue_values(dataset, NULL, n, values));
    return values;
}

static inline modeconn_dataset *view_of(const modeconn_dataset *dataset, const char *view,
                                        double proportion)
{
    modeconn_dataset *out = NULL;
    OK(modeconn_dataset_view(dataset, view, proportion, &out));
    return out;
}

/* ---- files ------------------------------------------------------------------------------- */

static inline void file_put_gz(const char *path, const void *data, size_t size)
{
    gzFile file = gzopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(gzwrite(file, data, (unsigned)size), (int)size);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

/* Opens "spec" and expects this failure, with no handle left behind. */
static inline void open_fails(modeconn_context *context, const char *spec, const char *split,
                              int32_t status, const char *culprit)
{
    modeconn_dataset *dataset = (modeconn_dataset *)(uintptr_t)1;
    FAILS(modeconn_dataset_open(context, spec, split, NULL, &dataset), status, culprit);
    ck_assert_ptr_null(dataset);
}

/* ---- failing allocations ----------------------------------------------------------------- */

/* What is tried: makes up to two handles of a context; `arg` is the test's own. */
typedef int32_t (*attempt_fn)(modeconn_context *context, const void *arg, modeconn_dataset *out[2]);

/* The attempt to open the training split of the spec `arg`. */
static inline int32_t attempt_open(modeconn_context *context, const void *arg,
                                   modeconn_dataset *out[2])
{
    return modeconn_dataset_open(context, arg, "train", NULL, &out[0]);
}

/* Fails allocation k = 1, 2, ... until the attempt succeeds: each failure says so, leaves no
 * handle and leaks nothing. At least `least` allocations must have been failed. */
static inline void fail_each(failing *state, modeconn_context *context, attempt_fn attempt,
                             const void *arg, long least)
{
    long live = atomic_load(&state->live);
    for (long k = 1;; k++) {
        modeconn_dataset *out[2] = {NULL, NULL};
        failing_at(state, k);
        int32_t status = attempt(context, arg, out);
        failing_at(state, 0);
        if (status == MODECONN_OK) {
            modeconn_dataset_destroy(out[0]);
            modeconn_dataset_destroy(out[1]);
            ck_assert_int_eq(atomic_load(&state->live), live);
            ck_assert_int_gt(k, least);
            return;
        }
        ck_assert_msg(status == MODECONN_ERROR_MEMORY, "allocation %ld: %s (%s)", k,
                      modeconn_status_name(status), modeconn_last_error());
        ck_assert(out[0] == NULL && out[1] == NULL);
        ck_assert_int_eq(atomic_load(&state->live), live);
    }
}

#endif
