/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The complete state of an interrupted run (training, path fit) as a safetensors file:
 *
 *     the owner's vectors                                  F32
 *     position [4]   epoch, step, hits, columns            I64
 *     sums [2]       loss, seconds of the running epoch    F64
 *     history [epochs][columns]                            F64
 *     the owner's vectors of an epoch's middle             F32, where it stands there
 *
 * Empty tensors are left out. The metadata tell what the run is made over. Loading compares all of
 * them and checks every tensor before it changes anything.
 */
#include "io/io.h"
#include "train/train.h"
#include <math.h>
#include <string.h>

enum { FINGERPRINT_SAMPLES = 64, N_POSITION = 4, N_SUMS = 2 };

/* The metadata; what a kind of run does not have is left out. */
enum { FORMAT, ARCHITECTURE, SETTINGS, PATH, DATA, FINGERPRINT, OPTIONS, N_KEYS };
static const char *const keys[N_KEYS] = {"format",  "architecture", "settings", "path",
                                         "dataset", "fingerprint",  "options"};

/* ---- what the run is made over ------------------------------------------------------------ */

uint64_t mc_hash(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

void mc_hash_text(uint64_t hash, char text[17])
{
    for (int i = 0; i < 16; i++) {
        text[i] = "0123456789abcdef"[hash >> (60 - 4 * i) & 15];
    }
    text[16] = '\0';
}

static int32_t fingerprint(const modeconn_dataset *dataset, char text[17])
{
    const modeconn_context *context = dataset->store->context;
    uint64_t hash = MC_HASH_START;
    int64_t count = dataset->n < FINGERPRINT_SAMPLES ? dataset->n : FINGERPRINT_SAMPLES;
    int64_t pixels = dataset->store->channels * dataset->store->height * dataset->store->width;
    int32_t *labels = mc_alloc(context, dataset->n, sizeof(*labels));
    float *image = mc_alloc(context, pixels, sizeof(*image));
    int32_t status = MODECONN_ERROR_MEMORY;

    if (labels == NULL || image == NULL) {
        goto out;
    }
    status = modeconn_dataset_read(dataset, NULL, dataset->n, NULL, labels);
    if (status < 0) {
        goto out;
    }
    hash = mc_hash(hash, labels, (size_t)dataset->n * sizeof(*labels));
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = dataset->n / count * i;
        status = modeconn_dataset_read(dataset, &sample, 1, image, NULL);
        if (status < 0) {
            goto out;
        }
        hash = mc_hash(hash, image, (size_t)pixels * sizeof(*image));
    }
    mc_hash_text(hash, text);
out:
    mc_free(context, image);
    mc_free(context, labels);
    return status;
}

int32_t mc_run_describe(const modeconn_dataset *dataset, char **description, char text[17])
{
    const modeconn_context *context = dataset->store->context;
    *description = NULL;
    char *words = NULL;
    int32_t status = mc_dataset_describe(dataset, context, &words);
    if (status == MODECONN_OK) {
        status = fingerprint(dataset, text);
    }
    if (status < 0) {
        mc_free(context, words);
        return status;
    }
    *description = words;
    return MODECONN_OK;
}

/* Names the first line of two option texts that differs. */
static int32_t options_differ(const char *path, const char *saved, const char *own)
{
    while (*saved != '\0' && *own != '\0') {
        int saved_size = (int)strcspn(saved, "\n"), own_size = (int)strcspn(own, "\n");
        if (saved_size != own_size || memcmp(saved, own, (size_t)own_size) != 0) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: saved with %.*s, this run has %.*s", path,
                           saved_size, saved, own_size, own);
        }
        saved += saved_size + (saved[saved_size] == '\n');
        own += own_size + (own[own_size] == '\n');
    }
    return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: saved with other options", path);
}

/* Values of the keys, NULL for what is left out. */
static void list_facts(const mc_run *run, const mc_run_facts *facts, const char *values[N_KEYS])
{
    values[FORMAT] = facts->format;
    values[ARCHITECTURE] = run->model->architecture;
    values[SETTINGS] = run->model->settings;
    values[PATH] = facts->path[0] != '\0' ? facts->path : NULL;
    values[DATA] = facts->data;
    values[FINGERPRINT] = facts->fingerprint[0] != '\0' ? facts->fingerprint : NULL;
    values[OPTIONS] = run->options;
}

static int32_t differs(const char *path, int key, const char *saved, const char *own)
{
    switch (key) {
    case FINGERPRINT:
        return mc_fail(MODECONN_ERROR_ARGUMENT,
                       "%s: the dataset has the same description but other labels or pixels", path);
    case OPTIONS:
        return options_differ(path, saved, own);
    default:
        return mc_fail(key <= SETTINGS ? MODECONN_ERROR_SHAPE : MODECONN_ERROR_ARGUMENT,
                       "%s: the %s saved is %s, this run's is %s", path, keys[key], saved, own);
    }
}

static int32_t compare_facts(const mc_run *run, const mc_run_facts *facts,
                             const mc_safetensors *file, const char *path)
{
    const char *own[N_KEYS], *saved[N_KEYS];
    list_facts(run, facts, own);
    for (int i = 0; i < N_KEYS; i++) {
        saved[i] = mc_safetensors_meta(file, keys[i]);
        if (own[i] != NULL &&
            (saved[i] == NULL || (i == FORMAT && strcmp(saved[i], own[i]) != 0))) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s is not a saved %s: its \"%s\" is %s", path,
                           facts->what, keys[i], saved[i] == NULL ? "missing" : saved[i]);
        }
    }
    for (int i = 0; i < N_KEYS; i++) {
        if (own[i] != NULL && strcmp(saved[i], own[i]) != 0) {
            return differs(path, i, saved[i], own[i]);
        }
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

static void add_vectors(mc_tensor *tensors, int64_t *n, const mc_run_vector *vectors,
                        int64_t n_vectors, bool inside)
{
    for (int64_t i = 0; i < n_vectors; i++) {
        if (vectors[i].inside == inside) {
            add_tensor(tensors, n, vectors[i].name, "F32", vectors[i].values, vectors[i].size, 1);
        }
    }
}

/* Whether it can be read back. */
static int32_t check_state(const mc_run *run, const mc_run_vector *vectors, int64_t n_vectors)
{
    if (!isfinite(run->loss_sum)) {
        return mc_fail(MODECONN_ERROR_NUMERIC, "the loss is %s", mc_not_finite(run->loss_sum));
    }
    for (int64_t k = 0; k < n_vectors; k++) {
        const mc_run_vector *vector = &vectors[k];
        for (int64_t i = 0; i < vector->size && (!vector->inside || run->step > 0); i++) {
            if (!isfinite(vector->values[i])) {
                return mc_fail(MODECONN_ERROR_NUMERIC, "value %lld of %s is %s", (long long)i,
                               vector->name, mc_not_finite((double)vector->values[i]));
            }
        }
    }
    return MODECONN_OK;
}

int32_t mc_run_save(const mc_run *run, const mc_run_facts *facts, const mc_run_vector *vectors,
                    int64_t n_vectors, const char *path)
{
    const int64_t position[N_POSITION] = {run->epoch, run->step, run->hits, MC_HISTORY_SGD};
    const double sums[N_SUMS] = {run->loss_sum, run->seconds};
    const char *values[N_KEYS], *told_keys[N_KEYS], *told[N_KEYS];
    int64_t n = 0, n_told = 0;
    int32_t status = check_state(run, vectors, n_vectors);
    if (status < 0) {
        return mc_fail_prefix(status, "not written to %s", path);
    }
    mc_tensor *tensors = mc_alloc(run->context, n_vectors + 3, sizeof(*tensors));
    if (tensors == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    list_facts(run, facts, values);
    for (int i = 0; i < N_KEYS; i++) {
        if (values[i] != NULL) {
            told_keys[n_told] = keys[i];
            told[n_told++] = values[i];
        }
    }
    add_vectors(tensors, &n, vectors, n_vectors, false);
    add_tensor(tensors, &n, "position", "I64", position, N_POSITION, 1);
    add_tensor(tensors, &n, "sums", "F64", sums, N_SUMS, 1);
    add_tensor(tensors, &n, "history", "F64", run->history->values, run->history->n_epochs,
               MC_HISTORY_SGD);
    if (run->step > 0) {
        add_vectors(tensors, &n, vectors, n_vectors, true);
    }
    status = mc_safetensors_write(run->context, path, tensors, n, told_keys, told, n_told);
    mc_free(run->context, tensors);
    return status;
}

/* ---- loading ------------------------------------------------------------------------------ */

typedef struct loaded {
    int64_t position[N_POSITION];
    double sums[N_SUMS];
    modeconn_history *history, *record;
} loaded;

/* A tensor of this dtype and number of values; an error that names it otherwise. */
static int32_t find_tensor(const mc_safetensors *file, const char *path, const char *name,
                           const char *dtype, int64_t size, const mc_tensor **out)
{
    const mc_tensor *tensor = mc_safetensors_find(file, name);
    if (tensor == NULL) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "%s: tensor %s is missing", path, name);
    }
    if (strcmp(tensor->dtype, dtype) != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: tensor %s is %s, expected %s", path, name,
                       tensor->dtype, dtype);
    }
    if (tensor->size != size) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: tensor %s has %lld values, expected %lld", path,
                       name, (long long)tensor->size, (long long)size);
    }
    *out = tensor;
    return MODECONN_OK;
}

/* Copies a tensor's bytes into `out` (value size `width`), which may be unaligned in the file. */
static int32_t read_values(const mc_safetensors *file, const char *path, const char *name,
                           const char *dtype, int64_t size, size_t width, void *out)
{
    const mc_tensor *tensor = NULL;
    if (size == 0) {
        return MODECONN_OK;
    }
    int32_t status = find_tensor(file, path, name, dtype, size, &tensor);
    if (status == MODECONN_OK) {
        memcpy(out, tensor->data, (size_t)size * width);
    }
    return status;
}

/* A new vector of finite floats. */
static int32_t read_floats(const modeconn_context *context, const mc_safetensors *file,
                           const char *path, const char *name, int64_t size, float **out)
{
    float *values = mc_alloc(context, size, sizeof(float));
    if (values == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    *out = values;
    int32_t status = read_values(file, path, name, "F32", size, sizeof(float), values);
    for (int64_t i = 0; status == MODECONN_OK && i < size; i++) {
        if (!isfinite(values[i])) {
            status = mc_fail(MODECONN_ERROR_NUMERIC, "%s: value %lld of tensor %s is %s", path,
                             (long long)i, name, mc_not_finite((double)values[i]));
        }
    }
    return status;
}

static int32_t read_position(const mc_run *run, const mc_safetensors *file, const char *path,
                             loaded *state)
{
    int32_t status =
        read_values(file, path, "position", "I64", N_POSITION, sizeof(int64_t), state->position);
    if (status == MODECONN_OK) {
        status = read_values(file, path, "sums", "F64", N_SUMS, sizeof(double), state->sums);
    }
    if (status < 0) {
        return status;
    }
    int64_t epoch = state->position[0], step = state->position[1], hits = state->position[2];
    if (epoch < 0 || epoch > run->epochs || step < 0 || step > run->per_epoch ||
        (epoch == run->epochs && step > 0) || hits < 0 || hits > run->n ||
        state->position[3] != MC_HISTORY_SGD || !isfinite(state->sums[0]) ||
        !isfinite(state->sums[1])) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: position epoch %lld, step %lld does not exist in this run", path,
                       (long long)epoch, (long long)step);
    }
    return MODECONN_OK;
}

static int32_t read_history(const mc_run *run, const mc_safetensors *file, const char *path,
                            loaded *state)
{
    const mc_tensor *tensor = NULL;
    int64_t epochs = state->position[0];
    int32_t status =
        mc_history_create(run->context, mc_history_sgd, MC_HISTORY_SGD, &state->history);
    if (status == MODECONN_OK && epochs > 0) {
        status = find_tensor(file, path, "history", "F64", epochs * MC_HISTORY_SGD, &tensor);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < epochs; i++) {
        double row[MC_HISTORY_SGD];
        memcpy(row, (const char *)tensor->data + (size_t)i * sizeof(row), sizeof(row));
        status = mc_history_append(state->history, row);
    }
    return status == MODECONN_OK ? mc_history_clone(state->history, &state->record) : status;
}

static bool in_file(const mc_run_vector *vector, const loaded *state)
{
    return vector->size > 0 && (!vector->inside || state->position[1] > 0);
}

static int32_t check_vector(const mc_run *run, const mc_safetensors *file, const char *path,
                            const mc_run_vector *vector)
{
    float *values = NULL;
    int32_t status = read_floats(run->context, file, path, vector->name, vector->size, &values);
    if (status == MODECONN_OK && vector->statistics) {
        status = mc_model_check_finite(run->model, NULL, values);
    }
    mc_free(run->context, values);
    return status;
}

static void take_state(mc_run *run, const mc_safetensors *file, const mc_run_vector *vectors,
                       int64_t n_vectors, loaded *state)
{
    for (int64_t i = 0; i < n_vectors; i++) {
        if (in_file(&vectors[i], state)) {
            memcpy(vectors[i].values, mc_safetensors_find(file, vectors[i].name)->data,
                   (size_t)vectors[i].size * sizeof(float));
        }
    }
    run->epoch = state->position[0];
    run->step = state->position[1];
    run->hits = state->position[2];
    run->loss_sum = state->sums[0];
    run->seconds = state->sums[1];
    modeconn_history_destroy(run->history);
    run->history = state->history;
    state->history = NULL;
}

int32_t mc_run_load(mc_run *run, const mc_run_facts *facts, const mc_run_vector *vectors,
                    int64_t n_vectors, const char *path, modeconn_history **record)
{
    mc_safetensors *file = NULL;
    loaded state = {.history = NULL};
    *record = NULL;
    int32_t status = mc_safetensors_read(run->context, path, &file);
    if (status == MODECONN_OK) {
        status = compare_facts(run, facts, file, path);
    }
    if (status == MODECONN_OK) {
        status = read_position(run, file, path, &state);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < n_vectors; i++) {
        if (in_file(&vectors[i], &state)) {
            status = check_vector(run, file, path, &vectors[i]);
        }
    }
    if (status == MODECONN_OK) {
        status = read_history(run, file, path, &state);
    }
    if (status == MODECONN_OK) {
        take_state(run, file, vectors, n_vectors, &state);
        *record = state.record;
    }
    modeconn_history_destroy(state.history);
    mc_safetensors_free(file);
    return status;
}
