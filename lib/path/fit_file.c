/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The file of a path fit (run_file.c) holds "k.theta" and "k.velocity" of each control point k
 * between the ends and, in the middle of an epoch, "k.epoch_start". The ends are told by a hash,
 * the views by a line each.
 */
#include "path/path.h"
#include <stdio.h>

enum { THETA, VELOCITY, EPOCH_START, N_EACH };
static const char *const names[N_EACH] = {"theta", "velocity", "epoch_start"};
enum { VECTORS_MAX = N_EACH * (MC_PATH_POINTS_MAX - 2) };

static int64_t list_vectors(const modeconn_fitter *fitter, mc_run_vector *vectors)
{
    int64_t n = 0, size = fitter->run.model->n_theta;
    for (int64_t k = 1; k < fitter->path->n_points - 1; k++) {
        float *each[N_EACH] = {fitter->path->points[k]->theta, fitter->velocity[k],
                               fitter->start[k]};
        for (int i = 0; i < N_EACH; i++, n++) {
            vectors[n] =
                (mc_run_vector){.size = size, .values = each[i], .inside = i == EPOCH_START};
            snprintf(vectors[n].name, sizeof(vectors[n].name), "%lld.%s", (long long)k, names[i]);
        }
    }
    return n;
}

static void describe_path(const modeconn_path *path, char *text, size_t capacity)
{
    const modeconn_model *first = path->points[0], *last = path->points[path->n_points - 1];
    size_t size = (size_t)first->n_theta * sizeof(float);
    char hash[17];
    mc_hash_text(mc_hash(mc_hash(MC_HASH_START, first->theta, size), last->theta, size), hash);
    snprintf(text, capacity, "%s of %lld points, ends %s", path->family->name,
             (long long)path->n_points, hash);
}

/* Description and fingerprint of every view, each a line. */
static int32_t describe_views(const modeconn_fitter *fitter, char **out)
{
    const modeconn_context *context = fitter->run.context;
    mc_text text;
    int32_t status = MODECONN_OK;
    mc_text_init(&text, context);
    for (int64_t v = 0; status == MODECONN_OK && v < fitter->n_views; v++) {
        char *description = NULL, fingerprint[17];
        status = mc_run_describe(fitter->views[v], &description, fingerprint);
        if (status == MODECONN_OK) {
            mc_text_add(&text, "%s %s\n", description, fingerprint);
        }
        mc_free(context, description);
    }
    *out = mc_text_take(&text);
    return status == MODECONN_OK && *out == NULL ? MODECONN_ERROR_MEMORY : status;
}

static int32_t state_facts(const modeconn_fitter *fitter, mc_run_facts *facts)
{
    *facts = (mc_run_facts){.what = "path fit", .format = "modeconn.fit.2"};
    describe_path(fitter->path, facts->path, sizeof(facts->path));
    return describe_views(fitter, &facts->data);
}

int32_t modeconn_fitter_save(const modeconn_fitter *fitter, const char *path)
{
    mc_run_vector vectors[VECTORS_MAX];
    mc_run_facts facts;
    if (fitter == NULL || path == NULL) {
        return mc_null(fitter == NULL ? "fitter" : "path");
    }
    int64_t n = list_vectors(fitter, vectors);
    int32_t status = state_facts(fitter, &facts);
    if (status == MODECONN_OK) {
        status = mc_run_save(&fitter->run, &facts, vectors, n, path);
    }
    mc_free(fitter->run.context, facts.data);
    return status;
}

int32_t modeconn_fitter_load(modeconn_fitter *fitter, const char *path)
{
    mc_run_vector vectors[VECTORS_MAX];
    mc_run_facts facts;
    modeconn_history *record = NULL;
    if (fitter == NULL || path == NULL) {
        return mc_null(fitter == NULL ? "fitter" : "path");
    }
    int64_t n = list_vectors(fitter, vectors);
    char *fit = NULL;
    int32_t status = state_facts(fitter, &facts);
    if (status == MODECONN_OK) {
        fit = mc_strdup(fitter->run.context, fitter->told);
        status = fit != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
    }
    if (status == MODECONN_OK) {
        status = mc_run_load(&fitter->run, &facts, vectors, n, path, &record);
    }
    if (status == MODECONN_OK) {
        for (int64_t k = 1; k < fitter->path->n_points - 1; k++) {
            mc_model_changed(fitter->path->points[k]);
        }
        mc_path_set_record(fitter->path, record, fit);
    } else {
        mc_free(fitter->run.context, fit);
    }
    mc_free(fitter->run.context, facts.data);
    return status;
}
