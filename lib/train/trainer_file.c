/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The complete state of a training run as a safetensors file:
 *
 *     theta, velocity [n_theta]; statistics [n_stats]      F32
 *     position [4]   epoch, step, hits, columns            I64
 *     sums [2]       loss, seconds of the running epoch    F64
 *     history [epochs][columns]                            F64
 *     epoch_start.theta|velocity|statistics                F32, in the middle of an epoch only
 *
 * Empty tensors are left out. The metadata tell what the run is made over: architecture and its
 * settings, data (description and fingerprint), every option. Loading compares all of them and
 * reads everything before it changes anything.
 */
#include "train/train.h"
#include "io/io.h"
#include <math.h>
#include <string.h>

#define MAX_TENSORS 9
#define N_POSITION 4
#define N_SUMS 2

static const char file_format[] = "modeconn.trainer.1";

/* ---- what the run is made over ------------------------------------------------------------ */

enum {
    META_FORMAT,
    META_ARCHITECTURE,
    META_SETTINGS,
    META_DATA,
    META_FINGERPRINT,
    META_OPTIONS,
    N_META
};
static const char *const meta_keys[N_META] = {"format",  "architecture", "settings",
                                              "dataset", "fingerprint",  "options"};

typedef struct identity {
    const char *values[N_META];
    char *data; /* owned */
    char fingerprint[17];
} identity;

static void identity_free(const modeconn_trainer *trainer, identity *id)
{
    mc_free(trainer->run.context, id->data);
    *id = (identity){0};
}

static int32_t identity_init(const modeconn_trainer *trainer, identity *id)
{
    int64_t size = 0;
    *id = (identity){0};
    int32_t status = modeconn_dataset_describe(trainer->dataset, NULL, 0, &size);
    if (status < 0) {
        return status;
    }
    id->data = mc_alloc(trainer->run.context, size, 1);
    if (id->data == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    status = modeconn_dataset_describe(trainer->dataset, id->data, size, NULL);
    if (status == MODECONN_OK) {
        status = mc_fingerprint(trainer->dataset, id->fingerprint);
    }
    if (status < 0) {
        identity_free(trainer, id);
        return status;
    }
    id->values[META_FORMAT] = file_format;
    id->values[META_ARCHITECTURE] = trainer->model->architecture;
    id->values[META_SETTINGS] = trainer->model->settings;
    id->values[META_DATA] = id->data;
    id->values[META_FINGERPRINT] = id->fingerprint;
    id->values[META_OPTIONS] = trainer->run.options;
    return MODECONN_OK;
}

static int32_t compare_identity(const identity *id, const mc_safetensors *file, const char *path)
{
    const char *saved[N_META];
    for (int i = 0; i < N_META; i++) {
        saved[i] = mc_safetensors_meta(file, meta_keys[i]);
        if (saved[i] == NULL || (i == META_FORMAT && strcmp(saved[i], file_format) != 0)) {
            return mc_fail(MODECONN_ERROR_FORMAT,
                           "%s is not a saved training run: its \"%s\" is %s", path, meta_keys[i],
                           saved[i] == NULL ? "missing" : saved[i]);
        }
    }
    for (int i = META_ARCHITECTURE; i <= META_SETTINGS; i++) {
        if (strcmp(saved[i], id->values[i]) != 0) {
            return mc_fail(MODECONN_ERROR_SHAPE, "%s: the %s saved is %s, this model's is %s", path,
                           meta_keys[i], saved[i], id->values[i]);
        }
    }
    if (strcmp(saved[META_DATA], id->values[META_DATA]) != 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: the dataset was %s, this trainer's is %s",
                       path, saved[META_DATA], id->values[META_DATA]);
    }
    if (strcmp(saved[META_FINGERPRINT], id->values[META_FINGERPRINT]) != 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "%s: the dataset has the same description but other labels or pixels", path);
    }
    if (strcmp(saved[META_OPTIONS], id->values[META_OPTIONS]) != 0) {
        return mc_run_options_differ(path, saved[META_OPTIONS], id->values[META_OPTIONS]);
    }
    return MODECONN_OK;
}

/* ---- saving ------------------------------------------------------------------------------- */

static void add_tensor(mc_tensor *tensors, int64_t *n, const char *name, const char *dtype,
                       const void *data, int64_t rows, int64_t columns)
{
    int64_t size = rows * columns;
    if (size == 0) {
        return;
    }
    tensors[(*n)++] = (mc_tensor){.name = name,
                                  .rank = columns == 1 ? 1 : 2,
                                  .shape = {rows, columns},
                                  .dtype = dtype,
                                  .data = data,
                                  .size = size};
}

int32_t modeconn_trainer_save(const modeconn_trainer *trainer, const char *path)
{
    mc_tensor tensors[MAX_TENSORS];
    int64_t n = 0;
    identity id;

    if (trainer == NULL) {
        return mc_null("trainer");
    }
    if (path == NULL) {
        return mc_null("path");
    }
    int32_t status = identity_init(trainer, &id);
    if (status < 0) {
        return status;
    }

    const modeconn_model *model = trainer->model;
    int64_t position[N_POSITION] = {trainer->run.epoch, trainer->run.step, trainer->run.hits,
                                    MC_HISTORY_SGD};
    double sums[N_SUMS] = {trainer->run.loss_sum, trainer->run.seconds};
    add_tensor(tensors, &n, "theta", "F32", model->theta, model->n_theta, 1);
    add_tensor(tensors, &n, "statistics", "F32", model->statistics, model->n_stats, 1);
    add_tensor(tensors, &n, "velocity", "F32", trainer->velocity, model->n_theta, 1);
    add_tensor(tensors, &n, "position", "I64", position, N_POSITION, 1);
    add_tensor(tensors, &n, "sums", "F64", sums, N_SUMS, 1);
    add_tensor(tensors, &n, "history", "F64", trainer->run.history->values,
               trainer->run.history->n_epochs, MC_HISTORY_SGD);
    if (trainer->run.step > 0) {
        add_tensor(tensors, &n, "epoch_start.theta", "F32", trainer->start_theta, model->n_theta,
                   1);
        add_tensor(tensors, &n, "epoch_start.statistics", "F32", trainer->start_statistics,
                   model->n_stats, 1);
        add_tensor(tensors, &n, "epoch_start.velocity", "F32", trainer->start_velocity,
                   model->n_theta, 1);
    }
    status =
        mc_safetensors_write(trainer->run.context, path, tensors, n, meta_keys, id.values, N_META);
    identity_free(trainer, &id);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------ */

/* All of a file's state, before any of it is taken over. */
typedef struct loaded {
    float *theta, *statistics, *velocity;
    float *start_theta, *start_statistics, *start_velocity;
    int64_t position[N_POSITION];
    double sums[N_SUMS];
    modeconn_history *history, *published;
} loaded;

static void loaded_free(const modeconn_context *context, loaded *state)
{
    mc_free(context, state->theta);
    mc_free(context, state->statistics);
    mc_free(context, state->velocity);
    mc_free(context, state->start_theta);
    mc_free(context, state->start_statistics);
    mc_free(context, state->start_velocity);
    modeconn_history_destroy(state->history);
    modeconn_history_destroy(state->published);
}

static int32_t read_position(const modeconn_trainer *trainer, const mc_safetensors *file,
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
    if (epoch < 0 || epoch > trainer->run.epochs || step < 0 || step > trainer->run.per_epoch ||
        (epoch == trainer->run.epochs && step > 0) || hits < 0 || hits > trainer->run.n ||
        state->position[3] != MC_HISTORY_SGD || !isfinite(state->sums[0]) ||
        !isfinite(state->sums[1])) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: position epoch %lld, step %lld does not exist in this run", path,
                       (long long)epoch, (long long)step);
    }
    return MODECONN_OK;
}

static int32_t read_history(const modeconn_trainer *trainer, const mc_safetensors *file,
                            const char *path, loaded *state)
{
    const mc_tensor *tensor = NULL;
    int64_t epochs = state->position[0];
    int32_t status =
        mc_history_create(trainer->model->context, mc_history_sgd, MC_HISTORY_SGD, &state->history);
    if (status == MODECONN_OK && epochs > 0) {
        status = mc_run_tensor(file, path, "history", "F64", epochs * MC_HISTORY_SGD, &tensor);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < epochs; i++) {
        double row[MC_HISTORY_SGD];
        memcpy(row, (const char *)tensor->data + (size_t)i * sizeof(row), sizeof(row));
        status = mc_history_append(state->history, row);
    }
    if (status == MODECONN_OK) {
        status = mc_history_clone(state->history, &state->published);
    }
    return status;
}

static int32_t read_state(const modeconn_trainer *trainer, const mc_safetensors *file,
                          const char *path, loaded *state)
{
    const modeconn_context *context = trainer->run.context;
    const modeconn_model *model = trainer->model;
    int32_t status = read_position(trainer, file, path, state);
    const struct {
        const char *name;
        int64_t size;
        float **out;
    } tensors[] = {{"theta", model->n_theta, &state->theta},
                   {"statistics", model->n_stats, &state->statistics},
                   {"velocity", model->n_theta, &state->velocity},
                   {"epoch_start.theta", model->n_theta, &state->start_theta},
                   {"epoch_start.statistics", model->n_stats, &state->start_statistics},
                   {"epoch_start.velocity", model->n_theta, &state->start_velocity}};
    int count = state->position[1] > 0 ? 6 : 3;
    for (int i = 0; status == MODECONN_OK && i < count; i++) {
        status =
            mc_run_floats(context, file, path, tensors[i].name, tensors[i].size, tensors[i].out);
    }
    if (status == MODECONN_OK) { /* also refuses a negative variance */
        status = mc_model_check_finite(model, state->theta, state->statistics);
    }
    if (status == MODECONN_OK && state->position[1] > 0) {
        status = mc_model_check_finite(model, state->start_theta, state->start_statistics);
    }
    if (status == MODECONN_OK) {
        status = read_history(trainer, file, path, state);
    }
    return status;
}

static void take_floats(float *to, const float *from, int64_t n)
{
    memcpy(to, from, (size_t)n * sizeof(float));
}

static void take_state(modeconn_trainer *trainer, loaded *state)
{
    modeconn_model *model = trainer->model;
    take_floats(model->theta, state->theta, model->n_theta);
    take_floats(model->statistics, state->statistics, model->n_stats);
    take_floats(trainer->velocity, state->velocity, model->n_theta);
    mc_model_changed(model);
    trainer->run.epoch = state->position[0];
    trainer->run.step = state->position[1];
    trainer->run.hits = state->position[2];
    trainer->run.loss_sum = state->sums[0];
    trainer->run.seconds = state->sums[1];
    if (trainer->run.step > 0) {
        take_floats(trainer->start_theta, state->start_theta, model->n_theta);
        take_floats(trainer->start_statistics, state->start_statistics, model->n_stats);
        take_floats(trainer->start_velocity, state->start_velocity, model->n_theta);
    }
    modeconn_history_destroy(trainer->run.history);
    trainer->run.history = state->history;
    state->history = NULL;
    mc_model_set_history(model, state->published);
    state->published = NULL;
}

int32_t modeconn_trainer_load(modeconn_trainer *trainer, const char *path)
{
    mc_safetensors *file = NULL;
    identity id = {0};
    loaded state = {0};

    if (trainer == NULL) {
        return mc_null("trainer");
    }
    if (path == NULL) {
        return mc_null("path");
    }
    int32_t status = mc_safetensors_read(trainer->run.context, path, &file);
    if (status < 0) {
        return status;
    }
    status = identity_init(trainer, &id);
    if (status == MODECONN_OK) {
        status = compare_identity(&id, file, path);
    }
    if (status == MODECONN_OK) {
        status = read_state(trainer, file, path, &state);
    }
    if (status == MODECONN_OK) {
        take_state(trainer, &state);
    }
    loaded_free(trainer->run.context, &state);
    identity_free(trainer, &id);
    mc_safetensors_free(file);
    return status;
}
