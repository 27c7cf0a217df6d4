/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a measurement of mechanistic connectivity found: getters, JSON, CSV.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <string.h>

static const char note[] =
    "About this path: another may connect what it does not. Minimizers that no path connects on "
    "every view rely on different mechanisms by definition (Definition 5); that a lack of linear "
    "connectivity up to symmetries alone implies different mechanisms is Conjecture 1 of the "
    "paper, unproved.";

int32_t modeconn_connectivity_verdict(const modeconn_connectivity *connectivity, int32_t *verdict)
{
    if (connectivity == NULL || verdict == NULL) {
        return mc_null(connectivity == NULL ? "connectivity" : "verdict");
    }
    *verdict = connectivity->verdict;
    return MODECONN_OK;
}

int32_t modeconn_connectivity_weakest(const modeconn_connectivity *connectivity, const char **view,
                                      double *t)
{
    if (connectivity == NULL) {
        return mc_null("connectivity");
    }
    if (view != NULL) {
        *view = connectivity->views[connectivity->weakest_view].view;
    }
    if (t != NULL) {
        *t = connectivity->t[connectivity->weakest_point];
    }
    return MODECONN_OK;
}

int32_t modeconn_connectivity_size(const modeconn_connectivity *connectivity, int64_t *views)
{
    if (connectivity == NULL || views == NULL) {
        return mc_null(connectivity == NULL ? "connectivity" : "views");
    }
    *views = connectivity->n_views;
    return MODECONN_OK;
}

int32_t modeconn_connectivity_view(const modeconn_connectivity *connectivity, int64_t index,
                                   const char **name)
{
    if (connectivity == NULL || name == NULL) {
        return mc_null(connectivity == NULL ? "connectivity" : "name");
    }
    if (index < 0 || index >= connectivity->n_views) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "view index %lld: not in 0..%lld", (long long)index,
                       (long long)(connectivity->n_views - 1));
    }
    *name = connectivity->views[index].view;
    return MODECONN_OK;
}

static int32_t find_view(const modeconn_connectivity *connectivity, const char *view,
                         const mc_rise **out)
{
    if (connectivity == NULL || view == NULL) {
        return mc_null(connectivity == NULL ? "connectivity" : "view");
    }
    for (int64_t v = 0; v < connectivity->n_views; v++) {
        if (strcmp(connectivity->views[v].view, view) == 0) {
            *out = &connectivity->views[v];
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no view \"%s\" in this measurement", view);
}

int32_t modeconn_connectivity_get(const modeconn_connectivity *connectivity, const char *view,
                                  int32_t *verdict, double *height, double *low, double *high,
                                  double *t)
{
    const mc_rise *found = NULL;
    int32_t status = find_view(connectivity, view, &found);
    if (status < 0) {
        return status;
    }
    if (verdict != NULL) {
        *verdict = found->verdict;
    }
    if (height != NULL) {
        *height = found->height;
    }
    if (low != NULL) {
        *low = found->low;
    }
    if (high != NULL) {
        *high = found->high;
    }
    if (t != NULL) {
        *t = connectivity->t[found->at];
    }
    return MODECONN_OK;
}

int32_t modeconn_connectivity_end(const modeconn_connectivity *connectivity, const char *view,
                                  int32_t which, double *loss, double *accuracy)
{
    const mc_rise *found = NULL;
    int32_t status = find_view(connectivity, view, &found);
    if (status < 0) {
        return status;
    }
    if (which != 0 && which != 1) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "which is %d, expected 0 or 1", (int)which);
    }
    if (loss != NULL) {
        *loss = found->ends[which].loss;
    }
    if (accuracy != NULL) {
        *accuracy = found->ends[which].accuracy;
    }
    return MODECONN_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static json_t *end_json(const mc_path_end *end)
{
    json_t *out = json_object();
    json_t *minimizer = end->minimizer == MC_MINIMIZER_OPEN
                            ? json_null()
                            : json_boolean(end->minimizer == MC_MINIMIZER_YES);
    bool ok = mc_json_add(out, "loss", mc_json_real(end->loss));
    ok = mc_json_add(out, "accuracy", mc_json_real(end->accuracy)) && ok;
    ok = mc_json_add(out, "low", mc_json_real(end->low)) && ok;
    ok = mc_json_add(out, "high", mc_json_real(end->high)) && ok;
    ok = mc_json_add(out, "minimizer", minimizer) && ok;
    return mc_json_whole(out, ok);
}

static json_t *view_json(const modeconn_connectivity *connectivity, const mc_rise *view)
{
    int64_t points = connectivity->points;
    json_t *out = json_object(), *ends = json_object();
    bool ok = mc_json_add(ends, "first", end_json(&view->ends[0]));
    ok = mc_json_add(ends, "second", end_json(&view->ends[1])) && ok;
    ok = mc_json_add(out, "verdict", json_string(modeconn_verdict_name(view->verdict))) && ok;
    ok = mc_json_add(out, "height", mc_json_real(view->height)) && ok;
    ok = mc_json_add(out, "low", mc_json_real(view->low)) && ok;
    ok = mc_json_add(out, "high", mc_json_real(view->high)) && ok;
    ok = mc_json_add(out, "t", mc_json_real(connectivity->t[view->at])) && ok;
    ok = mc_json_add(out, "loss", mc_json_values(view->loss, points)) && ok;
    ok = mc_json_add(out, "accuracy", mc_json_values(view->accuracy, points)) && ok;
    ok = mc_json_add(out, "excess", mc_json_values(view->excess, points)) && ok;
    ok = mc_json_add(out, "excess_low", mc_json_values(view->below, points)) && ok;
    ok = mc_json_add(out, "excess_high", mc_json_values(view->above, points)) && ok;
    ok = mc_json_add(out, "ends", ends) && ok;
    return mc_json_whole(out, ok);
}

static bool add_settings(const modeconn_connectivity *connectivity, json_t *out)
{
    bool ok = mc_json_add(out, "tolerance", mc_json_real(connectivity->tolerance));
    ok = mc_json_add(out, "minimum_loss", mc_json_real(connectivity->minimum_loss)) && ok;
    ok = mc_json_add(out, "confidence", mc_json_real(connectivity->confidence)) && ok;
    ok = mc_json_add(out, "resamples", json_integer(connectivity->resamples)) && ok;
    ok = mc_json_add(out, "seed", json_integer((json_int_t)connectivity->seed)) && ok;
    ok = mc_json_add(out, "n", json_integer(connectivity->n)) && ok;
    ok = mc_json_add(out, "statistics", mc_provenance_statistics(&connectivity->origin)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(connectivity->origin.batch_size)) && ok;
    ok = mc_json_add(out, "path", mc_provenance_path(&connectivity->origin)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_test(&connectivity->origin)) && ok;
    return mc_json_add(out, "note", json_string(note)) && ok;
}

int32_t modeconn_connectivity_json(const modeconn_connectivity *connectivity, char *buffer,
                                   int64_t capacity, int64_t *needed)
{
    if (connectivity == NULL) {
        return mc_null("connectivity");
    }
    json_t *out = json_object(), *views = json_object(), *weakest = json_object();
    const char *view = connectivity->views[connectivity->weakest_view].view;
    double t = connectivity->t[connectivity->weakest_point];
    const char *verdict = modeconn_verdict_name(connectivity->verdict);
    bool ok = mc_json_add(out, "verdict", json_string(verdict));
    ok = mc_json_add(weakest, "view", json_string(view)) && ok;
    ok = mc_json_add(weakest, "t", mc_json_real(t)) && ok;
    ok = mc_json_add(out, "weakest", weakest) && ok;
    ok = mc_json_add(out, "t", mc_json_values(connectivity->t, connectivity->points)) && ok;
    for (int64_t v = 0; v < connectivity->n_views; v++) {
        const mc_rise *rise = &connectivity->views[v];
        ok = mc_json_add(views, rise->view, view_json(connectivity, rise)) && ok;
    }
    ok = mc_json_add(out, "views", views) && ok;
    ok = add_settings(connectivity, out) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

int32_t modeconn_connectivity_csv(const modeconn_connectivity *connectivity, char *buffer,
                                  int64_t capacity, int64_t *needed)
{
    if (connectivity == NULL) {
        return mc_null("connectivity");
    }
    mc_text text;
    mc_text_init(&text, connectivity->context);
    mc_text_add(&text, "view,verdict,t,loss,accuracy,excess,excess_low,excess_high,tolerance,"
                       "confidence,n\n");
    for (int64_t v = 0; v < connectivity->n_views; v++) {
        const mc_rise *view = &connectivity->views[v];
        for (int64_t i = 0; i < connectivity->points; i++) {
            const double values[] = {connectivity->t[i],      view->loss[i],
                                     view->accuracy[i],       view->excess[i],
                                     view->below[i],          view->above[i],
                                     connectivity->tolerance, connectivity->confidence};
            mc_text_add(&text, "%s,%s", view->view, modeconn_verdict_name(view->verdict));
            for (size_t k = 0; k < sizeof(values) / sizeof(values[0]); k++) {
                mc_text_add(&text, ",");
                mc_text_add_f64(&text, values[k]);
            }
            mc_text_add(&text, ",%lld\n", (long long)connectivity->n);
        }
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
