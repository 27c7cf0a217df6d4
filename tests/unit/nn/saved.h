/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the tests of saved models share: small models, and files rewritten with something changed.
 */
#ifndef MC_TEST_SAVED_H
#define MC_TEST_SAVED_H

#include "failing.h"
#include "folder.h"
#include "io/io.h"
#include "nn/nn.h"
#include "unit.h"

static modeconn_context *context;
static modeconn_dataset *images; /* 1x8x8, 3 classes */
static failing memory;

static inline void setup(void)
{
    static const float pixels[3 * 64];
    static const int32_t labels[3] = {0, 1, 2};
    folder_make();
    context = failing_context(&memory);
    OK(modeconn_dataset_from_f32(context, pixels, labels, 3, 1, 8, 8, 3, NULL, &images));
}

static inline void teardown(void)
{
    modeconn_dataset_destroy(images);
    modeconn_context_destroy(context);
    ck_assert_int_eq(memory.live, 0);
    folder_remove();
}

/* ---- models -------------------------------------------------------------------------------- */

/* Values that a mix-up of blocks would show, in parameters and (positive) statistics. */
static inline void number_values(modeconn_model *model)
{
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] = (float)(i % 1009) / 1009.0F - 0.5F;
    }
    for (int64_t i = 0; i < model->n_stats; i++) {
        model->statistics[i] = 0.5F + (float)(i % 97) / 97.0F;
    }
}

static inline modeconn_model *make(const char *arch, const char *settings)
{
    modeconn_options *options = NULL;
    modeconn_model *model = NULL;
    OK(modeconn_options_create(NULL, "model", &options));
    OK(modeconn_options_set_f64(options, "width", 0.03));
    OK(modeconn_options_set_str(options, "hidden", settings));
    if (strcmp(arch, "theory") == 0) {
        OK(modeconn_options_set_i64(options, "classes", 2));
    }
    OK(modeconn_model_create(context, arch, images, options, &model));
    modeconn_options_destroy(options);
    number_values(model);
    return model;
}

static inline void assert_same(const modeconn_model *a, const modeconn_model *b)
{
    OK(mc_model_same_shape(a, b));
    ck_assert_str_eq(a->architecture, b->architecture);
    ck_assert_int_eq(a->classes, b->classes);
    ck_assert_mem_eq(a->theta, b->theta, (size_t)a->n_theta * sizeof(float));
    ck_assert_mem_eq(a->statistics, b->statistics, (size_t)a->n_stats * sizeof(float));
    float pixels[2 * 64], first[6] = {0}, second[6] = {0};
    for (int i = 0; i < 128; i++) {
        pixels[i] = (float)(i % 11) / 5.5F - 1;
    }
    OK(modeconn_model_logits(a, pixels, 2, first));
    OK(modeconn_model_logits(b, pixels, 2, second));
    ck_assert_mem_eq(first, second, sizeof(first));
}

static inline void load_fails(const char *path, int32_t status, const char *culprit)
{
    modeconn_model *model = (modeconn_model *)&memory;
    FAILS(modeconn_model_load(context, path, &model), status, culprit);
    ck_assert_ptr_null(model);
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), path));
}

/* ---- rewriting a file ---------------------------------------------------------------------- */

enum { EDIT_MAX = 1024 };

typedef struct edit {
    mc_safetensors *source;
    mc_tensor tensors[EDIT_MAX];
    const char *keys[EDIT_MAX], *values[EDIT_MAX];
    int64_t n, n_meta;
} edit;

static inline edit *edit_open(const char *path)
{
    edit *file = calloc(1, sizeof(*file));
    ck_assert_ptr_nonnull(file);
    OK(mc_safetensors_read(NULL, path, &file->source));
    file->n = mc_safetensors_count(file->source);
    file->n_meta = mc_safetensors_meta_count(file->source);
    ck_assert(file->n < EDIT_MAX && file->n_meta < EDIT_MAX);
    for (int64_t i = 0; i < file->n; i++) {
        file->tensors[i] = *mc_safetensors_at(file->source, i);
    }
    for (int64_t i = 0; i < file->n_meta; i++) {
        mc_safetensors_meta_at(file->source, i, &file->keys[i], &file->values[i]);
    }
    return file;
}

static inline mc_tensor *edit_tensor(edit *file, const char *name)
{
    for (int64_t i = 0; i < file->n; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    ck_abort_msg("no tensor %s", name);
}

/* Sets a metadata key of the file; NULL removes it. */
static inline void edit_meta(edit *file, const char *key, const char *value)
{
    int64_t at = 0;
    while (at < file->n_meta && strcmp(file->keys[at], key) != 0) {
        at++;
    }
    if (value == NULL) {
        file->n_meta--;
        file->keys[at] = file->keys[file->n_meta];
        file->values[at] = file->values[file->n_meta];
        return;
    }
    file->n_meta += at == file->n_meta;
    file->keys[at] = key;
    file->values[at] = value;
}

/* Writes what the edit has come to and forgets it; the path. */
static inline const char *edit_save(edit *file)
{
    const char *path = folder_path("edited.safetensors");
    OK(mc_safetensors_write(NULL, path, file->tensors, file->n, file->keys, file->values,
                            file->n_meta));
    mc_safetensors_free(file->source);
    free(file);
    return path;
}

/* A saved VGG-13 of 2 to 15 channels, as an edit. */
static inline edit *vgg(void)
{
    modeconn_model *model = make("vgg13", "");
    const char *path = folder_path("vgg.safetensors");
    OK(modeconn_model_save(model, path));
    modeconn_model_destroy(model);
    return edit_open(path);
}

#endif
