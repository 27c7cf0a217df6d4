/* SPDX-License-Identifier: BSD-3-Clause
 *
 * CIFAR-10 and CIFAR-100, binary versions: records of label bytes and 3072 pixel bytes (32x32 red,
 * then green, then blue, row by row), that is [3][32][32]. CIFAR-10 has one label byte; its
 * training files are the data_batch_N.bin that the folder holds, in numeric order, its test file is
 * test_batch.bin. CIFAR-100 has a coarse label byte (0 .. 19), then a fine one (0 .. 99), in
 * train.bin and test.bin.
 */
#include "data.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIDE = 32, CHANNELS = 3, IMAGE = CHANNELS * SIDE * SIDE, MOST_LABELS = 2 };

/* What tells the versions apart. */
typedef struct layout {
    const char *source;
    int n_labels;             /* bytes before the pixels */
    int label;                /* which of them counts */
    int classes[MOST_LABELS]; /* that each may name */
} layout;

static const layout cifar10 = {"cifar10", 1, 0, {10, 0}};
static const layout fine = {"cifar100", 2, 1, {20, 100}};
static const layout coarse = {"cifar100:coarse", 2, 0, {20, 100}};

#define PREFIX "data_batch_"
#define SUFFIX ".bin"

typedef struct batch_file {
    int64_t number;
    char *path;
    int64_t records;
} batch_file;

typedef struct batch_list {
    const modeconn_context *context;
    const layout *format;
    batch_file *files;
    int64_t n, capacity;
} batch_list;

static int32_t list_batches(batch_list *list, const char *folder);
static int32_t add_batch(batch_list *list, const char *folder, const char *name, int64_t number);
static int32_t read_batches(modeconn_context *context, batch_list *list, const char *split,
                            mc_store **out);

/* Reads what the list holds if `status` says that it could be made, and lets go of it. */
static int32_t finish(modeconn_context *context, batch_list *list, int32_t status,
                      const char *split, mc_store **out)
{
    if (status == MODECONN_OK) {
        status = read_batches(context, list, split, out);
    }
    for (int64_t i = 0; i < list->n; i++) {
        mc_free(context, list->files[i].path);
    }
    mc_free(context, list->files);
    return status;
}

int32_t mc_open_cifar10(modeconn_context *context, const char *rest, const char *split,
                        const modeconn_options *options, mc_store **out)
{
    (void)options;
    *out = NULL;
    if (rest[0] == '\0') {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "cifar10: expected cifar10:DIR");
    }
    batch_list list = {context, &cifar10, NULL, 0, 0};
    int32_t status = strcmp(split, "train") == 0 ? list_batches(&list, rest)
                                                 : add_batch(&list, rest, "test_batch.bin", 0);
    return finish(context, &list, status, split, out);
}

int32_t mc_open_cifar100(modeconn_context *context, const char *rest, const char *split,
                         const modeconn_options *options, mc_store **out)
{
    *out = NULL;
    if (rest[0] == '\0') {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "cifar100: expected cifar100:DIR");
    }
    bool is_coarse = strcmp(mc_option_str(options, &mc_kind_dataset, "labels"), "coarse") == 0;
    batch_list list = {context, is_coarse ? &coarse : &fine, NULL, 0, 0};
    const char *name = strcmp(split, "train") == 0 ? "train.bin" : "test.bin";
    return finish(context, &list, add_batch(&list, rest, name, 0), split, out);
}

static int32_t add_batch(batch_list *list, const char *folder, const char *name, int64_t number)
{
    if (list->n == list->capacity) {
        int64_t capacity = list->capacity == 0 ? 8 : 2 * list->capacity;
        batch_file *files = mc_alloc(list->context, capacity, sizeof(*files));
        if (files == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        if (list->n > 0) {
            memcpy(files, list->files, (size_t)list->n * sizeof(*files));
        }
        mc_free(list->context, list->files);
        list->files = files;
        list->capacity = capacity;
    }
    char *path = mc_data_path(list->context, folder, name);
    if (path == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    list->files[list->n++] = (batch_file){number, path, 0};
    return MODECONN_OK;
}

/* The N of "data_batch_N.bin", or -1. */
static int64_t batch_number(const char *name)
{
    const char *digits = name + strlen(PREFIX);
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0) {
        return -1;
    }
    size_t length = strspn(digits, "0123456789");
    if (length < 1 || length > 9 || strcmp(digits + length, SUFFIX) != 0) {
        return -1;
    }
    return strtol(digits, NULL, 10);
}

static int by_number(const void *a, const void *b)
{
    const batch_file *first = a, *second = b;
    if (first->number != second->number) {
        return first->number < second->number ? -1 : 1;
    }
    return strcmp(first->path, second->path);
}

static int32_t list_batches(batch_list *list, const char *folder)
{
    DIR *stream = opendir(folder);
    if (stream == NULL) {
        return mc_fail(MODECONN_ERROR_IO, "%s: %s", folder, mc_errno_text(errno));
    }
    int32_t status = MODECONN_OK;
    for (const struct dirent *entry = readdir(stream); entry != NULL && status == MODECONN_OK;
         entry = readdir(stream)) {
        int64_t number = batch_number(entry->d_name);
        if (number >= 0) {
            status = add_batch(list, folder, entry->d_name, number);
        }
    }
    closedir(stream);
    if (status == MODECONN_OK && list->n == 0) {
        status = mc_fail(MODECONN_ERROR_IO, "%s: no " PREFIX "*" SUFFIX " in this folder", folder);
    }
    if (status == MODECONN_OK) {
        qsort(list->files, (size_t)list->n, sizeof(*list->files), by_number);
    }
    return status;
}

/* Counts a file's records, from its size. */
static int32_t count_records(const layout *format, batch_file *file)
{
    int64_t record = format->n_labels + IMAGE;
    int fd = -1;
    int64_t size = 0;
    int32_t status = mc_data_file(file->path, &fd, &size);
    if (status < 0) {
        return status;
    }
    close(fd);
    if (size == 0 || size % record != 0) {
        return mc_fail(MODECONN_ERROR_FORMAT,
                       "%s: %lld bytes are not whole records of %lld bytes: record %lld is cut",
                       file->path, (long long)size, (long long)record, (long long)(size / record));
    }
    file->records = size / record;
    return MODECONN_OK;
}

static int32_t read_record(const layout *format, const batch_file *file, int fd, int64_t index,
                           uint8_t *record)
{
    size_t done = 0, size = (size_t)format->n_labels + IMAGE;
    while (done < size) {
        ssize_t got = read(fd, record + done, size - done);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return mc_fail(MODECONN_ERROR_IO, "%s: record %lld: %s", file->path, (long long)index,
                           mc_errno_text(errno));
        }
        if (got == 0) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: truncated in record %lld", file->path,
                           (long long)index);
        }
        done += (size_t)got;
    }
    for (int i = 0; i < format->n_labels; i++) {
        if (record[i] >= format->classes[i]) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: record %lld: label %d, expected 0..%d",
                           file->path, (long long)index, record[i], format->classes[i] - 1);
        }
    }
    return MODECONN_OK;
}

/* Reads the records of one file into images and labels. */
static int32_t read_batch(const layout *format, const batch_file *file, uint8_t *images,
                          int32_t *labels)
{
    int fd = -1;
    int64_t size = 0;
    int32_t status = mc_data_file(file->path, &fd, &size);
    if (status < 0) {
        return status;
    }
    uint8_t record[MOST_LABELS + IMAGE];
    for (int64_t i = 0; i < file->records && status == MODECONN_OK; i++) {
        status = read_record(format, file, fd, i, record);
        if (status == MODECONN_OK) {
            labels[i] = record[format->label];
            memcpy(images + i * IMAGE, record + format->n_labels, IMAGE);
        }
    }
    close(fd);
    return status;
}

static int32_t read_batches(modeconn_context *context, batch_list *list, const char *split,
                            mc_store **out)
{
    int64_t total = 0;
    for (int64_t i = 0; i < list->n; i++) {
        int32_t status = count_records(list->format, &list->files[i]);
        if (status < 0) {
            return status;
        }
        total += list->files[i].records;
    }
    mc_store *store = NULL;
    int32_t status =
        mc_store_create(context, list->format->source, split, total, CHANNELS, SIDE, SIDE,
                        list->format->classes[list->format->label], true, &store);
    if (status < 0) {
        return status;
    }
    uint8_t *images = (uint8_t *)store->u8;
    int32_t *labels = (int32_t *)store->labels;
    int64_t first = 0;
    for (int64_t i = 0; i < list->n && status == MODECONN_OK; i++) {
        int64_t records = list->files[i].records;
        status = read_batch(list->format, &list->files[i], images + first * IMAGE, labels + first);
        first += records;
    }
    if (status < 0) {
        mc_store_drop(store);
        return status;
    }
    *out = store;
    return MODECONN_OK;
}
