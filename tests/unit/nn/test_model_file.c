/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/nn/model_file.c: round trips of every kind of model, and files of others.
 */
#include "nn/saved.h"

#include <math.h>

/* A graph of one's own with both norms, a shortcut, settings off their defaults and awkward names.
 */
static modeconn_model *make_graph(void)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0, branch = 0;
    OK(modeconn_graph_create(context, 1, 8, 8, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "stem \"1\"", "out_channels=2,kernel=3,padding=1", &node,
                          1, &node));
    OK(modeconn_graph_add(graph, "batch_norm", "b\xc3\xa4tch", "", &node, 1, &branch));
    int32_t both[2] = {node, branch};
    OK(modeconn_graph_add(graph, "add", NULL, "", both, 2, &node));
    OK(modeconn_graph_add(graph, "relu", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "conv2d", "groups", "out_channels=4,groups=2", &node, 1, &node));
    OK(modeconn_graph_add(graph, "layer_norm", "image", "eps=0.25", &node, 1, &node));
    OK(modeconn_graph_add(graph, "gelu", NULL, "approximate=tanh", &node, 1, &node));
    OK(modeconn_graph_add(graph, "layer_norm", "pixel", "over=channels", &node, 1, &node));
    OK(modeconn_graph_add(graph, "gelu", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "global_avg_pool", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "head", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, -1, &model));
    modeconn_graph_destroy(graph);
    number_values(model);
    return model;
}

/* A graph that ends in the theory's output layer. */
static modeconn_model *make_margin(void)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, 8, 8, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "c", "out_channels=2,kernel=3", &node, 1, &node));
    OK(modeconn_graph_add(graph, "gelu", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "mean_margin", NULL, "scale=7,threshold=-1", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, -1, &model));
    modeconn_graph_destroy(graph);
    number_values(model);
    return model;
}

/* ---- round trips --------------------------------------------------------------------------- */

START_TEST(test_round_trip_of_each_kind)
{
    static const char *const archs[] = {"mlp",
                                        "vgg13",
                                        "resnet18",
                                        "graph",
                                        "margin",
                                        "resnet34",
                                        "resnet50",
                                        "resnet56",
                                        "resnet18_bottleneck",
                                        "resnet56_bottleneck",
                                        "theory"};
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        modeconn_model *made = strcmp(archs[i], "graph") == 0    ? make_graph()
                               : strcmp(archs[i], "margin") == 0 ? make_margin()
                                                                 : make(archs[i], "6,5,4");
        modeconn_model *loaded = NULL, *again = NULL;
        const char *path = folder_path("model.safetensors");
        OK(modeconn_model_save(made, path));
        OK(modeconn_model_load(context, path, &loaded));
        assert_same(made, loaded);
        size_t first_size = 0, second_size = 0;
        char *first = file_get(path, &first_size);
        OK(modeconn_model_save(loaded, path)); /* over the file it came from */
        char *second = file_get(path, &second_size);
        ck_assert_uint_eq(first_size, second_size);
        ck_assert_mem_eq(first, second, first_size);
        OK(modeconn_model_load(context, path, &again));
        assert_same(made, again);
        free(first);
        free(second);
        modeconn_model_destroy(made);
        modeconn_model_destroy(loaded);
        modeconn_model_destroy(again);
        ck_assert_int_eq(folder_count(), 1);
    }
}
END_TEST

START_TEST(test_tensors_as_in_a_state_dict)
{
    edit *file = vgg();
    const mc_tensor *weight = edit_tensor(file, "layers.0.conv1.weight");
    ck_assert_str_eq(weight->dtype, "F32");
    ck_assert_int_eq(weight->rank, 4);
    ck_assert_int_eq(weight->shape[0], 2);
    ck_assert_int_eq(weight->shape[1], 1);
    ck_assert_int_eq(weight->shape[2], 3);
    ck_assert_int_eq(edit_tensor(file, "layers.0.bn1.running_mean")->rank, 1);
    ck_assert_int_eq(edit_tensor(file, "layers.0.bn1.running_var")->size, 2);
    ck_assert_int_eq(edit_tensor(file, "linear.weight")->rank, 2);
    ck_assert_str_eq(mc_safetensors_meta(file->source, "modeconn.format"), "1");
    ck_assert_str_eq(mc_safetensors_meta(file->source, "modeconn.architecture"), "vgg13");
    ck_assert_str_eq(mc_safetensors_meta(file->source, "modeconn.input"), "1x8x8");
    ck_assert_str_eq(mc_safetensors_meta(file->source, "modeconn.classes"), "3");
    ck_assert_ptr_nonnull(mc_safetensors_meta(file->source, "modeconn.settings"));
    ck_assert_ptr_nonnull(mc_safetensors_meta(file->source, "modeconn.history"));
    ck_assert_str_eq(mc_safetensors_meta(file->source, "modeconn.version"), "0.1.0");
    edit_save(file);
}
END_TEST

START_TEST(test_metadata_and_history_come_back)
{
    static const char *const columns[] = {"loss", "accuracy"};
    static const double row[2] = {0.1, (double)NAN};
    modeconn_model *model = make("mlp", "4"), *loaded = NULL;
    modeconn_history *history = NULL;
    OK(modeconn_model_set_metadata(model, "note", "trained \"at\" home\n\xc3\xa4"));
    OK(modeconn_model_set_metadata(model, "empty", ""));
    OK(mc_history_create(context, columns, 2, &history));
    OK(mc_history_append(history, row));
    mc_model_set_history(model, history);
    const char *path = folder_path("model.safetensors");
    OK(modeconn_model_save(model, path));
    OK(modeconn_model_load(context, path, &loaded));
    const char *note = NULL;
    OK(modeconn_model_get_metadata(loaded, "note", &note));
    ck_assert_str_eq(note, "trained \"at\" home\n\xc3\xa4");
    OK(modeconn_model_get_metadata(loaded, "empty", &note));
    ck_assert_str_eq(note, "");
    ck_assert_int_eq(loaded->n_meta, 2);
    modeconn_history *back = NULL;
    double value = 0;
    OK(modeconn_model_history(loaded, &back));
    OK(modeconn_history_value(back, "loss", 0, &value));
    ck_assert_double_eq(value, 0.1);
    OK(modeconn_history_value(back, "accuracy", 0, &value));
    ck_assert(isnan(value));
    modeconn_model_destroy(loaded);
    OK(modeconn_history_value(back, "loss", 0, &value)); /* the snapshot outlives the model */
    modeconn_history_destroy(back);
    modeconn_model_destroy(model);
}
END_TEST

/* The speed of a run is not a property of its model: equal runs give equal files. */
START_TEST(test_speeds_stay_out_of_the_file)
{
    static const char *const columns[] = {"loss", "samples_per_second", "accuracy"};
    char *files[2];
    size_t sizes[2];
    for (int i = 0; i < 2; i++) {
        const double row[3] = {0.5, 1000.0 + i, 0.25};
        modeconn_model *model = make("mlp", "4"), *loaded = NULL;
        modeconn_history *history = NULL, *back = NULL;
        double value = 0;
        OK(mc_history_create(context, columns, 3, &history));
        OK(mc_history_append(history, row));
        mc_model_set_history(model, history);
        const char *path = folder_path("model.safetensors");
        OK(modeconn_model_save(model, path));
        files[i] = file_get(path, &sizes[i]);
        OK(modeconn_history_value(history, "samples_per_second", 0, &value)); /* kept in memory */
        ck_assert_double_eq(value, 1000.0 + i);
        OK(modeconn_model_load(context, path, &loaded));
        OK(modeconn_model_history(loaded, &back));
        OK(modeconn_history_value(back, "accuracy", 0, &value));
        ck_assert_double_eq(value, 0.25);
        FAILS(modeconn_history_value(back, "samples_per_second", 0, &value), MODECONN_ERROR_UNKNOWN,
              "samples_per_second");
        modeconn_history_destroy(back);
        modeconn_model_destroy(loaded);
        modeconn_model_destroy(model);
    }
    ck_assert_uint_eq(sizes[0], sizes[1]);
    ck_assert_mem_eq(files[0], files[1], sizes[0]);
    free(files[0]);
    free(files[1]);
}
END_TEST

START_TEST(test_order_of_tensors_does_not_matter)
{
    modeconn_model *model = make("vgg13", ""), *loaded = NULL;
    edit *file = vgg();
    for (int64_t i = 0; i < file->n / 2; i++) {
        mc_tensor other = file->tensors[file->n - 1 - i];
        file->tensors[file->n - 1 - i] = file->tensors[i];
        file->tensors[i] = other;
    }
    OK(modeconn_model_load(context, edit_save(file), &loaded));
    assert_same(model, loaded);
    modeconn_model_destroy(model);
    modeconn_model_destroy(loaded);
}
END_TEST

/* ---- files of others ----------------------------------------------------------------------- */

START_TEST(test_without_our_metadata)
{
    static const char *const archs[] = {"mlp",
                                        "vgg13",
                                        "resnet18",
                                        "resnet34",
                                        "resnet50",
                                        "resnet56",
                                        "resnet18_bottleneck",
                                        "resnet56_bottleneck",
                                        "theory"};
    static const int64_t steps = 7;
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        modeconn_model *model = make(archs[i], "6,5"), *loaded = NULL;
        const char *path = folder_path("model.safetensors"), *note = NULL;
        OK(modeconn_model_save(model, path));
        edit *file = edit_open(path);
        file->n_meta = 0;
        edit_meta(file, "format", "pt");
        edit_meta(file, "", "no model can keep this, and none needs it");
        file->tensors[file->n++] = (mc_tensor){
            .name = "layers.0.bn1.num_batches_tracked", .dtype = "I64", .data = &steps, .size = 1};
        path = edit_save(file);
        load_fails(path, MODECONN_ERROR_FORMAT, "no modeconn metadata");
        load_fails(path, MODECONN_ERROR_FORMAT, "modeconn_model_load_as()");
        load_fails(path, MODECONN_ERROR_FORMAT, "--arch");
        OK(modeconn_model_load_as(context, path, archs[i], images, &loaded));
        assert_same(model, loaded);
        OK(modeconn_model_get_metadata(loaded, "format", &note));
        ck_assert_str_eq(note, "pt");
        /* and what was loaded so saves as one of ours */
        modeconn_model *ours = NULL;
        OK(modeconn_model_save(loaded, path));
        OK(modeconn_model_load(context, path, &ours));
        assert_same(model, ours);
        modeconn_model_destroy(ours);
        modeconn_model_destroy(loaded);
        modeconn_model_destroy(model);
    }
}
END_TEST

/* Gives every tensor of the edit a name with `prefix` before it. The texts are the caller's. */
static void edit_prefix(edit *file, const char *prefix, char (*names)[128])
{
    for (int64_t i = 0; i < file->n; i++) {
        snprintf(names[i], sizeof(names[i]), "%s%s", prefix, file->tensors[i].name);
        file->tensors[i].name = names[i];
    }
}

static void keep_line(void *user, const char *message)
{
    snprintf(user, 512, "%s", message);
}

START_TEST(test_prefixes_of_wrappers)
{
    char line[512] = "";
    static const char *const prefixes[] = {"module.", "_orig_mod.", "_orig_mod.module.",
                                           "module._orig_mod.module."};
    static char names[EDIT_MAX][128];
    modeconn_model *model = make("vgg13", ""), *loaded = NULL, *ours = NULL;
    const char *removed = NULL;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        edit *file = vgg();
        file->n_meta = 0;
        edit_prefix(file, prefixes[i], names);
        const char *path = edit_save(file);
        OK(modeconn_context_set_log(context, keep_line, line));
        OK(modeconn_model_load_as(context, path, "vgg13", images, &loaded));
        OK(modeconn_context_set_log(context, NULL, NULL));
        ck_assert_ptr_nonnull(strstr(line, prefixes[i]));
        assert_same(model, loaded);
        OK(modeconn_model_get_metadata(loaded, "removed_prefix", &removed));
        ck_assert_str_eq(removed, prefixes[i]);
        OK(modeconn_model_save(loaded, path));
        OK(modeconn_model_load(context, path, &ours));
        OK(modeconn_model_get_metadata(ours, "removed_prefix", &removed));
        ck_assert_str_eq(removed, prefixes[i]);
        modeconn_model_destroy(ours);
        modeconn_model_destroy(loaded);
    }
    /* One name without it: no wrapper made that. */
    edit *file = vgg();
    file->n_meta = 0;
    const char *bare = file->tensors[0].name;
    edit_prefix(file, "module.", names);
    file->tensors[0].name = bare;
    FAILS(modeconn_model_load_as(context, edit_save(file), "vgg13", images, &loaded),
          MODECONN_ERROR_UNKNOWN, "layers.");
    ck_assert_ptr_null(loaded);
    modeconn_model_destroy(model);
}
END_TEST

/* What could not be read back is not written, and the file that is there survives. */
START_TEST(test_values_that_are_not_finite)
{
    modeconn_model *model = make("resnet18", ""), *loaded = NULL;
    const char *path = folder_path("model.safetensors");
    float *places[2] = {&model->theta[5], &model->statistics[3]};
    static const char *const names[2] = {"value 5 of conv1.weight is nan", "is inf"};
    OK(modeconn_model_save(model, path));
    for (int i = 0; i < 2; i++) {
        float before = *places[i];
        *places[i] = i == 0 ? NAN : INFINITY;
        FAILS(modeconn_model_save(model, path), MODECONN_ERROR_NUMERIC, names[i]);
        ck_assert_ptr_nonnull(strstr(modeconn_last_error(), path));
        *places[i] = before;
        OK(modeconn_model_load(context, path, &loaded));
        modeconn_model_destroy(loaded);
    }
    ck_assert_int_eq(folder_count(), 1);
    modeconn_model_destroy(model);
}
END_TEST

START_TEST(test_architectures_that_do_not_fit)
{
    static const char *const pairs[][2] = {{"resnet18", "resnet34"}, {"resnet34", "resnet18"},
                                           {"resnet34", "resnet50"}, {"resnet50", "resnet34"},
                                           {"resnet56", "resnet34"}, {"theory", "mlp"},
                                           {"mlp", "theory"}};
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        modeconn_model *model = make(pairs[i][0], "6,5"), *loaded = NULL;
        const char *path = folder_path("model.safetensors");
        OK(modeconn_model_save(model, path));
        int32_t status = modeconn_model_load_as(context, path, pairs[i][1], images, &loaded);
        ck_assert_msg(status == MODECONN_ERROR_UNKNOWN || status == MODECONN_ERROR_SHAPE,
                      "%s as %s: %s", pairs[i][0], pairs[i][1], modeconn_status_name(status));
        ck_assert_ptr_null(loaded);
        ck_assert_ptr_nonnull(strstr(modeconn_last_error(), path));
        modeconn_model_destroy(model);
    }
}
END_TEST

/* In time proportional to the square of their number this would run into the test's limit. */
START_TEST(test_very_many_keys)
{
    enum { MANY = 200000 };
    char(*texts)[16] = malloc(MANY * sizeof(*texts));
    const char **keys = malloc(MANY * sizeof(*keys)), *value = NULL;
    modeconn_model *loaded = NULL, *copy = NULL;
    ck_assert(texts != NULL && keys != NULL);
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof(texts[i]), "key %d", i);
        keys[i] = texts[i];
    }
    edit *file = vgg();
    const char *path = folder_path("many.safetensors");
    OK(mc_safetensors_write(NULL, path, file->tensors, file->n, keys, keys, MANY));
    OK(modeconn_model_load_as(context, path, "vgg13", images, &loaded));
    ck_assert_int_eq(loaded->n_meta, MANY);
    OK(modeconn_model_clone(loaded, &copy));
    OK(modeconn_model_set_metadata(copy, "key 5", NULL));
    OK(modeconn_model_set_metadata(copy, "key 7", "other"));
    for (int i = 0; i < MANY; i++) {
        OK(modeconn_model_get_metadata(loaded, keys[i], &value));
        ck_assert_str_eq(value, keys[i]);
    }
    ck_assert_int_eq(copy->n_meta, MANY - 1);
    FAILS(modeconn_model_get_metadata(copy, "key 5", &value), MODECONN_ERROR_UNKNOWN, "key 5");
    OK(modeconn_model_get_metadata(copy, "key 7", &value));
    ck_assert_str_eq(value, "other");
    OK(modeconn_model_save(copy, path));
    modeconn_model_destroy(copy);
    modeconn_model_destroy(loaded);
    mc_safetensors_free(file->source);
    free(file);
    free(keys);
    free(texts);
}
END_TEST

START_TEST(test_load_as_takes_our_files_too)
{
    modeconn_model *model = make("vgg13", ""), *loaded = NULL;
    OK(modeconn_model_set_metadata(model, "note", "x"));
    OK(modeconn_model_save(model, folder_path("m")));
    OK(modeconn_model_load_as(context, folder_path("m"), "vgg13", images, &loaded));
    assert_same(model, loaded);
    ck_assert_int_eq(loaded->n_meta, 1);
    modeconn_model_destroy(loaded);
    FAILS(modeconn_model_load_as(context, folder_path("m"), "vgg99", images, &loaded),
          MODECONN_ERROR_UNKNOWN, "vgg99");
    ck_assert_ptr_null(loaded);
    FAILS(modeconn_model_load_as(context, folder_path("m"), "resnet18", images, &loaded),
          MODECONN_ERROR_UNKNOWN, "m: ");
    ck_assert_ptr_null(loaded);
    modeconn_model_destroy(model);
}
END_TEST

/* The same numbers in other formats: 1/4 and 2 are exact in all of them. */
START_TEST(test_other_number_formats)
{
    static const uint16_t half[3] = {0x3400, 0x4000, 0xb400}, brain[3] = {0x3e80, 0x4000, 0xbe80};
    static const double wide[3] = {0.25, 2, -0.25};
    static const float expected[3] = {0.25F, 2, -0.25F};
    const struct {
        const char *dtype;
        const void *data;
    } cases[] = {{"F16", half}, {"BF16", brain}, {"F64", wide}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        modeconn_model *loaded = NULL;
        edit *file = vgg();
        mc_tensor *bias = edit_tensor(file, "linear.bias");
        bias->dtype = cases[i].dtype;
        bias->data = cases[i].data;
        OK(modeconn_model_load(context, edit_save(file), &loaded));
        const mc_block *block = loaded->blocks;
        while (strcmp(block->name, "linear.bias") != 0) {
            block++;
        }
        ck_assert_mem_eq(loaded->theta + block->offset, expected, sizeof(expected));
        modeconn_model_destroy(loaded);
    }
}
END_TEST

/* Keys of later versions are no reason to refuse, and a history may be missing. */
START_TEST(test_other_keys_of_ours)
{
    modeconn_model *loaded = NULL;
    edit *file = vgg();
    edit_meta(file, "modeconn.later", "x");
    edit_meta(file, "modeconn.history", NULL);
    OK(modeconn_model_load(context, edit_save(file), &loaded));
    ck_assert_int_eq(loaded->n_meta, 0);
    modeconn_history *history = NULL;
    int64_t epochs = -1;
    OK(modeconn_model_history(loaded, &history));
    OK(modeconn_history_size(history, &epochs, NULL));
    ck_assert_int_eq(epochs, 0);
    modeconn_history_destroy(history);
    modeconn_model_destroy(loaded);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_round_trip_of_each_kind);
    tcase_add_test(tests, test_tensors_as_in_a_state_dict);
    tcase_add_test(tests, test_metadata_and_history_come_back);
    tcase_add_test(tests, test_speeds_stay_out_of_the_file);
    tcase_add_test(tests, test_order_of_tensors_does_not_matter);
    tcase_add_test(tests, test_without_our_metadata);
    tcase_add_test(tests, test_prefixes_of_wrappers);
    tcase_add_test(tests, test_values_that_are_not_finite);
    tcase_add_test(tests, test_architectures_that_do_not_fit);
    tcase_add_test(tests, test_very_many_keys);
    tcase_add_test(tests, test_load_as_takes_our_files_too);
    tcase_add_test(tests, test_other_number_formats);
    tcase_add_test(tests, test_other_keys_of_ours);
}

int main(void)
{
    return unit_run("nn_model_file", add);
}
