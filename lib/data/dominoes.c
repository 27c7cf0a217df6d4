/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Dominoes (Lubana et al. 2023): an image of one dataset above that of another of equal class
 * count, [C][2H][W]. The i-th lower sample of class c is paired with the i-th upper sample of
 * class c (again from the first where the upper ones run out). The upper images are the cue: they
 * are brought to H x W as PIL would (resample.c), grey ones on every channel, and pixels are x /
 * 255. Without the cue the upper half is zeros.
 */
#include "data.h"
#include <stdio.h>
#include <string.h>

static int32_t check_pair(const modeconn_dataset *top, const modeconn_dataset *bottom);
static int32_t build_store(const modeconn_dataset *top, const modeconn_dataset *bottom,
                           const char *source, mc_store **out);

int32_t modeconn_dataset_dominoes(const modeconn_dataset *top, const modeconn_dataset *bottom,
                                  const modeconn_options *options, modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (top == NULL || bottom == NULL) {
        return mc_null(top == NULL ? "top" : "bottom");
    }
    int32_t status = mc_options_check(options, &mc_kind_dataset);
    if (status == MODECONN_OK) {
        status = check_pair(top, bottom);
    }
    if (status < 0) {
        return status;
    }
    mc_text source;
    mc_text_init(&source, bottom->store->context);
    mc_text_add(&source, "dominoes:%s,%s", bottom->store->source, top->store->source);
    mc_store *store = NULL;
    status = source.failed ? MODECONN_ERROR_MEMORY : build_store(top, bottom, source.data, &store);
    if (status == MODECONN_OK) {
        status = mc_dataset_from_store(store, options, out);
    }
    mc_store_drop(store);
    mc_text_free(&source);
    return status;
}

/* Both halves by their readers, then a store of the pair. */
int32_t mc_open_dominoes(modeconn_context *context, const char *rest, const char *split,
                         const modeconn_options *options, mc_store **out)
{
    mc_store *stores[2] = {NULL, NULL};
    modeconn_dataset *halves[2] = {NULL, NULL};
    char *first = NULL;
    const char *second = NULL;
    (void)options;
    *out = NULL;
    int32_t status = mc_data_two_names(context, "dominoes", rest,
                                       "dominoes:CIFAR,FMNIST, two folders", &first, &second);
    if (status < 0) {
        return status;
    }
    status = mc_open_cifar10(context, first, split, NULL, &stores[0]);
    if (status == MODECONN_OK) {
        status = mc_open_fashion_mnist(context, second, split, NULL, &stores[1]);
    }
    for (int i = 0; status == MODECONN_OK && i < 2; i++) {
        status = mc_dataset_from_store(stores[i], NULL, &halves[i]);
    }
    if (status == MODECONN_OK) {
        status = check_pair(halves[1], halves[0]);
    }
    if (status == MODECONN_OK) {
        status = build_store(halves[1], halves[0], "dominoes:cifar10,fashion-mnist", out);
    }
    for (int i = 0; i < 2; i++) {
        modeconn_dataset_destroy(halves[i]);
        mc_store_drop(stores[i]);
    }
    mc_free(context, first);
    return status;
}

static int32_t check_pair(const modeconn_dataset *top, const modeconn_dataset *bottom)
{
    const mc_store *above = top->store, *below = bottom->store;
    if (above->classes != below->classes) {
        return mc_fail(
            MODECONN_ERROR_SHAPE, "dominoes: %s has %lld classes, %s has %lld; they must be equal",
            above->source, (long long)above->classes, below->source, (long long)below->classes);
    }
    if (above->u8 == NULL || below->u8 == NULL) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "dominoes: %s holds float pixels, uint8 needed",
                       above->u8 == NULL ? above->source : below->source);
    }
    if (above->channels != 1 && above->channels != below->channels) {
        return mc_fail(MODECONN_ERROR_SHAPE, "dominoes: %s has %lld channels, %s has %lld",
                       above->source, (long long)above->channels, below->source,
                       (long long)below->channels);
    }
    if (top->view != MC_VIEW_NOCUE || bottom->view != MC_VIEW_NOCUE) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "dominoes: expected both in view nocue");
    }
    return MODECONN_OK;
}

/* The upper images at the size of the lower ones, [top n][channels][H][W]. */
static int32_t resize_all(const modeconn_dataset *top, mc_store *store)
{
    const mc_store *above = top->store;
    mc_partners *partners = &store->partners;
    int64_t height = store->content_top, width = store->width;
    int64_t planes = 0, bytes = 0;
    partners->channels = above->channels;
    if (!mc_mul(top->n, above->channels, &planes) || !mc_mul(planes, height * width, &bytes)) {
        bytes = INT64_MAX; /* which the allocator refuses */
    }
    partners->images = mc_alloc(store->context, bytes, 1);
    if (partners->images == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    partners->n = top->n;
    int64_t size = above->height * above->width;
    for (int64_t p = 0; p < planes; p++) {
        int64_t sample = top->index[p / above->channels];
        const uint8_t *from = above->u8 + (sample * above->channels + p % above->channels) * size;
        int32_t status = mc_resize_bilinear(store->context, from, above->height, above->width,
                                            partners->images + p * height * width, height, width);
        if (status < 0) {
            return status;
        }
    }
    return MODECONN_OK;
}

/* Sample indices of `top` sorted by class, in order: class c is sorted[begin[c]..begin[c+1]-1]. */
static void sort_by_class(const modeconn_dataset *top, int64_t *begin, int64_t *sorted)
{
    const mc_store *above = top->store;
    for (int64_t i = 0; i < top->n; i++) {
        begin[above->labels[top->index[i]] + 1]++;
    }
    for (int64_t c = 0; c < above->classes; c++) {
        begin[c + 1] += begin[c];
    }
    int64_t *next = begin + above->classes + 1;
    for (int64_t c = 0; c < above->classes; c++) {
        next[c] = begin[c];
    }
    for (int64_t i = 0; i < top->n; i++) {
        sorted[next[above->labels[top->index[i]]]++] = i;
    }
}

static int32_t pair_up(const modeconn_dataset *top, mc_store *store)
{
    const modeconn_context *context = store->context;
    int64_t classes = store->classes, counters = 0;
    if (!mc_mul(2, classes, &counters)) {
        counters = INT64_MAX - 1;
    }
    /* begin [classes + 1], then a counter a class: first where to sort to, then how many seen. */
    int64_t *begin = mc_calloc(context, counters + 1, sizeof(int64_t));
    int64_t *sorted = mc_alloc(context, top->n, sizeof(int64_t));
    store->partners.partner = mc_alloc(context, store->n, sizeof(int64_t));
    int32_t status = begin == NULL || sorted == NULL || store->partners.partner == NULL
                         ? MODECONN_ERROR_MEMORY
                         : MODECONN_OK;
    if (status == MODECONN_OK) {
        sort_by_class(top, begin, sorted);
        memset(begin + classes + 1, 0, (size_t)classes * sizeof(int64_t));
    }
    for (int64_t i = 0; status == MODECONN_OK && i < store->n; i++) {
        int32_t label = store->labels[i];
        int64_t among = begin[label + 1] - begin[label];
        int64_t *seen = &begin[classes + 1 + label];
        if (among == 0) {
            status = mc_fail(MODECONN_ERROR_SHAPE, "dominoes: %s has no sample of class %ld",
                             top->store->source, (long)label);
            break;
        }
        store->partners.partner[i] = sorted[begin[label] + (*seen)++ % among];
    }
    mc_free(context, sorted);
    mc_free(context, begin);
    return status;
}

static int32_t build_store(const modeconn_dataset *top, const modeconn_dataset *bottom,
                           const char *source, mc_store **out)
{
    const mc_store *below = bottom->store;
    mc_store *store = NULL;
    *out = NULL;
    int32_t status =
        mc_store_create(below->context, source, below->split, bottom->n, below->channels,
                        2 * below->height, below->width, below->classes, true, &store);
    if (status < 0) {
        return status;
    }
    store->unit_levels = true;
    store->content_top = below->height;
    int64_t half = below->height * below->width; /* of a plane; the store has zeros above */
    uint8_t *images = (uint8_t *)store->u8;
    for (int64_t i = 0; i < bottom->n; i++) {
        ((int32_t *)store->labels)[i] = below->labels[bottom->index[i]];
        for (int64_t c = 0; c < below->channels; c++) {
            memcpy(images + ((i * below->channels + c) * 2 + 1) * half,
                   below->u8 + (bottom->index[i] * below->channels + c) * half, (size_t)half);
        }
    }
    status = pair_up(top, store);
    if (status == MODECONN_OK) {
        status = resize_all(top, store);
    }
    if (status < 0) {
        mc_store_drop(store);
        return status;
    }
    *out = store;
    return MODECONN_OK;
}

/* ---- the cue ------------------------------------------------------------------------------- */

static int32_t fits(const mc_cue *cue, const mc_store *store)
{
    (void)cue;
    return store->partners.n > 0
               ? MODECONN_OK
               : mc_fail(MODECONN_ERROR_SHAPE, "cue domino: %s has no upper images (dominoes has)",
                         store->source);
}

static int64_t range(const mc_cue *cue, const mc_store *store)
{
    (void)cue;
    return store->partners.n;
}

static int64_t partner_of(const mc_store *store, int64_t sample)
{
    return store->partners.partner[sample];
}

static int32_t draw(const mc_cue *cue, const mc_store *store, const mc_cue_setting *setting,
                    float *x)
{
    (void)cue;
    const mc_partners *partners = &store->partners;
    int64_t plane = store->content_top * store->width;
    const uint8_t *image = partners->images + setting->value * partners->channels * plane;
    for (int64_t c = 0; c < store->channels; c++) {
        const uint8_t *from = image + (partners->channels == 1 ? 0 : c) * plane;
        float *to = x + c * store->height * store->width;
        for (int64_t p = 0; p < plane; p++) {
            to[p] = (float)from[p] / 255.0F;
        }
    }
    return MODECONN_OK;
}

const mc_cue mc_cue_domino = {
    .name = "domino",
    .fits = fits,
    .range = range,
    .value_of = partner_of,
    .visible = mc_cue_always_visible,
    .draw = draw,
};
