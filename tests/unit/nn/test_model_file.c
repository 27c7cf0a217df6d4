/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/nn/model_file.c: round trips of every kind of model, files of others, and each way
 * in which a file can be wrong.
 */
#include "failing.h"
#include "folder.h"
#include "io/io.h"
#include "nn/nn.h"
#include "unit.h"

#include <math.h>

static modeconn_context *context;
static modeconn_dataset *images; /* 1x8x8, 3 classes */
static failing memory;

static void setup(void)
{
    static const float pixels[3 * 64];
    static const int32_t labels[3] = {0, 1, 2};
    folder_make();
    context = failing_context(&memory);
    OK(modeconn_dataset_from_f32(context, pixels, labels, 3, 1, 8, 8, 3, NULL, &images));
}

static void teardown(void)
{
    modeconn_dataset_destroy(images);
    modeconn_context_destroy(context);
    ck_assert_int_eq(memory.live, 0);
    folder_remove();
}

/* ---- models -------------------------------------------------------------------------------- */

/* Values that a mix-up of blocks would show, in parameters and (positive) statistics. */
static void number_values(modeconn_model *model)
{
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] = (float)(i % 1009) / 1009.0F - 0.5F;
    }
    for (int64_t i = 0; i < model->n_stats; i++) {
        model->statistics[i] = 0.5F + (float)(i % 97) / 97.0F;
    }
}

static modeconn_model *make(const char *arch, const char *settings)
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

static void assert_same(const modeconn_model *a, const modeconn_model *b)
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

static void load_fails(const char *path, int32_t status, const char *culprit)
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

static edit *edit_open(const char *path)
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

static mc_tensor *edit_tensor(edit *file, const char *name)
{
    for (int64_t i = 0; i < file->n; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    ck_abort_msg("no tensor %s", name);
}

/* Sets a metadata key of the file; NULL removes it. */
static void edit_meta(edit *file, const char *key, const char *value)
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
static const char *edit_save(edit *file)
{
    const char *path = folder_path("edited.safetensors");
    OK(mc_safetensors_write(NULL, path, file->tensors, file->n, file->keys, file->values,
                            file->n_meta));
    mc_safetensors_free(file->source);
    free(file);
    return path;
}

/* A saved VGG-13 of 2 to 15 channels, as an edit. */
static edit *vgg(void)
{
    modeconn_model *model = make("vgg13", "");
    const char *path = folder_path("vgg.safetensors");
    OK(modeconn_model_save(model, path));
    modeconn_model_destroy(model);
    return edit_open(path);
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

START_TEST(test_prefixes_of_wrappers)
{
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
        OK(modeconn_model_load_as(context, path, "vgg13", images, &loaded));
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

/* ---- what is refused ----------------------------------------------------------------------- */

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
    load_fails(edit_save(file), MODECONN_ERROR_NUMERIC, "value 0 of linear.bias");
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
    tcase_add_test(tests, test_round_trip_of_each_kind);
    tcase_add_test(tests, test_tensors_as_in_a_state_dict);
    tcase_add_test(tests, test_metadata_and_history_come_back);
    tcase_add_test(tests, test_speeds_stay_out_of_the_file);
    tcase_add_test(tests, test_order_of_tensors_does_not_matter);
    tcase_add_test(tests, test_without_our_metadata);
    tcase_add_test(tests, test_prefixes_of_wrappers);
    tcase_add_test(tests, test_architectures_that_do_not_fit);
    tcase_add_test(tests, test_very_many_keys);
    tcase_add_test(tests, test_load_as_takes_our_files_too);
    tcase_add_test(tests, test_other_number_formats);
    tcase_add_test(tests, test_missing_and_unexpected_tensors);
    tcase_add_test(tests, test_wrong_shapes_and_types);
    tcase_add_test(tests, test_values_that_are_not_finite);
    tcase_add_test(tests, test_wrong_metadata);
    tcase_add_test(tests, test_announced_sizes_take_no_memory);
    tcase_add_test(tests, test_shapes_out_of_range);
    tcase_add_test(tests, test_other_keys_of_ours);
    tcase_add_test(tests, test_null_arguments_and_bad_paths);
    tcase_add_test(tests, test_truncated_at_every_byte);
    tcase_add_test(tests, test_random_bytes_in_the_header);
    tcase_add_test(tests, test_saving_out_of_memory);
    tcase_add_test(tests, test_loading_out_of_memory);
    tcase_add_test(tests, test_loading_as_out_of_memory);
}

int main(void)
{
    return unit_run("nn_model_file", add);
}
