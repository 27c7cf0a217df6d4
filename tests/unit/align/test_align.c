/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Groups of every architecture and of a graph built by hand; planted permutations found again by
 * both methods, of trained networks with dead and duplicated units too; moments against their
 * definition; files and errors. Convolutions in groups: test_grouped.c.
 */
#include "align/planted.h"
#include "io/io.h"
#include "nn/graph.h"
#include <unistd.h>

static modeconn_model *new_model(modeconn_context *context, const char *arch, const char *settings,
                                 const modeconn_dataset *like)
{
    modeconn_model *model = NULL;
    modeconn_options *options = options_of("model", settings);
    OK(modeconn_model_create(context, arch, like, options, &model));
    modeconn_options_destroy(options);
    return model;
}

static modeconn_model *random_model(modeconn_context *context, const char *arch,
                                    const char *settings, const modeconn_dataset *like)
{
    modeconn_model *model = new_model(context, arch, settings, like);
    randomise(model, like);
    return model;
}

static void find_random_again(modeconn_context *context, const char *arch, const char *settings,
                              const char *how)
{
    modeconn_dataset *data = small_shapes(context, 40, "nocue");
    modeconn_model *model = random_model(context, arch, settings, data);
    modeconn_model_destroy(find_again(model, data, how));
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
}

START_TEST(planted)
{
    static const char *const models[][3] = {
        {"vgg13", "width=1", "batch_size=16"},
        {"vgg13", "width=0.25", "method=weights,seed=2"},
        {"resnet18", "width=1", "batch_size=16"},
        {"resnet18", "width=0.25", "method=weights,seed=2"},
        {"mlp", "hidden=40,30", "batch_size=16"},
        {"mlp", "hidden=40,30", "method=weights,seed=2"},
    };
    modeconn_context *context = small_context(2);
    find_random_again(context, models[_i][0], models[_i][1], models[_i][2]);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(other_similarities)
{
    modeconn_context *context = small_context(1);
    find_random_again(context, "vgg13", "width=0.125", "similarity=cosine");
    find_random_again(context, "vgg13", "width=0.125", "reference=1,batch_size=16");
    modeconn_context_destroy(context);
}
END_TEST

/* Every architecture that we ship: moving all units of all groups leaves the logits, which making
 * the alignment checks, and changes the parameters. */
START_TEST(every_architecture)
{
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 20, "nocue");
    int64_t count = 0;
    OK(modeconn_architecture_count(&count));
    for (int64_t i = 0; i < count; i++) {
        const char *name = NULL;
        modeconn_model *model = NULL, *moved = NULL;
        modeconn_alignment *given = NULL;
        OK(modeconn_architecture_describe(i, &name, NULL));
        bool narrow = strcmp(name, "mlp") != 0 && strcmp(name, "theory") != 0;
        modeconn_options *options = options_of("model", narrow ? "width=0.125" : "hidden=9");
        if (strcmp(name, "theory") == 0) {
            modeconn_options_destroy(options);
            modeconn_dataset_destroy(data);
            OK(modeconn_dataset_open(context, "slabs:train=20", "train", NULL, &data));
            options = options_of("model", "");
        }
        OK(modeconn_model_create(context, name, data, options, &model));
        free(plant(model, 6, &given));
        OK(modeconn_alignment_apply(given, model, &moved));
        ck_assert_mem_ne(model->theta, moved->theta, (size_t)model->n_theta * sizeof(float));
        modeconn_options_destroy(options);
        modeconn_alignment_destroy(given);
        modeconn_model_destroy(moved);
        modeconn_model_destroy(model);
    }
    ck_assert_int_ge(count, 9);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* A trained network with dead and duplicated units, and such as three samples do not excite. */
START_TEST(trained)
{
    static const char *const models[][2] = {
        {"mlp", "hidden=40,30"}, {"vgg13", "width=0.125"}, {"resnet18", "width=0.125"}};
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 100, "nocue");
    modeconn_model *model = new_model(context, models[_i][0], models[_i][1], data);
    modeconn_model *moved = NULL;
    modeconn_alignment *given = NULL;
    train_shortly(model, data);
    cripple(model);
    free(plant(model, 4, &given));
    OK(modeconn_alignment_apply(given, model, &moved));
    /* with batch norm the crippled ends are so bad that the middle need not be worse */
    ck_assert(_i > 0 || barrier_between(model, moved, data) > 0.1);
    find_crippled_again(model, data);
    modeconn_alignment_destroy(given);
    modeconn_model_destroy(moved);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Two dead layers: with all weights at once each would hold the other where it is. */
START_TEST(dead_layers)
{
    static const int64_t p[] = {1, 0, 1, 0};
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 9, 1);
    modeconn_model *model = new_model(context, "mlp", "hidden=2,2", data);
    modeconn_alignment *given = NULL;
    set_diagonal(model, "layers.0.weight", 2, 4, 1.0F);
    set_all(model, "layers.0.bias", 2, -100.0F);
    set_diagonal(model, "layers.1.weight", 2, 2, 2.0F);
    set_all(model, "layers.1.bias", 2, -1.0F);
    set_diagonal(model, "linear.weight", 3, 2, 0.5F);
    mc_model_changed(model);
    OK(modeconn_alignment_from_permutations(model, p, 4, &given));
    modeconn_model_destroy(find_given(model, given, p, data, ""));
    modeconn_alignment_destroy(given);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(groups)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_model *resnet = random_model(context, "resnet18", "width=0.125", data);
    modeconn_symmetry *symmetry = NULL;
    int64_t count = 0;
    OK(modeconn_symmetry_create(resnet, &symmetry));
    OK(modeconn_symmetry_size(symmetry, &count));
    ck_assert_int_eq(count, 4 + 8); /* a stream a stage, a middle a block */
    /* conv1 and bn1 (5), conv2 and bn2 of two blocks (10), read by conv1 of these, and by conv1 and
     * the shortcut of the next stage. */
    check_group(symmetry, 0, "conv1", 8, 5 + 10 + 2 + 2);
    check_group(symmetry, 1, "layer1.0.conv1", 8, 5 + 1);
    FAILS(modeconn_symmetry_group(symmetry, 12, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "12");
    FAILS(modeconn_symmetry_member(symmetry, 0, 19, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "19");
    FAILS(modeconn_symmetry_size(NULL, &count), MODECONN_ERROR_ARGUMENT, "symmetry");
    modeconn_symmetry_destroy(symmetry);
    modeconn_model_destroy(resnet);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* conv -> relu -> conv on the same stream, added; max-pooled; flattened by a linear layer. */
static modeconn_model *hand_built(modeconn_context *context)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0, sum[2];
    OK(modeconn_graph_create(context, 1, 9, 9, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "a", "out_channels=6,padding=1,bias=1", &node, 1,
                          &node));
    OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
    sum[0] = node;
    OK(modeconn_graph_add(graph, "conv2d", "b", "out_channels=6,padding=1,bias=1", &node, 1,
                          &sum[1]));
    OK(modeconn_graph_add(graph, "add", NULL, NULL, sum, 2, &node));
    OK(modeconn_graph_add(graph, "max_pool", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "c", "out_features=5", &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "d", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    return model;
}

START_TEST(hand_built_graph)
{
    modeconn_context *context = small_context(1);
    modeconn_model *model = hand_built(context), *moved = NULL, *back = NULL;
    modeconn_symmetry *symmetry = NULL;
    modeconn_alignment *given = NULL, *found = NULL;
    modeconn_options *options = options_of("align", "method=weights,restarts=3");
    int64_t outer = 0, inner = 0;
    OK(modeconn_symmetry_create(model, &symmetry));
    check_group(symmetry, 0, "a", 6, 2 + 3 + 1);
    check_group(symmetry, 1, "c", 5, 2 + 1);
    OK(modeconn_symmetry_member(symmetry, 0, 5, NULL, &outer, &inner));
    ck_assert_int_eq(outer, 5);
    ck_assert_int_eq(inner, 16); /* 4 x 4 pixels a channel */
    free(plant(model, 9, &given));
    OK(modeconn_alignment_apply(given, model, &moved));
    OK(modeconn_align(model, moved, NULL, options, NULL, NULL, &found));
    OK(modeconn_alignment_apply(found, moved, &back));
    ck_assert_mem_eq(model->theta, back->theta, (size_t)model->n_theta * sizeof(float));
    modeconn_options_destroy(options);
    modeconn_alignment_destroy(found);
    modeconn_alignment_destroy(given);
    modeconn_symmetry_destroy(symmetry);
    modeconn_model_destroy(back);
    modeconn_model_destroy(moved);
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(every_layer_has_a_rule)
{
    for (int64_t i = 0; i < mc_layers_count; i++) {
        ck_assert_msg(mc_layers[i]->symmetry != MC_SYMMETRY_UNKNOWN, "%s", mc_layers[i]->name);
    }
}
END_TEST

/* Large means, a dead unit and a constant one; 1e-5 of the definition in double. */
START_TEST(moments)
{
    enum { ROWS = 9000, C = 7 };
    modeconn_context *context = small_context(2);
    float *x[2];
    mc_moments sums;
    mc_centred side[2];
    double similarity[C * C];
    OK(mc_moments_init(&sums, context, C));
    for (int k = 0; k < 2; k++) {
        x[k] = malloc(ROWS * C * sizeof(float));
        ck_assert_ptr_nonnull(x[k]);
        OK(mc_centred_init(&side[k], context, ROWS, C));
        for (int64_t i = 0; i < ROWS * C; i++) {
            double noise = mc_random_normal(1, 910 + (uint32_t)k, (uint64_t)i, 0);
            double common = mc_random_normal(1, 912, (uint64_t)(i / C), 0);
            int64_t unit = i % C;
            x[k][i] = unit == 0 ? 0.0F
                      : unit == 1
                          ? 1.1F
                          : (float)(30 * (double)unit + noise + 0.3 * (double)unit * common);
        }
    }
    for (int64_t at = 0; at < ROWS; at += 5000) {
        int64_t rows = ROWS - at < 5000 ? ROWS - at : 5000;
        mc_centred_take(&side[0], context, x[0] + at * C, rows);
        mc_centred_take(&side[1], context, x[1] + at * C, rows);
        mc_moments_add(&sums, &side[0], &side[1]);
    }
    for (int kind = 0; kind < 3; kind++) {
        mc_moments_similarity(&sums, (mc_similarity)kind, similarity);
        for (int64_t i = 0; i < C; i++) {
            for (int64_t j = 0; j < C; j++) {
                double mean[2] = {0, 0}, square[2] = {0, 0}, cross = 0;
                for (int64_t r = 0; r < ROWS; r++) {
                    mean[0] += (double)x[0][r * C + i] / ROWS;
                    mean[1] += (double)x[1][r * C + j] / ROWS;
                }
                for (int64_t r = 0; r < ROWS; r++) {
                    double a = (double)x[0][r * C + i] - (kind < 2 ? mean[0] : 0);
                    double b = (double)x[1][r * C + j] - (kind < 2 ? mean[1] : 0);
                    cross += a * b;
                    square[0] += a * a;
                    square[1] += b * b;
                }
                double scale = kind == 1 ? ROWS : sqrt(square[0] * square[1]);
                bool none = kind == 0 ? i < 2 || j < 2 : kind == 2 && (i == 0 || j == 0);
                ck_assert_double_eq_tol(similarity[i * C + j], none ? 0 : cross / scale,
                                        kind == 1 ? 1e-4 : 1e-5);
            }
        }
    }
    for (int k = 0; k < 2; k++) {
        free(x[k]);
        mc_centred_free(&side[k], context);
    }
    mc_moments_free(&sums);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(same_bits_on_threads)
{
    int64_t permutation[2][64];
    double similarity[2];
    for (int k = 0; k < 2; k++) {
        modeconn_context *context = small_context(k == 0 ? 1 : 3);
        modeconn_dataset *data = small_shapes(context, 50, "nocue");
        modeconn_model *a = random_model(context, "vgg13", "width=0.25,seed=1", data);
        modeconn_model *b = random_model(context, "vgg13", "width=0.25,seed=2", data);
        modeconn_alignment *found = NULL;
        OK(modeconn_align(a, b, data, NULL, NULL, NULL, &found));
        OK(modeconn_alignment_permutation(found, 3, permutation[k], 64));
        OK(modeconn_alignment_group(found, 3, NULL, NULL, NULL, &similarity[k]));
        modeconn_alignment_destroy(found);
        modeconn_model_destroy(b);
        modeconn_model_destroy(a);
        modeconn_dataset_destroy(data);
        modeconn_context_destroy(context);
    }
    ck_assert_mem_eq(permutation[0], permutation[1], 32 * sizeof(int64_t));
    ck_assert_double_eq(similarity[0], similarity[1]);
}
END_TEST

static int32_t stop(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                    double accuracy, double rate, double seconds_left)
{
    (void)user, (void)epoch, (void)step, (void)total;
    (void)loss, (void)accuracy, (void)rate, (void)seconds_left;
    return 1;
}

START_TEST(files_and_errors)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_model *model = random_model(context, "mlp", "hidden=6,5", data);
    modeconn_model *other = random_model(context, "mlp", "hidden=6,6", data);
    modeconn_alignment *made = NULL, *read = NULL;
    modeconn_options *weights = options_of("align", "method=weights");
    modeconn_options *wrong = options_of("curve", "");
    int64_t *p = plant(model, 1, &made), q[6];
    char text[4096], path[] = "/tmp/modeconn_align_XXXXXX";
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    OK(modeconn_alignment_json(made, text, sizeof(text), NULL));
    ck_assert_ptr_nonnull(strstr(text, "\"layers.0\""));
    ck_assert_ptr_nonnull(strstr(text, "\"data\": null"));
    OK(modeconn_alignment_save(made, path));
    OK(modeconn_alignment_load(model, path, &read));
    OK(modeconn_alignment_permutation(read, 0, q, 6));
    ck_assert_mem_eq(p, q, sizeof(q));
    FAILS(modeconn_alignment_permutation(read, 0, q, 5), MODECONN_ERROR_BUFFER, "layers.0");
    modeconn_alignment_destroy(read);
    FAILS(modeconn_alignment_load(other, path, &read), MODECONN_ERROR_SHAPE, "layers.1");
    ck_assert_ptr_null(read);
    OK(modeconn_model_save(model, path));
    FAILS(modeconn_alignment_load(model, path, &read), MODECONN_ERROR_FORMAT, "not an alignment");
    remove(path);
    FAILS(modeconn_alignment_load(model, path, &read), MODECONN_ERROR_IO, path);
    p[1] = p[0];
    FAILS(modeconn_alignment_from_permutations(model, p, 11, &read), MODECONN_ERROR_ARGUMENT,
          "layers.0");
    p[1] = 6;
    FAILS(modeconn_alignment_from_permutations(model, p, 11, &read), MODECONN_ERROR_ARGUMENT,
          "place 1");
    FAILS(modeconn_alignment_from_permutations(model, p, 10, &read), MODECONN_ERROR_SHAPE, "10");
    modeconn_model *applied = NULL;
    FAILS(modeconn_alignment_apply(made, other, &applied), MODECONN_ERROR_SHAPE, "mlp");
    FAILS(modeconn_align(model, other, data, NULL, NULL, NULL, &read), MODECONN_ERROR_SHAPE,
          "layers.1");
    FAILS(modeconn_align(model, model, NULL, NULL, NULL, NULL, &read), MODECONN_ERROR_ARGUMENT,
          "data");
    FAILS(modeconn_align(model, NULL, data, NULL, NULL, NULL, &read), MODECONN_ERROR_ARGUMENT,
          "model");
    FAILS(modeconn_align(model, model, data, wrong, NULL, NULL, &read), MODECONN_ERROR_ARGUMENT,
          "curve");
    FAILS(modeconn_align(model, model, data, NULL, stop, NULL, &read), MODECONN_ERROR_CANCELLED,
          "");
    FAILS(modeconn_align(model, model, NULL, weights, stop, NULL, &read), MODECONN_ERROR_CANCELLED,
          "");
    ck_assert_ptr_null(read);
    free(p);
    modeconn_options_destroy(weights);
    modeconn_options_destroy(wrong);
    modeconn_alignment_destroy(made);
    modeconn_model_destroy(other);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* An alignment's file with the tensors given. */
static const char *write_groups(const char *path, const mc_tensor *tensors, int64_t n)
{
    const char *key = "modeconn.alignment", *value = "1";
    OK(mc_safetensors_write(NULL, path, tensors, n, &key, &value, 1));
    return path;
}

START_TEST(bad_files_and_numbers)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_dataset *points = small_points(context, 9, 1);
    modeconn_model *model = random_model(context, "mlp", "hidden=2,3", data);
    const int64_t two[] = {1, 0}, three[] = {0, 2, 1}, twice[] = {0, 1, 1}, all[] = {1, 0, 0, 2, 1};
    mc_tensor tensors[] = {{"layers.0", 1, {2}, "I64", two, 2},
                           {"layers.1", 1, {3}, "I64", three, 3}};
    modeconn_alignment *made = NULL, *read = NULL;
    char path[] = "/tmp/modeconn_align_XXXXXX";
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    OK(modeconn_alignment_load(model, write_groups(path, tensors, 2), &made));
    FAILS(modeconn_alignment_load(model, write_groups(path, tensors, 1), &read),
          MODECONN_ERROR_UNKNOWN, "layers.1");
    tensors[1].data = twice;
    FAILS(modeconn_alignment_load(model, write_groups(path, tensors, 2), &read),
          MODECONN_ERROR_ARGUMENT, "group layers.1 of 3 units: place 2");
    remove(path);
    FAILS(modeconn_alignment_save(made, "/nonexistent/align"), MODECONN_ERROR_IO, "/nonexistent");
    FAILS(modeconn_alignment_group(made, 2, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "2");
    FAILS(modeconn_alignment_permutation(made, -1, (int64_t[1]){0}, 1), MODECONN_ERROR_ARGUMENT,
          "-1");
    FAILS(modeconn_align(model, model, points, NULL, NULL, NULL, &read), MODECONN_ERROR_SHAPE,
          "mlp");
    /* A bias of the last layer, which no score reads. */
    modeconn_options *weights = options_of("align", "method=weights");
    float before = model->theta[model->n_theta - 1];
    model->theta[model->n_theta - 1] = NAN;
    FAILS(modeconn_align(model, model, NULL, weights, NULL, NULL, &read), MODECONN_ERROR_NUMERIC,
          "target: ");
    model->theta[model->n_theta - 1] = before;
    modeconn_options_destroy(weights);
    /* One unit whose activations overflow is no dead one. */
    float *kept = calloc((size_t)model->n_theta, sizeof(*kept));
    memcpy(kept, model->theta, (size_t)model->n_theta * sizeof(*kept));
    for (int64_t i = 0; i < model->channels * model->height * model->width; i++) {
        model->theta[i] = 3e38F;
    }
    mc_model_changed(model);
    FAILS(modeconn_align(model, model, data, NULL, NULL, NULL, &read), MODECONN_ERROR_NUMERIC,
          "activations of layers.");
    memcpy(model->theta, kept, (size_t)model->n_theta * sizeof(*kept));
    free(kept);
    /* Finite weights whose products are not. */
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] = 1e30F;
    }
    mc_model_changed(model);
    FAILS(modeconn_align(model, model, data, NULL, NULL, NULL, &read), MODECONN_ERROR_NUMERIC,
          "activations of layers.");
    FAILS(modeconn_alignment_from_permutations(model, all, 5, &read), MODECONN_ERROR_NUMERIC,
          "logits");
    FAILS(modeconn_alignment_apply(made, model, (modeconn_model *[1]){NULL}),
          MODECONN_ERROR_NUMERIC, "logits");
    ck_assert_ptr_null(read);
    modeconn_alignment_destroy(made);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(points);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(memory)
{
    static const char *const methods[] = {"method=activations", "method=weights"};
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_dataset *data = small_shapes(context, 4, "nocue");
    modeconn_model *model = random_model(context, "mlp", "hidden=4", data);
    modeconn_alignment *made = NULL;
    modeconn_options *options = options_of("align", methods[_i]);
    EVERY_ALLOCATION(&state, modeconn_align(model, model, data, options, NULL, NULL, &made), made);
    modeconn_alignment_destroy(made);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, planted, 0, 6);
    tcase_add_test(tests, other_similarities);
    tcase_add_test(tests, every_architecture);
    tcase_add_loop_test(tests, trained, 0, 3);
    tcase_add_test(tests, dead_layers);
    tcase_add_test(tests, groups);
    tcase_add_test(tests, hand_built_graph);
    tcase_add_test(tests, every_layer_has_a_rule);
    tcase_add_test(tests, moments);
    tcase_add_test(tests, same_bits_on_threads);
    tcase_add_test(tests, files_and_errors);
    tcase_add_test(tests, bad_files_and_numbers);
    tcase_add_loop_test(tests, memory, 0, 2);
}

int main(void)
{
    return unit_run("align/align", add);
}
