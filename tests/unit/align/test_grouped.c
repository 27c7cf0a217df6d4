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

/* Two in a row. */
static const layer chain[] = {
    {"conv2d", "a", "out_channels=4,padding=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=4,kernel=1,bias=1,groups=2", {2}},
    {"relu", NULL, "", {3}},
    {"conv2d", "c", "out_channels=4,kernel=1,bias=1,groups=2", {4}},
    {"relu", NULL, "", {5}},
    {"global_avg_pool", NULL, "", {6}},
    {"linear", "head", "out_features=10", {7}},
    {NULL, NULL, NULL, {0}},
};

/* On images of one pixel: four bundles of two units, one output each. */
static const layer pixel[] = {
    {"conv2d", "a", "out_channels=8,kernel=1,bias=1", {0}},
    {"relu", NULL, "", {1}},
    {"conv2d", "b", "out_channels=4,kernel=1,bias=1,groups=4", {2}},
    {"relu", NULL, "", {3}},
    {"linear", "head", "out_features=2", {4}},
    {NULL, NULL, NULL, {0}},
};

static const struct {
    const char *name;
    const layer *layers;
} graphs[] = {{"resnext", resnext}, {"mobilenet", mobilenet}, {"widening", widening},
              {"stream", stream},   {"narrowing", narrowing}, {"meeting", meeting},
              {"ending", ending},   {"chain", chain},         {"pixel", pixel}};
enum { GRAPHS = sizeof graphs / sizeof graphs[0], PLANTED = GRAPHS - 2 };

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
    static const char *const names[] = {"resnext",   "mobilenet", "widening", "stream",
                                        "narrowing", "meeting",   "ending"};
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

/* ---- steps of matching by weights ------------------------------------------------------------ */

/* Everything dead but for what one pass of the first convolution gives: a unit of "a" has its own
 * pixel of the kernel, and every other layer keeps its units apart. */
static modeconn_model *dead_chain(modeconn_context *context, const modeconn_dataset *like, float a,
                                  float b, float c, float head)
{
    modeconn_model *model = new_model(context, "chain", like);
    int64_t channels = 0;
    OK(modeconn_dataset_shape(like, NULL, &channels, NULL, NULL, NULL));
    set_diagonal(model, "a.weight", 4, 9 * channels, a);
    set_all(model, "a.bias", 4, -100.0F);
    for (int k = 0; k < 2; k++) {
        float *weight = block_of(model, k == 0 ? "b.weight" : "c.weight"); /* [4][2] */
        for (int64_t i = 0; i < 8; i++) {
            weight[i] = i / 2 % 2 == i % 2 ? (k == 0 ? b : c) : 0.0F;
        }
        set_all(model, k == 0 ? "b.bias" : "c.bias", 4, -1.0F);
    }
    set_diagonal(model, "head.weight", 10, 4, head);
    set_all(model, "head.bias", 10, 0.0F);
    mc_model_changed(model);
    return model;
}

/* Groups of a family that change at a time are scored by each other's old places. Among ties "b" is
 * right only in the second round so, "c" not at all: then it pulls "b" with it, which "c" loses
 * more by than "head" gains. Matching weights, "a" and "b" both mend what one of them has to. Units
 * that move a group at a time go the right way in both. */
START_TEST(a_group_at_a_time)
{
    static const struct {
        float a, b, c, head;
        const char *how;
        int64_t p[12];
    } cases[] = {
        {10.0F, 1.0F, 2.0F, 0.5F, "", {1, 0, 2, 3, 1, 0, 2, 3, 1, 0, 2, 3}},
        {0.5F, 1.0F, 0.1F, 0.5F, "method=weights,restarts=8", {0, 1, 2, 3, 1, 0, 2, 3, 0, 1, 2, 3}},
    };
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_model *model =
        dead_chain(context, data, cases[_i].a, cases[_i].b, cases[_i].c, cases[_i].head);
    modeconn_alignment *given = NULL;
    OK(modeconn_alignment_from_permutations(model, cases[_i].p, 12, &given));
    modeconn_model_destroy(find_given(model, given, cases[_i].p, data, cases[_i].how));
    modeconn_alignment_destroy(given);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Rows i of x and k of y, [n] each. */
static double dot(const float *x, int64_t i, const float *y, int64_t k, int64_t n)
{
    double sum = 0.0;
    for (int64_t at = 0; at < n; at++) {
        sum += (double)x[i * n + at] * (double)y[k * n + at];
    }
    return sum;
}

/* Scores of "a" and "b" of narrowing against their definition. Incoming are the weights that make a
 * unit: not those of a group that reads it, though one output a group looks like one. */
START_TEST(scores)
{
    enum { UNITS = 24, GROUPS_OF = 6, READ = UNITS / GROUPS_OF, PIXELS = 81 };
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 10, "nocue");
    modeconn_model *models[2];
    const float *weight[3][2], *bias[2][2]; /* of a, b and the head; of a and b */
    double score[UNITS * UNITS];
    int64_t channels = 0;
    mc_align_job job = {.data = data};
    mc_products products;
    OK(modeconn_dataset_shape(data, NULL, &channels, NULL, NULL, NULL));
    for (int k = 0; k < 2; k++) {
        models[k] = new_model(context, "narrowing", data);
        for (int64_t i = 0; i < models[k]->n_theta; i++) {
            models[k]->theta[i] = (float)mc_random_normal(8, 930 + (uint32_t)k, (uint64_t)i, 0);
        }
        weight[0][k] = block_of(models[k], "a.weight");
        weight[1][k] = block_of(models[k], "b.weight");
        weight[2][k] = block_of(models[k], "head.weight");
        bias[0][k] = block_of(models[k], "a.bias");
        bias[1][k] = block_of(models[k], "b.bias");
    }
    job.target = models[0];
    job.model = models[1];
    OK(mc_alignment_create(models[1], "given", &job.alignment));
    OK(mc_products_init(&products, &job));
    for (int64_t g = 0; g < 2; g++) {
        int64_t n = g == 0 ? UNITS : GROUPS_OF, row = 9 * (g == 0 ? channels : READ);
        for (int incoming = 1; incoming >= 0; incoming--) {
            mc_products_score(&products, g, NULL, n, incoming == 1, score);
            for (int64_t at = 0; at < n * n; at++) {
                int64_t i = at / n, k = at % n;
                double sum = dot(weight[g][0], i, weight[g][1], k, row) +
                             (double)bias[g][0][i] * (double)bias[g][1][k];
                if (incoming == 0 && g == 0) {
                    sum += dot(weight[1][0], i, weight[1][1], k, 9); /* [6][4][9] is [24][9] */
                }
                for (int64_t o = 0; o < 10 && incoming == 0 && g == 1; o++) {
                    sum += dot(weight[2][0], o * n + i, weight[2][1], o * n + k, PIXELS);
                }
                ck_assert_double_eq_tol(score[at], sum, 1e-9);
            }
        }
    }
    mc_products_free(&products);
    modeconn_alignment_destroy(job.alignment);
    modeconn_model_destroy(models[1]);
    modeconn_model_destroy(models[0]);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Units [8] of "a" on four channels: bundles 0 and 1 read one channel each and live, with biases of
 * `sign` and its opposite; the dead ones of bundles 2 and 3 are `dead` channels. */
static modeconn_model *one_pixel(modeconn_context *context, const modeconn_dataset *like,
                                 float sign, const int64_t *dead)
{
    modeconn_model *model = new_model(context, "pixel", like);
    float *weight = block_of(model, "a.weight"), *bias = block_of(model, "a.bias");
    set_all(model, "a.weight", 8 * 4, 0.0F);
    for (int64_t i = 0; i < 8; i++) {
        weight[i * 4 + (i < 4 ? i : dead[i - 4])] = i < 4 ? 1.0F : -1.0F;
        bias[i] = i < 2 ? 5.0F * sign : i < 4 ? -5.0F * sign : -1.0F;
    }
    set_all(model, "b.weight", 4 * 2, 0.01F);
    set_all(model, "b.bias", 4, 0.0F);
    set_all(model, "head.weight", 2 * 4, 0.01F);
    set_all(model, "head.bias", 2, 0.0F);
    mc_model_changed(model);
    return model;
}

/* What activations tell apart no weights bring together, however much they would have by it: here
 * the bundles that live, whose biases speak for the exchange. And what is dead stays in a bundle,
 * though its units would match better across two. */
START_TEST(activations_first)
{
    enum { N = 40 };
    static const int64_t dead[2][4] = {{0, 1, 2, 3}, {0, 2, 1, 3}};
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = NULL;
    modeconn_model *models[2];
    modeconn_alignment *found = NULL;
    float images[N * 4];
    int32_t labels[N];
    int64_t p[8];
    for (int64_t i = 0; i < N * 4; i++) {
        images[i] = (float)(10.0 + 10.0 * mc_random_f64(8, 932, (uint64_t)i, 0));
        labels[i / 4] = (int32_t)(i / 4 % 2);
    }
    OK(modeconn_dataset_from_f32(context, images, labels, N, 4, 1, 1, 2, NULL, &data));
    for (int k = 0; k < 2; k++) {
        models[k] = one_pixel(context, data, k == 0 ? 1.0F : -1.0F, dead[k]);
    }
    OK(modeconn_align(models[0], models[1], data, NULL, NULL, NULL, &found));
    OK(modeconn_alignment_permutation(found, 0, p, 8));
    for (int64_t i = 0; i < 4; i++) {
        ck_assert_int_eq(p[i], i);
    }
    ck_assert_int_eq(p[4] / 2, p[5] / 2);
    modeconn_alignment_destroy(found);
    modeconn_model_destroy(models[1]);
    modeconn_model_destroy(models[0]);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- symmetry -------------------------------------------------------------------------------- */

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
    tcase_add_loop_test(tests, planted, 0, PLANTED);
    tcase_add_loop_test(tests, trained, 0, 7);
    tcase_add_loop_test(tests, a_group_at_a_time, 0, 2);
    tcase_add_test(tests, scores);
    tcase_add_test(tests, activations_first);
    tcase_add_test(tests, bundles);
    tcase_add_test(tests, broken_bundles);
    tcase_add_loop_test(tests, memory, 0, 2);
}

int main(void)
{
    return unit_run("align/grouped", add);
}
