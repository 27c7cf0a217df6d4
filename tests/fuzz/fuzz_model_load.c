/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fuzz target: model files. The input is one safetensors file, loaded as one of ours and as a file
 * of others of each architecture; what is accepted must save, and load again.
 */
#include "fuzz.h"

static modeconn_dataset *like(modeconn_context *context)
{
    static modeconn_dataset *images;
    static const float pixels[64];
    static const int32_t label;
    if (images == NULL) {
        modeconn_dataset_from_f32(context, pixels, &label, 1, 1, 8, 8, 3, NULL, &images);
        fuzz_require(images != NULL, "no dataset");
    }
    return images;
}

static void check_model(modeconn_context *context, int32_t status, modeconn_model *model)
{
    fuzz_check(status, model);
    if (model == NULL) {
        return;
    }
    char path[64];
    modeconn_model *again = NULL;
    snprintf(path, sizeof(path), "/tmp/modeconn-fuzz-%ld.safetensors", (long)getpid());
    fuzz_require(modeconn_model_describe(model, NULL, 0, NULL) == MODECONN_OK, "no description");
    status = modeconn_model_save(model, path);
    fuzz_require(status == MODECONN_OK, modeconn_last_error());
    status = modeconn_model_load(context, path, &again);
    fuzz_require(status == MODECONN_OK, modeconn_last_error());
    modeconn_model_destroy(again);
    modeconn_model_destroy(model);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    modeconn_context *context = fuzz_context();
    modeconn_model *model = NULL;
    char path[32];
    int64_t count = 0;
    int fd = fuzz_file(data, size);
    fuzz_path(fd, path);
    int32_t status = modeconn_model_load(context, path, &model);
    check_model(context, status, model);
    modeconn_architecture_count(&count);
    for (int64_t i = 0; i < count; i++) {
        const char *arch = NULL;
        modeconn_architecture_describe(i, &arch, NULL);
        status = modeconn_model_load_as(context, path, arch, like(context), &model);
        check_model(context, status, model);
    }
    close(fd);
    return 0;
}
