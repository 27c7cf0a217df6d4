/* SPDX-License-Identifier: BSD-3-Clause
 *
 * model_file: models as safetensors files. Parameters and statistics are F32 tensors under their
 * blocks' names, in PyTorch's shapes; the metadata say what the model is:
 *
 *   modeconn.format        "1"
 *   modeconn.version       of the library that wrote it, "0.1.0"
 *   modeconn.architecture  "vgg13", ..., "graph"
 *   modeconn.settings      what rebuilds it, "width=0.25,..."
 *   modeconn.input         "1x28x28", channels x height x width
 *   modeconn.classes       "10"
 *   modeconn.history       as modeconn_history_json() writes it, without the column of speeds: the
 *                          same run gives the same file, byte for byte
 *
 * beside the user's own keys. A file without them loads with the architecture given.
 */
#include "io/io.h"
#include "nn/nn.h"

#include <modeconn/dataset.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "modeconn."
#define FORMAT_VERSION "1"

/* PyTorch's counter of batches, an I64 beside each batch norm's statistics. */
#define IGNORED_SUFFIX "num_batches_tracked"

/* What PyTorch's wrappers put before every name: DataParallel, torch.compile. */
static const char *const wrappers[] = {"module.", "_orig_mod."};

/* Metadata key of a model that was loaded without them. */
#define REMOVED_PREFIX "removed_prefix"

/* ---- saving -------------------------------------------------------------------------------- */

enum { OWN_KEYS = 7, NUMBER_CAPACITY = 80, PREFIX_CAPACITY = 64 };

/* The metadata of a file to be written. */
typedef struct metadata {
    const modeconn_context *context;
    char version[NUMBER_CAPACITY], input[NUMBER_CAPACITY], classes[NUMBER_CAPACITY];
    char *history;
    const char **keys, **values;
    int64_t n;
} metadata;

static void metadata_add(metadata *meta, const char *key, const char *value)
{
    meta->keys[meta->n] = key;
    meta->values[meta->n] = value;
    meta->n++;
}

static int32_t history_text(const modeconn_model *model, char **text)
{
    int64_t size = 0;
    modeconn_history *kept = NULL;
    int32_t status = mc_history_clone_without(model->history, MC_SPEED_COLUMN, &kept);
    if (status == MODECONN_OK) {
        status = modeconn_history_json(kept, NULL, 0, &size);
    }
    if (status == MODECONN_OK) {
        *text = mc_alloc(model->context, size, 1);
        status =
            *text == NULL ? MODECONN_ERROR_MEMORY : modeconn_history_json(kept, *text, size, NULL);
    }
    modeconn_history_destroy(kept);
    return status;
}

static void metadata_free(metadata *meta)
{
    mc_free(meta->context, meta->history);
    mc_free(meta->context, meta->keys);
    mc_free(meta->context, meta->values);
}

static int32_t metadata_init(metadata *meta, const modeconn_model *model)
{
    *meta = (metadata){.context = model->context};
    meta->keys = mc_alloc(model->context, OWN_KEYS + model->n_meta, sizeof(*meta->keys));
    meta->values = mc_alloc(model->context, OWN_KEYS + model->n_meta, sizeof(*meta->values));
    if (meta->keys == NULL || meta->values == NULL) {
        metadata_free(meta);
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = history_text(model, &meta->history);
    if (status < 0) {
        metadata_free(meta);
        return status;
    }
    snprintf(meta->version, sizeof(meta->version), "%d.%d.%d", MODECONN_VERSION_MAJOR,
             MODECONN_VERSION_MINOR, MODECONN_VERSION_PATCH);
    snprintf(meta->input, sizeof(meta->input), "%lldx%lldx%lld", (long long)model->channels,
             (long long)model->height, (long long)model->width);
    snprintf(meta->classes, sizeof(meta->classes), "%lld", (long long)model->classes);
    metadata_add(meta, PREFIX "format", FORMAT_VERSION);
    metadata_add(meta, PREFIX "version", meta->version);
    metadata_add(meta, PREFIX "architecture", model->architecture);
    metadata_add(meta, PREFIX "settings", model->settings);
    metadata_add(meta, PREFIX "input", meta->input);
    metadata_add(meta, PREFIX "classes", meta->classes);
    metadata_add(meta, PREFIX "history", meta->history);
    for (int64_t i = 0; i < model->n_meta; i++) {
        metadata_add(meta, model->meta_keys[i], model->meta_values[i]);
    }
    return MODECONN_OK;
}

/* Where block `index` has its values: parameters come first, then statistics. */
static float *block_values(const modeconn_model *model, int64_t index)
{
    float *vector = index < model->n_blocks_theta ? model->theta : model->statistics;
    return vector + model->blocks[index].offset;
}

static int64_t block_count(const modeconn_model *model)
{
    return model->n_blocks_theta + model->n_blocks_stats;
}

int32_t modeconn_model_save(const modeconn_model *model, const char *path)
{
    if (model == NULL) {
        return mc_null("model");
    }
    if (path == NULL) {
        return mc_null("path");
    }
    int64_t n = block_count(model);
    metadata meta;
    int32_t status = mc_model_check_finite(model, model->theta, model->statistics);
    if (status < 0) {
        return mc_fail_prefix(status, "not written to %s", path);
    }
    status = metadata_init(&meta, model);
    if (status < 0) {
        return status;
    }
    mc_tensor *tensors = mc_calloc(model->context, n, sizeof(*tensors));
    if (tensors == NULL) {
        metadata_free(&meta);
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < n; i++) {
        const mc_block *block = &model->blocks[i];
        mc_tensor *tensor = &tensors[i];
        tensor->name = block->name;
        tensor->rank = block->rank;
        memcpy(tensor->shape, block->shape, sizeof(block->shape));
        tensor->dtype = "F32";
        tensor->data = block_values(model, i);
        tensor->size = block->size;
    }
    status = mc_safetensors_write(model->context, path, tensors, n, meta.keys, meta.values, meta.n);
    mc_free(model->context, tensors);
    metadata_free(&meta);
    return status;
}

/* ---- tensors of a file into a model -------------------------------------------------------- */

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static bool has_prefix(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* "[64, 3, 3, 3]" */
static void shape_text(int32_t rank, const int64_t *shape, char *text, size_t capacity)
{
    size_t used = (size_t)snprintf(text, capacity, "[");
    for (int32_t i = 0; i < rank; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s%lld", i == 0 ? "" : ", ",
                                 (long long)shape[i]);
    }
    snprintf(text + used, capacity - used, "]");
}

static int32_t check_block(const mc_block *block, const mc_safetensors *file, const char *path)
{
    const mc_tensor *tensor = mc_safetensors_find(file, block->name);
    if (tensor == NULL) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "%s: tensor \"%s\" is missing", path, block->name);
    }
    if (tensor->rank != block->rank ||
        memcmp(tensor->shape, block->shape, (size_t)block->rank * sizeof(*block->shape)) != 0) {
        char found[200], wanted[200]; /* eight numbers of at most 19 digits fit */
        shape_text(tensor->rank, tensor->shape, found, sizeof(found));
        shape_text(block->rank, block->shape, wanted, sizeof(wanted));
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: tensor \"%s\" has the shape %s, not %s", path,
                       block->name, found, wanted);
    }
    return MODECONN_OK;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *first = a, *const *second = b;
    return strcmp(*first, *second);
}

static bool is_expected(const char *const *names, int64_t n, const char *name)
{
    return ends_with(name, IGNORED_SUFFIX) ||
           bsearch(&name, names, (size_t)n, sizeof(*names), compare_names) != NULL;
}

/* No tensor but the blocks' and ignored ones; both may be many. */
static int32_t check_names(const modeconn_model *model, const mc_safetensors *file,
                           const char *path)
{
    int64_t n = block_count(model);
    const char **names = mc_alloc(model->context, n, sizeof(*names));
    int32_t status = names == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t i = 0; i < n && status == MODECONN_OK; i++) {
        names[i] = model->blocks[i].name;
    }
    if (status == MODECONN_OK) {
        qsort(names, (size_t)n, sizeof(*names), compare_names);
    }
    for (int64_t i = 0; i < mc_safetensors_count(file) && status == MODECONN_OK; i++) {
        const char *name = mc_safetensors_at(file, i)->name;
        if (!is_expected(names, n, name)) {
            status = mc_fail(MODECONN_ERROR_UNKNOWN,
                             "%s: tensor \"%s\" does not belong to a model of architecture %s",
                             path, name, model->architecture);
        }
    }
    mc_free(model->context, names);
    return status;
}

/* A tensor of the right shape for every block, and none left over. */
static int32_t check_tensors(const modeconn_model *model, const mc_safetensors *file,
                             const char *path)
{
    int32_t status = check_names(model, file, path);
    for (int64_t i = 0; i < block_count(model) && status == MODECONN_OK; i++) {
        status = check_block(&model->blocks[i], file, path);
    }
    return status;
}

/* Every block from its tensor. Memory is taken only when the file is known to hold as much. */
static int32_t fill_model(modeconn_model *model, const mc_safetensors *file, const char *path)
{
    int32_t status = check_tensors(model, file, path);
    if (status < 0) {
        return status;
    }
    status = mc_model_allocate(model);
    for (int64_t i = 0; status == MODECONN_OK && i < block_count(model); i++) {
        const mc_tensor *tensor = mc_safetensors_find(file, model->blocks[i].name);
        status = mc_tensor_to_f32(tensor, block_values(model, i));
    }
    if (status == MODECONN_OK) {
        status = mc_model_check_finite(model, model->theta, model->statistics);
    }
    return status < 0 ? mc_fail_prefix(status, "%s", path) : MODECONN_OK;
}

/* The user's keys and the history. What others wrote may have an empty key, which no model has: it
 * is left out. */
static int32_t fill_provenance(modeconn_model *model, const mc_safetensors *file, const char *path)
{
    for (int64_t i = 0; i < mc_safetensors_meta_count(file); i++) {
        const char *key = NULL, *value = NULL;
        mc_safetensors_meta_at(file, i, &key, &value);
        int32_t status = key[0] == '\0' || has_prefix(key, PREFIX)
                             ? MODECONN_OK
                             : modeconn_model_set_metadata(model, key, value);
        if (status < 0) {
            status = status == MODECONN_ERROR_ARGUMENT ? MODECONN_ERROR_FORMAT : status;
            return mc_fail_prefix(status, "%s: metadata \"%s\"", path, key);
        }
    }
    const char *text = mc_safetensors_meta(file, PREFIX "history");
    if (text != NULL) {
        modeconn_history *history = NULL;
        int32_t status = mc_history_from_json(model->context, text, &history);
        if (status < 0) {
            return mc_fail_prefix(status, "%s: metadata \"" PREFIX "history\"", path);
        }
        mc_model_set_history(model, history);
    }
    return MODECONN_OK;
}

/* ---- loading ------------------------------------------------------------------------------- */

/* One of our keys; MODECONN_ERROR_FORMAT names the one that is not there. */
static int32_t own_key(const mc_safetensors *file, const char *path, const char *key,
                       const char **value)
{
    *value = mc_safetensors_meta(file, key);
    return *value != NULL
               ? MODECONN_OK
               : mc_fail(MODECONN_ERROR_FORMAT, "%s: metadata \"%s\" is missing", path, key);
}

static int32_t check_format(const mc_safetensors *file, const char *path)
{
    const char *format = mc_safetensors_meta(file, PREFIX "format");
    if (format == NULL) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: no modeconn metadata, so its architecture is unknown; name it with "
                       "modeconn_model_load_as(), or --arch on the command line",
                       path);
    }
    if (strspn(format, "0123456789") == 0) { /* such as a path's */
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s is not a saved model: its metadata \"" PREFIX "format\" is \"%s\"", path,
                       format);
    }
    if (strcmp(format, FORMAT_VERSION) != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: metadata \"" PREFIX "format\" is \"%s\"; this version reads "
                       "\"" FORMAT_VERSION "\"",
                       path, format);
    }
    return MODECONN_OK;
}

/* What the metadata say beside the settings must be what the settings build. */
static int32_t check_claims(const modeconn_model *model, const char *path, const char *input,
                            const char *classes)
{
    char built[NUMBER_CAPACITY];
    snprintf(built, sizeof(built), "%lldx%lldx%lld", (long long)model->channels,
             (long long)model->height, (long long)model->width);
    if (strcmp(built, input) != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: metadata \"" PREFIX "input\" is \"%s\", but its settings make %s", path,
                       input, built);
    }
    snprintf(built, sizeof(built), "%lld", (long long)model->classes);
    if (strcmp(built, classes) != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: metadata \"" PREFIX "classes\" is \"%s\", but its settings make %s",
                       path, classes, built);
    }
    return MODECONN_OK;
}

/* Builds the model that the metadata describe, its values not yet set. */
static int32_t build_described(modeconn_context *context, const mc_safetensors *file,
                               const char *path, modeconn_model **model)
{
    const char *architecture = NULL, *settings = NULL, *input = NULL, *classes = NULL;
    int32_t status = check_format(file, path);
    if (status == MODECONN_OK) {
        status = own_key(file, path, PREFIX "architecture", &architecture);
    }
    if (status == MODECONN_OK) {
        status = own_key(file, path, PREFIX "settings", &settings);
    }
    if (status == MODECONN_OK) {
        status = own_key(file, path, PREFIX "input", &input);
    }
    if (status == MODECONN_OK) {
        status = own_key(file, path, PREFIX "classes", &classes);
    }
    if (status < 0) {
        return status;
    }
    status = mc_model_from_settings(context, architecture, settings, model);
    if (status < 0) {
        /* The arguments came from the file, not from the caller. */
        status = status == MODECONN_ERROR_ARGUMENT ? MODECONN_ERROR_FORMAT : status;
        return mc_fail_prefix(status, "%s: its metadata", path);
    }
    return check_claims(*model, path, input, classes);
}

static bool find_shape(void *user, const char *name, int32_t *rank, int64_t shape[4])
{
    const mc_tensor *tensor = mc_safetensors_find(user, name);
    if (tensor == NULL || tensor->rank > 4) {
        return false;
    }
    *rank = tensor->rank;
    for (int32_t i = 0; i < 4; i++) {
        shape[i] = i < tensor->rank ? tensor->shape[i] : 1;
    }
    return true;
}

/* Takes over `model` and the file: fills the one from the other and hands it out, or destroys it
 * where `status` or the filling failed. */
static int32_t finish(int32_t status, modeconn_model *model, mc_safetensors *file, const char *path,
                      modeconn_model **out)
{
    if (status == MODECONN_OK) {
        status = fill_model(model, file, path);
    }
    if (status == MODECONN_OK) {
        status = fill_provenance(model, file, path);
    }
    mc_safetensors_free(file);
    if (status < 0) {
        modeconn_model_destroy(model);
        return status;
    }
    *out = model;
    return MODECONN_OK;
}

int32_t modeconn_model_load(modeconn_context *context, const char *path, modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL) {
        return mc_null("context");
    }
    if (path == NULL) {
        return mc_null("path");
    }
    mc_safetensors *file = NULL;
    modeconn_model *model = NULL;
    int32_t status = mc_safetensors_read(context, path, &file);
    if (status < 0) {
        return status;
    }
    status = build_described(context, file, path, &model);
    return finish(status, model, file, path, out);
}

/* Takes the wrappers' prefixes off every name, and tells in `removed` what they were together. */
static void unwrap(mc_safetensors *file, char *removed, size_t capacity)
{
    size_t used = 0;
    bool found = true; /* one wrapper may hold another */
    removed[0] = '\0';
    while (found) {
        found = false;
        for (size_t i = 0; i < sizeof(wrappers) / sizeof(wrappers[0]); i++) {
            size_t length = strlen(wrappers[i]);
            if (used + length < capacity && mc_safetensors_strip(file, wrappers[i])) {
                memcpy(removed + used, wrappers[i], length + 1);
                used += length;
                found = true;
            }
        }
    }
}

int32_t modeconn_model_load_as(modeconn_context *context, const char *path, const char *arch,
                               const modeconn_dataset *like, modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL) {
        return mc_null("context");
    }
    if (path == NULL) {
        return mc_null("path");
    }
    if (arch == NULL) {
        return mc_null("arch");
    }
    if (like == NULL) {
        return mc_null("like");
    }
    int64_t height = 0, width = 0;
    int32_t status = modeconn_dataset_shape(like, NULL, NULL, &height, &width, NULL);
    if (status < 0) {
        return status;
    }
    mc_safetensors *file = NULL;
    modeconn_model *model = NULL;
    status = mc_safetensors_read(context, path, &file);
    if (status < 0) {
        return status;
    }
    char removed[PREFIX_CAPACITY];
    unwrap(file, removed, sizeof(removed));
    status = mc_model_from_shapes(context, arch, find_shape, file, height, width, &model);
    if (status < 0) {
        /* A size out of range came from a shape in the file, not from the caller. */
        status = status == MODECONN_ERROR_ARGUMENT ? MODECONN_ERROR_SHAPE : status;
        mc_fail_prefix(status, "%s", path);
    }
    status = finish(status, model, file, path, out);
    if (status == MODECONN_OK && removed[0] != '\0') {
        status = modeconn_model_set_metadata(*out, REMOVED_PREFIX, removed);
        if (status < 0) {
            modeconn_model_destroy(*out);
            *out = NULL;
            return status;
        }
        mc_log(context, "%s: took \"%s\" off every tensor's name", path, removed);
    }
    return status;
}
