/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The public side of options objects: kinds, keys, setters, getters, descriptions. A kind is a
 * constant table of specs; an object adds the values that its owner set, row by row.
 */
#include "core/core.h"

#include <limits.h>
#include <math.h>
#include <string.h>

static const char *type_name(int32_t type)
{
    switch (type) {
    case MODECONN_OPTION_I64:
        return "an integer";
    case MODECONN_OPTION_F64:
        return "a number";
    default:
        return "a text";
    }
}

static const mc_option_kind *find_kind(const char *name)
{
    for (int64_t i = 0; i < mc_option_kinds_count; i++) {
        if (strcmp(mc_option_kinds[i]->name, name) == 0) {
            return mc_option_kinds[i];
        }
    }
    return NULL;
}

static int32_t unknown_kind(const char *name)
{
    const char *nearest = mc_option_kinds[0]->name;

    for (int64_t i = 1; i < mc_option_kinds_count; i++) {
        if (mc_text_distance(name, mc_option_kinds[i]->name) < mc_text_distance(name, nearest)) {
            nearest = mc_option_kinds[i]->name;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no kind of options \"%s\"; did you mean \"%s\"?", name,
                   nearest);
}

static int32_t unknown_key(const mc_option_kind *kind, const char *key)
{
    const char *nearest;

    if (kind->n_specs == 0) {
        return mc_fail(MODECONN_ERROR_UNKNOWN,
                       "options of kind \"%s\" have no key \"%s\", nor any other", kind->name, key);
    }
    nearest = kind->specs[0].key;
    for (int64_t i = 1; i < kind->n_specs; i++) {
        if (mc_text_distance(key, kind->specs[i].key) < mc_text_distance(key, nearest)) {
            nearest = kind->specs[i].key;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN,
                   "options of kind \"%s\" have no key \"%s\"; did you mean \"%s\"?", kind->name,
                   key, nearest);
}

/* Row of a key, with the arguments checked that every setter and getter shares. */
static int32_t find_row(const modeconn_options *options, const char *key, int64_t *row)
{
    *row = -1;
    if (options == NULL) {
        return mc_null("options");
    }
    if (key == NULL) {
        return mc_null("key");
    }
    *row = mc_option_find(options->kind, key);
    if (*row < 0) {
        return unknown_key(options->kind, key);
    }
    return MODECONN_OK;
}

/* Row of a key of one type. */
static int32_t find_typed(const modeconn_options *options, const char *key, int32_t type,
                          int64_t *row)
{
    const int32_t status = find_row(options, key, row);

    if (status < 0) {
        return status;
    }
    const mc_option_spec *spec = &options->kind->specs[*row];
    if (spec->type != type) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s option \"%s\" is %s, not %s",
                       options->kind->name, key, type_name(spec->type), type_name(type));
    }
    return MODECONN_OK;
}

/* ---- kinds and objects ----------------------------------------------------------------- */

int32_t modeconn_options_kind_count(int64_t *count)
{
    if (count == NULL) {
        return mc_null("count");
    }
    *count = mc_option_kinds_count;
    return MODECONN_OK;
}

int32_t modeconn_options_kind_name(int64_t index, const char **name)
{
    if (name == NULL) {
        return mc_null("name");
    }
    if (index < 0 || index >= mc_option_kinds_count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "index %lld is out of range [0, %lld]",
                       (long long)index, (long long)mc_option_kinds_count - 1);
    }
    *name = mc_option_kinds[index]->name;
    return MODECONN_OK;
}

/* "[0, 1]"; an infinite end is open, as infinite values are refused there. */
static void write_range(const mc_option_spec *spec, char *range, size_t size)
{
    char low[MC_F64_TEXT], high[MC_F64_TEXT];

    mc_format_f64(low, spec->min);
    mc_format_f64(high, spec->max);
    mc_format(range, size, "%c%s, %s%c", spec->min_open || isinf(spec->min) ? '(' : '[', low, high,
              isinf(spec->max) ? ')' : ']');
}

int32_t modeconn_options_create(modeconn_context *context, const char *kind_name,
                                modeconn_options **out)
{
    const mc_option_kind *kind;
    modeconn_options *options;

    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (kind_name == NULL) {
        return mc_null("kind");
    }
    kind = find_kind(kind_name);
    if (kind == NULL) {
        return unknown_kind(kind_name);
    }

    options = mc_calloc(context, 1, sizeof(*options));
    if (options == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    options->values = mc_calloc(context, kind->n_specs, sizeof(*options->values));
    if (options->values == NULL) {
        mc_free(context, options);
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < kind->n_specs; i++) {
        if (kind->specs[i].type != MODECONN_OPTION_STR) {
            write_range(&kind->specs[i], options->values[i].range,
                        sizeof(options->values[i].range));
        }
    }
    options->context = mc_context_take(context);
    options->kind = kind;
    *out = options;
    return MODECONN_OK;
}

void modeconn_options_destroy(modeconn_options *options)
{
    if (options == NULL) {
        return;
    }
    modeconn_context *context = options->context;
    for (int64_t i = 0; i < options->kind->n_specs; i++) {
        mc_free(context, options->values[i].str);
    }
    mc_free(context, options->values);
    mc_free(context, options);
    mc_context_drop(context);
}

/* ---- setters --------------------------------------------------------------------------- */

static int32_t out_of_range(const modeconn_options *options, int64_t row, const char *value)
{
    return mc_fail(MODECONN_ERROR_ARGUMENT, "%s option \"%s\": %s is out of range %s",
                   options->kind->name, options->kind->specs[row].key, value,
                   options->values[row].range);
}

static int32_t store_i64(modeconn_options *options, int64_t row, int64_t value)
{
    const mc_option_spec *spec = &options->kind->specs[row];
    /* A bound of 2^63 or more does not fit an integer; comparing as double would round values. */
    const int64_t low = spec->min <= -0x1p63 ? INT64_MIN : (int64_t)spec->min;
    const int64_t high = spec->max >= 0x1p63 ? INT64_MAX : (int64_t)spec->max;
    char text[MC_F64_TEXT];

    if (value < low || value > high || (spec->min_open && value == low)) {
        mc_format(text, sizeof(text), "%lld", (long long)value);
        return out_of_range(options, row, text);
    }
    options->values[row].i64 = value;
    options->values[row].is_set = true;
    return MODECONN_OK;
}

static int32_t store_f64(modeconn_options *options, int64_t row, double value)
{
    const mc_option_spec *spec = &options->kind->specs[row];
    char text[MC_F64_TEXT];

    if (!isfinite(value) || value < spec->min || value > spec->max ||
        (spec->min_open && value <= spec->min)) {
        mc_format_f64(text, value);
        return out_of_range(options, row, text);
    }
    options->values[row].f64 = value;
    options->values[row].is_set = true;
    return MODECONN_OK;
}

/* Whether `value` is one of "a|b|c". */
static bool is_choice(const char *choices, const char *value)
{
    const size_t length = strlen(value);

    while (true) {
        const size_t choice = strcspn(choices, "|");
        if (choice == length && memcmp(choices, value, length) == 0) {
            return true;
        }
        if (choices[choice] == '\0') {
            return false;
        }
        choices += choice + 1;
    }
}

static int32_t store_str(modeconn_options *options, int64_t row, const char *value)
{
    const mc_option_spec *spec = &options->kind->specs[row];
    char *copy;

    if (spec->choices != NULL && !is_choice(spec->choices, value)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s option \"%s\": \"%s\" is none of %s",
                       options->kind->name, spec->key, value, spec->choices);
    }
    copy = mc_strdup(options->context, value);
    if (copy == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_free(options->context, options->values[row].str);
    options->values[row].str = copy;
    options->values[row].is_set = true;
    return MODECONN_OK;
}

int32_t modeconn_options_set_i64(modeconn_options *options, const char *key, int64_t value)
{
    int64_t row;
    int32_t status = find_row(options, key, &row);

    if (status < 0) {
        return status;
    }
    if (options->kind->specs[row].type == MODECONN_OPTION_F64) {
        return store_f64(options, row, (double)value);
    }
    status = find_typed(options, key, MODECONN_OPTION_I64, &row);
    return status < 0 ? status : store_i64(options, row, value);
}

int32_t modeconn_options_set_f64(modeconn_options *options, const char *key, double value)
{
    int64_t row;
    const int32_t status = find_typed(options, key, MODECONN_OPTION_F64, &row);

    return status < 0 ? status : store_f64(options, row, value);
}

int32_t modeconn_options_set_str(modeconn_options *options, const char *key, const char *value)
{
    int64_t row;
    const int32_t status = find_typed(options, key, MODECONN_OPTION_STR, &row);

    if (status < 0) {
        return status;
    }
    return value == NULL ? mc_null("value") : store_str(options, row, value);
}

int32_t modeconn_options_set_text(modeconn_options *options, const char *key, const char *text)
{
    int64_t row, i64;
    double f64;
    const int32_t status = find_row(options, key, &row);

    if (status < 0) {
        return status;
    }
    if (text == NULL) {
        return mc_null("text");
    }
    const mc_option_spec *spec = &options->kind->specs[row];
    if (spec->type == MODECONN_OPTION_STR) {
        return store_str(options, row, text);
    }
    if (spec->type == MODECONN_OPTION_I64 && mc_parse_i64(text, &i64)) {
        return store_i64(options, row, i64);
    }
    if (spec->type == MODECONN_OPTION_F64 && mc_parse_f64(text, &f64)) {
        return store_f64(options, row, f64);
    }
    return mc_fail(MODECONN_ERROR_ARGUMENT, "%s option \"%s\": \"%s\" is not %s in %s",
                   options->kind->name, key, text, type_name(spec->type),
                   options->values[row].range);
}

/* Sets from one "key=value", which it cuts in two. */
static int32_t parse_one(modeconn_options *options, char *setting)
{
    char *equals = strchr(setting, '=');

    if (equals == NULL) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s options: \"%s\" is not of the form key=value",
                       options->kind->name, setting);
    }
    *equals = '\0';
    return modeconn_options_set_text(options, setting, equals + 1);
}

/* Cuts the first setting off `settings` and returns the rest, or NULL after the last. A comma ends
 * a setting only where "key=" follows it, so that a text may be a list: "views=nocue,cue". */
static char *cut_setting(char *settings)
{
    char *comma = strchr(settings, ',');

    while (comma != NULL && comma[1 + strcspn(comma + 1, ",=")] != '=') {
        comma = strchr(comma + 1, ',');
    }
    if (comma == NULL) {
        return NULL;
    }
    *comma = '\0';
    return comma + 1;
}

int32_t modeconn_options_parse(modeconn_options *options, const char *settings)
{
    int32_t status = MODECONN_OK;
    char *copy, *next;

    if (options == NULL) {
        return mc_null("options");
    }
    if (settings == NULL) {
        return mc_null("settings");
    }
    if (*settings == '\0') {
        return MODECONN_OK;
    }
    copy = mc_strdup(options->context, settings);
    if (copy == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    next = copy;
    while (status == MODECONN_OK && next != NULL) {
        char *setting = next;
        next = cut_setting(setting);
        status = parse_one(options, setting);
    }
    mc_free(options->context, copy);
    return status;
}

/* ---- getters --------------------------------------------------------------------------- */

int32_t modeconn_options_get_i64(const modeconn_options *options, const char *key, int64_t *value)
{
    int64_t row;
    const int32_t status = find_typed(options, key, MODECONN_OPTION_I64, &row);

    if (status < 0) {
        return status;
    }
    if (value == NULL) {
        return mc_null("value");
    }
    *value = mc_option_i64(options, options->kind, key);
    return MODECONN_OK;
}

int32_t modeconn_options_get_f64(const modeconn_options *options, const char *key, double *value)
{
    int64_t row;
    const int32_t status = find_typed(options, key, MODECONN_OPTION_F64, &row);

    if (status < 0) {
        return status;
    }
    if (value == NULL) {
        return mc_null("value");
    }
    *value = mc_option_f64(options, options->kind, key);
    return MODECONN_OK;
}

int32_t modeconn_options_get_str(const modeconn_options *options, const char *key,
                                 const char **value)
{
    int64_t row;
    const int32_t status = find_typed(options, key, MODECONN_OPTION_STR, &row);

    if (status < 0) {
        return status;
    }
    if (value == NULL) {
        return mc_null("value");
    }
    *value = mc_option_str(options, options->kind, key);
    return MODECONN_OK;
}

int32_t modeconn_options_count(const modeconn_options *options, int64_t *count)
{
    if (options == NULL) {
        return mc_null("options");
    }
    if (count == NULL) {
        return mc_null("count");
    }
    *count = options->kind->n_specs;
    return MODECONN_OK;
}

int32_t modeconn_options_describe(const modeconn_options *options, int64_t index, const char **key,
                                  int32_t *type, const char **default_value, const char **range,
                                  const char **help)
{
    if (options == NULL) {
        return mc_null("options");
    }
    if (index < 0 || index >= options->kind->n_specs) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "index %lld, but kind \"%s\" has %lld keys",
                       (long long)index, options->kind->name, (long long)options->kind->n_specs);
    }
    const mc_option_spec *spec = &options->kind->specs[index];
    if (key != NULL) {
        *key = spec->key;
    }
    if (type != NULL) {
        *type = spec->type;
    }
    if (default_value != NULL) {
        *default_value = spec->by_default;
    }
    if (range != NULL && spec->type == MODECONN_OPTION_STR) {
        *range = spec->choices != NULL ? spec->choices : "";
    } else if (range != NULL) {
        *range = options->values[index].range;
    }
    if (help != NULL) {
        *help = spec->help;
    }
    return MODECONN_OK;
}

void mc_text_add_option(mc_text *text, const modeconn_options *options, const mc_option_kind *kind,
                        int64_t i, uint64_t seed)
{
    const mc_option_spec *spec = &kind->specs[i];
    mc_text_add(text, "%s=", spec->key);
    if (strcmp(spec->key, "seed") == 0) {
        mc_text_add(text, "%llu", (unsigned long long)seed);
    } else if (spec->type == MODECONN_OPTION_I64) {
        mc_text_add(text, "%lld", (long long)mc_option_i64(options, kind, spec->key));
    } else if (spec->type == MODECONN_OPTION_F64) {
        mc_text_add_f64(text, mc_option_f64(options, kind, spec->key));
    } else {
        mc_text_add(text, "%s", mc_option_str(options, kind, spec->key));
    }
}
