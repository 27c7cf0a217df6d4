/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The library's own reading of options: what the caller set, or the default of the spec, which
 * is kept as text so that it is written down once.
 */
#include "core/core.h"

#include <assert.h>
#include <string.h>

int32_t mc_options_check(const modeconn_options *options, const mc_option_kind *kind)
{
    if (options != NULL && options->kind != kind) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "options are of kind \"%s\", but this call takes kind \"%s\"",
                       options->kind->name, kind->name);
    }
    return MODECONN_OK;
}

int64_t mc_option_find(const mc_option_kind *kind, const char *key)
{
    for (int64_t i = 0; i < kind->n_specs; i++) {
        if (strcmp(kind->specs[i].key, key) == 0) {
            return i;
        }
    }
    return -1;
}

/* The value of a key where the caller set it, or NULL; the spec in either case. */
static const mc_option_value *find_value(const modeconn_options *options,
                                         const mc_option_kind *kind, const char *key, int32_t type,
                                         const mc_option_spec **spec)
{
    const int64_t row = mc_option_find(kind, key);

    assert(row >= 0);
    *spec = &kind->specs[row];
    assert((*spec)->type == type);
    (void)type;
    return options != NULL && options->values[row].is_set ? &options->values[row] : NULL;
}

int64_t mc_option_i64(const modeconn_options *options, const mc_option_kind *kind, const char *key)
{
    const mc_option_spec *spec;
    const mc_option_value *value = find_value(options, kind, key, MODECONN_OPTION_I64, &spec);
    int64_t by_default = 0;

    if (value != NULL) {
        return value->i64;
    }
    const bool parsed = mc_parse_i64(spec->by_default, &by_default);
    assert(parsed);
    (void)parsed;
    return by_default;
}

double mc_option_f64(const modeconn_options *options, const mc_option_kind *kind, const char *key)
{
    const mc_option_spec *spec;
    const mc_option_value *value = find_value(options, kind, key, MODECONN_OPTION_F64, &spec);
    double by_default = 0;

    if (value != NULL) {
        return value->f64;
    }
    const bool parsed = mc_parse_f64(spec->by_default, &by_default);
    assert(parsed);
    (void)parsed;
    return by_default;
}

const char *mc_option_str(const modeconn_options *options, const mc_option_kind *kind,
                          const char *key)
{
    const mc_option_spec *spec;
    const mc_option_value *value = find_value(options, kind, key, MODECONN_OPTION_STR, &spec);

    return value != NULL ? value->str : spec->by_default;
}

bool mc_option_is_set(const modeconn_options *options, const char *key)
{
    if (options == NULL) {
        return false;
    }
    const int64_t row = mc_option_find(options->kind, key);
    return row >= 0 && options->values[row].is_set;
}
