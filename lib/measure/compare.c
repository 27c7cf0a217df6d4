/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Mechanistic similarity (paper, Definition 4): two probes on the same samples and the same
 * counterfactual draws, then attribute by attribute
 *
 *   similar     both decided, and alike
 *   dissimilar  one invariant, the other dependent
 *   undecided   otherwise
 *
 * and as a whole: dissimilar if any attribute is, similar if all are, undecided otherwise.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <math.h>

static const char note[] =
    "Judged by the invariances measured on this data (Definition 4), not by connectivity. That "
    "models which are not linearly connected up to symmetries have dissimilar mechanisms is "
    "Conjecture 1 of the paper, unproved.";

struct modeconn_comparison {
    modeconn_context *context;
    modeconn_probe *probes[2];
    int32_t verdict;
};

int32_t mc_compare_verdict(int32_t first, int32_t second)
{
    if (first == MODECONN_VERDICT_UNDECIDED || second == MODECONN_VERDICT_UNDECIDED) {
        return MODECONN_VERDICT_UNDECIDED;
    }
    return first == second ? MODECONN_VERDICT_SIMILAR : MODECONN_VERDICT_DISSIMILAR;
}

static int32_t attribute_verdict(const modeconn_comparison *comparison, int64_t attribute)
{
    return mc_compare_verdict(comparison->probes[0]->findings[attribute].verdict,
                              comparison->probes[1]->findings[attribute].verdict);
}

/* One attribute that differs decides, whatever is unknown about the others. */
static int32_t overall_verdict(const modeconn_comparison *comparison)
{
    int32_t overall = MODECONN_VERDICT_SIMILAR;
    for (int64_t a = 0; a < comparison->probes[0]->n_attributes; a++) {
        int32_t verdict = attribute_verdict(comparison, a);
        if (verdict == MODECONN_VERDICT_DISSIMILAR) {
            return verdict;
        }
        if (verdict == MODECONN_VERDICT_UNDECIDED) {
            overall = verdict;
        }
    }
    return overall;
}

/* Two probes that count on: the user sees one call. */
typedef struct both {
    modeconn_progress_fn fn;
    void *user;
    int32_t which; /* probe that runs */
    int64_t attributes;
} both;

static int32_t relay(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                     double accuracy, double rate, double seconds_left)
{
    const both *probes = user;
    /* Of the first model's share only the first's end is in sight. */
    double left = probes->which == 0 ? NAN : seconds_left;
    return probes->fn(probes->user, epoch + probes->which * probes->attributes,
                      step + probes->which * total, 2 * total, loss, accuracy, rate, left);
}

static int32_t probe_both(modeconn_comparison *made, const modeconn_model *const models[2],
                          const modeconn_dataset *test, const modeconn_options *options,
                          modeconn_progress_fn progress, void *user)
{
    static const char *const names[2] = {"first model", "second model"};
    both probes = {.fn = progress, .user = user};
    int32_t status = modeconn_dataset_attribute_count(test, &probes.attributes);
    for (int32_t which = 0; status == MODECONN_OK && which < 2; which++) {
        probes.which = which;
        status = modeconn_probe_measure_with_progress(models[which], test, options,
                                                      progress != NULL ? relay : NULL, &probes,
                                                      &made->probes[which]);
        if (status < 0) {
            mc_fail_prefix(status, "%s", names[which]);
        }
    }
    return status;
}

int32_t modeconn_compare(const modeconn_model *first, const modeconn_model *second,
                         const modeconn_dataset *test, const modeconn_options *options,
                         modeconn_comparison **out)
{
    return modeconn_compare_with_progress(first, second, test, options, NULL, NULL, out);
}

int32_t modeconn_compare_with_progress(const modeconn_model *first, const modeconn_model *second,
                                       const modeconn_dataset *test,
                                       const modeconn_options *options,
                                       modeconn_progress_fn progress, void *user,
                                       modeconn_comparison **out)
{
    const modeconn_model *const models[2] = {first, second};
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (first == NULL || second == NULL || test == NULL) {
        return mc_null(first == NULL ? "first" : second == NULL ? "second" : "test");
    }
    modeconn_context *context = first->context;
    modeconn_comparison *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    int32_t status = probe_both(made, models, test, options, progress, user);
    if (status < 0) {
        modeconn_comparison_destroy(made);
        return status;
    }
    made->verdict = overall_verdict(made);
    *out = made;
    return MODECONN_OK;
}

void modeconn_comparison_destroy(modeconn_comparison *comparison)
{
    if (comparison == NULL) {
        return;
    }
    modeconn_context *context = comparison->context;
    modeconn_probe_destroy(comparison->probes[0]);
    modeconn_probe_destroy(comparison->probes[1]);
    mc_free(context, comparison);
    mc_context_drop(context);
}

int32_t modeconn_comparison_verdict(const modeconn_comparison *comparison, int32_t *verdict)
{
    if (comparison == NULL || verdict == NULL) {
        return mc_null(comparison == NULL ? "comparison" : "verdict");
    }
    *verdict = comparison->verdict;
    return MODECONN_OK;
}

int32_t modeconn_comparison_probe(const modeconn_comparison *comparison, int32_t which,
                                  const modeconn_probe **probe)
{
    if (comparison == NULL || probe == NULL) {
        return mc_null(comparison == NULL ? "comparison" : "probe");
    }
    if (which != 0 && which != 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "which is %d, expected 0 or 1", (int)which);
    }
    *probe = comparison->probes[which];
    return MODECONN_OK;
}

static json_t *attribute_json(const modeconn_comparison *comparison, int64_t a)
{
    json_t *out = json_object();
    const char *verdict = modeconn_verdict_name(attribute_verdict(comparison, a));
    bool ok = mc_json_add(out, "verdict", json_string(verdict));
    json_t *first = mc_finding_json(&comparison->probes[0]->findings[a]);
    ok = mc_json_add(out, "first", first) && ok;
    json_t *second = mc_finding_json(&comparison->probes[1]->findings[a]);
    ok = mc_json_add(out, "second", second) && ok;
    return mc_json_whole(out, ok);
}

static json_t *models_json(const modeconn_comparison *comparison)
{
    json_t *out = json_object();
    json_t *first = mc_provenance_subject(&comparison->probes[0]->origin, 0);
    bool ok = mc_json_add(out, "first", first);
    json_t *second = mc_provenance_subject(&comparison->probes[1]->origin, 0);
    ok = mc_json_add(out, "second", second) && ok;
    return mc_json_whole(out, ok);
}

int32_t modeconn_comparison_json(const modeconn_comparison *comparison, char *buffer,
                                 int64_t capacity, int64_t *needed)
{
    if (comparison == NULL) {
        return mc_null("comparison");
    }
    json_t *out = json_object(), *attributes = json_object();
    bool ok = mc_json_add(out, "verdict", json_string(modeconn_verdict_name(comparison->verdict)));
    for (int64_t a = 0; a < comparison->probes[0]->n_attributes; a++) {
        json_t *attribute = attribute_json(comparison, a);
        ok = mc_json_add(attributes, comparison->probes[0]->attributes[a], attribute) && ok;
    }
    ok = mc_json_add(out, "attributes", attributes) && ok;
    ok = mc_probe_settings_json(comparison->probes[0], out) && ok;
    ok = mc_json_add(out, "models", models_json(comparison)) && ok;
    ok = mc_json_add(out, "note", json_string(note)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

int32_t modeconn_comparison_csv(const modeconn_comparison *comparison, char *buffer,
                                int64_t capacity, int64_t *needed)
{
    if (comparison == NULL) {
        return mc_null("comparison");
    }
    mc_text text;
    mc_text_init(&text, comparison->context);
    mc_text_add(&text, "attribute,verdict,first_verdict,first_effect,first_low,first_high,"
                       "second_verdict,second_effect,second_low,second_high,margin,confidence,"
                       "n\n");
    for (int64_t a = 0; a < comparison->probes[0]->n_attributes; a++) {
        mc_text_add(&text, "%s,%s", comparison->probes[0]->attributes[a],
                    modeconn_verdict_name(attribute_verdict(comparison, a)));
        mc_finding_csv(&comparison->probes[0]->findings[a], &text);
        mc_finding_csv(&comparison->probes[1]->findings[a], &text);
        mc_probe_settings_csv(comparison->probes[0], &text);
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
