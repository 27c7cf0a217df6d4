/* SPDX-License-Identifier: BSD-3-Clause
 *
 * safetensors: the reader (the layout is told in safetensors_write.c). Nothing in the file is
 * trusted: header length, JSON, types, shapes and offsets are checked before anything is used, and
 * the tensors must fill the rest of the file exactly, without gap or overlap.
 */
#include "io/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where a tensor lies, for the checks over all of them. */
typedef struct span {
    int64_t begin, end; /* bytes after the header */
    const mc_tensor *tensor;
} span;

struct mc_safetensors {
    const modeconn_context *context;
    unsigned char *bytes; /* the whole file */
    int64_t size;
    int64_t data;   /* where the tensors begin */
    json_t *header; /* holds the names and the metadata */
    mc_tensor *tensors;
    int64_t n;
    const mc_tensor **by_name; /* sorted */
    const char **meta_keys, **meta_values;
    int64_t n_meta;
};

/* ---- the file's bytes ---------------------------------------------------------------------- */

static int32_t read_failed(const char *path, int error)
{
    return mc_fail(MODECONN_ERROR_IO, "cannot read %s: %s", path, mc_errno_text(error));
}

/* Reads exactly `size` bytes. */
static int32_t read_fully(int fd, const char *path, unsigned char *into, int64_t size)
{
    while (size > 0) {
        ssize_t done = read(fd, into, size < (1 << 30) ? (size_t)size : (size_t)1 << 30);
        if (done > 0) {
            into += done;
            size -= done;
        } else if (done == 0) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: truncated while it was being read", path);
        } else if (errno != EINTR) {
            return read_failed(path, errno);
        }
    }
    return MODECONN_OK;
}

static int64_t header_length(const unsigned char *bytes)
{
    uint64_t length = 0;
    for (int i = 7; i >= 0; i--) {
        length = length << 8 | bytes[i];
    }
    return length > INT64_MAX ? INT64_MAX : (int64_t)length;
}

/* Reads the whole file, the length of the header first: a file of another kind is not worth its
 * size in memory. */
static int32_t read_bytes(mc_safetensors *file, int fd, const char *path)
{
    struct stat info;
    unsigned char prefix[8];
    if (fstat(fd, &info) != 0) {
        return read_failed(path, errno);
    }
    if (!S_ISREG(info.st_mode)) {
        return S_ISDIR(info.st_mode)
                   ? read_failed(path, EISDIR)
                   : mc_fail(MODECONN_ERROR_IO, "cannot read %s: not a regular file", path);
    }
    file->size = info.st_size;
    if (file->size < 8) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: not a safetensors file: %lld bytes, fewer than the 8 of the header's "
                       "length",
                       path, (long long)file->size);
    }
    int32_t status = read_fully(fd, path, prefix, 8);
    if (status < 0) {
        return status;
    }
    int64_t length = header_length(prefix);
    if (length > MC_SAFETENSORS_HEADER_MAX) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: not a safetensors file: the header's length is over the limit of %d "
                       "bytes",
                       path, MC_SAFETENSORS_HEADER_MAX);
    }
    if (length > file->size - 8) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: truncated, or not a safetensors file: a header of %lld bytes in a file "
                       "of %lld",
                       path, (long long)length, (long long)file->size);
    }
    file->data = 8 + length;
    file->bytes = mc_alloc(file->context, file->size, 1);
    if (file->bytes == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    memcpy(file->bytes, prefix, 8);
    return read_fully(fd, path, file->bytes + 8, file->size - 8);
}

/* ---- the header ---------------------------------------------------------------------------- */

static int32_t parse_header(mc_safetensors *file, const char *path)
{
    const char *text = (const char *)file->bytes + 8;
    size_t length = (size_t)(file->data - 8);
    if (length == 0 || text[0] != '{') {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: not a safetensors file: the header is not a JSON object", path);
    }
    json_error_t error;
    file->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (file->header == NULL) {
        if (json_error_code(&error) == json_error_out_of_memory) {
            return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: header of %s", path);
        }
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: damaged header: %s (at byte %d)", path,
                       error.text, error.position);
    }
    return MODECONN_OK;
}

static int32_t read_metadata(mc_safetensors *file, const char *path, const json_t *metadata)
{
    if (!json_is_object(metadata)) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: %s is not an object", path,
                       MC_SAFETENSORS_METADATA);
    }
    int64_t n = (int64_t)json_object_size(metadata);
    file->meta_keys = mc_alloc(file->context, n, sizeof(*file->meta_keys));
    file->meta_values = mc_alloc(file->context, n, sizeof(*file->meta_values));
    if (file->meta_keys == NULL || file->meta_values == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value)) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: metadata \"%s\" is not text", path, key);
        }
        file->meta_keys[file->n_meta] = key;
        file->meta_values[file->n_meta] = json_string_value(value);
        file->n_meta++;
    }
    return MODECONN_OK;
}

/* Reads an array of integers that are not negative; false on anything else. */
static bool read_sizes(const json_t *array, int64_t *sizes, size_t max, size_t *n)
{
    if (!json_is_array(array) || json_array_size(array) > max) {
        return false;
    }
    *n = json_array_size(array);
    for (size_t i = 0; i < *n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0) {
            return false;
        }
        sizes[i] = json_integer_value(value);
    }
    return true;
}

/* Reads and checks one entry of the header; what is wrong with it, or NULL. */
static const char *read_entry(const mc_safetensors *file, const char *name, const json_t *entry,
                              mc_tensor *tensor, span *place)
{
    tensor->name = name;
    if (!json_is_object(entry)) {
        return "its entry is not an object";
    }
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    int64_t width = dtype == NULL ? 0 : mc_dtype_bytes(dtype, &tensor->dtype);
    if (width == 0) {
        return "its dtype is missing or unknown";
    }
    size_t n = 0;
    if (!read_sizes(json_object_get(entry, "shape"), tensor->shape, 8, &n)) {
        return "its shape is not a list of at most 8 sizes";
    }
    tensor->rank = (int32_t)n;
    int64_t bytes = 0;
    if (!mc_shape_product(tensor->shape, tensor->rank, &tensor->size) ||
        !mc_mul(tensor->size, width, &bytes)) {
        return "its shape is too large";
    }
    int64_t offsets[2] = {0, 0};
    if (!read_sizes(json_object_get(entry, "data_offsets"), offsets, 2, &n) || n != 2) {
        return "its data_offsets are not two offsets";
    }
    if (offsets[0] > offsets[1] || offsets[1] > file->size - file->data) {
        return "its data_offsets lie outside the file (truncated?)";
    }
    if (offsets[1] - offsets[0] != bytes) {
        return "its data_offsets do not hold as many bytes as its shape and dtype take";
    }
    tensor->data = file->bytes + file->data + offsets[0];
    *place = (span){offsets[0], offsets[1], tensor};
    return NULL;
}

static int compare_spans(const void *a, const void *b)
{
    const span *first = a, *second = b;
    if (first->begin != second->begin) {
        return first->begin < second->begin ? -1 : 1;
    }
    return (first->end > second->end) - (first->end < second->end);
}

/* Sorted by place, each tensor must begin where the one before it ends, and the last one end with
 * the file. */
static int32_t check_places(const mc_safetensors *file, const char *path, span *places)
{
    qsort(places, (size_t)file->n, sizeof(*places), compare_spans);
    int64_t end = 0;
    for (int64_t i = 0; i < file->n; i++) {
        if (places[i].begin != end) {
            return mc_fail(
                MODECONN_ERROR_FORMAT, "%s: tensor \"%s\" %s", path, places[i].tensor->name,
                places[i].begin < end ? "overlaps another one" : "leaves a gap before it");
        }
        end = places[i].end;
    }
    if (end != file->size - file->data) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: %lld bytes after the last tensor", path,
                       (long long)(file->size - file->data - end));
    }
    return MODECONN_OK;
}

static int compare_names(const void *a, const void *b)
{
    const mc_tensor *const *first = a, *const *second = b;
    return strcmp((*first)->name, (*second)->name);
}

static int32_t read_tensors(mc_safetensors *file, const char *path)
{
    int64_t max = (int64_t)json_object_size(file->header);
    int32_t status = MODECONN_ERROR_MEMORY;
    span *places = mc_alloc(file->context, max, sizeof(*places));
    file->tensors = mc_calloc(file->context, max, sizeof(*file->tensors));
    file->by_name = mc_alloc(file->context, max, sizeof(*file->by_name));
    if (places == NULL || file->tensors == NULL || file->by_name == NULL) {
        goto out;
    }
    const char *name = NULL;
    json_t *entry = NULL;
    json_object_foreach(file->header, name, entry)
    {
        if (strcmp(name, MC_SAFETENSORS_METADATA) == 0) {
            status = read_metadata(file, path, entry);
            if (status < 0) {
                goto out;
            }
            continue;
        }
        mc_tensor *tensor = &file->tensors[file->n];
        const char *fault = read_entry(file, name, entry, tensor, &places[file->n]);
        if (fault != NULL) {
            status = mc_fail(MODECONN_ERROR_FORMAT, "%s: tensor \"%s\": %s", path, name, fault);
            goto out;
        }
        file->by_name[file->n] = tensor;
        file->n++;
    }
    qsort(file->by_name, (size_t)file->n, sizeof(*file->by_name), compare_names);
    status = check_places(file, path, places);
out:
    mc_free(file->context, places);
    return status;
}

/* ---- handle -------------------------------------------------------------------------------- */

int32_t mc_safetensors_read(const modeconn_context *context, const char *path, mc_safetensors **out)
{
    *out = NULL;
    /* Without O_NONBLOCK a pipe would wait for somebody to write. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return read_failed(path, errno);
    }
    mc_safetensors *file = mc_calloc(context, 1, sizeof(*file));
    int32_t status = MODECONN_ERROR_MEMORY;
    if (file != NULL) {
        file->context = context;
        status = read_bytes(file, fd, path);
    }
    (void)close(fd);
    if (status == MODECONN_OK) {
        status = parse_header(file, path);
    }
    if (status == MODECONN_OK) {
        status = read_tensors(file, path);
    }
    if (status < 0) {
        mc_safetensors_free(file);
        return status;
    }
    *out = file;
    return MODECONN_OK;
}

void mc_safetensors_free(mc_safetensors *file)
{
    if (file == NULL) {
        return;
    }
    mc_free(file->context, file->meta_keys);
    mc_free(file->context, file->meta_values);
    mc_free(file->context, file->by_name);
    mc_free(file->context, file->tensors);
    json_decref(file->header);
    mc_free(file->context, file->bytes);
    mc_free(file->context, file);
}

int64_t mc_safetensors_count(const mc_safetensors *file)
{
    return file->n;
}

const mc_tensor *mc_safetensors_at(const mc_safetensors *file, int64_t index)
{
    return &file->tensors[index];
}

const mc_tensor *mc_safetensors_find(const mc_safetensors *file, const char *name)
{
    int64_t low = 0, high = file->n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        int order = strcmp(name, file->by_name[middle]->name);
        if (order == 0) {
            return file->by_name[middle];
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

bool mc_safetensors_strip(mc_safetensors *file, const char *prefix)
{
    size_t length = strlen(prefix);
    for (int64_t i = 0; i < file->n; i++) {
        if (strncmp(file->tensors[i].name, prefix, length) != 0) {
            return false;
        }
    }
    /* What all names begin with did not decide their order. */
    for (int64_t i = 0; i < file->n; i++) {
        file->tensors[i].name += length;
    }
    return file->n > 0;
}

const char *mc_safetensors_meta(const mc_safetensors *file, const char *key)
{
    const json_t *metadata = json_object_get(file->header, MC_SAFETENSORS_METADATA);
    return json_string_value(json_object_get(metadata, key));
}

int64_t mc_safetensors_meta_count(const mc_safetensors *file)
{
    return file->n_meta;
}

void mc_safetensors_meta_at(const mc_safetensors *file, int64_t index, const char **key,
                            const char **value)
{
    *key = file->meta_keys[index];
    *value = file->meta_values[index];
}
