/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths of any family: over two ends with control points on the line between them or drawn anew,
 * or over a list of models.
 */
#include "path/path.h"
#include <string.h>

static const mc_option_spec path_specs[] = {
    MC_OPT_STR("family", "linear|bezier|chain", "bezier", "how control points make a curve"),
    MC_OPT_I64("degree", 1, MC_PATH_POINTS_MAX - 1, "2", "bezier: degree of the curve"),
    MC_OPT_I64("bends", 0, MC_PATH_POINTS_MAX - 2, "1", "chain: control points between the ends"),
    MC_OPT_STR("start", "line|random", "line",
               "control points between the ends: on the line, or freshly initialised"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "of random control points; -1 = the context's"),
};
const mc_option_kind mc_kind_path = MC_OPTION_KIND("path", path_specs);

int32_t mc_path_family_find(const char *name, int64_t count, const mc_path_family **family)
{
    for (int64_t i = 0; i < mc_path_families_count; i++) {
        const mc_path_family *row = mc_path_families[i];
        if (strcmp(row->name, name) == 0) {
            *family = row;
            if (count < row->least || count > row->most) {
                return mc_fail(MODECONN_ERROR_ARGUMENT,
                               "count is %lld, a path of family %s has %lld to %lld control points",
                               (long long)count, name, (long long)row->least, (long long)row->most);
            }
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no path family \"%s\"", name);
}

int32_t modeconn_path_from_models(const char *family, const modeconn_model *const *models,
                                  int64_t count, modeconn_path **out)
{
    const mc_path_family *row = NULL;
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (family == NULL || models == NULL) {
        return mc_null(family == NULL ? "family" : "models");
    }
    int32_t status = mc_path_family_find(family, count, &row);
    if (status < 0) {
        return status;
    }
    for (int64_t i = 0; i < count; i++) {
        if (models[i] == NULL) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "models[%lld] is NULL", (long long)i);
        }
    }
    return mc_path_create(row, models, count, MC_NAMES_ALL, out);
}

/* Control points between the ends: P_i = the line at i/legs (degree 2: the mean), or fresh. */
static void place(modeconn_path *path, bool random, uint64_t seed)
{
    int64_t legs = path->n_points - 1;
    const modeconn_model *first = path->points[0], *last = path->points[legs];
    for (int64_t i = 1; i < legs; i++) {
        modeconn_model *point = path->points[i];
        double t = (double)i / (double)legs;
        if (random) {
            /* Not the seed itself, from which an end may have come. */
            uint64_t own = mc_random_u64(seed, MC_STREAM_PATH_START, (uint64_t)i, 0);
            mc_model_initialise(point, own);
        } else {
            mc_interpolate(path->context, t, first->theta, last->theta, first->n_theta,
                           point->theta);
            mc_interpolate(path->context, t, first->statistics, last->statistics, first->n_stats,
                           point->statistics);
        }
    }
}

int32_t modeconn_path_create(const modeconn_model *first, const modeconn_model *second,
                             const modeconn_options *options, modeconn_path **out)
{
    const modeconn_model *models[MC_PATH_POINTS_MAX];
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (first == NULL || second == NULL) {
        return mc_null(first == NULL ? "first" : "second");
    }
    int32_t status = mc_options_check(options, &mc_kind_path);
    if (status < 0) {
        return status;
    }
    const char *family = mc_option_str(options, &mc_kind_path, "family");
    int64_t count = 2;
    if (strcmp(family, "bezier") == 0) {
        count = mc_option_i64(options, &mc_kind_path, "degree") + 1;
    } else if (strcmp(family, "chain") == 0) {
        count = mc_option_i64(options, &mc_kind_path, "bends") + 2;
    }
    for (int64_t i = 0; i < count; i++) {
        models[i] = i == 0 ? first : second;
    }
    const mc_path_family *row = NULL;
    status = mc_path_family_find(family, count, &row);
    if (status == MODECONN_OK) {
        status = mc_path_create(row, models, count, MC_NAMES_ENDS, out);
    }
    if (status == MODECONN_OK) {
        place(*out, strcmp(mc_option_str(options, &mc_kind_path, "start"), "random") == 0,
              mc_seed(first->context, mc_option_i64(options, &mc_kind_path, "seed")));
    }
    return status;
}

int32_t modeconn_path_size(const modeconn_path *path, int64_t *points)
{
    if (path == NULL || points == NULL) {
        return mc_null(path == NULL ? "path" : "points");
    }
    *points = path->n_points;
    return MODECONN_OK;
}

int32_t modeconn_path_control(const modeconn_path *path, int64_t index, modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL) {
        return mc_null("path");
    }
    if (index < 0 || index >= path->n_points) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "index %lld, but the path has %lld control points",
                       (long long)index, (long long)path->n_points);
    }
    return modeconn_model_clone(path->points[index], out);
}
