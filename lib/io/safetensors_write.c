/* SPDX-License-Identifier: BSD-3-Clause
 *
 * safetensors_write: the writer. A file is: length of the header (u64, little endian); header, a
 * JSON object {"__metadata__": {text: text}, name: {"dtype", "shape", "data_offsets": [begin,
 * end]}, ...} padded with spaces to a multiple of 8 bytes; the tensors one after the other.
 */
#include "io/safetensors.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are written from memory as they are, and files are little endian");

static int32_t out_of_memory(const char *path)
{
    return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: header of %s", path);
}

static int32_t add_metadata(json_t *header, const char *path, const char *const *keys,
                            const char *const *values, int64_t n)
{
    json_t *metadata = json_object();
    if (json_object_set_new(header, MC_SAFETENSORS_METADATA, metadata) != 0) {
        return out_of_memory(path);
    }
    for (int64_t i = 0; i < n; i++) {
        if (!mc_utf8_valid(keys[i]) || !mc_utf8_valid(values[i])) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "%s: metadata under the key \"%s\" is not UTF-8", path, keys[i]);
        }
        if (json_object_get(metadata, keys[i]) != NULL) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: metadata key \"%s\" is given twice", path,
                           keys[i]);
        }
        if (json_object_set_new(metadata, keys[i], json_string(values[i])) != 0) {
            return out_of_memory(path);
        }
    }
    return MODECONN_OK;
}

/* Checks one tensor and tells its bytes. */
static int32_t check_tensor(const json_t *header, const char *path, const mc_tensor *tensor,
                            int64_t *bytes)
{
    const char *fault = NULL;
    const char *canonical = NULL;
    int64_t width = mc_dtype_bytes(tensor->dtype, &canonical);
    int64_t size = 0;
    if (!mc_utf8_valid(tensor->name)) {
        fault = "the name is not UTF-8";
    } else if (strcmp(tensor->name, MC_SAFETENSORS_METADATA) == 0) {
        fault = "the name is reserved";
    } else if (json_object_get(header, tensor->name) != NULL) {
        fault = "the name is given twice";
    } else if (width == 0) {
        fault = "the type is unknown";
    } else if (tensor->rank < 0 || tensor->rank > 8) {
        fault = "it has more than 8 dimensions";
    } else if (!mc_shape_product(tensor->shape, tensor->rank, &size) || size != tensor->size ||
               !mc_mul(size, width, bytes)) {
        fault = "the shape does not have that many values";
    }
    return fault == NULL ? MODECONN_OK
                         : mc_fail(MODECONN_ERROR_ARGUMENT, "%s: tensor \"%s\": %s", path,
                                   tensor->name, fault);
}

static int32_t add_tensor(json_t *header, const char *path, const mc_tensor *tensor,
                          int64_t *offset)
{
    int64_t bytes = 0;
    int32_t status = check_tensor(header, path, tensor, &bytes);
    if (status < 0) {
        return status;
    }
    if (bytes > INT64_MAX - *offset) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s: more than 2^63 bytes", path);
    }
    json_t *shape = json_array();
    for (int32_t i = 0; i < tensor->rank; i++) {
        if (json_array_append_new(shape, json_integer(tensor->shape[i])) != 0) {
            json_decref(shape);
            return out_of_memory(path);
        }
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape", shape,
                              "data_offsets", (json_int_t)*offset, (json_int_t)(*offset + bytes));
    if (json_object_set_new(header, tensor->name, entry) != 0) {
        return out_of_memory(path);
    }
    *offset += bytes;
    return MODECONN_OK;
}

/* The header as text of `length` bytes, checked against the format's limit. */
static int32_t make_header(const char *path, const mc_tensor *tensors, int64_t n_tensors,
                           const char *const *meta_keys, const char *const *meta_values,
                           int64_t n_meta, char **text, size_t *length)
{
    json_t *header = json_object();
    if (header == NULL) {
        return out_of_memory(path);
    }
    int32_t status = MODECONN_OK;
    int64_t offset = 0;
    if (n_meta > 0) {
        status = add_metadata(header, path, meta_keys, meta_values, n_meta);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < n_tensors; i++) {
        status = add_tensor(header, path, &tensors[i], &offset);
    }
    if (status == MODECONN_OK) {
        *text = json_dumps(header, JSON_COMPACT);
        *length = *text == NULL ? 0 : strlen(*text);
        if (*text == NULL) {
            status = out_of_memory(path);
        } else if (*length + 8 > MC_SAFETENSORS_HEADER_MAX) {
            free(*text);
            *text = NULL;
            status = mc_fail(MODECONN_ERROR_ARGUMENT,
                             "%s: names and metadata take more than the %d bytes that a header "
                             "may have",
                             path, MC_SAFETENSORS_HEADER_MAX);
        }
    }
    json_decref(header);
    return status;
}

static int32_t write_header(mc_writer *writer, const char *text, size_t length)
{
    size_t padding = (8 - length % 8) % 8;
    uint64_t total = length + padding;
    int32_t status = mc_writer_write(writer, &total, sizeof(total));
    if (status == MODECONN_OK) {
        status = mc_writer_write(writer, text, length);
    }
    return status == MODECONN_OK ? mc_writer_write(writer, "       ", padding) : status;
}

int32_t mc_safetensors_write(const modeconn_context *context, const char *path,
                             const mc_tensor *tensors, int64_t n_tensors,
                             const char *const *meta_keys, const char *const *meta_values,
                             int64_t n_meta)
{
    char *text = NULL;
    size_t length = 0;
    mc_writer *writer = NULL;
    int32_t status =
        make_header(path, tensors, n_tensors, meta_keys, meta_values, n_meta, &text, &length);
    if (status < 0) {
        return status;
    }
    status = mc_writer_open(context, path, &writer);
    if (status == MODECONN_OK) {
        status = write_header(writer, text, length);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < n_tensors; i++) {
        const char *canonical = NULL;
        int64_t bytes = tensors[i].size * mc_dtype_bytes(tensors[i].dtype, &canonical);
        status = mc_writer_write(writer, tensors[i].data, (size_t)bytes);
    }
    free(text);
    if (status < 0) {
        mc_writer_abort(writer);
        return status;
    }
    return mc_writer_commit(writer);
}
