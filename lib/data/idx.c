/* SPDX-License-Identifier: BSD-3-Clause
 *
 * IDX files (LeCun's MNIST format), plain or gzip: Fashion-MNIST by folder, any pair by name.
 *
 *     images: 0x00000803, n, H, W (big-endian uint32), then n*H*W bytes    -> [n][1][H][W]
 *     labels: 0x00000801, n, then n bytes                                  -> [n]
 *
 * Nothing in a header is believed before it was compared with the size of the file.
 */
#include "data.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define DEBIAN_FOLDER "/usr/share/datasets/fashion-mnist"

enum {
    IMAGES_MAGIC = 0x0803,
    LABELS_MAGIC = 0x0801,
    DEFLATE_RATIO = 1032, /* no deflate stream expands more than this */
    FASHION_SIDE = 28,
    FASHION_CLASSES = 10
};

typedef struct idx_file {
    const char *path;
    gzFile stream;
    int64_t file_size;
} idx_file;

static int32_t read_pair(modeconn_context *context, const char *source, const char *split,
                         const char *images, const char *labels, bool fashion, mc_store **out);
static int32_t find_file(const modeconn_context *context, const char *folder, const char *name,
                         char **path);

int32_t mc_open_fashion_mnist(modeconn_context *context, const char *rest, const char *split,
                              const modeconn_options *options, mc_store **out)
{
    (void)options;
    const char *folder = rest[0] == '\0' ? DEBIAN_FOLDER : rest;
    bool train = strcmp(split, "train") == 0;
    char *images = NULL, *labels = NULL;
    *out = NULL;
    int32_t status = find_file(
        context, folder, train ? "train-images-idx3-ubyte" : "t10k-images-idx3-ubyte", &images);
    if (status == MODECONN_OK) {
        status = find_file(context, folder,
                           train ? "train-labels-idx1-ubyte" : "t10k-labels-idx1-ubyte", &labels);
    }
    if (status == MODECONN_OK) {
        status = read_pair(context, "fashion-mnist", split, images, labels, true, out);
    } else if (status == MODECONN_ERROR_IO && rest[0] == '\0') {
        status = mc_fail_prefix(status, "fashion-mnist (Debian package dataset-fashion-mnist)");
    }
    mc_free(context, labels);
    mc_free(context, images);
    return status;
}

int32_t mc_open_idx(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out)
{
    (void)options;
    *out = NULL;
    char *images = NULL;
    const char *labels = NULL;
    int32_t status = mc_data_two_names(context, "idx", rest, "idx:IMAGES,LABELS, two file names",
                                       &images, &labels);
    if (status < 0) {
        return status;
    }
    mc_text source;
    mc_text_init(&source, context);
    mc_text_add(&source, "idx:%s", rest);
    status = source.failed ? MODECONN_ERROR_MEMORY
                           : read_pair(context, source.data, split, images, labels, false, out);
    mc_text_free(&source);
    mc_free(context, images);
    return status;
}

/* The path of DIR/NAME or, where that is missing, of DIR/NAME.gz. */
static int32_t find_file(const modeconn_context *context, const char *folder, const char *name,
                         char **path)
{
    char zipped[64];
    snprintf(zipped, sizeof(zipped), "%s.gz", name);
    const char *const names[] = {name, zipped};
    for (size_t i = 0; i < 2; i++) {
        *path = mc_data_path(context, folder, names[i]);
        if (*path == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        if (access(*path, F_OK) == 0 || (errno != ENOENT && errno != ENOTDIR)) {
            return MODECONN_OK; /* or opening it will say what is wrong */
        }
        mc_free(context, *path);
        *path = NULL;
    }
    return mc_fail(MODECONN_ERROR_IO, "%s/%s: no such file, nor %s", folder, name, zipped);
}

static int32_t idx_open(idx_file *file, const char *path)
{
    int fd = -1;
    file->path = path;
    int32_t status = mc_data_file(path, &fd, &file->file_size);
    if (status < 0) {
        return status;
    }
    file->stream = gzdopen(fd, "rb");
    if (file->stream == NULL) {
        close(fd);
        return mc_fail(MODECONN_ERROR_MEMORY, "%s: out of memory in zlib", path);
    }
    return MODECONN_OK;
}

static void idx_close(idx_file *file)
{
    if (file->stream != NULL) {
        gzclose(file->stream);
    }
}

/* What is wrong with a stream; zlib puts a name of its own before it, "<fd:3>: ". */
static const char *damage_of(const char *text)
{
    const char *name = strstr(text, ">: ");
    text = name != NULL ? name + 3 : text;
    return strcmp(text, "incorrect data check") == 0 ? "the data do not match their CRC" : text;
}

/* Why zlib gave less than was asked for, `what`. Damage may lie behind it, as zlib reads ahead. */
static int32_t read_failure(const idx_file *file, const char *what)
{
    int error = Z_OK;
    const char *text = gzerror(file->stream, &error);
    switch (error) {
    case Z_ERRNO:
        return mc_fail(MODECONN_ERROR_IO, "%s: %s", file->path, mc_errno_text(errno));
    case Z_MEM_ERROR:
        return mc_fail(MODECONN_ERROR_MEMORY, "%s: out of memory in zlib", file->path);
    case Z_OK:
    case Z_BUF_ERROR:
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: truncated in the %s", file->path, what);
    default:
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: damaged gzip stream: %s", file->path,
                       damage_of(text));
    }
}

static int32_t read_exactly(const idx_file *file, void *to, int64_t size, const char *what)
{
    unsigned char *next = to;
    while (size > 0) {
        unsigned part = size > (1 << 30) ? 1U << 30 : (unsigned)size;
        int got = gzread(file->stream, next, part);
        if (got <= 0) {
            return read_failure(file, what);
        }
        next += got;
        size -= got;
    }
    return MODECONN_OK;
}

/* The data must end here. Reading on also makes zlib check the stream's end and checksum; what
 * follows a complete gzip stream is ignored, as gzip does. */
static int32_t expect_end(const idx_file *file)
{
    char extra = 0;
    int got = gzread(file->stream, &extra, 1);
    int error = Z_OK;
    (void)gzerror(file->stream, &error);
    if (got < 0 || (got == 0 && error != Z_OK)) {
        return read_failure(file, "checksum");
    }
    if (got > 0) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: data follow where the file should end",
                       file->path);
    }
    return MODECONN_OK;
}

/* Magic, then `rank` sizes, each at least 1; their product must fit the file. */
static int32_t read_header(const idx_file *file, uint32_t magic, int rank, int64_t *sizes)
{
    unsigned char raw[16];
    int32_t status = read_exactly(file, raw, 4 + 4 * rank, "header");
    if (status < 0) {
        return status;
    }
    uint32_t words[4] = {0};
    for (int i = 0; i <= rank; i++) {
        words[i] = (uint32_t)raw[4 * i] << 24 | (uint32_t)raw[4 * i + 1] << 16 |
                   (uint32_t)raw[4 * i + 2] << 8 | raw[4 * i + 3];
    }
    if (words[0] != magic) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: magic 0x%08lx, expected 0x%08lx (IDX %s)",
                       file->path, (unsigned long)words[0], (unsigned long)magic,
                       rank == 3 ? "images" : "labels");
    }
    int64_t payload = 1;
    bool fits = true;
    for (int i = 0; i < rank; i++) {
        sizes[i] = words[i + 1];
        if (sizes[i] == 0) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: dimension %d is 0", file->path, i);
        }
        fits = fits && mc_mul(payload, sizes[i], &payload);
    }
    int64_t most = file->file_size;
    if (!gzdirect(file->stream) && !mc_mul(most, DEFLATE_RATIO, &most)) {
        most = INT64_MAX;
    }
    if (!fits || payload > most) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: truncated: the header announces more data than %lld bytes can hold",
                       file->path, (long long)file->file_size);
    }
    return MODECONN_OK;
}

/* Labels [n] as bytes, allocated for the caller. */
static int32_t read_labels(modeconn_context *context, const char *images, int64_t n,
                           const char *path, uint8_t **out)
{
    idx_file file = {0};
    int64_t count = 0;
    *out = NULL;
    int32_t status = idx_open(&file, path);
    if (status == MODECONN_OK) {
        status = read_header(&file, LABELS_MAGIC, 1, &count);
    }
    if (status == MODECONN_OK && count != n) {
        status = mc_fail(MODECONN_ERROR_SHAPE, "%s has %lld labels, %s has %lld images", path,
                         (long long)count, images, (long long)n);
    }
    if (status == MODECONN_OK) {
        *out = mc_alloc(context, n, 1);
        status = *out == NULL ? MODECONN_ERROR_MEMORY : read_exactly(&file, *out, n, "labels");
    }
    if (status == MODECONN_OK) {
        status = expect_end(&file);
    }
    if (status < 0) {
        mc_free(context, *out);
        *out = NULL;
    }
    idx_close(&file);
    return status;
}

/* Number of classes: ten, or as many as the labels need (at least two). */
static int32_t count_classes(const char *path, const uint8_t *labels, int64_t n, bool fashion,
                             int64_t *classes)
{
    *classes = fashion ? FASHION_CLASSES : 2;
    for (int64_t i = 0; i < n; i++) {
        if (fashion && labels[i] >= FASHION_CLASSES) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: sample %lld: label %d, expected 0..%d", path,
                           (long long)i, labels[i], FASHION_CLASSES - 1);
        }
        *classes = labels[i] >= *classes ? labels[i] + 1 : *classes;
    }
    return MODECONN_OK;
}

static int32_t read_pair(modeconn_context *context, const char *source, const char *split,
                         const char *images, const char *labels, bool fashion, mc_store **out)
{
    idx_file file = {0};
    uint8_t *bytes = NULL;
    mc_store *store = NULL;
    int64_t sizes[3] = {0}, classes = 0;
    *out = NULL;
    int32_t status = idx_open(&file, images);
    if (status < 0) {
        return status;
    }
    status = read_header(&file, IMAGES_MAGIC, 3, sizes);
    if (status < 0) {
        goto done;
    }
    if (fashion && (sizes[1] != FASHION_SIDE || sizes[2] != FASHION_SIDE)) {
        status = mc_fail(MODECONN_ERROR_FORMAT, "%s: images of %lldx%lld, expected %dx%d", images,
                         (long long)sizes[1], (long long)sizes[2], FASHION_SIDE, FASHION_SIDE);
        goto done;
    }
    status = read_labels(context, images, sizes[0], labels, &bytes);
    if (status < 0) {
        goto done;
    }
    status = count_classes(labels, bytes, sizes[0], fashion, &classes);
    if (status < 0) {
        goto done;
    }
    status = mc_store_create(context, source, split, sizes[0], 1, sizes[1], sizes[2], classes, true,
                             &store);
    if (status < 0) {
        goto done;
    }
    status = read_exactly(&file, (void *)store->u8, sizes[0] * sizes[1] * sizes[2], "images");
    if (status == MODECONN_OK) {
        status = expect_end(&file);
    }
    if (status < 0) {
        mc_store_drop(store);
        goto done;
    }
    int32_t *to = (int32_t *)store->labels;
    for (int64_t i = 0; i < sizes[0]; i++) {
        to[i] = bytes[i];
    }
    *out = store;
done:
    mc_free(context, bytes);
    idx_close(&file);
    return status;
}
