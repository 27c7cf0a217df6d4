/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a comparison of activation patterns found: getters, JSON, CSV.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <string.h>

int32_t modeconn_patterns_size(const modeconn_patterns *patterns, int64_t *layers, int64_t *points)
{
    if (patterns == NULL) {
        return mc_null("patterns");
    }
    if (layers != NULL) {
        *layers = patterns->layers.n;
    }
    if (points != NULL) {
        *points = patterns->points;
    }
    return MODECONN_OK;
}

static int32_t check_layer(const modeconn_patterns *patterns, int64_t layer)
{
    if (patterns == NULL) {
        return mc_null("patterns");
    }
    if (layer < 0 || layer >= patterns->layers.n) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "layer %lld: not in 0..%lld", (long long)layer,
                       (long long)(patterns->layers.n - 1));
    }
    return MODECONN_OK;
}

static int64_t units_of(const modeconn_patterns *patterns, int64_t layer)
{
    return patterns->layers.offset[layer + 1] - patterns->layers.offset[layer];
}

int32_t modeconn_patterns_layer(const modeconn_patterns *patterns, int64_t index, const char **name,
                                int64_t *units)
{
    int32_t status = check_layer(patterns, index);
    if (status < 0) {
        return status;
    }
    if (name != NULL) {
        *name = patterns->layers.name[index];
    }
    if (units != NULL) {
        *units = units_of(patterns, index);
    }
    return MODECONN_OK;
}

int32_t modeconn_patterns_values(const modeconn_patterns *patterns, int64_t layer, int32_t which,
                                 double *agreement, double *kappa, double *identical,
                                 int64_t capacity)
{
    int32_t status = check_layer(patterns, layer);
    if (status < 0) {
        return status;
    }
    if (which != 0 && which != 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "which is %d, expected 0 or 1", (int)which);
    }
    if (capacity < patterns->points) {
        return mc_fail(MODECONN_ERROR_BUFFER, "capacity is %lld, there are %lld points",
                       (long long)capacity, (long long)patterns->points);
    }
    for (int64_t i = 0; i < patterns->points; i++) {
        const mc_pattern_figures *found = &patterns->figures[layer * patterns->points + i];
        if (agreement != NULL) {
            agreement[i] = found->agreement[which];
        }
        if (kappa != NULL) {
            kappa[i] = found->kappa[which];
        }
        if (identical != NULL) {
            identical[i] = found->identical[which];
        }
    }
    return MODECONN_OK;
}

/* One figure at every point; `at` is its place in the struct. */
static json_t *series_json(const modeconn_patterns *patterns, int64_t layer, size_t at)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < patterns->points; i++) {
        const mc_pattern_figures *found = &patterns->figures[layer * patterns->points + i];
        double value;
        memcpy(&value, (const char *)found + at, sizeof(value));
        if (json_array_append_new(out, mc_json_real(value)) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *end_json(const modeconn_patterns *patterns, int64_t layer, size_t which)
{
    json_t *out = json_object();
    size_t shift = which * sizeof(double);
    const struct {
        const char *key;
        size_t at;
    } series[] = {{"agreement", offsetof(mc_pattern_figures, agreement)},
                  {"chance", offsetof(mc_pattern_figures, chance)},
                  {"kappa", offsetof(mc_pattern_figures, kappa)},
                  {"identical", offsetof(mc_pattern_figures, identical)}};
    bool ok = true;
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++) {
        json_t *values = series_json(patterns, layer, series[i].at + shift);
        ok = mc_json_add(out, series[i].key, values) && ok;
    }
    return mc_json_whole(out, ok);
}

static json_t *layer_json(const modeconn_patterns *patterns, int64_t layer)
{
    json_t *out = json_object();
    bool ok = mc_json_add(out, "name", json_string(patterns->layers.name[layer]));
    ok = mc_json_add(out, "units", json_integer(units_of(patterns, layer))) && ok;
    json_t *active = series_json(patterns, layer, offsetof(mc_pattern_figures, active));
    ok = mc_json_add(out, "active", active) && ok;
    ok = mc_json_add(out, "first", end_json(patterns, layer, 0)) && ok;
    ok = mc_json_add(out, "second", end_json(patterns, layer, 1)) && ok;
    return mc_json_whole(out, ok);
}

int32_t modeconn_patterns_json(const modeconn_patterns *patterns, char *buffer, int64_t capacity,
                               int64_t *needed)
{
    if (patterns == NULL) {
        return mc_null("patterns");
    }
    json_t *out = json_object(), *layers = json_array();
    bool ok = mc_json_add(out, "t", mc_json_values(patterns->t, patterns->points));
    for (int64_t i = 0; i < patterns->layers.n; i++) {
        ok = json_array_append_new(layers, layer_json(patterns, i)) == 0 && ok;
    }
    ok = mc_json_add(out, "layers", layers) && ok;
    ok = mc_json_add(out, "n", json_integer(patterns->n)) && ok;
    ok = mc_json_add(out, "view", json_string(patterns->view[0])) && ok;
    ok = mc_json_add(out, "statistics", mc_provenance_statistics(&patterns->origin)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(patterns->origin.batch_size)) && ok;
    ok = mc_json_add(out, "path", mc_provenance_path(&patterns->origin)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_seen(&patterns->origin)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

int32_t modeconn_patterns_csv(const modeconn_patterns *patterns, char *buffer, int64_t capacity,
                              int64_t *needed)
{
    if (patterns == NULL) {
        return mc_null("patterns");
    }
    mc_text text;
    mc_text_init(&text, patterns->context);
    mc_text_add(&text, "layer,name,units,t,active,first_agreement,first_chance,first_kappa,"
                       "first_identical,second_agreement,second_chance,second_kappa,"
                       "second_identical\n");
    for (int64_t k = 0; k < patterns->layers.n * patterns->points; k++) {
        int64_t layer = k / patterns->points;
        const mc_pattern_figures *f = &patterns->figures[k];
        const double values[] = {patterns->t[k % patterns->points],
                                 f->active,
                                 f->agreement[0],
                                 f->chance[0],
                                 f->kappa[0],
                                 f->identical[0],
                                 f->agreement[1],
                                 f->chance[1],
                                 f->kappa[1],
                                 f->identical[1]};
        mc_text_add(&text, "%lld,", (long long)layer);
        mc_text_add_csv(&text, patterns->layers.name[layer]);
        mc_text_add(&text, ",%lld", (long long)units_of(patterns, layer));
        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            mc_text_add(&text, ",");
            mc_text_add_f64(&text, values[i]);
        }
        mc_text_add(&text, "\n");
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
