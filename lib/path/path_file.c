/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths as safetensors files: every block of control point k is an F32 tensor "k.BLOCK" in
 * PyTorch's shape; the metadata say what the path is:
 *
 *   modeconn.format        "path.1"
 *   modeconn.family        "bezier", ...
 *   modeconn.points        "3", the ends included
 *   modeconn.architecture, modeconn.settings   what rebuilds the models (model_file.c)
 *   modeconn.history       record of the last fit, without the column of speeds
 *   modeconn.fit           how it was made, {"settings", "data": [...]}
 *   k.KEY                  metadata KEY of control point k
 */
#include "io/io.h"
#include "path/path.h"
#include <stdio.h>
#include <string.h>

#define PREFIX "modeconn."
#define FORMAT_VERSION "path.1"

enum { OWN_KEYS = 7, NUMBER = 24 };

static int64_t block_count(const modeconn_model *model)
{
    return model->n_blocks_theta + model->n_blocks_stats;
}

/* Parameters come first, then statistics. */
static float *block_values(const modeconn_model *model, int64_t index)
{
    float *vector = index < model->n_blocks_theta ? model->theta : model->statistics;
    return vector + model->blocks[index].offset;
}

/* "k.NAME" in memory of the context. */
static char *numbered(const modeconn_context *context, int64_t k, const char *name)
{
    size_t size = strlen(name) + NUMBER;
    char *text = mc_alloc(context, (int64_t)size, 1);
    if (text != NULL) {
        snprintf(text, size, "%lld.%s", (long long)k, name);
    }
    return text;
}

/* ---- saving ------------------------------------------------------------------------------- */

typedef struct contents {
    const modeconn_context *context;
    mc_tensor *tensors;
    char **names; /* of the tensors, then of the numbered metadata */
    const char **keys, **values;
    int64_t n_tensors, n_names, n_meta;
    char points[NUMBER];
    char *history;
} contents;

static void contents_free(contents *file)
{
    for (int64_t i = 0; i < file->n_names; i++) {
        mc_free(file->context, file->names[i]);
    }
    mc_free(file->context, file->names);
    mc_free(file->context, file->tensors);
    mc_free(file->context, file->keys);
    mc_free(file->context, file->values);
    mc_free(file->context, file->history);
}

static int32_t contents_allocate(contents *file, const modeconn_path *path)
{
    int64_t tensors = path->n_points * block_count(path->points[0]), meta = 0;
    for (int64_t k = 0; k < path->n_points; k++) {
        meta += path->points[k]->n_meta;
    }
    *file = (contents){.context = path->context};
    file->tensors = mc_calloc(path->context, tensors, sizeof(*file->tensors));
    file->names = mc_calloc(path->context, tensors + meta, sizeof(*file->names));
    file->keys = mc_calloc(path->context, OWN_KEYS + meta, sizeof(*file->keys));
    file->values = mc_calloc(path->context, OWN_KEYS + meta, sizeof(*file->values));
    bool failed =
        file->tensors == NULL || file->names == NULL || file->keys == NULL || file->values == NULL;
    return failed ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

static void add_meta(contents *file, const char *key, const char *value)
{
    file->keys[file->n_meta] = key;
    file->values[file->n_meta] = value;
    file->n_meta++;
}

/* Takes `name`, of which there is none where memory ran out. */
static bool add_name(contents *file, char *name)
{
    file->names[file->n_names] = name;
    file->n_names += name != NULL;
    return name != NULL;
}

static int32_t add_point(contents *file, const modeconn_path *path, int64_t k)
{
    const modeconn_model *point = path->points[k];
    for (int64_t i = 0; i < block_count(point); i++) {
        const mc_block *block = &point->blocks[i];
        mc_tensor *tensor = &file->tensors[file->n_tensors];
        char *name = numbered(file->context, k, block->name);
        if (!add_name(file, name)) {
            return MODECONN_ERROR_MEMORY;
        }
        *tensor = (mc_tensor){.name = name,
                              .rank = block->rank,
                              .dtype = "F32",
                              .data = block_values(point, i),
                              .size = block->size};
        memcpy(tensor->shape, block->shape, sizeof(block->shape));
        file->n_tensors++;
    }
    for (int64_t i = 0; i < point->n_meta; i++) {
        char *name = numbered(file->context, k, point->meta_keys[i]);
        if (!add_name(file, name)) {
            return MODECONN_ERROR_MEMORY;
        }
        add_meta(file, name, point->meta_values[i]);
    }
    return MODECONN_OK;
}

static int32_t add_history(contents *file, const modeconn_path *path)
{
    int64_t size = 0;
    modeconn_history *kept = NULL;
    if (path->history == NULL) {
        return MODECONN_OK;
    }
    int32_t status = mc_history_clone_without(path->history, MC_SPEED_COLUMN, &kept);
    if (status == MODECONN_OK) {
        status = modeconn_history_json(kept, NULL, 0, &size);
    }
    if (status == MODECONN_OK) {
        file->history = mc_alloc(file->context, size, 1);
        status = file->history == NULL ? MODECONN_ERROR_MEMORY
                                       : modeconn_history_json(kept, file->history, size, NULL);
    }
    if (status == MODECONN_OK) {
        add_meta(file, PREFIX "history", file->history);
        if (path->fit != NULL) {
            add_meta(file, PREFIX "fit", path->fit);
        }
    }
    modeconn_history_destroy(kept);
    return status;
}

int32_t modeconn_path_save(const modeconn_path *path, const char *file_path)
{
    contents file;
    if (path == NULL || file_path == NULL) {
        return mc_null(path == NULL ? "path" : "file");
    }
    for (int64_t k = 0; k < path->n_points; k++) {
        const modeconn_model *point = path->points[k];
        int32_t finite = mc_model_check_finite(point, point->theta, point->statistics);
        if (finite < 0) {
            return mc_fail_prefix(finite, "not written to %s: control point %lld", file_path,
                                  (long long)k);
        }
    }
    int32_t status = contents_allocate(&file, path);
    if (status == MODECONN_OK) {
        snprintf(file.points, sizeof(file.points), "%lld", (long long)path->n_points);
        add_meta(&file, PREFIX "format", FORMAT_VERSION);
        add_meta(&file, PREFIX "family", path->family->name);
        add_meta(&file, PREFIX "points", file.points);
        add_meta(&file, PREFIX "architecture", path->points[0]->architecture);
        add_meta(&file, PREFIX "settings", path->points[0]->settings);
        status = add_history(&file, path);
    }
    for (int64_t k = 0; status == MODECONN_OK && k < path->n_points; k++) {
        status = add_point(&file, path, k);
    }
    if (status == MODECONN_OK) {
        status = mc_safetensors_write(path->context, file_path, file.tensors, file.n_tensors,
                                      file.keys, file.values, file.n_meta);
    }
    contents_free(&file);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------ */

typedef struct loading {
    modeconn_context *context;
    const char *path; /* of the file */
    mc_safetensors *file;
    const mc_path_family *family;
    modeconn_model *points[MC_PATH_POINTS_MAX];
    int64_t n_points;
} loading;

static int32_t own_key(const loading *load, const char *key, const char **value)
{
    *value = mc_safetensors_meta(load->file, key);
    return *value != NULL
               ? MODECONN_OK
               : mc_fail(MODECONN_ERROR_FORMAT, "%s: metadata \"%s\" is missing", load->path, key);
}

/* Errors about values that came from the file are the file's, not the caller's. */
static int32_t blame_file(const loading *load, int32_t status)
{
    status = status == MODECONN_ERROR_ARGUMENT ? MODECONN_ERROR_FORMAT : status;
    return mc_fail_prefix(status, "%s", load->path);
}

/* Family and number of points, and the first point without its values. */
static int32_t read_description(loading *load)
{
    const char *format = mc_safetensors_meta(load->file, PREFIX "format");
    const char *family = NULL, *points = NULL, *architecture = NULL, *settings = NULL;
    if (format == NULL || strcmp(format, FORMAT_VERSION) != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s is not a saved path: its metadata \"" PREFIX "format\" is %s%s%s",
                       load->path, format == NULL ? "missing" : "\"", format == NULL ? "" : format,
                       format == NULL ? "" : "\"");
    }
    int32_t status = own_key(load, PREFIX "family", &family);
    if (status == MODECONN_OK) {
        status = own_key(load, PREFIX "points", &points);
    }
    if (status == MODECONN_OK) {
        status = own_key(load, PREFIX "architecture", &architecture);
    }
    if (status == MODECONN_OK) {
        status = own_key(load, PREFIX "settings", &settings);
    }
    if (status < 0) {
        return status;
    }
    if (!mc_parse_i64(points, &load->n_points)) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: metadata \"" PREFIX "points\" is \"%s\"",
                       load->path, points);
    }
    status = mc_path_family_find(family, load->n_points, &load->family);
    if (status == MODECONN_OK) {
        status = mc_model_from_settings(load->context, architecture, settings, &load->points[0]);
    }
    return status < 0 ? blame_file(load, status) : MODECONN_OK;
}

static int32_t check_tensor(const loading *load, const mc_block *block, const char *name)
{
    const mc_tensor *tensor = mc_safetensors_find(load->file, name);
    if (tensor == NULL) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "%s: tensor \"%s\" is missing", load->path, name);
    }
    if (tensor->rank != block->rank ||
        memcmp(tensor->shape, block->shape, (size_t)block->rank * sizeof(*block->shape)) != 0) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: tensor \"%s\" has not the shape of block %s",
                       load->path, name, block->name);
    }
    return MODECONN_OK;
}

/* Does `what` with the tensor of block `index` of point k: check its shape, or read it. */
static int32_t visit(const loading *load, int64_t k, int64_t index, bool read)
{
    const mc_block *block = &load->points[0]->blocks[index];
    char *name = numbered(load->context, k, block->name);
    if (name == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = check_tensor(load, block, name);
    if (status == MODECONN_OK && read) {
        status = mc_tensor_to_f32(mc_safetensors_find(load->file, name),
                                  block_values(load->points[k], index));
        status = status < 0 ? blame_file(load, status) : status;
    }
    mc_free(load->context, name);
    return status;
}

/* A tensor for every block of every point and none besides, before memory is taken for them. */
static int32_t check_tensors(const loading *load)
{
    int64_t blocks = block_count(load->points[0]), count = mc_safetensors_count(load->file);
    for (int64_t k = 0; k < load->n_points; k++) {
        for (int64_t i = 0; i < blocks; i++) {
            int32_t status = visit(load, k, i, false);
            if (status < 0) {
                return status;
            }
        }
    }
    if (count != load->n_points * blocks) {
        return mc_fail(MODECONN_ERROR_UNKNOWN,
                       "%s: %lld tensors, %lld control points of %s have %lld", load->path,
                       (long long)count, (long long)load->n_points, load->points[0]->architecture,
                       (long long)(load->n_points * blocks));
    }
    return MODECONN_OK;
}

static int32_t read_points(loading *load)
{
    int32_t status = check_tensors(load);
    if (status == MODECONN_OK) {
        status = mc_model_allocate(load->points[0]);
    }
    for (int64_t k = 0; status == MODECONN_OK && k < load->n_points; k++) {
        if (k > 0) {
            status = mc_model_clone_empty(load->points[0], &load->points[k]);
        }
        for (int64_t i = 0; status == MODECONN_OK && i < block_count(load->points[0]); i++) {
            status = visit(load, k, i, true);
        }
        const modeconn_model *point = load->points[k];
        if (status == MODECONN_OK) {
            status = mc_model_check_finite(point, point->theta, point->statistics);
            if (status < 0) {
                mc_fail_prefix(status, "%s: control point %lld", load->path, (long long)k);
            }
        }
    }
    return status;
}

/* "k.KEY" into the metadata of point k. */
static int32_t read_metadata(const loading *load)
{
    for (int64_t i = 0; i < mc_safetensors_meta_count(load->file); i++) {
        const char *key = NULL, *value = NULL;
        char number[NUMBER];
        int64_t k = 0;
        mc_safetensors_meta_at(load->file, i, &key, &value);
        size_t digits = strcspn(key, ".");
        if (digits == 0 || digits >= sizeof(number) || key[digits] != '.') {
            continue;
        }
        memcpy(number, key, digits);
        number[digits] = '\0';
        if (!mc_parse_i64(number, &k) || k < 0 || k >= load->n_points) {
            continue;
        }
        int32_t status = modeconn_model_set_metadata(load->points[k], key + digits + 1, value);
        if (status < 0) {
            return blame_file(load, status);
        }
    }
    return MODECONN_OK;
}

/* Both stay NULL where the path was not fitted. */
static int32_t read_record(const loading *load, modeconn_history **history, char **fit)
{
    const char *text = mc_safetensors_meta(load->file, PREFIX "history");
    int32_t status = MODECONN_OK;
    if (text != NULL) {
        status = mc_history_from_json(load->context, text, history);
        if (status < 0) {
            return mc_fail_prefix(status, "%s: metadata \"" PREFIX "history\"", load->path);
        }
    }
    text = mc_safetensors_meta(load->file, PREFIX "fit");
    if (text != NULL) {
        json_t *value = json_loads(text, 0, NULL);
        bool object = json_is_object(value);
        json_decref(value);
        if (!object) {
            return mc_fail(MODECONN_ERROR_FORMAT,
                           "%s: metadata \"" PREFIX "fit\" is no JSON object", load->path);
        }
        *fit = mc_strdup(load->context, text);
        status = *fit != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
    }
    return status;
}

static int32_t make_path(const loading *load, modeconn_path **out)
{
    modeconn_history *history = NULL;
    char *fit = NULL;
    int32_t status = read_record(load, &history, &fit);
    const modeconn_model *points[MC_PATH_POINTS_MAX];
    for (int64_t k = 0; k < load->n_points; k++) {
        points[k] = load->points[k];
    }
    if (status == MODECONN_OK) {
        status = mc_path_create(load->family, points, load->n_points, MC_NAMES_ALL, out);
    }
    if (status < 0) {
        modeconn_history_destroy(history);
        mc_free(load->context, fit);
        return status;
    }
    mc_path_set_record(*out, history, fit);
    return MODECONN_OK;
}

int32_t modeconn_path_load(modeconn_context *context, const char *file_path, modeconn_path **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL || file_path == NULL) {
        return mc_null(context == NULL ? "context" : "file");
    }
    loading load = {.context = context, .path = file_path};
    int32_t status = mc_safetensors_read(context, file_path, &load.file);
    if (status < 0) {
        return status;
    }
    status = read_description(&load);
    if (status == MODECONN_OK) {
        status = read_points(&load);
    }
    if (status == MODECONN_OK) {
        status = read_metadata(&load);
    }
    if (status == MODECONN_OK) {
        status = make_path(&load, out);
    }
    for (int64_t k = 0; k < MC_PATH_POINTS_MAX; k++) {
        modeconn_model_destroy(load.points[k]);
    }
    mc_safetensors_free(load.file);
    return status;
}
