/* SPDX-License-Identifier: BSD-3-Clause
 *
 * NumPy's .npz: a zip archive of .npy files, read through libzip. The images are the array
 * x_train or x_test by the split, else x, else images; the labels y_train or y_test, y or labels.
 */
#include "data.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zip.h>

enum { DEFLATE_RATIO = 1032, /* no deflate stream expands more than this */ NAME_SIZE = 32 };

typedef struct archive {
    const modeconn_context *context;
    const char *path;
    zip_t *zip;
    int64_t file_size;
} archive;

static int32_t archive_open(const modeconn_context *context, const char *path, archive *out)
{
    int fd = -1, error = 0;
    *out = (archive){.context = context, .path = path};
    int32_t status = mc_data_file(path, &fd, &out->file_size);
    if (status < 0) {
        return status;
    }
    out->zip = zip_fdopen(fd, ZIP_CHECKCONS, &error);
    if (out->zip == NULL) {
        close(fd);
        return error == ZIP_ER_MEMORY
                   ? mc_fail(MODECONN_ERROR_MEMORY, "%s: out of memory in libzip", path)
                   : mc_fail(MODECONN_ERROR_FORMAT, "%s: not an .npz, or damaged", path);
    }
    return MODECONN_OK;
}

/* The first of the names that the archive has, as "NAME.npy"; -1 where it has none. */
static zip_int64_t find_array(const archive *from, const char *const *names, int n,
                              char found[NAME_SIZE])
{
    for (int i = 0; i < n; i++) {
        snprintf(found, NAME_SIZE, "%s.npy", names[i]);
        zip_int64_t index = zip_name_locate(from->zip, found, 0);
        if (index >= 0) {
            return index;
        }
    }
    return -1;
}

/* Size of a member, believed only as far as the file can hold it. */
static int32_t member_size(const archive *from, zip_int64_t index, const char *name, int64_t *size)
{
    zip_stat_t about;
    zip_uint64_t needed = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE;
    if (zip_stat_index(from->zip, (zip_uint64_t)index, 0, &about) != 0 ||
        (about.valid & needed) != needed) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: damaged entry %s", from->path, name);
    }
    if (about.comp_size > (zip_uint64_t)from->file_size ||
        about.size / DEFLATE_RATIO > about.comp_size) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: %s announces more data than %lld bytes can hold",
                       from->path, name, (long long)from->file_size);
    }
    *size = (int64_t)about.size;
    return MODECONN_OK;
}

/* A member's bytes; reading up to the end makes libzip compare the checksum. */
static int32_t read_member(const archive *from, zip_int64_t index, const char *name, uint8_t *bytes,
                           int64_t size)
{
    zip_file_t *file = zip_fopen_index(from->zip, (zip_uint64_t)index, 0);
    if (file == NULL) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: cannot unpack %s: %s", from->path, name,
                       zip_strerror(from->zip));
    }
    int64_t done = 0, got = 1;
    char extra = 0;
    while (got > 0 && done < size) {
        got = zip_fread(file, bytes + done, (zip_uint64_t)(size - done));
        done += got > 0 ? got : 0;
    }
    if (got >= 0 && done == size) {
        got = zip_fread(file, &extra, 1);
    }
    int32_t status = MODECONN_OK;
    if (got != 0 || done != size) {
        status = mc_fail(MODECONN_ERROR_FORMAT, "%s: damaged or truncated in %s", from->path, name);
    }
    zip_fclose(file);
    return status;
}

/* One array: its bytes, allocated for the caller, and what they mean. `label` [64 + path] receives
 * the name for errors. */
static int32_t read_array(const archive *from, const char *what, const char *const *names, int n,
                          mc_text *label, uint8_t **bytes, mc_npy *out)
{
    char name[NAME_SIZE];
    int64_t size = 0;
    zip_int64_t index = find_array(from, names, n, name);
    if (index < 0) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "%s: no array of %s: expected %s, %s or %s",
                       from->path, what, names[0], names[1], names[2]);
    }
    mc_text_add(label, "%s: %s", from->path, name);
    if (label->failed) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = member_size(from, index, name, &size);
    if (status < 0) {
        return status;
    }
    *bytes = mc_alloc(from->context, size, 1);
    if (*bytes == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    status = read_member(from, index, name, *bytes, size);
    return status < 0 ? status : mc_npy_parse(label->data, *bytes, size, out);
}

int32_t mc_open_npz(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out)
{
    bool train = strcmp(split, "train") == 0;
    const char *const images[] = {train ? "x_train" : "x_test", "x", "images"};
    const char *const labels[] = {train ? "y_train" : "y_test", "y", "labels"};
    archive from;
    uint8_t *bytes[2] = {NULL, NULL};
    mc_npy arrays[2];
    mc_text names[2], source;
    (void)options;
    *out = NULL;
    if (rest[0] == '\0') {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "npz: expected npz:FILE");
    }
    int32_t status = archive_open(context, rest, &from);
    if (status < 0) {
        return status;
    }
    mc_text_init(&names[0], context);
    mc_text_init(&names[1], context);
    mc_text_init(&source, context);
    mc_text_add(&source, "npz:%s", rest);
    status = source.failed
                 ? MODECONN_ERROR_MEMORY
                 : read_array(&from, "images", images, 3, &names[0], &bytes[0], &arrays[0]);
    if (status == MODECONN_OK) {
        status = read_array(&from, "labels", labels, 3, &names[1], &bytes[1], &arrays[1]);
    }
    if (status == MODECONN_OK) {
        status = mc_npy_store(context, source.data, split, &arrays[0], &arrays[1], out);
    }
    mc_text_free(&source);
    mc_text_free(&names[0]);
    mc_text_free(&names[1]);
    mc_free(context, bytes[0]);
    mc_free(context, bytes[1]);
    zip_discard(from.zip);
    return status;
}
