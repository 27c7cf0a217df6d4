/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzz target: CIFAR's binary files. The input's first byte says how many training files of
 * CIFAR-10 the rest is cut into (1 to 3, of equal size but for the last); they lie in a folder as
 * links to files in memory. The first of them is opened as CIFAR-100's test file too, with either
 * labels.
 */
#include "fuzz.h"

enum { FILES = 3 };

static char folder[64];

static void link_name(int number, char name[96])
{
    snprintf(name, 96, "%s/data_batch_%d.bin", folder, number + 1);
}

static void remove_folder(void)
{
    rmdir(folder);
}

static void make_folder(void)
{
    if (folder[0] == '\0') {
        snprintf(folder, sizeof(folder), "/tmp/modeconn-fuzz-XXXXXX");
        fuzz_require(mkdtemp(folder) != NULL, "no folder");
        atexit(remove_folder);
    }
}

/* The file as CIFAR-100's. */
static void open_hundred(const char *path)
{
    static modeconn_options *coarse;
    char name[96], spec[80];
    if (coarse == NULL) {
        fuzz_require(modeconn_options_create(NULL, "dataset", &coarse) == MODECONN_OK &&
                         modeconn_options_set_str(coarse, "labels", "coarse") == MODECONN_OK,
                     "no options");
    }
    snprintf(name, sizeof(name), "%s/test.bin", folder);
    snprintf(spec, sizeof(spec), "cifar100:%s", folder);
    fuzz_require(symlink(path, name) == 0, "no link");
    for (int i = 0; i < 2; i++) {
        modeconn_dataset *dataset = NULL;
        int32_t status =
            modeconn_dataset_open(fuzz_context(), spec, "test", i == 0 ? NULL : coarse, &dataset);
        fuzz_dataset(status, dataset);
    }
    unlink(name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    int count = 1 + data[0] % FILES, files[FILES];
    char path[32], name[96], spec[80];
    size_t rest = size - 1, each = rest / (size_t)count;
    modeconn_dataset *dataset = NULL;
    make_folder();
    for (int i = 0; i < count; i++) {
        size_t from = (size_t)i * each;
        files[i] = fuzz_file(data + 1 + from, i + 1 < count ? each : rest - from);
        fuzz_path(files[i], path);
        link_name(i, name);
        fuzz_require(symlink(path, name) == 0, "no link");
    }
    snprintf(spec, sizeof(spec), "cifar10:%s", folder);
    int32_t status = modeconn_dataset_open(fuzz_context(), spec, "train", NULL, &dataset);
    fuzz_dataset(status, dataset);
    fuzz_path(files[0], path);
    open_hundred(path);
    for (int i = 0; i < count; i++) {
        link_name(i, name);
        unlink(name);
        close(files[i]);
    }
    return 0;
}
