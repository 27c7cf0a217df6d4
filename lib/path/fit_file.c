/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The state of an interrupted path fit as a safetensors file:
 *
 *     k.theta, k.velocity [n_theta]   F32, of each control point k between the ends
 *     position [4]   epoch, step, hits, columns            I64
 *     sums [2]       loss, seconds of the running epoch    F64
 *     history [epochs][columns]                            F64
 *
 * The metadata tell what the fit is made over: family and ends of the path, architecture and its
 * settings, the views (description and fingerprint), every option. Loading compares all of them
 * and reads everything before it changes anything.
 */
#include "io/io.h"
#include "path/path.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_POSITION = 4, N_SUMS = 2, NAME = 40 };
enum { META_FORMAT, META_ARCHITECTURE, META_SETTINGS, META_PATH, META_DATA, META_OPTIONS, N_META };
static const char *const meta_keys[N_META] = {"format", "architecture", "settings",
                                              "path",   "dataset",      "options"};
static const char file_format[] = "modeconn.fit.1";

/* ---- what the fit is made over ------------------------------------------------------------ */

typedef struct identity {
    const modeconn_context *context;
    const char *values[N_META];
    char path[96]; /* "bezier of 3 points, ends HASH" */
    char *data;    /* a line per view: description and fingerprint */
} identity;

static void describe_path(const modeconn_fitter *fitter, char *text, size_t capacity)
{
    const modeconn_path *path = fitter->path;
    const modeconn_model *first = path->points[0], *last = path->points[path->n_points - 1];
    size_t size = (size_t)first->n_theta * sizeof(float);
    char hash[17];
    mc_hash_text(mc_hash(mc_hash(MC_HASH_START, first->theta, size), last->theta, size), hash);
    snprintf(text, capacity, "%s of %lld points, ends %s", path->family->name,
             (long long)path->n_points, hash);
}

static int32_t describe_view(const modeconn_dataset *view, mc_text *text)
{
    char fingerprint[17];
    int64_t size = 0;
    int32_t status = modeconn_dataset_describe(view, NULL, 0, &size);
    if (status < 0) {
        return status;
    }
    char *description = mc_alloc(text->context, size, 1);
    if (description == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    status = modeconn_dataset_describe(view, description, size, NULL);
    if (status == MODECONN_OK) {
        status = mc_fingerprint(view, fingerprint);
    }
    if (status == MODECONN_OK) {
        mc_text_add(text, "%s %s\n", description, fingerprint);
    }
    mc_free(text->context, description);
    return status;
}

static int32_t identity_init(const modeconn_fitter *fitter, identity *id)
{
    mc_text text;
    int32_t status = MODECONN_OK;
    *id = (identity){.context = fitter->run.context};
    mc_text_init(&text, fitter->run.context);
    for (int64_t v = 0; status == MODECONN_OK && v < fitter->n_views; v++) {
        status = describe_view(fitter->views[v], &text);
    }
    if (status == MODECONN_OK) {
        id->data = text.failed ? NULL : mc_strdup(fitter->run.context, text.data);
        status = id->data == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    }
    mc_text_free(&text);
    describe_path(fitter, id->path, sizeof(id->path));
    id->values[META_FORMAT] = file_format;
    id->values[META_ARCHITECTURE] = fitter->path->points[0]->architecture;
    id->values[META_SETTINGS] = fitter->path->points[0]->settings;
    id->values[META_PATH] = id->path;
    id->values[META_DATA] = id->data;
    id->values[META_OPTIONS] = fitter->run.options;
    return status;
}

static void identity_free(identity *id)
{
    mc_free(id->context, id->data);
}

static int32_t compare_identity(const identity *id, const mc_safetensors *file, const char *path)
{
    const char *saved[N_META];
    for (int i = 0; i < N_META; i++) {
        saved[i] = mc_safetensors_meta(file, meta_keys[i]);
        if (saved[i] == NULL || (i == META_FORMAT && strcmp(saved[i], file_format) != 0)) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s is not a saved path fit: its \"%s\" is %s",
                           path, meta_keys[i], saved[i] == NULL ? "missing" : saved[i]);
        }
    }
    for (int i = META_ARCHITECTURE; i <= META_DATA; i++) {
        if (strcmp(saved[i], id->values[i]) != 0) {
            return mc_fail(i <= META_SETTINGS ? MODECONN_ERROR_SHAPE : MODECONN_ERROR_ARGUMENT,
                           "%s: the %s saved is %s, this fit's is %s", path, meta_keys[i], saved[i],
                           id->values[i]);
        }
    }
    if (strcmp(saved[META_OPTIONS], id->values[META_OPTIONS]) != 0) {
        return mc_run_options_differ(path, saved[META_OPTIONS], id->values[META_OPTIONS]);
    }
    return MODECONN_OK;
}

/* ---- saving ------------------------------------------------------------------------------- */

static mc_tensor vector(const char *name, const char *dtype, const void *data, int64_t size)
{
    return (mc_tensor){
        .name = name, .rank = 1, .shape = {size}, .dtype = dtype, .data = data, .size = size};
}

int32_t modeconn_fitter_save(const modeconn_fitter *fitter, const char *path)
{
    mc_tensor tensors[2 * MC_PATH_POINTS_MAX + 3];
    char names[2 * MC_PATH_POINTS_MAX][NAME];
    int64_t n = 0;
    identity id;
    if (fitter == NULL || path == NULL) {
        return mc_null(fitter == NULL ? "fitter" : "path");
    }
    int32_t status = identity_init(fitter, &id);
    if (status < 0) {
        identity_free(&id);
        return status;
    }
    int64_t position[N_POSITION] = {fitter->run.epoch, fitter->run.step, fitter->run.hits,
                                    MC_HISTORY_SGD};
    double sums[N_SUMS] = {fitter->run.loss_sum, fitter->run.seconds};
    int64_t n_theta = fitter->path->points[0]->n_theta;
    for (int64_t k = 1; k < fitter->path->n_points - 1; k++) {
        snprintf(names[n], NAME, "%lld.theta", (long long)k);
        tensors[n] = vector(names[n], "F32", fitter->path->points[k]->theta, n_theta);
        n++;
        snprintf(names[n], NAME, "%lld.velocity", (long long)k);
        tensors[n] = vector(names[n], "F32", fitter->velocity[k], n_theta);
        n++;
    }
    tensors[n++] = vector("position", "I64", position, N_POSITION);
    tensors[n++] = vector("sums", "F64", sums, N_SUMS);
    if (fitter->run.history->n_epochs > 0) {
        tensors[n++] = vector("history", "F64", fitter->run.history->values,
                              fitter->run.history->n_epochs * MC_HISTORY_SGD);
    }
    status =
        mc_safetensors_write(fitter->run.context, path, tensors, n, meta_keys, id.values, N_META);
    identity_free(&id);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* All of a file's state, before any of it is taken over. */
typedef struct loaded {
    float *theta[MC_PATH_POINTS_MAX], *velocity[MC_PATH_POINTS_MAX];
    int64_t position[N_POSITION];
    double sums[N_SUMS];
    modeconn_history *history, *published;
} loaded;

static void loaded_free(const modeconn_context *context, loaded *state)
{
    for (int64_t k = 0; k < MC_PATH_POINTS_MAX; k++) {
        mc_free(context, state->theta[k]);
        mc_free(context, state->velocity[k]);
    }
    modeconn_history_destroy(state->history);
    modeconn_history_destroy(state->published);
}

static int32_t read_position(const modeconn_fitter *fitter, const mc_safetensors *file,
                             const char *path, loaded *state)
{
    int32_t status =
        mc_run_values(file, path, "position", "I64", N_POSITION, sizeof(int64_t), state->position);
    if (status == MODECONN_OK) {
        status = mc_run_values(file, path, "sums", "F64", N_SUMS, sizeof(double), state->sums);
    }
    if (status < 0) {
        return status;
    }
    int64_t epoch = state->position[0], step = state->position[1], hits = state->position[2];
    if (epoch < 0 || epoch > fitter->run.epochs || step < 0 || step > fitter->run.per_epoch ||
        (epoch == fitter->run.epochs && step > 0) || hits < 0 || hits > fitter->run.n ||
        state->position[3] != MC_HISTORY_SGD || !isfinite(state->sums[0]) ||
        !isfinite(state->sums[1])) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: position epoch %lld, step %lld does not exist in this fit", path,
                       (long long)epoch, (long long)step);
    }
    return MODECONN_OK;
}

static int32_t read_history(const modeconn_fitter *fitter, const mc_safetensors *file,
                            const char *path, loaded *state)
{
    const mc_tensor *tensor = NULL;
    int64_t epochs = state->position[0];
    int32_t status =
        mc_history_create(fitter->run.context, mc_history_sgd, MC_HISTORY_SGD, &state->history);
    if (status == MODECONN_OK && epochs > 0) {
        status = mc_run_tensor(file, path, "history", "F64", epochs * MC_HISTORY_SGD, &tensor);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < epochs; i++) {
        double row[MC_HISTORY_SGD];
        memcpy(row, (const char *)tensor->data + (size_t)i * sizeof(row), sizeof(row));
        status = mc_history_append(state->history, row);
    }
    return status == MODECONN_OK ? mc_history_clone(state->history, &state->published) : status;
}

static int32_t read_state(const modeconn_fitter *fitter, const mc_safetensors *file,
                          const char *path, loaded *state)
{
    int64_t n_theta = fitter->path->points[0]->n_theta;
    int32_t status = read_position(fitter, file, path, state);
    for (int64_t k = 1; status == MODECONN_OK && k < fitter->path->n_points - 1; k++) {
        char name[NAME];
        snprintf(name, sizeof(name), "%lld.theta", (long long)k);
        status = mc_run_floats(fitter->run.context, file, path, name, n_theta, &state->theta[k]);
        if (status == MODECONN_OK) {
            snprintf(name, sizeof(name), "%lld.velocity", (long long)k);
            status =
                mc_run_floats(fitter->run.context, file, path, name, n_theta, &state->velocity[k]);
        }
    }
    return status == MODECONN_OK ? read_history(fitter, file, path, state) : status;
}

static void take_state(modeconn_fitter *fitter, loaded *state)
{
    size_t size = (size_t)fitter->path->points[0]->n_theta * sizeof(float);
    for (int64_t k = 1; k < fitter->path->n_points - 1; k++) {
        memcpy(fitter->path->points[k]->theta, state->theta[k], size);
        memcpy(fitter->velocity[k], state->velocity[k], size);
        mc_model_changed(fitter->path->points[k]);
    }
    fitter->run.epoch = state->position[0];
    fitter->run.step = state->position[1];
    fitter->run.hits = state->position[2];
    fitter->run.loss_sum = state->sums[0];
    fitter->run.seconds = state->sums[1];
    modeconn_history_destroy(fitter->run.history);
    fitter->run.history = state->history;
    state->history = NULL;
    mc_path_set_history(fitter->path, state->published);
    state->published = NULL;
}

int32_t modeconn_fitter_load(modeconn_fitter *fitter, const char *path)
{
    mc_safetensors *file = NULL;
    loaded state = {.history = NULL};
    identity id = {.context = NULL};
    if (fitter == NULL || path == NULL) {
        return mc_null(fitter == NULL ? "fitter" : "path");
    }
    int32_t status = mc_safetensors_read(fitter->run.context, path, &file);
    if (status < 0) {
        return status;
    }
    status = identity_init(fitter, &id);
    if (status == MODECONN_OK) {
        status = compare_identity(&id, file, path);
    }
    if (status == MODECONN_OK) {
        status = read_state(fitter, file, path, &state);
    }
    if (status == MODECONN_OK) {
        take_state(fitter, &state);
    }
    loaded_free(fitter->run.context, &state);
    identity_free(&id);
    mc_safetensors_free(file);
    return status;
}
