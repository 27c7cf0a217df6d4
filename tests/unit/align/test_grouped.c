/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolutions in groups: the bundles that their symmetry has, what breaks them, and planted
 * permutations of bundles and units found again, of trained networks with dead ones too.
 */
#include "align/planted.h"
#include <unistd.h>

typedef struct layer {
    const char *type, *name, *settings;
    int32_t inputs[2];
} layer;

/* Node 0 is the input, node i + 1 is layers[i]. A block of ResNeXt: the middle in 4 groups. */
static const layer resnext[] = {
    {"conv2d", "stem", "out_channels=16,padding=1", {0}},
    {"batch_norm", "bn", "", {1}},
    {"relu", NULL, "", {2}},
    {"conv2d", "in", "out_channels=24,kernel=1", {3}},
    {"batch_norm", "bn_in", "", {4}},
    {"relu", NULL, "", {5}},
    {"conv2d", "groups", "out_channels=32,padding=1,groups=4", {6}},
    {"batch_norm", "bn_groups", "", {7}},
    {"relu", NULL, "", {8}},
    {"conv2d", "out", "out_channels=16,kernel=1", {9}},
    {"batch_norm", "bn_out", "", {10}},
    {"add", NULL, "", {3, 11}},
    {"relu", NULL, "", {12}},
    {"global_avg_pool", NULL, "", {13}},
    {"linear", "head", "out_features=10", {14}},
    {NULL, NULL, NULL, {0}},
};

/* A block of MobileNet: widened, depthwise, narrowed, its ends added. */
static const layer mobilenet[] = {
    {"conv2d", "stem", "out_channels=12,padding=1", {0}},
    {"batch_norm", "bn", "", {1}},
    {"relu", NULL, "", {2}},
    {"conv2d", "wide", "out_channels=40,kernel=1", {3}},
    {"batch_norm", "bn_wide", "", {4}},
    {"relu", NULL, "", {5}},
    {"conv2d", "depthwise", "out_channels=40,padding=1,groups=40", {6}},
    {"batch_norm", "bn_depthwise", "", {7}},
    {"relu", NULL, "", {8}},
    {"conv2d", "narrow", "out_channels=12,kernel=1", {9}},
    {"batch_norm", "bn_narrow", "", {10}},
    {"add", NULL, "", {3, 11}},
    {"relu", NULL, "", {12}},
    {"linear", "head", "out_features=10", {13}},
    {NULL, NULL, NULL, {0}},
};

/* Depthwise with three outputs a channel, then as many groups that give two: three groups of units
 * whose bundles, in the first of one unit each, move alike. */
static const layer widening[] = {
    {"conv2d", "a", "out_channels=10,padding=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=30,padding=1,bias=1,groups=10", {2}},
    {"relu", NULL, "", {3}},
    {"conv2d", "c", "out_channels=20,kernel=1,bias=1,groups=10", {4}},
    {"relu", NULL, "", {5}},
    {"linear", "head", "out_features=10", {6}},
    {NULL, NULL, NULL, {0}},
};

/* A residual stream that groups of its own read and make. */
static const layer stream[] = {
    {"conv2d", "a", "out_channels=18,padding=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=18,padding=1,bias=1,groups=6", {2}},
    {"add", NULL, "", {2, 3}},
    {"relu", NULL, "", {4}},
    {"linear", "head", "out_features=10", {5}},
    {NULL, NULL, NULL, {0}},
};

/* One output a group: what reads a bundle looks like what makes a unit. */
static const layer narrowing[] = {
    {"conv2d", "a", "out_channels=24,padding=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=6,padding=1,bias=1,groups=6", {2}},
    {"relu", NULL, "", {3}},
    {"linear", "head", "out_features=10", {4}},
    {NULL, NULL, NULL, {0}},
};

/* Bundles that stay, since 2 groups and 4 meet at b, and 3 leave no common order at c and d. */
static const layer meeting[] = {
    {"conv2d", "a", "out_channels=8,padding=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=16,padding=1,bias=1,groups=2", {2}},
    {"relu", NULL, "", {3}},
    {"conv2d", "c", "out_channels=24,kernel=1,bias=1,groups=4", {4}},
    {"relu", NULL, "", {5}},
    {"conv2d", "d", "out_channels=12,kernel=1,bias=1,groups=3", {6}},
    {"linear", "head", "out_features=10", {7}},
    {NULL, NULL, NULL, {0}},
};

/* Likewise since the logits have an order: they come from the groups themselves. */
static const layer ending[] = {
    {"conv2d", "a", "out_channels=20,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"global_avg_pool", NULL, "", {2}},
    {"conv2d", "head", "out_channels=10,kernel=1,bias=1,groups=5", {3}},
    {NULL, NULL, NULL, {0}},
};

static const struct {
    const char *name;
    const layer *layers;
} graphs[] = {{"resnext", resnext}, {"mobilenet", mobilenet}, {"widening", widening},
              {"stream", stream},   {"narrowing", narrowing}, {"meeting", meeting},
              {"ending", ending}};
enum { GRAPHS = sizeof graphs / sizeof graphs[0] };

static modeconn_model *new_model(modeconn_context *context, const char *name,
                                 const modeconn_dataset *like)
{
    modeconn_model *model = NULL;
    modeconn_graph *graph = NULL;
    int64_t c = 0, h = 0, w = 0;
    int32_t node = 0, which = 0;
    while (strcmp(graphs[which].name, name) != 0) {
        which++;
        ck_assert_int_lt(which, GRAPHS);
    }
    OK(modeconn_dataset_shape(like, NULL, &c, &h, &w, NULL));
    OK(modeconn_graph_create(context, c, h, w, &graph));
    for (const layer *l = graphs[which].layers; l->type != NULL; l++) {
        OK(modeconn_graph_add(graph, l->type, l->name, l->settings, l->inputs,
                              strcmp(l->type, "add") == 0 ? 2 : 1, &node));
    }
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    return model;
}

/* Both methods, in every graph with groups. */
START_TEST(planted)
{
    static const char *const hows[] = {"batch_size=16", "method=weights,seed=2,restarts=3",
                                       "similarity=cosine"};
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 40, "nocue");
    modeconn_model *model = new_model(context, graphs[_i].name, data);
    randomise(model, data);
    for (int k = 0; k < 3; k++) {
        modeconn_model_destroy(find_again(model, data, hows[k]));
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Bundles 1 and 2 of each group that has some dead: no activation tells one from the other. */
static void cripple_bundles(modeconn_model *model)
{
    mc_symmetry *symmetry = NULL;
    OK(mc_symmetry_create(model, &symmetry));
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        const mc_symmetry_group *group = &symmetry->groups[g];
        int64_t units = group->size / group->bundles;
        for (int64_t k = 0; k < group->n_members && group->bundles > 2; k++) {
            const mc_block *block = &model->blocks[group->members[k].block];
            for (int64_t i = units; i < 3 * units && strstr(block->name, "bias") != NULL; i++) {
                model->theta[block->offset + i] -= 100;
            }
        }
    }
    mc_symmetry_free(symmetry);
}

/* Trained, with dead and duplicated units, and dead bundles. */
START_TEST(trained)
{
    static const char *const names[] = {"resnext", "mobilenet", "widening", "stream", "narrowing"};
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 100, "nocue");
    modeconn_model *model = new_model(context, names[_i], data);
    train_shortly(model, data);
    cripple(model);
    cripple_bundles(model);
    find_crippled_again(model, data);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Of every graph with groups: group, units, members, bundles and the group that gives their order;
 * which member is read in bundles, in how many (member -1: none is). */
START_TEST(bundles)
{
    static const struct {
        const char *graph, *name;
        int64_t group, size, members, bundles, order, member, member_bundles;
    } cases[] = {
        {"resnext", "stem", 0, 16, 5 + 5 + 2, 1, -1, -1, 0},
        {"resnext", "in", 1, 24, 5 + 1, 4, 1, 5, 4},
        {"resnext", "groups", 2, 32, 5 + 1, 4, 1, -1, 0},
        {"mobilenet", "stem", 0, 12, 5 + 5 + 2, 1, -1, -1, 0},
        {"mobilenet", "wide", 1, 40, 5 + 5 + 1, 1, -1, -1, 0},
        {"widening", "a", 0, 10, 2 + 1, 10, 0, 2, 10},
        {"widening", "b", 1, 30, 2 + 1, 10, 0, 2, 10},
        {"widening", "c", 2, 20, 2 + 1, 10, 0, -1, 0},
        {"stream", "a", 0, 18, 2 + 3 + 1, 6, 0, 3, 6},
        {"narrowing", "a", 0, 24, 2 + 1, 6, 0, 2, 6},
        {"narrowing", "b", 1, 6, 2 + 1, 6, 0, -1, 0},
        {"meeting", "a", 0, 8, 2 + 1, 2, -1, 2, 2},
        {"meeting", "b", 1, 16, 2 + 1, 4, -1, 2, 4},
        {"meeting", "c", 2, 24, 2 + 1, 12, -1, 2, 3},
        {"meeting", "d", 3, 12, 2 + 1, 3, -1, -1, 0},
        {"ending", "a", 0, 20, 2 + 1, 5, -1, 2, 5},
    };
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        modeconn_model *model = new_model(context, cases[i].graph, data);
        modeconn_symmetry *symmetry = NULL;
        int64_t group = cases[i].group, count = 0, order = 0, read = 0;
        OK(modeconn_symmetry_create(model, &symmetry));
        check_group(symmetry, group, cases[i].name, cases[i].size, cases[i].members);
        OK(modeconn_symmetry_bundles(symmetry, group, &count, &order));
        ck_assert_int_eq(count, cases[i].bundles);
        ck_assert_int_eq(order, cases[i].order);
        for (int64_t k = 0; k < cases[i].members; k++) {
            OK(modeconn_symmetry_member_bundles(symmetry, group, k, &read));
            ck_assert_int_eq(read, k == cases[i].member ? cases[i].member_bundles : 1);
        }
        FAILS(modeconn_symmetry_bundles(symmetry, 99, &count, &order), MODECONN_ERROR_ARGUMENT,
              "99");
        FAILS(modeconn_symmetry_member_bundles(symmetry, group, 99, &read), MODECONN_ERROR_ARGUMENT,
              "99");
        FAILS(modeconn_symmetry_member_bundles(symmetry, group, 0, NULL), MODECONN_ERROR_ARGUMENT,
              "bundles");
        modeconn_symmetry_destroy(symmetry);
        modeconn_model_destroy(model);
    }
    FAILS(modeconn_symmetry_bundles(NULL, 0, NULL, NULL), MODECONN_ERROR_ARGUMENT, "symmetry");
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void exchange(int64_t *p, int64_t i, int64_t k)
{
    int64_t had = p[i];
    p[i] = p[k];
    p[k] = had;
}

/* Two units of different bundles; two bundles in one group and not in the other; two that stay. */
START_TEST(broken_bundles)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_model *model = new_model(context, "resnext", data);
    modeconn_model *other = new_model(context, "ending", data);
    modeconn_alignment *made = NULL, *read = NULL;
    char path[] = "/tmp/modeconn_align_XXXXXX";
    int64_t p[72], q[72], at = 0;
    int descriptor = mkstemp(path);
    ck_assert_int_ge(descriptor, 0);
    close(descriptor);
    for (int64_t i = 0; i < 72;
         i++) { /* groups of 16, 24 and 32 units, the last two in 4 bundles */
        p[i] = i < 16 ? i : i < 40 ? i - 16 : i - 40;
    }
    exchange(p, 16 + 5, 16 + 6);
    FAILS(modeconn_alignment_from_permutations(model, p, 72, &made), MODECONN_ERROR_ARGUMENT,
          "group in of 4 bundles: place 5 of bundle 0 has unit 6");
    exchange(p, 16 + 5, 16 + 6);
    for (int64_t i = 0; i < 6; i++) {
        exchange(p, 16 + i, 16 + 12 + i);
    }
    FAILS(modeconn_alignment_from_permutations(model, p, 72, &made), MODECONN_ERROR_ARGUMENT,
          "group groups of 4 bundles: place 0 of bundle 0 has unit 0, but bundle 2 belongs there");
    for (int64_t i = 0; i < 8; i++) {
        exchange(p, 40 + i, 40 + 16 + i);
    }
    exchange(p, 40, 47);
    OK(modeconn_alignment_from_permutations(model, p, 72, &made));
    OK(modeconn_alignment_save(made, path));
    OK(modeconn_alignment_load(model, path, &read));
    for (int64_t g = 0; g < 3; g++, at += g == 1 ? 16 : 24) {
        OK(modeconn_alignment_permutation(read, g, q + at, 72 - at));
    }
    ck_assert_mem_eq(p, q, sizeof(p));
    modeconn_alignment_destroy(read);
    modeconn_alignment_destroy(made);
    for (int64_t i = 0; i < 20; i++) {
        p[i] = (i + 4) % 20;
    }
    FAILS(modeconn_alignment_from_permutations(other, p, 20, &made), MODECONN_ERROR_ARGUMENT,
          "place 0 of bundle 0 has unit 4, but bundle 0 belongs there");
    remove(path);
    modeconn_model_destroy(other);
    modeconn_model_destroy(model);
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
    modeconn_model *model = new_model(context, "widening", data);
    modeconn_alignment *made = NULL;
    modeconn_options *options = options_of("align", methods[_i]);
    randomise(model, data);
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
    tcase_add_loop_test(tests, planted, 0, GRAPHS);
    tcase_add_loop_test(tests, trained, 0, 5);
    tcase_add_test(tests, bundles);
    tcase_add_test(tests, broken_bundles);
    tcase_add_loop_test(tests, memory, 0, 2);
}

int main(void)
{
    return unit_run("align/grouped", add);
}
