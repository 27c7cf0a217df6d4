/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of readers, and what those that read files share. A reader is one function that makes
 * a store of what follows the colon of its spec, and one row here.
 */
#include "data.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const mc_reader mc_readers[] = {
    {"fashion-mnist", "[:DIR] IDX files, also .gz; default /usr/share/datasets/fashion-mnist",
     mc_open_fashion_mnist},
    {"cifar10", ":DIR binary version: data_batch_*.bin and test_batch.bin", mc_open_cifar10},
    {"cifar100", ":DIR binary version: train.bin and test.bin", mc_open_cifar100},
    {"dominoes", ":CIFAR,FMNIST folders as of cifar10 and fashion-mnist", mc_open_dominoes},
    {"idx", ":IMAGES,LABELS a pair of IDX files, also .gz", mc_open_idx},
    {"npy", ":IMAGES,LABELS a pair of NumPy's .npy files", mc_open_npy},
    {"npz", ":FILE NumPy's .npz with arrays x (or images) and y (or labels)", mc_open_npz},
    {"shapes", "[:settings] built in; settings as in size=28,channels=1,train=4000",
     mc_open_shapes},
    {"slabs", "[:settings] built in; settings as in slabs=0+4,noise=18,train=4000", mc_open_slabs},
};
const int64_t mc_readers_count = (int64_t)(sizeof(mc_readers) / sizeof(mc_readers[0]));

static int32_t unknown_reader(const modeconn_context *context, const char *spec, size_t length)
{
    mc_text names;
    mc_text_init(&names, context);
    for (int64_t i = 0; i < mc_readers_count; i++) {
        mc_text_add(&names, "%s%s", i == 0 ? "" : ", ", mc_readers[i].name);
    }
    int32_t status = names.failed
                         ? MODECONN_ERROR_MEMORY
                         : mc_fail(MODECONN_ERROR_UNKNOWN, "no dataset \"%.*s\": there are %s",
                                   (int)length, spec, names.data);
    mc_text_free(&names);
    return status;
}

int32_t mc_reader_open(modeconn_context *context, const char *spec, const char *split,
                       const modeconn_options *options, mc_store **out)
{
    *out = NULL;
    if (strcmp(split, "train") != 0 && strcmp(split, "test") != 0) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "no split \"%s\": there are train and test", split);
    }
    size_t length = strcspn(spec, ":");
    for (int64_t i = 0; i < mc_readers_count; i++) {
        const mc_reader *reader = &mc_readers[i];
        if (strlen(reader->name) == length && memcmp(reader->name, spec, length) == 0) {
            return reader->open(context, spec + length + (spec[length] == ':'), split, options,
                                out);
        }
    }
    return unknown_reader(context, spec, length < 100 ? length : 100);
}

int32_t mc_data_file(const char *path, int *descriptor, int64_t *size)
{
    /* Not blocking: opening a pipe that nobody writes to would hang before it can be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return mc_fail(MODECONN_ERROR_IO, "%s: %s", path, mc_errno_text(errno));
    }
    struct stat about;
    if (fstat(fd, &about) != 0) {
        int error = errno;
        close(fd);
        return mc_fail(MODECONN_ERROR_IO, "%s: %s", path, mc_errno_text(error));
    }
    if (!S_ISREG(about.st_mode)) {
        close(fd);
        return mc_fail(MODECONN_ERROR_IO, "%s: %s", path,
                       S_ISDIR(about.st_mode) ? "is a directory" : "not a regular file");
    }
    *descriptor = fd;
    *size = (int64_t)about.st_size;
    return MODECONN_OK;
}

char *mc_data_path(const modeconn_context *context, const char *folder, const char *name)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = mc_alloc(context, (int64_t)size, 1);
    if (path != NULL) {
        snprintf(path, size, "%s/%s", folder, name);
    }
    return path;
}

int32_t mc_data_two_names(const modeconn_context *context, const char *reader, const char *rest,
                          const char *expected, char **first, const char **second)
{
    const char *comma = strchr(rest, ',');
    *first = NULL;
    if (comma == NULL || comma == rest || comma[1] == '\0' || strchr(comma + 1, ',') != NULL) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s:%s: expected %s without commas", reader, rest,
                       expected);
    }
    *first = mc_strdup(context, rest);
    if (*first == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    (*first)[comma - rest] = '\0';
    *second = *first + (comma - rest) + 1;
    return MODECONN_OK;
}

void mc_settings_text(mc_text *text, const char *name, const modeconn_options *options,
                      const mc_option_kind *kind, uint64_t seed)
{
    mc_text_add(text, "%s:", name);
    for (int64_t i = 0; i < kind->n_specs; i++) {
        mc_text_add(text, "%s", i == 0 ? "" : ",");
        mc_text_add_option(text, options, kind, i, seed);
    }
}
