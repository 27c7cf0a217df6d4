/* SPDX-License-Identifier: BSD-3-Clause
 *
 * json: text of JSON values through the capacity / needed protocol. Objects are indented, arrays
 * of plain values stay on one line, and numbers are the shortest text that reads back as the same
 * double, which jansson's own dump (17 digits) is not.
 */
#include "io/io.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void add_value(mc_text *text, const json_t *value, int depth);

json_t *mc_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static void add_line(mc_text *text, int depth)
{
    mc_text_add(text, "\n%*s", 2 * depth, "");
}

/* Numbers keep the point or exponent that tells a real from an integer. */
static void add_real(mc_text *text, double value)
{
    int64_t start = text->size;
    mc_text_add_f64(text, value);
    if (!text->failed && strpbrk(text->data + start, ".eE") == NULL) {
        mc_text_add(text, ".0");
    }
}

/* Text, integers, true, false and null: as jansson spells them. */
static void add_plain(mc_text *text, const json_t *value)
{
    char *plain = json_dumps(value, JSON_ENCODE_ANY);
    if (plain == NULL) {
        text->failed = true;
        return;
    }
    mc_text_add(text, "%s", plain);
    free(plain);
}

static void add_key(mc_text *text, const char *key)
{
    json_t *name = json_string(key);
    if (name == NULL) {
        text->failed = true;
        return;
    }
    add_plain(text, name);
    json_decref(name);
    mc_text_add(text, ": ");
}

static void add_object(mc_text *text, const json_t *object, int depth)
{
    const char *key = NULL;
    json_t *value = NULL;
    const char *separator = "";
    mc_text_add(text, "{");
    json_object_foreach((json_t *)object, key, value)
    {
        mc_text_add(text, "%s", separator);
        add_line(text, depth + 1);
        add_key(text, key);
        add_value(text, value, depth + 1);
        separator = ",";
    }
    if (json_object_size(object) > 0) {
        add_line(text, depth);
    }
    mc_text_add(text, "}");
}

static bool holds_plain_values(const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *value = json_array_get(array, i);
        if (json_is_object(value) || json_is_array(value)) {
            return false;
        }
    }
    return true;
}

static void add_array(mc_text *text, const json_t *array, int depth)
{
    bool one_line = holds_plain_values(array);
    mc_text_add(text, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0) {
            mc_text_add(text, one_line ? ", " : ",");
        }
        if (!one_line) {
            add_line(text, depth + 1);
        }
        add_value(text, json_array_get(array, i), depth + 1);
    }
    if (!one_line) {
        add_line(text, depth);
    }
    mc_text_add(text, "]");
}

static void add_value(mc_text *text, const json_t *value, int depth)
{
    if (json_is_object(value)) {
        add_object(text, value, depth);
    } else if (json_is_array(value)) {
        add_array(text, value, depth);
    } else if (json_is_real(value)) {
        add_real(text, json_real_value(value));
    } else {
        add_plain(text, value);
    }
}

int32_t mc_json_out(json_t *value, char *buffer, int64_t capacity, int64_t *needed)
{
    if (value == NULL) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: JSON");
    }
    mc_text text;
    mc_text_init(&text, NULL);
    add_value(&text, value, 0);
    json_decref(value);
    return mc_text_finish(&text, buffer, capacity, needed);
}
