/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The dataset handle: opening, shape, views by name, description. A handle is a list of samples
 * of a store with a view; subset.c makes others of it, views.c reads through it.
 */
#include "data.h"
#include <inttypes.h>
#include <math.h>

static const mc_option_spec dataset_specs[] = {
    MC_OPT_STR("cue", "none|box|domino", "none", "cue that the views of the dataset draw"),
    MC_OPT_STR("view", NULL, "nocue",
               "view to see the samples through: nocue, cue, randcue, randimg, rand<attribute>"),
    MC_OPT_F64("cue_proportion", 0, 1, "1", "share of each class that carries the cue in view cue"),
    MC_OPT_I64("limit", 0, 9007199254740992.0, "0", "at most the first so many samples; 0 = all"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the random views; -1 = the context's"),
    MC_OPT_STR("labels", "fine|coarse", "fine", "cifar100: its 100 fine or 20 coarse labels"),
    MC_OPT_I64("crop", 0, 1024, "0",
               "training passes: random crop after padding with so many black pixels a side"),
    MC_OPT_BOOL("flip", "0", "1: training passes flip an image left to right with probability 1/2"),
};
const mc_option_kind mc_kind_dataset = MC_OPTION_KIND("dataset", dataset_specs);

int32_t modeconn_dataset_open(modeconn_context *context, const char *spec, const char *split,
                              const modeconn_options *options, modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL) {
        return mc_null("context");
    }
    if (spec == NULL) {
        return mc_null("spec");
    }
    if (split == NULL) {
        return mc_null("split");
    }
    int32_t status = mc_options_check(options, &mc_kind_dataset);
    if (status < 0) {
        return status;
    }
    mc_store *store = NULL;
    status = mc_reader_open(context, spec, split, options, &store);
    if (status < 0) {
        return status;
    }
    status = mc_dataset_from_store(store, options, out);
    mc_store_drop(store);
    return status;
}

void modeconn_dataset_destroy(modeconn_dataset *dataset)
{
    if (dataset == NULL || !mc_ref_drop(&dataset->ref)) {
        return;
    }
    mc_store *store = dataset->store;
    mc_attribute_drop(dataset->attributes);
    mc_host_cue_drop(dataset->host_cue);
    mc_free(store->context, dataset->carries);
    mc_free(store->context, dataset->index);
    mc_free(store->context, dataset);
    mc_store_drop(store);
}

int32_t modeconn_dataset_view(const modeconn_dataset *dataset, const char *view, double proportion,
                              modeconn_dataset **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    if (view == NULL) {
        return mc_null("view");
    }
    mc_view which = MC_VIEW_NOCUE;
    int32_t status = mc_view_find(dataset, view, &which);
    if (status < 0) {
        return status;
    }
    if (which == MC_VIEW_NOCUE || which == MC_VIEW_RANDCUE) {
        proportion = dataset->proportion;
    } else if (!(proportion >= 0.0 && proportion <= 1.0)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "proportion is %g, expected 0 to 1", proportion);
    }
    return mc_dataset_make(dataset, which, proportion, dataset->index, dataset->n, out);
}

int32_t modeconn_dataset_shape(const modeconn_dataset *dataset, int64_t *n, int64_t *channels,
                               int64_t *height, int64_t *width, int64_t *classes)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    const mc_store *store = dataset->store;
    const struct {
        int64_t *to;
        int64_t value;
    } outputs[] = {{n, dataset->n},
                   {channels, store->channels},
                   {height, store->height},
                   {width, store->width},
                   {classes, store->classes}};
    for (size_t i = 0; i < sizeof(outputs) / sizeof(outputs[0]); i++) {
        if (outputs[i].to != NULL) {
            *outputs[i].to = outputs[i].value;
        }
    }
    return MODECONN_OK;
}

int32_t modeconn_dataset_view_count(const modeconn_dataset *dataset, int64_t *count)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    if (count == NULL) {
        return mc_null("count");
    }
    *count = mc_view_count(dataset);
    return MODECONN_OK;
}

int32_t modeconn_dataset_view_name(const modeconn_dataset *dataset, int64_t index,
                                   const char **name)
{
    if (name == NULL) {
        return mc_null("name");
    }
    int64_t count = 0;
    int32_t status = modeconn_dataset_view_count(dataset, &count);
    if (status < 0) {
        return status;
    }
    if (index < 0 || index >= count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "view %lld, expected 0..%lld", (long long)index,
                       (long long)(count - 1));
    }
    *name = mc_view_name(dataset, mc_view_at(dataset, index));
    return MODECONN_OK;
}

/* Attributes in the order of the views that randomise them: cue and image, then the others. */
static int64_t attribute_count(const modeconn_dataset *dataset)
{
    return (dataset->cue == NULL ? 0 : 2) + mc_attribute_count(dataset->attributes);
}

static const char *attribute_name(const modeconn_dataset *dataset, int64_t index)
{
    static const char *const cued[] = {"cue", "image"};
    if (dataset->cue != NULL && index < 2) {
        return cued[index];
    }
    int64_t own = index - (dataset->cue == NULL ? 0 : 2);
    return mc_attribute_at(dataset->attributes, own)->name;
}

int32_t modeconn_dataset_attribute_count(const modeconn_dataset *dataset, int64_t *count)
{
    if (dataset == NULL || count == NULL) {
        return mc_null(dataset == NULL ? "dataset" : "count");
    }
    *count = attribute_count(dataset);
    return MODECONN_OK;
}

int32_t modeconn_dataset_attribute(const modeconn_dataset *dataset, int64_t index,
                                   const char **name, const char **view)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    int64_t count = attribute_count(dataset);
    if (index < 0 || index >= count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "attribute %lld: the dataset has %lld",
                       (long long)index, (long long)count);
    }
    if (name != NULL) {
        *name = attribute_name(dataset, index);
    }
    if (view != NULL) {
        int64_t first = mc_view_count(dataset) - count; /* of the views that randomise */
        *view = mc_view_name(dataset, mc_view_at(dataset, first + index));
    }
    return MODECONN_OK;
}

/* What modeconn_dataset_describe() gives. */
static void describe(const modeconn_dataset *dataset, const modeconn_context *context,
                     mc_text *text)
{
    const mc_store *store = dataset->store;
    mc_text_init(text, context);
    mc_text_add(text, "{\"source\": ");
    mc_text_add_json(text, store->source);
    mc_text_add(text, ", \"split\": ");
    mc_text_add_json(text, store->split);
    mc_text_add(text, ", \"n\": %lld, \"shape\": [%lld, %lld, %lld], \"classes\": %lld",
                (long long)dataset->n, (long long)store->channels, (long long)store->height,
                (long long)store->width, (long long)store->classes);
    mc_text_add(text, ", \"cue\": ");
    mc_text_add_json(text, dataset->cue == NULL ? "none" : dataset->cue->name);
    mc_text_add(text,
                ", \"view\": \"%s\", \"cue_proportion\": ", mc_view_name(dataset, dataset->view));
    if (dataset->cue != NULL && dataset->view != MC_VIEW_NOCUE &&
        dataset->view != MC_VIEW_RANDCUE) {
        mc_text_add_f64(text, dataset->proportion);
    } else {
        mc_text_add(text, "null");
    }
    mc_text_add(text, ", \"seed\": %" PRIu64 ", \"attributes\": [", dataset->seed);
    for (int64_t i = 0; i < attribute_count(dataset); i++) {
        mc_text_add(text, "%s\"%s\"", i == 0 ? "" : ", ", attribute_name(dataset, i));
    }
    mc_text_add(text, "], \"crop\": %lld, \"flip\": %s}", (long long)dataset->crop,
                dataset->flip ? "true" : "false");
}

int32_t modeconn_dataset_describe(const modeconn_dataset *dataset, char *buffer, int64_t capacity,
                                  int64_t *needed)
{
    if (dataset == NULL) {
        return mc_null("dataset");
    }
    mc_text text;
    describe(dataset, dataset->store->context, &text);
    return mc_text_finish(&text, buffer, capacity, needed);
}

int32_t mc_dataset_describe(const modeconn_dataset *dataset, const modeconn_context *context,
                            char **out)
{
    mc_text text;
    describe(dataset, context, &text);
    *out = mc_text_take(&text);
    return *out != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

/* Marks the first trunc(n_c * p) samples of each class c, in the handle's order. */
static int32_t mark_carriers(modeconn_dataset *dataset)
{
    const mc_store *store = dataset->store;
    int64_t classes = store->classes;
    int64_t *left = mc_calloc(store->context, classes, sizeof(*left));
    if (left == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < dataset->n; i++) {
        left[store->labels[dataset->index[i]]]++;
    }
    for (int64_t c = 0; c < classes; c++) {
        left[c] = (int64_t)trunc((double)left[c] * dataset->proportion);
    }
    for (int64_t i = 0; i < dataset->n; i++) {
        int64_t *of_class = &left[store->labels[dataset->index[i]]];
        dataset->carries[i] = *of_class > 0;
        *of_class -= *of_class > 0;
    }
    mc_free(store->context, left);
    return MODECONN_OK;
}

/* A handle with all that it shares with `like`, its lists not filled. */
static modeconn_dataset *make_like(const modeconn_dataset *like, int64_t n)
{
    const modeconn_context *context = like->store->context;
    modeconn_dataset *dataset = mc_calloc(context, 1, sizeof(*dataset));
    if (dataset == NULL) {
        return NULL;
    }
    mc_ref_init(&dataset->ref);
    dataset->store = mc_store_take(like->store);
    dataset->cue = like->cue;
    dataset->host_cue = mc_host_cue_take(like->host_cue);
    dataset->attributes = mc_attribute_take(like->attributes);
    dataset->seed = like->seed;
    dataset->crop = like->crop;
    dataset->flip = like->flip;
    dataset->n = n;
    dataset->index = mc_alloc(context, n, sizeof(*dataset->index));
    dataset->carries = mc_calloc(context, n, sizeof(*dataset->carries));
    if (dataset->index == NULL || dataset->carries == NULL) {
        modeconn_dataset_destroy(dataset);
        return NULL;
    }
    return dataset;
}

int32_t mc_dataset_make(const modeconn_dataset *like, mc_view view, double proportion,
                        const int64_t *index, int64_t n, modeconn_dataset **out)
{
    *out = NULL;
    int32_t status = like->cue == NULL ? MODECONN_OK : like->cue->fits(like->cue, like->store);
    if (status < 0) {
        return status;
    }
    modeconn_dataset *dataset = make_like(like, n);
    if (dataset == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    dataset->view = view;
    dataset->proportion = proportion;
    for (int64_t i = 0; i < n; i++) {
        dataset->index[i] = index == NULL ? i : index[i];
    }
    if (dataset->cue != NULL) {
        status = mark_carriers(dataset);
        if (status < 0) {
            modeconn_dataset_destroy(dataset);
            return status;
        }
    }
    *out = dataset;
    return MODECONN_OK;
}

int32_t mc_dataset_from_store(mc_store *store, const modeconn_options *options,
                              modeconn_dataset **out)
{
    *out = NULL;
    modeconn_dataset like = {.store = store, .attributes = store->attributes};
    int32_t status = mc_cue_find(mc_option_str(options, &mc_kind_dataset, "cue"), store, &like.cue);
    if (status < 0) {
        return status;
    }
    mc_view view = MC_VIEW_NOCUE;
    status = mc_view_find(&like, mc_option_str(options, &mc_kind_dataset, "view"), &view);
    if (status < 0) {
        return status;
    }
    int64_t limit = mc_option_i64(options, &mc_kind_dataset, "limit");
    int64_t n = limit > 0 && limit < store->n ? limit : store->n;
    like.seed = mc_seed(store->context, mc_option_i64(options, &mc_kind_dataset, "seed"));
    like.crop = mc_option_i64(options, &mc_kind_dataset, "crop");
    like.flip = mc_option_i64(options, &mc_kind_dataset, "flip") != 0;
    return mc_dataset_make(&like, view, mc_option_f64(options, &mc_kind_dataset, "cue_proportion"),
                           NULL, n, out);
}

modeconn_dataset *mc_dataset_take(const modeconn_dataset *dataset)
{
    modeconn_dataset *taken = (modeconn_dataset *)dataset;
    mc_ref_take(&taken->ref);
    return taken;
}
