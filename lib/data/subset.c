/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Handles over some of another's samples: chosen ones, or a draw without replacement and what it
 * leaves. Views are taken anew over the new list (which samples carry the cue, which images
 * randimg draws from); the draws themselves stay with the sample.
 */
#include "data.h"

/* The handle's view over samples `index` [n] of its store. */
static int32_t same_view(const modeconn_dataset *dataset, const int64_t *index, int64_t n,
                         modeconn_dataset **out)
{
    return mc_dataset_make(dataset, dataset->view, dataset->proportion, index, n, out);
}

int32_t modeconn_dataset_subset(const modeconn_dataset *dataset, const int64_t *indices, int64_t n,
                                modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    if (indices == NULL) {
        return mc_null("indices");
    }
    if (n < 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld, expected at least 1", (long long)n);
    }
    int32_t status = mc_dataset_check_indices(dataset, indices, n);
    if (status < 0) {
        return status;
    }
    const modeconn_context *context = dataset->store->context;
    int64_t *index = mc_alloc(context, n, sizeof(*index));
    if (index == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < n; i++) {
        index[i] = dataset->index[indices[i]];
    }
    status = same_view(dataset, index, n, out);
    mc_free(context, index);
    return status;
}

int32_t mc_dataset_first(const modeconn_dataset *dataset, int64_t n, modeconn_dataset **out)
{
    if (n == dataset->n) {
        *out = mc_dataset_take(dataset);
        return MODECONN_OK;
    }
    return same_view(dataset, dataset->index, n, out);
}

int32_t modeconn_dataset_split(const modeconn_dataset *dataset, int64_t n, int64_t seed,
                               modeconn_dataset **drawn, modeconn_dataset **rest)
{
    if (rest != NULL) {
        *rest = NULL;
    }
    if (drawn == NULL) {
        return mc_null("drawn");
    }
    *drawn = NULL;
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    int64_t most = rest == NULL ? dataset->n : dataset->n - 1;
    if (n < 1 || n > most) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld, expected 1..%lld", (long long)n,
                       (long long)most);
    }
    int32_t status = mc_check_seed(seed);
    if (status < 0) {
        return status;
    }
    status = MODECONN_ERROR_MEMORY;
    modeconn_context *context = dataset->store->context;
    int64_t *order = mc_alloc(context, dataset->n, sizeof(*order));
    uint8_t *is_drawn = mc_calloc(context, dataset->n, sizeof(*is_drawn));
    if (order == NULL || is_drawn == NULL) {
        goto done;
    }
    mc_random_permutation(mc_seed(context, seed), MC_STREAM_SPLIT, 0, dataset->n, order);
    for (int64_t i = 0; i < n; i++) {
        is_drawn[order[i]] = 1;
    }
    /* The same array again: the drawn samples in the handle's order, then the others. */
    int64_t next[2] = {n, 0};
    for (int64_t i = 0; i < dataset->n; i++) {
        order[next[is_drawn[i]]++] = dataset->index[i];
    }
    status = same_view(dataset, order, n, drawn);
    if (status == MODECONN_OK && rest != NULL) {
        status = same_view(dataset, order + n, dataset->n - n, rest);
        if (status < 0) {
            modeconn_dataset_destroy(*drawn);
            *drawn = NULL;
        }
    }
done:
    mc_free(context, is_drawn);
    mc_free(context, order);
    return status;
}
