/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Datasets of arrays in memory: float or uint8 images [n][C][H][W] with labels [n], copied or
 * lent. Everything is checked before anything is kept.
 */
#include "data.h"
#include <math.h>
#include <string.h>

/* What the four public functions have in common: the arrays and their shape. */
typedef struct arrays {
    const float *f32;
    const uint8_t *u8;
    const int32_t *labels;
    int64_t n, channels, height, width, classes;
} arrays;

static int32_t from_arrays(modeconn_context *context, const arrays *in, bool lent,
                           modeconn_release_fn release, void *user, const modeconn_options *options,
                           modeconn_dataset **out);

int32_t modeconn_dataset_from_f32(modeconn_context *context, const float *images,
                                  const int32_t *labels, int64_t n, int64_t channels,
                                  int64_t height, int64_t width, int64_t classes,
                                  const modeconn_options *options, modeconn_dataset **out)
{
    arrays in = {images, NULL, labels, n, channels, height, width, classes};
    return from_arrays(context, &in, false, NULL, NULL, options, out);
}

int32_t modeconn_dataset_from_u8(modeconn_context *context, const uint8_t *images,
                                 const int32_t *labels, int64_t n, int64_t channels, int64_t height,
                                 int64_t width, int64_t classes, const modeconn_options *options,
                                 modeconn_dataset **out)
{
    arrays in = {NULL, images, labels, n, channels, height, width, classes};
    return from_arrays(context, &in, false, NULL, NULL, options, out);
}

int32_t modeconn_dataset_borrow_f32(modeconn_context *context, const float *images,
                                    const int32_t *labels, int64_t n, int64_t channels,
                                    int64_t height, int64_t width, int64_t classes,
                                    const modeconn_options *options, modeconn_release_fn release,
                                    void *user, modeconn_dataset **out)
{
    arrays in = {images, NULL, labels, n, channels, height, width, classes};
    return from_arrays(context, &in, true, release, user, options, out);
}

int32_t modeconn_dataset_borrow_u8(modeconn_context *context, const uint8_t *images,
                                   const int32_t *labels, int64_t n, int64_t channels,
                                   int64_t height, int64_t width, int64_t classes,
                                   const modeconn_options *options, modeconn_release_fn release,
                                   void *user, modeconn_dataset **out)
{
    arrays in = {NULL, images, labels, n, channels, height, width, classes};
    return from_arrays(context, &in, true, release, user, options, out);
}

/* Sizes at least 1, and the whole in bytes within int64; `count` receives the values in all. */
static int32_t check_sizes(const arrays *in, int64_t *count)
{
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"n", in->n},
                 {"channels", in->channels},
                 {"height", in->height},
                 {"width", in->width},
                 {"classes", in->classes}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        if (sizes[i].value < 1) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "%s is %lld, expected at least 1",
                           sizes[i].name, (long long)sizes[i].value);
        }
    }
    int64_t bytes = 0;
    if (!mc_mul(in->n, in->channels, count) || !mc_mul(*count, in->height, count) ||
        !mc_mul(*count, in->width, count) || !mc_mul(*count, (int64_t)sizeof(float), &bytes)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%lld images of %lldx%lldx%lld overflow",
                       (long long)in->n, (long long)in->channels, (long long)in->height,
                       (long long)in->width);
    }
    return MODECONN_OK;
}

static int32_t check_values(const arrays *in, int64_t count)
{
    for (int64_t i = 0; i < in->n; i++) {
        if (in->labels[i] < 0 || in->labels[i] >= in->classes) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "sample %lld: label %ld, expected 0..%lld",
                           (long long)i, (long)in->labels[i], (long long)(in->classes - 1));
        }
    }
    for (int64_t i = 0; in->f32 != NULL && i < count; i++) {
        if (!isfinite(in->f32[i])) {
            int64_t size = count / in->n;
            return mc_fail(MODECONN_ERROR_ARGUMENT, "sample %lld: value %lld is not finite",
                           (long long)(i / size), (long long)(i % size));
        }
    }
    return MODECONN_OK;
}

static int32_t copy_arrays(modeconn_context *context, const arrays *in, int64_t count,
                           mc_store **out)
{
    int32_t status = mc_store_create(context, "memory", "", in->n, in->channels, in->height,
                                     in->width, in->classes, in->u8 != NULL, out);
    if (status < 0) {
        return status;
    }
    mc_store *store = *out;
    if (in->u8 != NULL) {
        memcpy((void *)store->u8, in->u8, (size_t)count);
    } else {
        memcpy((void *)store->f32, in->f32, (size_t)count * sizeof(float));
    }
    memcpy((void *)store->labels, in->labels, (size_t)in->n * sizeof(int32_t));
    return MODECONN_OK;
}

static int32_t from_arrays(modeconn_context *context, const arrays *in, bool lent,
                           modeconn_release_fn release, void *user, const modeconn_options *options,
                           modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL) {
        return mc_null("context");
    }
    if (in->f32 == NULL && in->u8 == NULL) {
        return mc_null("images");
    }
    if (in->labels == NULL) {
        return mc_null("labels");
    }
    int32_t status = mc_options_check(options, &mc_kind_dataset);
    if (status < 0) {
        return status;
    }
    int64_t count = 0;
    status = check_sizes(in, &count);
    if (status < 0) {
        return status;
    }
    status = check_values(in, count);
    if (status < 0) {
        return status;
    }
    mc_store *store = NULL;
    if (lent) {
        status = mc_store_wrap(context, "memory", "", in->n, in->channels, in->height, in->width,
                               in->classes, in->u8, in->f32, in->labels, &store);
    } else {
        status = copy_arrays(context, in, count, &store);
    }
    if (status < 0) {
        return status;
    }
    status = mc_dataset_from_store(store, options, out);
    if (status == MODECONN_OK) {
        /* From here on the arrays are ours to give back; a failure above leaves them alone. */
        store->release = release;
        store->release_user = user;
    }
    mc_store_drop(store);
    return status;
}
