/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the files of interrupted runs (training, path fits) share: the options and data that a run
 * is made over, as text to compare, and checked reading of its tensors.
 */
#include "train/train.h"
#include "io/io.h"
#include <math.h>
#include <string.h>

#define FINGERPRINT_SAMPLES 64

int32_t mc_options_text(const modeconn_context *context, const modeconn_options *options,
                        const mc_option_kind *kind, uint64_t seed, char **out)
{
    mc_text text;
    mc_text_init(&text, context);
    for (int64_t i = 0; i < kind->n_specs; i++) {
        const mc_option_spec *spec = &kind->specs[i];
        mc_text_add(&text, "%s=", spec->key);
        if (strcmp(spec->key, "seed") == 0) {
            mc_text_add(&text, "%llu", (unsigned long long)seed);
        } else if (spec->type == MODECONN_OPTION_I64) {
            mc_text_add(&text, "%lld", (long long)mc_option_i64(options, kind, spec->key));
        } else if (spec->type == MODECONN_OPTION_F64) {
            mc_text_add_f64(&text, mc_option_f64(options, kind, spec->key));
        } else {
            mc_text_add(&text, "%s", mc_option_str(options, kind, spec->key));
        }
        mc_text_add(&text, "\n");
    }
    *out = text.failed ? NULL : mc_strdup(context, text.data);
    mc_text_free(&text);
    return *out != NULL ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

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

int32_t mc_fingerprint(const modeconn_dataset *dataset, char text[17])
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

int32_t mc_run_options_differ(const char *path, const char *saved, const char *own)
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

int32_t mc_run_tensor(const mc_safetensors *file, const char *path, const char *name,
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

int32_t mc_run_values(const mc_safetensors *file, const char *path, const char *name,
                      const char *dtype, int64_t size, size_t width, void *out)
{
    const mc_tensor *tensor = NULL;
    if (size == 0) {
        return MODECONN_OK;
    }
    int32_t status = mc_run_tensor(file, path, name, dtype, size, &tensor);
    if (status == MODECONN_OK) {
        memcpy(out, tensor->data, (size_t)size * width);
    }
    return status;
}

int32_t mc_run_floats(const modeconn_context *context, const mc_safetensors *file, const char *path,
                      const char *name, int64_t size, float **out)
{
    float *values = mc_alloc(context, size, sizeof(float));
    if (values == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    *out = values;
    int32_t status = mc_run_values(file, path, name, "F32", size, sizeof(float), values);
    for (int64_t i = 0; status == MODECONN_OK && i < size; i++) {
        if (!isfinite(values[i])) {
            status = mc_fail(MODECONN_ERROR_NUMERIC, "%s: value %lld of tensor %s is %g", path,
                             (long long)i, name, (double)values[i]);
        }
    }
    return status;
}
