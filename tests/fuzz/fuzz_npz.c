/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzz target: NumPy's .npz archives. The input is one archive, opened as either split.
 */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const splits[] = {"train", "test"};
    int file = fuzz_file(data, size);
    char path[32], spec[48];
    fuzz_path(file, path);
    snprintf(spec, sizeof(spec), "npz:%s", path);
    for (int i = 0; i < 2; i++) {
        modeconn_dataset *dataset = NULL;
        int32_t status = modeconn_dataset_open(fuzz_context(), spec, splits[i], NULL, &dataset);
        fuzz_dataset(status, dataset);
    }
    close(file);
    return 0;
}
