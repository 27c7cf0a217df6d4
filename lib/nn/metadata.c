/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a model says about itself: metadata (text under keys) and its description as JSON.
 */
#include "io/io.h"
#include "nn/graph.h"
#include <stdio.h>
#include <string.h>

/* ---- finding a key --------------------------------------------------------------------------
 *
 * Keys come from files, any number of them: model->meta_slots is a table of 1 + the key's place, 0
 * where it is free, searched from the key's hash on. The hash is keyed by the model's address, so
 * that a file cannot be written to collide.
 */

/* The slot that holds the key, or the free one where it would go. The table is never full. */
static int64_t *slot_of(const modeconn_model *model, const char *key)
{
    uint64_t mask = (uint64_t)model->meta_slot_count - 1,
             at = mc_hash_keyed((uintptr_t)model, key) & mask;
    while (model->meta_slots[at] != 0 &&
           strcmp(model->meta_keys[model->meta_slots[at] - 1], key) != 0) {
        at = (at + 1) & mask;
    }
    return &model->meta_slots[at];
}

static int64_t find_key(const modeconn_model *model, const char *key)
{
    return model->n_meta == 0 ? -1 : *slot_of(model, key) - 1;
}

static void fill_slots(modeconn_model *model)
{
    memset(model->meta_slots, 0, (size_t)model->meta_slot_count * sizeof *model->meta_slots);
    for (int64_t i = 0; i < model->n_meta; i++) {
        *slot_of(model, model->meta_keys[i]) = i + 1;
    }
}

/* ---- keys and values ------------------------------------------------------------------------- */

static void remove_at(modeconn_model *model, int64_t at)
{
    mc_free(model->context, model->meta_keys[at]);
    mc_free(model->context, model->meta_values[at]);
    model->n_meta--;
    for (int64_t i = at; i < model->n_meta; i++) {
        model->meta_keys[i] = model->meta_keys[i + 1];
        model->meta_values[i] = model->meta_values[i + 1];
    }
    fill_slots(model);
}

/* Twice the room, of which the table of slots uses a half at most. */
static int32_t grow(modeconn_model *model)
{
    const modeconn_context *context = model->context;
    int64_t slots = model->meta_slot_count == 0 ? 16 : 2 * model->meta_slot_count;
    int64_t capacity = slots / 2;
    char **keys = mc_calloc(context, capacity, sizeof *keys);
    char **values = mc_calloc(context, capacity, sizeof *values);
    int64_t *table = mc_alloc(context, slots, sizeof *table);
    if (keys == NULL || values == NULL || table == NULL) {
        mc_free(context, keys);
        mc_free(context, values);
        mc_free(context, table);
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < model->n_meta; i++) {
        keys[i] = model->meta_keys[i];
        values[i] = model->meta_values[i];
    }
    mc_free(context, model->meta_keys);
    mc_free(context, model->meta_values);
    mc_free(context, model->meta_slots);
    model->meta_keys = keys;
    model->meta_values = values;
    model->meta_slots = table;
    model->meta_slot_count = slots;
    fill_slots(model);
    return MODECONN_OK;
}

/* Appends owned strings under a key that is new. */
static int32_t append(modeconn_model *model, char *key, char *value)
{
    if (2 * (model->n_meta + 1) > model->meta_slot_count && grow(model) < 0) {
        return MODECONN_ERROR_MEMORY;
    }
    model->meta_keys[model->n_meta] = key;
    model->meta_values[model->n_meta] = value;
    model->n_meta++;
    *slot_of(model, key) = model->n_meta;
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
