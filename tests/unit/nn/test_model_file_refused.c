/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/nn/model_file.c: each way in which a file can be wrong, and lack of memory.
 */
#include "nn/saved.h"

#include <math.h>

START_TEST(test_missing_and_unexpected_tensors)
{
    edit *file = vgg();
    *edit_tensor(file, "layers.3.bn1.bias") = file->tensors[file->n - 1];
    file->n--;
    load_fails(edit_save(file), MODECONN_ERROR_UNKNOWN, "\"layers.3.bn1.bias\" is missing");

    file = vgg();
    edit_tensor(file, "layers.3.bn1.running_var")->name = "layers.3.bn1.running_variance";
    load_fails(edit_save(file), MODECONN_ERROR_UNKNOWN, "\"layers.3.bn1.running_variance\"");

    file = vgg();
    file->tensors[file->n] = *edit_tensor(file, "linear.bias");
    file->tensors[file->n++].name = "linear2.bias";
    load_fails(edit_save(file), MODECONN_ERROR_UNKNOWN, "\"linear2.bias\" does not belong");
}
END_TEST

START_TEST(test_wrong_shapes_and_types)
{
    static const int64_t integers[3] = {1, 2, 3};
    edit *file = vgg();
    mc_tensor *tensor = edit_tensor(file, "linear.bias");
    tensor->rank = 2;
    tensor->shape[0] = 1;
    tensor->shape[1] = 3;
    load_fails(edit_save(file), MODECONN_ERROR_SHAPE,
               "\"linear.bias\" has the shape [1, 3], not [3]");

    file = vgg();
    tensor = edit_tensor(file, "linear.bias");
    tensor->rank = 2;
    tensor->shape[1] = 1;
    load_fails(edit_save(file), MODECONN_ERROR_SHAPE, "[3, 1], not [3]");

    file = vgg();
    tensor = edit_tensor(file, "linear.bias");
    tensor->shape[0] = tensor->size = 2;
    load_fails(edit_save(file), MODECONN_ERROR_SHAPE, "[2], not [3]");

    file = vgg();
    tensor = edit_tensor(file, "linear.bias");
    tensor->dtype = "I64";
    tensor->data = integers;
    load_fails(edit_save(file), MODECONN_ERROR_FORMAT, "\"linear.bias\" is of type I64");
}
END_TEST

START_TEST(test_values_that_are_not_finite)
{
    static const float nan_bias[3] = {0, 1, (float)NAN}, inf_bias[3] = {0, HUGE_VALF, 1};
    static const double large[3] = {1e300, 0, 0};
    static const float variance[2] = {1, -1};
    edit *file = vgg();
    edit_tensor(file, "linear.bias")->data = nan_bias;
    load_fails(edit_save(file), MODECONN_ERROR_NUMERIC, "value 2 of linear.bias");
    file = vgg();
    edit_tensor(file, "linear.bias")->data = inf_bias;
    load_fails(edit_save(file), MODECONN_ERROR_NUMERIC, "value 1 of linear.bias");
    file = vgg();
    edit_tensor(file, "linear.bias")->data = large;
    edit_tensor(file, "linear.bias")->dtype = "F64";
    load_fails(edit_save(file), MODECONN_ERROR_NUMERIC,
               "value 0 of tensor \"linear.bias\" is 1e+300, which does not fit float32");
    file = vgg();
    edit_tensor(file, "layers.0.bn1.running_var")->data = variance;
    load_fails(edit_save(file), MODECONN_ERROR_NUMERIC, "layers.0.bn1.running_var");
}
END_TEST

START_TEST(test_wrong_metadata)
{
    static const struct {
        const char *key, *value;
        int32_t status;
        const char *culprit;
    } cases[] = {
        {"modeconn.format", "2", MODECONN_ERROR_FORMAT, "\"modeconn.format\" is \"2\""},
        {"modeconn.architecture", NULL, MODECONN_ERROR_FORMAT, "\"modeconn.architecture\""},
        {"modeconn.settings", NULL, MODECONN_ERROR_FORMAT, "\"modeconn.settings\""},
        {"modeconn.input", NULL, MODECONN_ERROR_FORMAT, "\"modeconn.input\""},
        {"modeconn.classes", NULL, MODECONN_ERROR_FORMAT, "\"modeconn.classes\""},
        {"modeconn.architecture", "vgg99", MODECONN_ERROR_UNKNOWN, "vgg99"},
        {"modeconn.architecture", "graph", MODECONN_ERROR_FORMAT, "metadata"},
        {"modeconn.settings", "width=-1", MODECONN_ERROR_FORMAT, "width"},
        {"modeconn.settings", "depth=3", MODECONN_ERROR_UNKNOWN, "depth"},
        {"modeconn.input", "3x8x8", MODECONN_ERROR_FORMAT,
         "\"3x8x8\", but its settings make 1x8x8"},
        {"modeconn.classes", "10", MODECONN_ERROR_FORMAT, "\"10\", but its settings make 3"},
        {"modeconn.history", "{}", MODECONN_ERROR_FORMAT, "\"modeconn.history\": \"columns\""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        edit *file = vgg();
        edit_meta(file, cases[i].key, cases[i].value);
        load_fails(edit_save(file), cases[i].status, cases[i].culprit);
    }
}
END_TEST

/* Settings may announce any number of parameters: no memory is taken for what is not there. */
START_TEST(test_announced_sizes_take_no_memory)
{
    static const struct {
        const char *architecture, *settings;
        int32_t status;
        const char *culprit;
    } cases[] = {
        {"vgg13", "width=100,channels=1,height=8,width_pixels=8,classes=3", MODECONN_ERROR_SHAPE,
         "\"layers.0.conv1.weight\" has the shape [2, 1, 3, 3], not [6400, 1, 3, 3]"},
        {"mlp", "hidden=1048576,1048576,channels=1,height=8,width_pixels=8,classes=3",
         MODECONN_ERROR_UNKNOWN, "\"layers.0.conv1.weight\""},
        {"graph",
         "{\"input\":[1,8,8],\"layers\":["
         "{\"type\":\"linear\",\"name\":\"linear\",\"settings\":\"out_features=40000\",\"inputs\":["
         "0]},"
         "{\"type\":\"linear\",\"name\":\"b\",\"settings\":\"out_features=40000\",\"inputs\":[1]},"
         "{\"type\":\"linear\",\"name\":\"c\",\"settings\":\"out_features=3\",\"inputs\":[2]}]}",
         MODECONN_ERROR_UNKNOWN, "\"layers.0.conv1.weight\""},
    };
    modeconn_model *loaded = NULL;
    edit *file = NULL;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        file = vgg();
        edit_meta(file, "modeconn.architecture", cases[i].architecture);
        edit_meta(file, "modeconn.settings", cases[i].settings);
        const char *path = edit_save(file);
        memory.largest = 0;
        load_fails(path, cases[i].status, cases[i].culprit);
        ck_assert_uint_lt(memory.largest, 1000000);
    }
    /* Shapes too: a tensor with a size of 0 holds nothing, whatever its other sizes are. */
    file = vgg();
    for (int i = 0; i < 2; i++) {
        mc_tensor *weight =
            edit_tensor(file, i == 0 ? "layers.0.conv1.weight" : "layers.1.conv1.weight");
        const int64_t shape[4] = {1048576, i == 0 ? 1 : 1048576, 0, 3};
        memcpy(weight->shape, shape, sizeof(shape));
        weight->size = 0;
    }
    const char *path = edit_save(file);
    memory.largest = 0;
    FAILS(modeconn_model_load_as(context, path, "vgg13", images, &loaded), MODECONN_ERROR_SHAPE,
          "layers.0.conv1.weight");
    ck_assert_ptr_null(loaded);
    ck_assert_uint_lt(memory.largest, 1000000);
}
END_TEST

/* Sizes that no model has, in a file loaded by its shapes: the file is named, not an option. */
START_TEST(test_shapes_out_of_range)
{
    modeconn_model *loaded = NULL;
    edit *file = vgg();
    mc_tensor *weight = edit_tensor(file, "layers.0.conv1.weight");
    const int64_t shape[4] = {2, INT64_C(1) << 40, 0, 3};
    memcpy(weight->shape, shape, sizeof(shape));
    weight->size = 0;
    const char *path = edit_save(file);
    FAILS(modeconn_model_load_as(context, path, "vgg13", images, &loaded), MODECONN_ERROR_SHAPE,
          "channels");
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), path));
}
END_TEST

START_TEST(test_null_arguments_and_bad_paths)
{
    modeconn_model *model = make("mlp", "4"), *out = model;
    FAILS(modeconn_model_save(NULL, "x"), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_save(model, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_model_load(context, "x", NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_model_load(NULL, "x", &out), MODECONN_ERROR_ARGUMENT, "context");
    ck_assert_ptr_null(out);
    FAILS(modeconn_model_load(context, NULL, &out), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_model_load_as(context, "x", "mlp", images, NULL), MODECONN_ERROR_ARGUMENT,
          "out");
    FAILS(modeconn_model_load_as(NULL, "x", "mlp", images, &out), MODECONN_ERROR_ARGUMENT,
          "context");
    FAILS(modeconn_model_load_as(context, NULL, "mlp", images, &out), MODECONN_ERROR_ARGUMENT,
          "path");
    FAILS(modeconn_model_load_as(context, "x", NULL, images, &out), MODECONN_ERROR_ARGUMENT,
          "arch");
    FAILS(modeconn_model_load_as(context, "x", "mlp", NULL, &out), MODECONN_ERROR_ARGUMENT, "like");
    load_fails(folder_path("none"), MODECONN_ERROR_IO, "No such file");
    load_fails(folder, MODECONN_ERROR_IO, "Is a directory");
    FAILS(modeconn_model_load_as(context, folder_path("none"), "mlp", images, &out),
          MODECONN_ERROR_IO, "none");
    FAILS(modeconn_model_save(model, folder_path("no/model")), MODECONN_ERROR_IO, "no/model");
    FAILS(modeconn_model_save(model, "/dev/full"), MODECONN_ERROR_IO, "/dev/full: No space left");
    modeconn_model_destroy(model);
    ck_assert_int_eq(folder_count(), 0);
}
END_TEST

/* An MLP small enough to go through its file byte by byte. */
static char *small_file(const char *path, size_t *size)
{
    modeconn_model *model = make("mlp", "1");
    OK(modeconn_model_save(model, path));
    modeconn_model_destroy(model);
    return file_get(path, size);
}

START_TEST(test_truncated_at_every_byte)
{
    size_t size = 0;
    char *bytes = small_file(folder_path("whole"), &size);
    for (size_t cut = 0; cut < size; cut++) {
        file_put(folder_path("cut"), bytes, cut);
        load_fails(folder_path("cut"), MODECONN_ERROR_FORMAT, "cut");
    }
    free(bytes);
}
END_TEST

/* Random bytes in the header: a model or an error, never a crash. */
START_TEST(test_random_bytes_in_the_header)
{
    size_t size = 0;
    char *bytes = small_file(folder_path("whole"), &size);
    char *damaged = malloc(size);
    ck_assert_ptr_nonnull(damaged);
    uint64_t header = 8 + (unsigned char)bytes[0] + 256U * (unsigned char)bytes[1];
    for (uint64_t round = 0; round < 1000; round++) {
        modeconn_model *model = NULL;
        memcpy(damaged, bytes, size);
        uint64_t random = mc_random_u64(2, 1, round, 0);
        damaged[8 + random % (header - 8)] = (char)(0x20 + (random >> 32) % 0x5f);
        file_put(folder_path("random"), damaged, size);
        (void)modeconn_model_load(context, folder_path("random"), &model);
        modeconn_model_destroy(model);
        (void)modeconn_model_load_as(context, folder_path("random"), "mlp", images, &model);
        modeconn_model_destroy(model);
    }
    free(damaged);
    free(bytes);
}
END_TEST

START_TEST(test_saving_out_of_memory)
{
    modeconn_model *model = make("mlp", "4");
    OK(modeconn_model_set_metadata(model, "note", "x"));
    const char *path = folder_path("model.safetensors");
    file_put(path, "old", 3);
    long live = memory.live;
    for (long k = 1;; k++) {
        failing_at(&memory, k);
        int32_t status = modeconn_model_save(model, path);
        failing_at(&memory, 0);
        ck_assert_int_eq(memory.live, live);
        ck_assert_int_eq(folder_count(), 1);
        if (status == MODECONN_OK) {
            ck_assert_int_gt(k, 5);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
        char *text = file_get(path, NULL);
        ck_assert_str_eq(text, "old");
        free(text);
    }
    modeconn_model_destroy(model);
}
END_TEST

static void load_out_of_memory(bool as)
{
    modeconn_model *model = make("mlp", "4");
    OK(modeconn_model_set_metadata(model, "note", "x"));
    const char *path = folder_path("model.safetensors");
    OK(modeconn_model_save(model, path));
    long live = memory.live;
    for (long k = 1;; k++) {
        modeconn_model *loaded = NULL;
        failing_at(&memory, k);
        int32_t status = as ? modeconn_model_load_as(context, path, "mlp", images, &loaded)
                            : modeconn_model_load(context, path, &loaded);
        failing_at(&memory, 0);
        if (status == MODECONN_OK) {
            assert_same(model, loaded);
            modeconn_model_destroy(loaded);
            ck_assert_int_gt(k, 15);
            break;
        }
        ck_assert_msg(status == MODECONN_ERROR_MEMORY, "allocation %ld: %s (%s)", k,
                      modeconn_status_name(status), modeconn_last_error());
        ck_assert_ptr_null(loaded);
        ck_assert_int_eq(memory.live, live);
    }
    modeconn_model_destroy(model);
}

START_TEST(test_loading_out_of_memory)
{
    load_out_of_memory(false);
}
END_TEST

START_TEST(test_loading_as_out_of_memory)
{
    load_out_of_memory(true);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_missing_and_unexpected_tensors);
    tcase_add_test(tests, test_wrong_shapes_and_types);
    tcase_add_test(tests, test_values_that_are_not_finite);
    tcase_add_test(tests, test_wrong_metadata);
    tcase_add_test(tests, test_announced_sizes_take_no_memory);
    tcase_add_test(tests, test_shapes_out_of_range);
    tcase_add_test(tests, test_null_arguments_and_bad_paths);
    tcase_add_test(tests, test_truncated_at_every_byte);
    tcase_add_test(tests, test_random_bytes_in_the_header);
    tcase_add_test(tests, test_saving_out_of_memory);
    tcase_add_test(tests, test_loading_out_of_memory);
    tcase_add_test(tests, test_loading_as_out_of_memory);
}

int main(void)
{
    return unit_run("nn_model_file_refused", add);
}
