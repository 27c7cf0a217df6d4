/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Groups of every architecture and of graphs built by hand; planted permutations found again by
 * both methods, of trained networks with dead and duplicated units too; moments against their
 * definition; files and errors.
 */
#include "align/align.h"
#include "io/io.h"
#include "nn/graph.h"
#include "train/small.h"
#include <unistd.h>

/* Batch norm's statistics as the data give them: far from them deep layers would hardly vary. */
static void fit_statistics(modeconn_model *model, const modeconn_dataset *data)
{
    int64_t n = 0, c = 0, h = 0, w = 0;
    mc_session *session = NULL;
    OK(modeconn_dataset_shape(data, &n, &c, &h, &w, NULL));
    float *x = malloc((size_t)(n * c * h * w) * sizeof(*x));
    int32_t *y = malloc((size_t)n * sizeof(*y));
    ck_assert(x != NULL && y != NULL);
    OK(mc_dataset_gather(data, NULL, 0, n, x, y));
    mc_batch batch = {x, y, n};
    OK(model->ops->session_create(model, n, 1, false, &session));
    OK(model->ops->bind(session, model->theta, NULL));
    OK(model->ops->statistics_begin(session));
    OK(model->ops->statistics_add(session, &batch));
    OK(model->ops->statistics_finish(session, model->statistics));
    model->ops->session_destroy(session);
    free(x);
    free(y);
}

/* ---- graphs with convolutions in groups ------------------------------------------------------ */

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

/* Of an architecture, or of a graph above. */
static modeconn_model *new_model(modeconn_context *context, const char *arch, const char *settings,
                                 const modeconn_dataset *like)
{
    modeconn_model *model = NULL;
    modeconn_graph *graph = NULL;
    int64_t c = 0, h = 0, w = 0;
    int32_t node = 0, which = 0;
    while (which < GRAPHS && strcmp(graphs[which].name, arch) != 0) {
        which++;
    }
    if (which == GRAPHS) {
        modeconn_options *options = options_of("model", settings);
        OK(modeconn_model_create(context, arch, like, options, &model));
        modeconn_options_destroy(options);
        return model;
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

static modeconn_model *random_model(modeconn_context *context, const char *arch,
                                    const char *settings, const modeconn_dataset *like)
{
    modeconn_model *model = new_model(context, arch, settings, like);
    /* Batch norm that differs from unit to unit; biases that keep every unit alive, for dead ones
     * look all alike. */
    for (int64_t i = 0; i < model->n_theta; i++) {
        model->theta[i] *= (float)(1 + 0.3 * mc_random_normal(3, 900, (uint64_t)i, 0));
    }
    for (int64_t b = 0; b < model->n_blocks_theta; b++) {
        for (int64_t i = 0; i < model->blocks[b].size && model->blocks[b].rank == 1; i++) {
            bool bias = strstr(model->blocks[b].name, "bias") != NULL;
            model->theta[model->blocks[b].offset + i] += bias ? 0.7F : 0.0F;
        }
    }
    fit_statistics(model, like);
    return model;
}

/* A permutation of a group: of its bundles, as its order says, and of the units in each. */
static void draw(const modeconn_symmetry *symmetry, int64_t g, uint64_t seed, int64_t *p)
{
    int64_t size = 0, bundles = 0, order = 0, at[64] = {0};
    OK(modeconn_symmetry_group(symmetry, g, NULL, &size, NULL));
    OK(modeconn_symmetry_bundles(symmetry, g, &bundles, &order));
    ck_assert_int_le(bundles, 64);
    for (int64_t q = 0; q < bundles; q++) {
        at[q] = q;
    }
    if (order >= 0) {
        mc_random_permutation(seed, 903, (uint64_t)order, bundles, at);
    }
    int64_t units = size / bundles;
    for (int64_t q = 0; q < bundles; q++) {
        mc_random_permutation(seed + (uint64_t)q, 902, (uint64_t)g, units, p + q * units);
        for (int64_t i = 0; i < units; i++) {
            p[q * units + i] += at[q] * units;
        }
    }
}

static int64_t *plant(const modeconn_model *model, uint64_t seed, modeconn_alignment **out)
{
    modeconn_symmetry *symmetry = NULL;
    int64_t groups = 0, units = 0, size = 0;
    OK(modeconn_symmetry_create(model, &symmetry));
    OK(modeconn_symmetry_size(symmetry, &groups));
    int64_t *p = malloc(100000 * sizeof(*p));
    ck_assert_ptr_nonnull(p);
    for (int64_t g = 0; g < groups; g++, units += size) {
        OK(modeconn_symmetry_group(symmetry, g, NULL, &size, NULL));
        draw(symmetry, g, seed, p + units);
    }
    OK(modeconn_alignment_from_permutations(model, p, units, out));
    modeconn_symmetry_destroy(symmetry);
    return p;
}

/* Permuting with p and finding the way back: q[p^-1] ... q maps places of the target to units of
 * the permuted model, so p[q[i]] = i. */
static void check_way_back(const modeconn_alignment *found, const int64_t *p, const char *what)
{
    int64_t groups = 0, size = 0;
    OK(modeconn_alignment_size(found, &groups, NULL));
    for (int64_t g = 0, at = 0; g < groups; g++, at += size) {
        int64_t q[2048], differ = 0;
        const char *name = NULL;
        OK(modeconn_alignment_group(found, g, &name, &size, NULL, NULL));
        OK(modeconn_alignment_permutation(found, g, q, 2048));
        for (int64_t i = 0; i < size; i++) {
            differ += p[at + q[i]] != i;
        }
        ck_assert_msg(differ == 0, "%s: %lld of %lld units of %s", what, (long long)differ,
                      (long long)size, name);
    }
}

/* Permutes the model, aligns it again, and gives what that made of it: the model to the bit. */
static modeconn_model *find_again(const modeconn_model *model, const modeconn_dataset *data,
                                  const char *how)
{
    modeconn_model *moved = NULL, *back = NULL;
    modeconn_alignment *given = NULL, *found = NULL;
    modeconn_options *options = options_of("align", how);
    int64_t *p = plant(model, 4, &given);
    OK(modeconn_alignment_apply(given, model, &moved));
    ck_assert_mem_ne(model->theta, moved->theta, (size_t)model->n_theta * sizeof(float));
    OK(modeconn_align(model, moved, data, options, NULL, NULL, &found));
    check_way_back(found, p, how);
    OK(modeconn_alignment_apply(found, moved, &back));
    ck_assert_mem_eq(model->theta, back->theta, (size_t)model->n_theta * sizeof(float));
    ck_assert_mem_eq(model->statistics, back->statistics, (size_t)model->n_stats * sizeof(float));
    free(p);
    modeconn_options_destroy(options);
    modeconn_alignment_destroy(found);
    modeconn_alignment_destroy(given);
    modeconn_model_destroy(moved);
    return back;
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

/* Both methods, in every graph with groups. */
START_TEST(planted_in_groups)
{
    static const char *const hows[] = {"batch_size=16", "method=weights,seed=2,restarts=3",
                                       "similarity=cosine"};
    modeconn_context *context = small_context(2);
    for (int k = 0; k < 3; k++) {
        find_random_again(context, graphs[_i].name, "", hows[k]);
    }
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

/* Of each group units 2, 3 and 4 dead on any data, and 1 and 5 made as 0 is, but read differently.
 * Learned weights stay in what is dead, so that its place matters once the line leaves the ends. */
static void cripple(modeconn_model *model)
{
    mc_symmetry *symmetry = NULL;
    OK(mc_symmetry_create(model, &symmetry));
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        for (int64_t k = 0; k < symmetry->groups[g].n_members; k++) {
            mc_symmetry_member member = symmetry->groups[g].members[k];
            const mc_block *block = &model->blocks[member.block];
            bool statistic = member.block >= model->n_blocks_theta;
            float *x = (statistic ? model->statistics : model->theta) + block->offset;
            if (member.outer != 1 || member.bundles != 1) {
                continue;
            }
            memcpy(x + member.inner, x, (size_t)member.inner * sizeof(*x));
            memcpy(x + 5 * member.inner, x, (size_t)member.inner * sizeof(*x));
            for (int64_t i = 2; i < 5 && strstr(block->name, "bias") != NULL; i++) {
                x[i] -= 100;
            }
        }
    }
    mc_symmetry_free(symmetry);
}

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

/* Largest rise of the loss over the line between two models, statistics reset on the way. */
static double barrier_between(const modeconn_model *a, const modeconn_model *b,
                              const modeconn_dataset *data)
{
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    modeconn_options *options = options_of("curve", "points=5,views=nocue");
    double height = NAN;
    OK(modeconn_path_linear(a, b, &line));
    OK(modeconn_curve_measure(line, data, data, options, NULL, NULL, &curve));
    OK(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_LINEAR, &height));
    modeconn_options_destroy(options);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    return height;
}

/* A trained network with dead and duplicated units, and such as three samples do not excite. */
START_TEST(trained)
{
    static const char *const models[][2] = {
        {"mlp", "hidden=40,30"}, {"vgg13", "width=0.125"}, {"resnet18", "width=0.125"},
        {"resnext", ""},         {"mobilenet", ""},        {"widening", ""},
        {"stream", ""},          {"narrowing", ""}};
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 100, "nocue");
    modeconn_options *training = options_of("train", "epochs=12,batch_size=20,learning_rate=0.1");
    modeconn_model *model = new_model(context, models[_i][0], models[_i][1], data);
    modeconn_model *moved = NULL, *back = NULL;
    modeconn_alignment *given = NULL;
    OK(modeconn_train(model, data, training, NULL, NULL));
    cripple(model);
    cripple_bundles(model);
    free(plant(model, 4, &given));
    OK(modeconn_alignment_apply(given, model, &moved));
    /* with batch norm the crippled ends are so bad that the middle need not be worse */
    ck_assert(_i > 0 || barrier_between(model, moved, data) > 0.1);
    static const char *const hows[] = {"", "samples=3", "reference=1,batch_size=30",
                                       "similarity=cosine", "similarity=covariance"};
    for (int k = 0; k < 5; k++) {
        back = find_again(model, data, hows[k]);
        ck_assert_double_le(barrier_between(model, back, data), 1e-9);
        modeconn_model_destroy(back);
    }
    modeconn_alignment_destroy(given);
    modeconn_model_destroy(moved);
    modeconn_model_destroy(model);
    modeconn_options_destroy(training);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void check_group(const modeconn_symmetry *symmetry, int64_t index, const char *name,
                        int64_t size, int64_t members)
{
    const char *got = NULL;
    int64_t n = 0, m = 0;
    OK(modeconn_symmetry_group(symmetry, index, &got, &n, &m));
    ck_assert_str_eq(got, name);
    ck_assert_int_eq(n, size);
    ck_assert_int_eq(m, members);
}

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
        modeconn_model *model = new_model(context, cases[i].graph, "", data);
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
    modeconn_model *model = new_model(context, "resnext", "", data);
    modeconn_model *other = new_model(context, "ending", "", data);
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
    static const char *const archs[] = {"mlp", "widening"};
    failing state;
    modeconn_context *context = failing_context(&state);
    modeconn_dataset *data = small_shapes(context, 4, "nocue");
    modeconn_model *model = random_model(context, archs[_i / 2], "hidden=4", data);
    modeconn_alignment *made = NULL;
    modeconn_options *options = options_of("align", methods[_i % 2]);
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
    tcase_add_loop_test(tests, planted_in_groups, 0, GRAPHS);
    tcase_add_test(tests, other_similarities);
    tcase_add_test(tests, every_architecture);
    tcase_add_loop_test(tests, trained, 0, 8);
    tcase_add_test(tests, groups);
    tcase_add_test(tests, bundles);
    tcase_add_test(tests, broken_bundles);
    tcase_add_test(tests, hand_built_graph);
    tcase_add_test(tests, every_layer_has_a_rule);
    tcase_add_test(tests, moments);
    tcase_add_test(tests, same_bits_on_threads);
    tcase_add_test(tests, files_and_errors);
    tcase_add_test(tests, bad_files_and_numbers);
    tcase_add_loop_test(tests, memory, 0, 4);
}

int main(void)
{
    return unit_run("align/align", add);
}
