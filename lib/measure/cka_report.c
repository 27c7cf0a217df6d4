/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What centred kernel alignment found: getters, JSON, CSV.
 */
#include "io/io.h"
#include "measure/measure.h"

int32_t modeconn_cka_size(const modeconn_cka *cka, int64_t *layers)
{
    if (cka == NULL || layers == NULL) {
        return mc_null(cka == NULL ? "cka" : "layers");
    }
    *layers = cka->layers[0].n;
    return MODECONN_OK;
}

int32_t modeconn_cka_get(const modeconn_cka *cka, int64_t index, const char **first,
                         const char **second, double *value, double *debiased)
{
    if (cka == NULL) {
        return mc_null("cka");
    }
    if (index < 0 || index >= cka->layers[0].n) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "layer %lld: not in 0..%lld", (long long)index,
                       (long long)(cka->layers[0].n - 1));
    }
    if (first != NULL) {
        *first = cka->layers[0].name[index];
    }
    if (second != NULL) {
        *second = cka->layers[1].name[index];
    }
    if (value != NULL) {
        *value = cka->value[index];
    }
    if (debiased != NULL) {
        *debiased = cka->debiased[index];
    }
    return MODECONN_OK;
}

static json_t *layer_json(const modeconn_cka *cka, int64_t i)
{
    json_t *out = json_object(), *features = json_object();
    bool ok = mc_json_add(features, "first", json_integer(cka->layers[0].channels[i]));
    ok = mc_json_add(features, "second", json_integer(cka->layers[1].channels[i])) && ok;
    ok = mc_json_add(out, "first", json_string(cka->layers[0].name[i])) && ok;
    ok = mc_json_add(out, "second", json_string(cka->layers[1].name[i])) && ok;
    ok = mc_json_add(out, "rows", json_integer(cka->rows[i])) && ok;
    ok = mc_json_add(out, "features", features) && ok;
    ok = mc_json_add(out, "cka", mc_json_real(cka->value[i])) && ok;
    ok = mc_json_add(out, "debiased", mc_json_real(cka->debiased[i])) && ok;
    return mc_json_whole(out, ok);
}

int32_t modeconn_cka_json(const modeconn_cka *cka, char *buffer, int64_t capacity, int64_t *needed)
{
    if (cka == NULL) {
        return mc_null("cka");
    }
    json_t *out = json_object(), *layers = json_array();
    bool ok = true;
    for (int64_t i = 0; i < cka->layers[0].n; i++) {
        ok = json_array_append_new(layers, layer_json(cka, i)) == 0 && ok;
    }
    ok = mc_json_add(out, "layers", layers) && ok;
    ok = mc_json_add(out, "n", json_integer(cka->n)) && ok;
    ok = mc_json_add(out, "view", json_string(cka->view[0])) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(cka->origin.batch_size)) && ok;
    ok = mc_json_add(out, "models", mc_provenance_models(&cka->origin)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_seen(&cka->origin)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

int32_t modeconn_cka_csv(const modeconn_cka *cka, char *buffer, int64_t capacity, int64_t *needed)
{
    if (cka == NULL) {
        return mc_null("cka");
    }
    mc_text text;
    mc_text_init(&text, cka->context);
    mc_text_add(&text, "layer,first,second,rows,cka,debiased\n");
    for (int64_t i = 0; i < cka->layers[0].n; i++) {
        mc_text_add(&text, "%lld,", (long long)i);
        mc_text_add_csv(&text, cka->layers[0].name[i]);
        mc_text_add(&text, ",");
        mc_text_add_csv(&text, cka->layers[1].name[i]);
        mc_text_add(&text, ",%lld,", (long long)cka->rows[i]);
        mc_text_add_f64(&text, cka->value[i]);
        mc_text_add(&text, ",");
        mc_text_add_f64(&text, cka->debiased[i]);
        mc_text_add(&text, "\n");
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
