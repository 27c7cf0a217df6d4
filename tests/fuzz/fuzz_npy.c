/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzz target: NumPy's .npy files. The input's first two bytes (little endian) say how many of the
 * others are the file of images; the rest is the file of labels.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    size_t rest = size - 2;
    size_t split = (size_t)data[0] | (size_t)data[1] << 8;
    split = split < rest ? split : rest;
    int images = fuzz_file(data + 2, split), labels = fuzz_file(data + 2 + split, rest - split);
    char first[32], second[32], spec[80];
    modeconn_dataset *dataset = NULL;
    fuzz_path(images, first);
    fuzz_path(labels, second);
    snprintf(spec, sizeof(spec), "npy:%s,%s", first, second);
    int32_t status = modeconn_dataset_open(fuzz_context(), spec, "train", NULL, &dataset);
    fuzz_dataset(status, dataset);
    close(images);
    close(labels);
    return 0;
}
