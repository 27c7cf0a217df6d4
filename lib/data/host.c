/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Cues and interventions of the host's own: a function and a pointer for it. gather.c calls them on
 * the caller's thread and checks what they leave behind.
 */
#include "data.h"
#include <string.h>

enum { NAME_MAX_LENGTH = 40 };

struct mc_host_cue {
    mc_cue row; /* first: the cue's draw() finds the rest behind it */
    mc_ref ref;
    modeconn_context *context;
    char *name;
    int64_t range;
    modeconn_cue_fn draw;
    modeconn_release_fn release;
    void *user;
};

static int32_t make_cue(modeconn_context *context, const char *name, int64_t range,
                        modeconn_cue_fn draw, void *user, mc_host_cue **out);

/* Names go into views, JSON keys and CSV columns. */
static int32_t check_name(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
    size_t length = strlen(name);
    if (length < 1 || length > NAME_MAX_LENGTH || strspn(name, allowed) != length) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "name \"%.60s\": expected 1 to %d letters, digits and underscores", name,
                       NAME_MAX_LENGTH);
    }
    return MODECONN_OK;
}

int32_t modeconn_dataset_with_cue(const modeconn_dataset *dataset, const char *name, int64_t range,
                                  modeconn_cue_fn draw, modeconn_release_fn release, void *user,
                                  modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (dataset == NULL || name == NULL || draw == NULL) {
        return mc_null(dataset == NULL ? "dataset" : name == NULL ? "name" : "draw");
    }
    int32_t status = check_name(name);
    if (status == MODECONN_OK && strcmp(name, "none") == 0) {
        status = mc_fail(MODECONN_ERROR_ARGUMENT, "name \"none\": a cue cannot be called that");
    }
    if (status == MODECONN_OK && (range < dataset->store->classes || range > INT32_MAX)) {
        status =
            mc_fail(MODECONN_ERROR_ARGUMENT, "range is %lld, expected %lld (the classes) to %ld",
                    (long long)range, (long long)dataset->store->classes, (long)INT32_MAX);
    }
    if (status < 0) {
        return status;
    }
    mc_host_cue *cue = NULL;
    status = make_cue(dataset->store->context, name, range, draw, user, &cue);
    if (status < 0) {
        return status;
    }
    modeconn_dataset like = *dataset;
    like.cue = &cue->row;
    like.host_cue = cue;
    status =
        mc_dataset_make(&like, dataset->view, dataset->proportion, dataset->index, dataset->n, out);
    if (status == MODECONN_OK) {
        cue->release = release; /* a failure leaves `user` to the caller */
    }
    mc_host_cue_drop(cue);
    return status;
}

/* A name that neither the views nor the attributes that are there have. */
static int32_t check_new(const modeconn_dataset *dataset, const char *name)
{
    static const char *const taken[] = {"cue", "image", "img"};
    bool is_taken = false;
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        is_taken = is_taken || strcmp(name, taken[i]) == 0;
    }
    for (int64_t i = 0; i < mc_attribute_count(dataset->attributes); i++) {
        is_taken = is_taken || strcmp(name, mc_attribute_at(dataset->attributes, i)->name) == 0;
    }
    return is_taken ? mc_fail(MODECONN_ERROR_ARGUMENT, "name \"%s\": there is one already", name)
                    : MODECONN_OK;
}

int32_t modeconn_dataset_with_attribute(const modeconn_dataset *dataset, const char *name,
                                        modeconn_intervention_fn randomise,
                                        modeconn_release_fn release, void *user,
                                        modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (dataset == NULL || name == NULL || randomise == NULL) {
        return mc_null(dataset == NULL ? "dataset" : name == NULL ? "name" : "randomise");
    }
    int32_t status = check_name(name);
    if (status == MODECONN_OK) {
        status = check_new(dataset, name);
    }
    if (status < 0) {
        return status;
    }
    mc_attribute *longer = NULL;
    status = mc_attribute_append(dataset->store->context, dataset->attributes, name, true,
                                 randomise, NULL, user, &longer);
    if (status < 0) {
        return status;
    }
    modeconn_dataset like = *dataset;
    like.attributes = longer;
    status =
        mc_dataset_make(&like, dataset->view, dataset->proportion, dataset->index, dataset->n, out);
    if (status == MODECONN_OK) {
        longer->release = release;
    }
    mc_attribute_drop(longer);
    return status;
}

static int32_t host_fits(const mc_cue *cue, const mc_store *store)
{
    const mc_host_cue *host = (const mc_host_cue *)cue;
    if (store->classes > host->range) {
        return mc_fail(MODECONN_ERROR_SHAPE, "cue %s: %lld classes, but it has %lld values",
                       host->name, (long long)store->classes, (long long)host->range);
    }
    return MODECONN_OK;
}

static int64_t host_range(const mc_cue *cue, const mc_store *store)
{
    (void)store;
    return ((const mc_host_cue *)cue)->range;
}

static int32_t host_draw(const mc_cue *cue, const mc_store *store, const mc_cue_setting *setting,
                         float *x)
{
    const mc_host_cue *host = (const mc_host_cue *)cue;
    return host->draw(host->user, setting->sample, setting->label, setting->value, setting->random,
                      x, store->channels, store->height, store->width);
}

static int32_t make_cue(modeconn_context *context, const char *name, int64_t range,
                        modeconn_cue_fn draw, void *user, mc_host_cue **out)
{
    mc_host_cue *cue = mc_calloc(context, 1, sizeof(*cue));
    char *copy = mc_strdup(context, name);
    if (cue == NULL || copy == NULL) {
        mc_free(context, copy);
        mc_free(context, cue);
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&cue->ref);
    cue->context = mc_context_take(context);
    cue->name = copy;
    cue->range = range;
    cue->draw = draw;
    cue->user = user;
    cue->row = (mc_cue){
        .name = copy,
        .fits = host_fits,
        .range = host_range,
        .value_of = mc_cue_value_is_label,
        .visible = mc_cue_always_visible,
        .draw = host_draw,
        .host = true,
    };
    *out = cue;
    return MODECONN_OK;
}

mc_host_cue *mc_host_cue_take(mc_host_cue *cue)
{
    if (cue != NULL) {
        mc_ref_take(&cue->ref);
    }
    return cue;
}

void mc_host_cue_drop(mc_host_cue *cue)
{
    if (cue == NULL || !mc_ref_drop(&cue->ref)) {
        return;
    }
    modeconn_context *context = cue->context;
    if (cue->release != NULL) {
        cue->release(cue->user);
    }
    mc_free(context, cue->name);
    mc_free(context, cue);
    mc_context_drop(context);
}
