/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Invariance probes (paper, Definitions 2 and 3). For each attribute of the test set, with l_i the
 * loss of sample i on the view "cue" ("nocue" of a dataset without a cue) and l'_i its loss on the
 * view that randomises the attribute:
 *
 *   d_i = l'_i - l_i,  effect = mean_i d_i,  low..high = bootstrap interval of the effect
 *
 * d is [n]; pairing by sample removes how hard the samples are from the comparison.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec probe_options[] = {
    MC_OPT_POSITIVE("margin", "0.1", "largest mean rise in loss that counts as none, nats"),
    {"confidence", MODECONN_OPTION_F64, 0, 0.9999, true, NULL, "0.99",
     "of the interval around the mean rise, as a fraction"},
    MC_OPT_I64("resamples", 100, 1000000, "2000", "resamples of the bootstrap"),
    MC_OPT_I64("batch_size", 1, 1048576, "500", "samples per batch of the evaluation"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "of the bootstrap; -1 = the test set's context's"),
};
const mc_option_kind mc_kind_probe = MC_OPTION_KIND("probe", probe_options);

const char *modeconn_verdict_name(int32_t verdict)
{
    static const char *const names[] = {
        [MODECONN_VERDICT_UNDECIDED] = "undecided",
        [MODECONN_VERDICT_INVARIANT] = "invariant",
        [MODECONN_VERDICT_DEPENDENT] = "dependent",
        [MODECONN_VERDICT_SIMILAR] = "similar",
        [MODECONN_VERDICT_DISSIMILAR] = "dissimilar",
        [MODECONN_VERDICT_CONNECTED] = "connected",
        [MODECONN_VERDICT_DISCONNECTED] = "disconnected",
    };
    int32_t count = (int32_t)(sizeof(names) / sizeof(names[0]));
    return verdict >= 0 && verdict < count ? names[verdict] : "unknown verdict";
}

int32_t mc_probe_verdict(double low, double high, double margin, int64_t n)
{
    if (n < MC_PROBE_SAMPLES) {
        return MODECONN_VERDICT_UNDECIDED;
    }
    if (high < margin) {
        return MODECONN_VERDICT_INVARIANT;
    }
    return low > margin ? MODECONN_VERDICT_DEPENDENT : MODECONN_VERDICT_UNDECIDED;
}

/* Progress in batches, equally many a view: first the samples as they are, then one view an
 * attribute. */
typedef struct counter {
    mc_progress progress;
    int64_t batches; /* of a view */
} counter;

static int32_t tick(void *user, int64_t samples)
{
    counter *count = user;
    (void)samples;
    int64_t views = (count->progress.step + 1) / count->batches;
    return mc_progress_step(&count->progress, views > 0 ? views - 1 : 0, NAN, NAN, NAN);
}

/* Per-sample losses [n] of a bound session on one view of the test set. */
static int32_t view_losses(const modeconn_model *model, mc_session *session,
                           const modeconn_dataset *test, const char *view, int64_t batch_size,
                           counter *count, double *loss)
{
    modeconn_dataset *seen = NULL;
    int32_t status = modeconn_dataset_view(test, view, 1.0, &seen);
    if (status == MODECONN_OK) {
        status = mc_pass_losses(model, session, MC_NORM_RUNNING, seen, batch_size, tick, count,
                                loss, NULL);
    }
    modeconn_dataset_destroy(seen);
    return status;
}

static int32_t find_effects(modeconn_probe *probe, const modeconn_model *model, mc_session *session,
                            const modeconn_dataset *test, counter *count)
{
    int64_t n = probe->n, batch_size = probe->origin.batch_size;
    double *with = mc_alloc(probe->context, n, sizeof(double));
    double *rise = mc_alloc(probe->context, n, sizeof(double));
    int32_t status = with == NULL || rise == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    if (status == MODECONN_OK) {
        status = view_losses(model, session, test, test->cue != NULL ? "cue" : "nocue", batch_size,
                             count, with);
    }
    for (int64_t a = 0; status == MODECONN_OK && a < probe->n_attributes; a++) {
        mc_finding *found = &probe->findings[a];
        const char *view = NULL;
        status = modeconn_dataset_attribute(test, a, NULL, &view);
        if (status == MODECONN_OK) {
            status = view_losses(model, session, test, view, batch_size, count, rise);
        }
        if (status < 0) {
            break;
        }
        for (int64_t i = 0; i < n; i++) {
            rise[i] -= with[i];
        }
        status = mc_bootstrap_mean(probe->context, &count->progress, rise, n, probe->confidence,
                                   probe->resamples, probe->seed, &found->effect, &found->low,
                                   &found->high);
        found->verdict = mc_probe_verdict(found->low, found->high, probe->margin, n);
    }
    mc_free(probe->context, with);
    mc_free(probe->context, rise);
    return status;
}

/* The test set's attributes, none of them asked for yet. */
static int32_t list_attributes(modeconn_probe *probe, const modeconn_dataset *test)
{
    int32_t status = modeconn_dataset_attribute_count(test, &probe->n_attributes);
    const char **names = mc_calloc(probe->context, probe->n_attributes, sizeof(*names));
    for (int64_t a = 0; names != NULL && status == MODECONN_OK && a < probe->n_attributes; a++) {
        status = modeconn_dataset_attribute(test, a, &names[a], NULL);
    }
    if (names != NULL && status == MODECONN_OK) {
        probe->attributes = mc_names_copy(probe->context, names, probe->n_attributes);
        probe->findings = mc_calloc(probe->context, probe->n_attributes, sizeof(*probe->findings));
    }
    mc_free(probe->context, (void *)names);
    return status < 0                                             ? status
           : probe->attributes == NULL || probe->findings == NULL ? MODECONN_ERROR_MEMORY
                                                                  : MODECONN_OK;
}

static int32_t probe_create(modeconn_probe **out, const modeconn_model *model,
                            const modeconn_dataset *test, const modeconn_options *options)
{
    modeconn_context *context = model->context;
    modeconn_probe *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int64_t batch_size = mc_option_i64(options, &mc_kind_probe, "batch_size");
    made->context = mc_context_take(context);
    made->n = test->n;
    made->margin = mc_option_f64(options, &mc_kind_probe, "margin");
    made->confidence = mc_option_f64(options, &mc_kind_probe, "confidence");
    made->resamples = mc_option_i64(options, &mc_kind_probe, "resamples");
    made->seed = mc_seed(test->store->context, mc_option_i64(options, &mc_kind_probe, "seed"));
    int32_t status = list_attributes(made, test);
    if (status == MODECONN_OK) {
        status = mc_provenance_init(&made->origin, context, model, NULL, test, NULL,
                                    batch_size < test->n ? batch_size : test->n);
    }
    if (status < 0) {
        modeconn_probe_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

int32_t modeconn_probe_measure(const modeconn_model *model, const modeconn_dataset *test,
                               const modeconn_options *options, modeconn_probe **out)
{
    return modeconn_probe_measure_with_progress(model, test, options, NULL, NULL, out);
}

int32_t modeconn_probe_measure_with_progress(const modeconn_model *model,
                                             const modeconn_dataset *test,
                                             const modeconn_options *options,
                                             modeconn_progress_fn progress_fn, void *user,
                                             modeconn_probe **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL || test == NULL) {
        return mc_null(model == NULL ? "model" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_probe);
    if (status == MODECONN_OK) {
        status = mc_check_fit(model, test);
    }
    int64_t attributes = 0;
    if (status == MODECONN_OK) {
        status = modeconn_dataset_attribute_count(test, &attributes);
    }
    if (status == MODECONN_OK && attributes == 0) {
        status = mc_fail(MODECONN_ERROR_UNSUPPORTED,
                         "the dataset %s has no cue, nor another attribute to intervene on",
                         test->store->source);
    }
    if (status < 0) {
        return status;
    }
    modeconn_probe *made = NULL;
    mc_session *session = NULL;
    status = probe_create(&made, model, test, options);
    if (status == MODECONN_OK) {
        status = model->ops->session_create(model, made->origin.batch_size, 1, false, &session);
    }
    if (status == MODECONN_OK) {
        status = model->ops->bind(session, model->theta, model->statistics);
    }
    if (status == MODECONN_OK) {
        counter count = {.batches =
                             (made->n + made->origin.batch_size - 1) / made->origin.batch_size};
        mc_progress_init(&count.progress, progress_fn, user,
                         count.batches * (made->n_attributes + 1));
        status = find_effects(made, model, session, test, &count);
    }
    if (session != NULL) {
        model->ops->session_destroy(session);
    }
    if (status < 0) {
        modeconn_probe_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

void modeconn_probe_destroy(modeconn_probe *probe)
{
    if (probe == NULL) {
        return;
    }
    modeconn_context *context = probe->context;
    mc_free(context, probe->findings);
    mc_free(context, (void *)probe->attributes);
    mc_provenance_free(&probe->origin);
    mc_free(context, probe);
    mc_context_drop(context);
}

int32_t modeconn_probe_size(const modeconn_probe *probe, int64_t *attributes)
{
    if (probe == NULL || attributes == NULL) {
        return mc_null(probe == NULL ? "probe" : "attributes");
    }
    *attributes = probe->n_attributes;
    return MODECONN_OK;
}

int32_t modeconn_probe_attribute(const modeconn_probe *probe, int64_t index, const char **name)
{
    if (probe == NULL || name == NULL) {
        return mc_null(probe == NULL ? "probe" : "name");
    }
    if (index < 0 || index >= probe->n_attributes) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "attribute index %lld: not in 0..%lld",
                       (long long)index, (long long)(probe->n_attributes - 1));
    }
    *name = probe->attributes[index];
    return MODECONN_OK;
}

int32_t modeconn_probe_get(const modeconn_probe *probe, const char *attribute, int32_t *verdict,
                           double *effect, double *low, double *high)
{
    if (probe == NULL || attribute == NULL) {
        return mc_null(probe == NULL ? "probe" : "attribute");
    }
    for (int64_t a = 0; a < probe->n_attributes; a++) {
        const mc_finding *found = &probe->findings[a];
        if (strcmp(probe->attributes[a], attribute) != 0) {
            continue;
        }
        if (verdict != NULL) {
            *verdict = found->verdict;
        }
        if (effect != NULL) {
            *effect = found->effect;
        }
        if (low != NULL) {
            *low = found->low;
        }
        if (high != NULL) {
            *high = found->high;
        }
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no attribute \"%s\" in this probe", attribute);
}

json_t *mc_finding_json(const mc_finding *finding)
{
    json_t *out = json_object();
    bool ok = mc_json_add(out, "verdict", json_string(modeconn_verdict_name(finding->verdict)));
    ok = mc_json_add(out, "effect", mc_json_real(finding->effect)) && ok;
    ok = mc_json_add(out, "low", mc_json_real(finding->low)) && ok;
    ok = mc_json_add(out, "high", mc_json_real(finding->high)) && ok;
    return mc_json_whole(out, ok);
}

bool mc_probe_settings_json(const modeconn_probe *probe, json_t *out)
{
    bool ok = mc_json_add(out, "margin", mc_json_real(probe->margin));
    ok = mc_json_add(out, "confidence", mc_json_real(probe->confidence)) && ok;
    ok = mc_json_add(out, "resamples", json_integer(probe->resamples)) && ok;
    ok = mc_json_add(out, "seed", json_integer((json_int_t)probe->seed)) && ok;
    ok = mc_json_add(out, "n", json_integer(probe->n)) && ok;
    return mc_json_add(out, "data", mc_provenance_test(&probe->origin)) && ok;
}

int32_t modeconn_probe_json(const modeconn_probe *probe, char *buffer, int64_t capacity,
                            int64_t *needed)
{
    if (probe == NULL) {
        return mc_null("probe");
    }
    json_t *out = json_object(), *attributes = json_object();
    bool ok = true;
    for (int64_t a = 0; a < probe->n_attributes; a++) {
        json_t *found = mc_finding_json(&probe->findings[a]);
        ok = mc_json_add(attributes, probe->attributes[a], found) && ok;
    }
    ok = mc_json_add(out, "attributes", attributes) && ok;
    ok = mc_probe_settings_json(probe, out) && ok;
    ok = mc_json_add(out, "model", mc_provenance_subject(&probe->origin, 0)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

void mc_finding_csv(const mc_finding *finding, mc_text *text)
{
    mc_text_add(text, ",%s,", modeconn_verdict_name(finding->verdict));
    mc_text_add_f64(text, finding->effect);
    mc_text_add(text, ",");
    mc_text_add_f64(text, finding->low);
    mc_text_add(text, ",");
    mc_text_add_f64(text, finding->high);
}

void mc_probe_settings_csv(const modeconn_probe *probe, mc_text *text)
{
    mc_text_add(text, ",");
    mc_text_add_f64(text, probe->margin);
    mc_text_add(text, ",");
    mc_text_add_f64(text, probe->confidence);
    mc_text_add(text, ",%lld\n", (long long)probe->n);
}

int32_t modeconn_probe_csv(const modeconn_probe *probe, char *buffer, int64_t capacity,
                           int64_t *needed)
{
    if (probe == NULL) {
        return mc_null("probe");
    }
    mc_text text;
    mc_text_init(&text, probe->context);
    mc_text_add(&text, "attribute,verdict,effect,low,high,margin,confidence,n\n");
    for (int64_t a = 0; a < probe->n_attributes; a++) {
        mc_text_add(&text, "%s", probe->attributes[a]);
        mc_finding_csv(&probe->findings[a], &text);
        mc_probe_settings_csv(probe, &text);
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
