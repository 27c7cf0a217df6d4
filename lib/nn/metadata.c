/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a model says about itself: metadata (text under keys) and its description as JSON.
 */
#include "io/io.h"
#include "nn/graph.h"
#include <stdio.h>
#include <string.h>

static int64_t find_key(const modeconn_model *model, const char *key)
{
    for (int64_t i = 0; i < model->n_meta; i++) {
        if (strcmp(model->meta_keys[i], key) == 0) {
            return i;
        }
    }
    return -1;
}

static void remove_at(modeconn_model *model, int64_t at)
{
    mc_free(model->context, model->meta_keys[at]);
    mc_free(model->context, model->meta_values[at]);
    model->n_meta--;
    for (int64_t i = at; i < model->n_meta; i++) {
        model->meta_keys[i] = model->meta_keys[i + 1];
        model->meta_values[i] = model->meta_values[i + 1];
    }
}

/* Appends owned strings, growing both arrays by one: metadata is a handful of short texts. */
static int32_t append(modeconn_model *model, char *key, char *value)
{
    const modeconn_context *context = model->context;
    char **keys = mc_calloc(context, model->n_meta + 1, sizeof *keys);
    char **values = mc_calloc(context, model->n_meta + 1, sizeof *values);
    if (keys == NULL || values == NULL) {
        mc_free(context, keys);
        mc_free(context, values);
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < model->n_meta; i++) {
        keys[i] = model->meta_keys[i];
        values[i] = model->meta_values[i];
    }
    keys[model->n_meta] = key;
    values[model->n_meta] = value;
    mc_free(context, model->meta_keys);
    mc_free(context, model->meta_values);
    model->meta_keys = keys;
    model->meta_values = values;
    model->n_meta++;
    return MODECONN_OK;
}

int32_t modeconn_model_set_metadata(modeconn_model *model, const char *key, const char *value)
{
    if (model == NULL || key == NULL) {
        return mc_null(model == NULL ? "model" : "key");
    }
    if (key[0] == '\0' || strncmp(key, "modeconn.", strlen("modeconn.")) == 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "metadata key \"%s\": keys are not empty and \"modeconn.\" is reserved",
                       key);
    }
    if (!mc_utf8_valid(key) || (value != NULL && !mc_utf8_valid(value))) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "metadata key \"%s\": the %s is not UTF-8, as it must be in a file", key,
                       mc_utf8_valid(key) ? "value" : "key");
    }
    int64_t at = find_key(model, key);
    if (value == NULL) {
        if (at >= 0) {
            remove_at(model, at);
        }
        return MODECONN_OK;
    }
    char *own_value = mc_strdup(model->context, value);
    if (own_value == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    if (at >= 0) {
        mc_free(model->context, model->meta_values[at]);
        model->meta_values[at] = own_value;
        return MODECONN_OK;
    }
    char *own_key = mc_strdup(model->context, key);
    if (own_key == NULL || append(model, own_key, own_value) < 0) {
        mc_free(model->context, own_key);
        mc_free(model->context, own_value);
        return MODECONN_ERROR_MEMORY;
    }
    return MODECONN_OK;
}

int32_t modeconn_model_get_metadata(const modeconn_model *model, const char *key,
                                    const char **value)
{
    if (model == NULL || key == NULL || value == NULL) {
        return mc_null(model == NULL ? "model" : key == NULL ? "key" : "value");
    }
    int64_t at = find_key(model, key);
    if (at < 0) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "the model has no metadata \"%s\"", key);
    }
    *value = model->meta_values[at];
    return MODECONN_OK;
}

/* Settings of a graph are JSON, those of an architecture "key=value,..." text. */
static json_t *settings_value(const modeconn_model *model)
{
    json_t *value = json_loads(model->settings, 0, NULL);
    return value != NULL ? value : json_string(model->settings);
}

/* NULL where memory has run out. */
static json_t *metadata_value(const modeconn_model *model)
{
    json_t *metadata = json_object();
    for (int64_t i = 0; i < model->n_meta; i++) {
        if (json_object_set_new(metadata, model->meta_keys[i],
                                json_string(model->meta_values[i])) != 0) {
            json_decref(metadata);
            return NULL;
        }
    }
    return metadata;
}

int32_t modeconn_model_describe(const modeconn_model *model, char *buffer, int64_t capacity,
                                int64_t *needed)
{
    if (model == NULL) {
        return mc_null("model");
    }
    json_t *root =
        json_pack("{s:s, s:o, s:[I,I,I], s:I, s:I, s:I, s:o}", "architecture", model->architecture,
                  "settings", settings_value(model), "input", (json_int_t)model->channels,
                  (json_int_t)model->height, (json_int_t)model->width, "classes",
                  (json_int_t)model->classes, "parameters", (json_int_t)model->n_theta,
                  "statistics", (json_int_t)model->n_stats, "metadata", metadata_value(model));
    return mc_json_out(root, buffer, capacity, needed);
}
