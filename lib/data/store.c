/* SPDX-License-Identifier: BSD-3-Clause
 *
 * store: the pixels [n][C][H][W] and labels [n] of one source in memory, owned or lent, shared by
 * every view of it through a reference count.
 */
#include "data.h"

/* n * C * H * W, or false where it does not fit. */
static bool pixel_count(int64_t n, int64_t channels, int64_t height, int64_t width, int64_t *count)
{
    return mc_mul(n, channels, count) && mc_mul(*count, height, count) &&
           mc_mul(*count, width, count);
}

int32_t mc_store_wrap(modeconn_context *context, const char *source, const char *split, int64_t n,
                      int64_t channels, int64_t height, int64_t width, int64_t classes,
                      const uint8_t *u8, const float *f32, const int32_t *labels, mc_store **out)
{
    *out = NULL;
    mc_store *store = mc_calloc(context, 1, sizeof(*store));
    if (store == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&store->ref);
    store->context = mc_context_take(context);
    store->n = n;
    store->channels = channels;
    store->height = height;
    store->width = width;
    store->classes = classes;
    store->u8 = u8;
    store->f32 = f32;
    store->labels = labels;
    store->source = mc_strdup(context, source);
    store->split = mc_strdup(context, split);
    if (store->source == NULL || store->split == NULL) {
        mc_store_drop(store);
        return MODECONN_ERROR_MEMORY;
    }
    *out = store;
    return MODECONN_OK;
}

int32_t mc_store_create(modeconn_context *context, const char *source, const char *split, int64_t n,
                        int64_t channels, int64_t height, int64_t width, int64_t classes, bool u8,
                        mc_store **out)
{
    *out = NULL;
    int64_t count = 0;
    if (!pixel_count(n, channels, height, width, &count)) {
        return mc_fail(MODECONN_ERROR_MEMORY,
                       "out of memory: %lld images of %lldx%lldx%lld are too many", (long long)n,
                       (long long)channels, (long long)height, (long long)width);
    }
    mc_store *store = NULL;
    int32_t status = mc_store_wrap(context, source, split, n, channels, height, width, classes,
                                   NULL, NULL, NULL, &store);
    if (status < 0) {
        return status;
    }
    store->owned = true;
    if (u8) {
        store->u8 = mc_calloc(context, count, sizeof(uint8_t));
    } else {
        store->f32 = mc_calloc(context, count, sizeof(float));
    }
    if (store->u8 != NULL || store->f32 != NULL) {
        store->labels = mc_calloc(context, n, sizeof(int32_t));
    }
    if (store->labels == NULL) {
        mc_store_drop(store);
        return MODECONN_ERROR_MEMORY;
    }
    *out = store;
    return MODECONN_OK;
}

mc_store *mc_store_take(mc_store *store)
{
    mc_ref_take(&store->ref);
    return store;
}

void mc_store_drop(mc_store *store)
{
    if (store == NULL || !mc_ref_drop(&store->ref)) {
        return;
    }
    modeconn_context *context = store->context;
    modeconn_release_fn release = store->release;
    void *user = store->release_user;
    mc_attribute_drop(store->attributes);
    mc_free(context, store->partners.images);
    mc_free(context, store->partners.partner);
    if (store->owned) {
        mc_free(context, (void *)store->u8);
        mc_free(context, (void *)store->f32);
        mc_free(context, (void *)store->labels);
    }
    mc_free(context, store->split);
    mc_free(context, store->source);
    mc_free(context, store);
    mc_context_drop(context);
    if (release != NULL) {
        release(user);
    }
}
