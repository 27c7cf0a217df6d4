/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where a result comes from: descriptions of models, data and statistics, copied as JSON text when
 * the result is made, so that it reports them after every handle is gone.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <string.h>

/* A public describe call's text in memory of the context. */
static int32_t describe_model(modeconn_context *context, const modeconn_model *model, char **out)
{
    int64_t size = 0;
    int32_t status = modeconn_model_describe(model, NULL, 0, &size);
    if (status < 0) {
        return status;
    }
    char *text = mc_alloc(context, size, 1);
    if (text == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    status = modeconn_model_describe(model, text, size, NULL);
    if (status < 0) {
        mc_free(context, text);
        return status;
    }
    *out = text;
    return MODECONN_OK;
}

/* Policy batch passes no set: what it sees is the evaluated batch. */
static int32_t describe_plan(mc_provenance *provenance, const mc_statistics_plan *plan,
                             const modeconn_dataset *test)
{
    provenance->policy = mc_strdup(provenance->context, plan->policy);
    if (provenance->policy == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    if (strcmp(plan->policy, "batch") == 0) {
        int64_t batch = provenance->batch_size;
        provenance->statistics_n = batch < test->n ? batch : test->n;
        provenance->statistics_batch_size = provenance->statistics_n;
        return MODECONN_OK;
    }
    provenance->statistics_n = plan->n;
    provenance->statistics_batch_size = plan->batch_size < plan->n ? plan->batch_size : plan->n;
    provenance->statistics_seed = plan->seed;
    return plan->data == NULL
               ? MODECONN_OK
               : mc_dataset_describe(plan->data, provenance->context, &provenance->statistics_set);
}

int32_t mc_provenance_init(mc_provenance *provenance, modeconn_context *context,
                           const modeconn_model *first, const modeconn_model *second,
                           const modeconn_dataset *test, const mc_statistics_plan *plan,
                           int64_t batch_size)
{
    const modeconn_model *models[2] = {first, second};
    int32_t status = MODECONN_OK;
    *provenance = (mc_provenance){.context = context, .batch_size = batch_size};
    for (int i = 0; status == MODECONN_OK && i < 2; i++) {
        if (models[i] != NULL) {
            status = describe_model(context, models[i], &provenance->subject[i]);
        }
    }
    if (status == MODECONN_OK) {
        status = mc_dataset_describe(test, context, &provenance->test);
    }
    if (status == MODECONN_OK && plan != NULL) {
        status = describe_plan(provenance, plan, test);
    }
    if (status < 0) {
        mc_provenance_free(provenance);
    }
    return status;
}

int32_t mc_provenance_init_path(mc_provenance *provenance, modeconn_context *context,
                                const modeconn_path *path, const modeconn_dataset *test,
                                const mc_statistics_plan *plan, int64_t batch_size)
{
    int32_t status = mc_provenance_init(provenance, context, path->points[0],
                                        path->points[path->n_points - 1], test, plan, batch_size);
    if (status == MODECONN_OK) {
        provenance->family = path->family->name;
    }
    if (status == MODECONN_OK && path->fit != NULL) {
        provenance->fit = mc_strdup(context, path->fit);
        if (provenance->fit == NULL) {
            mc_provenance_free(provenance);
            return MODECONN_ERROR_MEMORY;
        }
    }
    return status;
}

void mc_provenance_free(mc_provenance *provenance)
{
    modeconn_context *context = provenance->context;
    mc_free(context, provenance->subject[0]);
    mc_free(context, provenance->subject[1]);
    mc_free(context, provenance->test);
    mc_free(context, provenance->policy);
    mc_free(context, provenance->statistics_set);
    mc_free(context, provenance->fit);
    *provenance = (mc_provenance){.context = context};
}

bool mc_json_add(json_t *object, const char *key, json_t *value)
{
    if (object == NULL) {
        json_decref(value);
        return false;
    }
    return json_object_set_new(object, key, value) == 0;
}

json_t *mc_json_whole(json_t *value, bool ok)
{
    if (!ok) {
        json_decref(value);
        return NULL;
    }
    return value;
}

/* NULL text is a null in JSON. */
static json_t *parsed(const char *text)
{
    return text == NULL ? json_null() : json_loads(text, 0, NULL);
}

json_t *mc_provenance_subject(const mc_provenance *provenance, int which)
{
    return parsed(provenance->subject[which]);
}

json_t *mc_provenance_seen(const mc_provenance *provenance)
{
    return parsed(provenance->test);
}

json_t *mc_provenance_test(const mc_provenance *provenance)
{
    json_t *test = parsed(provenance->test);
    if (test == NULL) {
        return NULL;
    }
    /* The handle's own view was not measured; the result lists those that were. */
    json_object_del(test, "view");
    bool cued = strcmp(json_string_value(json_object_get(test, "cue")), "none") != 0;
    if (!mc_json_add(test, "cue_proportion", cued ? json_real(1.0) : json_null())) {
        json_decref(test);
        return NULL;
    }
    return test;
}

json_t *mc_provenance_statistics(const mc_provenance *provenance)
{
    json_t *out = json_object();
    bool ok = mc_json_add(out, "policy", json_string(provenance->policy));
    ok = mc_json_add(out, "n", json_integer(provenance->statistics_n)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(provenance->statistics_batch_size)) && ok;
    if (strcmp(provenance->policy, "ema") == 0) {
        json_t *seed = json_integer((json_int_t)provenance->statistics_seed);
        ok = mc_json_add(out, "seed", seed) && ok;
    }
    ok = mc_json_add(out, "data", parsed(provenance->statistics_set)) && ok;
    return mc_json_whole(out, ok);
}

json_t *mc_provenance_models(const mc_provenance *provenance)
{
    json_t *out = json_object();
    bool ok = mc_json_add(out, "first", mc_provenance_subject(provenance, 0));
    ok = mc_json_add(out, "second", mc_provenance_subject(provenance, 1)) && ok;
    return mc_json_whole(out, ok);
}

json_t *mc_provenance_path(const mc_provenance *provenance)
{
    json_t *out = mc_provenance_models(provenance);
    bool ok = mc_json_add(out, "family", json_string(provenance->family));
    ok = mc_json_add(out, "fit", parsed(provenance->fit)) && ok;
    return mc_json_whole(out, ok);
}

json_t *mc_json_values(const double *values, int64_t n)
{
    json_t *out = json_array();
    for (int64_t i = 0; i < n; i++) {
        if (json_array_append_new(out, mc_json_real(values[i])) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}
