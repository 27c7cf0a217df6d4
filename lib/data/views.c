/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The views of dataset.h. What a view does to sample i of a handle is a pure function of the
 * handle and i: random draws are keyed by the sample's place in the store, so they are the same
 * in any order of access, on any thread, and in every subset that holds the sample.
 */
#include "data.h"
#include <string.h>

static const char *const view_names[] = {
    [MC_VIEW_NOCUE] = "nocue",
    [MC_VIEW_CUE] = "cue",
    [MC_VIEW_RANDCUE] = "randcue",
    [MC_VIEW_RANDIMG] = "randimg",
};

int32_t modeconn_dataset_cue_values(const modeconn_dataset *dataset, const int64_t *indices,
                                    int64_t n, int32_t *values)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    if (values == NULL) {
        return mc_null("values");
    }
    int32_t status = mc_dataset_check_indices(dataset, indices, n);
    if (status < 0) {
        return status;
    }
    for (int64_t i = 0; i < n; i++) {
        values[i] =
            (int32_t)mc_dataset_cue_setting(dataset, indices == NULL ? i : indices[i]).value;
    }
    return MODECONN_OK;
}

int32_t mc_dataset_check_indices(const modeconn_dataset *dataset, const int64_t *indices, int64_t n)
{
    if (n < 0 || (indices == NULL && n > dataset->n)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "n is %lld, the dataset has %lld samples",
                       (long long)n, (long long)dataset->n);
    }
    for (int64_t i = 0; indices != NULL && i < n; i++) {
        if (indices[i] < 0 || indices[i] >= dataset->n) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "indices[%lld] is %lld, expected 0..%lld",
                           (long long)i, (long long)indices[i], (long long)(dataset->n - 1));
        }
    }
    return MODECONN_OK;
}

int64_t mc_view_count(const modeconn_dataset *dataset)
{
    return (dataset->cue == NULL ? 1 : (int64_t)MC_VIEW_ATTRIBUTE) +
           mc_attribute_count(dataset->attributes);
}

mc_view mc_view_at(const modeconn_dataset *dataset, int64_t index)
{
    /* Without a cue the attributes follow right after nocue. */
    return (mc_view)(dataset->cue == NULL && index > 0 ? index - 1 + MC_VIEW_ATTRIBUTE : index);
}

const char *mc_view_name(const modeconn_dataset *dataset, mc_view view)
{
    return view < MC_VIEW_ATTRIBUTE
               ? view_names[view]
               : mc_attribute_at(dataset->attributes, view - MC_VIEW_ATTRIBUTE)->view;
}

const mc_attribute *mc_dataset_randomised(const modeconn_dataset *dataset)
{
    return dataset->view < MC_VIEW_ATTRIBUTE
               ? NULL
               : mc_attribute_at(dataset->attributes, dataset->view - MC_VIEW_ATTRIBUTE);
}

static int32_t unknown_view(const modeconn_dataset *dataset, const char *name)
{
    for (int i = MC_VIEW_CUE; i < MC_VIEW_ATTRIBUTE; i++) {
        if (strcmp(name, view_names[i]) == 0) { /* it would be there with a cue */
            return mc_fail(MODECONN_ERROR_UNKNOWN, "view \"%s\" of a dataset without a cue", name);
        }
    }
    mc_text names;
    mc_text_init(&names, dataset->store->context);
    for (int64_t i = 0; i < mc_view_count(dataset); i++) {
        mc_text_add(&names, "%s%s", i == 0 ? "" : ", ",
                    mc_view_name(dataset, mc_view_at(dataset, i)));
    }
    int32_t status = names.failed ? MODECONN_ERROR_MEMORY
                                  : mc_fail(MODECONN_ERROR_UNKNOWN,
                                            "no view \"%.100s\": there are %s", name, names.data);
    mc_text_free(&names);
    return status;
}

int32_t mc_view_find(const modeconn_dataset *dataset, const char *name, mc_view *view)
{
    for (int64_t i = 0; i < mc_view_count(dataset); i++) {
        if (strcmp(name, mc_view_name(dataset, mc_view_at(dataset, i))) == 0) {
            *view = mc_view_at(dataset, i);
            return MODECONN_OK;
        }
    }
    return unknown_view(dataset, name);
}

/* Adds the view of that name to views [*count], which have room for every view once. */
static int32_t open_view(const modeconn_dataset *dataset, const char *name, int64_t *count,
                         modeconn_dataset **views)
{
    mc_view view = MC_VIEW_NOCUE;
    int32_t status = mc_view_find(dataset, name, &view);
    for (int64_t i = 0; status == MODECONN_OK && i < *count; i++) {
        if (views[i]->view == view) {
            status = mc_fail(MODECONN_ERROR_ARGUMENT, "views: \"%s\" twice", name);
        }
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_view(dataset, name, 1.0, &views[*count]);
    }
    *count += status == MODECONN_OK;
    return status;
}

static int32_t open_list(const modeconn_dataset *dataset, const char *list, int64_t *count,
                         modeconn_dataset **views)
{
    char *copy = mc_strdup(dataset->store->context, list);
    int32_t status = copy == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (char *name = copy; name != NULL && status == MODECONN_OK;) {
        char *comma = strchr(name, ',');
        if (comma != NULL) {
            *comma = '\0';
        }
        status = open_view(dataset, name, count, views);
        name = comma != NULL ? comma + 1 : NULL;
    }
    mc_free(dataset->store->context, copy);
    return status;
}

static void close_views(const modeconn_context *context, int64_t count, modeconn_dataset **views)
{
    for (int64_t i = 0; i < count; i++) {
        modeconn_dataset_destroy(views[i]);
    }
    mc_free(context, (void *)views);
}

int32_t mc_views_open(const modeconn_dataset *dataset, const char *list, int64_t *count,
                      modeconn_dataset ***views)
{
    const modeconn_context *context = dataset->store->context;
    int64_t all = mc_view_count(dataset), n = 0;
    modeconn_dataset **opened = mc_calloc(context, all, sizeof(*opened));
    int32_t status = opened == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    if (status == MODECONN_OK && list[0] != '\0') {
        status = open_list(dataset, list, &n, opened);
    }
    for (int64_t i = 0; status == MODECONN_OK && list[0] == '\0' && i < all; i++) {
        status = open_view(dataset, mc_view_name(dataset, mc_view_at(dataset, i)), &n, opened);
    }
    if (status < 0) {
        close_views(context, n, opened);
        return status;
    }
    *count = n;
    *views = opened;
    return MODECONN_OK;
}

void mc_views_close(int64_t count, modeconn_dataset **views)
{
    if (count == 0) { /* none have been opened */
        return;
    }
    /* The data set's own context, which may live by these views alone. */
    modeconn_context *context = mc_context_take(views[0]->store->context);
    close_views(context, count, views);
    mc_context_drop(context);
}

mc_cue_setting mc_dataset_cue_setting(const modeconn_dataset *dataset, int64_t i)
{
    const mc_cue *cue = dataset->cue;
    int64_t sample = dataset->index[i];
    mc_cue_setting setting = {
        .sample = sample, .label = dataset->store->labels[sample], .value = -1};
    if (cue == NULL || dataset->view == MC_VIEW_NOCUE) {
        return setting;
    }
    setting.randomised = dataset->view == MC_VIEW_RANDCUE;
    if (setting.randomised) {
        setting.value = mc_random_below(dataset->seed, MC_STREAM_RANDCUE, (uint64_t)sample, 0,
                                        cue->range(cue, dataset->store));
    } else if (dataset->carries[i]) {
        setting.value = cue->value_of(dataset->store, sample);
    }
    if (setting.value >= 0 && !cue->visible(setting.value)) {
        setting.value = -1;
    }
    setting.random = mc_random_u64(dataset->seed, MC_STREAM_CUE_BITS, (uint64_t)sample,
                                   setting.randomised ? 1 : 0);
    return setting;
}

int64_t mc_dataset_image_of(const modeconn_dataset *dataset, int64_t i)
{
    int64_t sample = dataset->index[i];
    if (dataset->view != MC_VIEW_RANDIMG) {
        return sample;
    }
    /* A uniform mapped on the samples of this handle: a subset keeps the draw, not the image. */
    double u = mc_random_f64(dataset->seed, MC_STREAM_RANDIMG, (uint64_t)sample, 0);
    int64_t j = (int64_t)(u * (double)dataset->n);
    return dataset->index[j < dataset->n ? j : dataset->n - 1];
}
