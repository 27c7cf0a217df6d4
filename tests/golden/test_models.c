/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Every architecture against PyTorch, at several widths, input sizes and batch sizes: parameters
 * from a state dict, logits and penultimate representation in eval mode, loss, gradient and running
 * statistics in training mode.
 */
#include "golden.h"
#include "isas.h"

typedef struct model_case {
    const char *name, *arch; /* arch NULL: built by hand, build_graph() */
    int64_t classes;
    int64_t train[5], evaluated[4]; /* batch sizes, 0 ends */
} model_case;

static const model_case cases[] = {
    {"vgg13_16_1x28x28", "vgg13", 10, {16, 5}, {1, 16}},
    {"vgg13_3_64_3x19x23", "vgg13", 7, {2}, {1, 5}},
    {"vgg13_8_3x32x32", "vgg13", 10, {5}, {1, 2, 5}},
    {"resnet18_16_1x28x28", "resnet18", 10, {16}, {1, 5}},
    {"resnet18_3_64_3x19x23", "resnet18", 7, {2}, {1, 5}},
    {"resnet18_8_3x32x32", "resnet18", 10, {5}, {1, 2, 5}},
    {"mlp_3x9x11", "mlp", 8, {1, 2, 5, 16}, {1, 16}},
    {"graph_3x19x23", NULL, 6, {2, 16}, {1, 5}},
    {"resnet34_32_3x17x16", "resnet34", 10, {4}, {1, 5}},
    {"resnet34_3_64_1x28x28", "resnet34", 7, {0}, {2}},
    {"resnet50_32_3x17x16", "resnet50", 10, {4}, {1, 5}},
    {"resnet50_3_64_1x28x28", "resnet50", 7, {0}, {2}},
    {"resnet56_8_3x13x16", "resnet56", 10, {4}, {1, 5}},
    {"resnet56_4_1x28x28", "resnet56", 7, {0}, {2}},
    {"resnet18_bottleneck_16_3x19x23", "resnet18_bottleneck", 7, {4}, {1, 5}},
    {"resnet56_bottleneck_8_3x16x16", "resnet56_bottleneck", 10, {0}, {1, 5}},
    {"theory_3x4x5", "theory", 2, {1, 16}, {1, 5}},
    {"smooth_3x9x11", NULL, 6, {1, 16}, {1, 5}},
    {"groups_3x17x14", NULL, 6, {4, 16}, {1, 5}},
};
enum { N_CASES = sizeof(cases) / sizeof(cases[0]) };

/* ---- graphs of one's own: classes Windows, Smooth and Grouped of models.py ------------------ */

typedef struct layer {
    const char *type, *name, *settings;
    int32_t inputs[2];
} layer;

/* Node 0 is the input, node i + 1 is layers[i]. */
static const layer windows[] = {
    {"conv2d", "stem", "out_channels=6,kernel=5,stride=2,padding=1", {0}},
    {"batch_norm", "norm", "eps=1e-3,momentum=0.25", {1}},
    {"relu", NULL, "", {2}},
    {"max_pool", NULL, "kernel=3,stride=2,padding=1", {3}},
    {"conv2d", "left", "out_channels=5,kernel=1,bias=1", {4}},
    {"conv2d", "right", "out_channels=5,kernel=3,padding=1", {4}},
    {"add", NULL, "", {5, 6}},
    {"avg_pool", NULL, "kernel=3,stride=2,padding=1", {7}},
    {"linear", "hidden", "out_features=9", {8}},
    {"relu", NULL, "", {9}},
    {"linear", "head", "out_features=6,bias=0", {10}},
    {NULL, NULL, NULL, {0}},
};

static const layer smooth[] = {
    {"layer_norm", "first", "", {0}},
    {"conv2d", "stem", "out_channels=7,kernel=3,stride=2,padding=1,bias=1", {1}},
    {"gelu", NULL, "", {2}},
    {"layer_norm", "pixels", "over=channels,eps=1e-3", {3}},
    {"conv2d", "point", "out_channels=7,kernel=1", {4}},
    {"gelu", NULL, "approximate=tanh", {5}},
    {"add", NULL, "", {3, 6}},
    {"layer_norm", NULL, "affine=0", {7}},
    {"linear", "hidden", "out_features=9", {8}},
    {"layer_norm", "vector", "", {9}},
    {"gelu", NULL, "", {10}},
    {"linear", "head", "out_features=6", {11}},
    {NULL, NULL, NULL, {0}},
};

static const layer grouped[] = {
    {"conv2d", "stem", "out_channels=12,kernel=1,bias=1", {0}},
    {"conv2d", "groups", "out_channels=18,padding=1,groups=3", {1}},
    {"batch_norm", "norm", "", {2}},
    {"relu", NULL, "", {3}},
    {"conv2d", "depthwise", "out_channels=18,kernel=5,stride=2,padding=1,groups=18", {4}},
    {"batch_norm", "middle", "", {5}},
    {"relu", NULL, "", {6}},
    {"conv2d", "two", "out_channels=36,padding=2,bias=1,groups=18", {7}},
    {"conv2d", "narrow", "out_channels=6,kernel=2,stride=3,groups=2", {8}},
    {"linear", "head", "out_features=6", {9}},
    {NULL, NULL, NULL, {0}},
};

static const struct {
    const char *name;
    int64_t height, width;
    const layer *layers;
} graphs[] = {{"graph_3x19x23", 19, 23, windows},
              {"smooth_3x9x11", 9, 11, smooth},
              {"groups_3x17x14", 17, 14, grouped}};

/* Copies the tensors of a state dict into the blocks of the same name. */
static void set_blocks(modeconn_context *context, modeconn_model *model, const char *name)
{
    golden state;
    golden_open(&state, context, name);
    for (int64_t i = 0; i < model->n_blocks_theta + model->n_blocks_stats; i++) {
        const mc_block *block = &model->blocks[i];
        const mc_tensor *tensor = golden_tensor(&state, "%s", block->name);
        float *vector = i < model->n_blocks_theta ? model->theta : model->statistics;
        ck_assert_int_eq(tensor->size, block->size);
        OK(mc_tensor_to_f32(tensor, vector + block->offset));
    }
    golden_close(&state);
}

static modeconn_model *build_graph(modeconn_context *context, const char *name)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    size_t which = 0;
    while (strcmp(graphs[which].name, name) != 0) {
        which++;
        ck_assert(which < sizeof(graphs) / sizeof(graphs[0]));
    }
    OK(modeconn_graph_create(context, 3, graphs[which].height, graphs[which].width, &graph));
    for (const layer *l = graphs[which].layers; l->type != NULL; l++) {
        OK(modeconn_graph_add(graph, l->type, l->name, l->settings, l->inputs,
                              strcmp(l->type, "add") == 0 ? 2 : 1, &node));
    }
    OK(modeconn_model_from_graph(graph, node, 0, &model));
    modeconn_graph_destroy(graph);
    set_blocks(context, model, name);
    return model;
}

/* ---- comparisons --------------------------------------------------------------------------- */

/* The loaded vectors are the file's numbers, exactly. */
static void check_loaded(const model_case *c, modeconn_context *context,
                         const modeconn_model *model)
{
    golden state;
    golden_open(&state, context, c->name);
    int64_t blocks = model->n_blocks_theta + model->n_blocks_stats, total = 0;
    for (int64_t i = 0; i < blocks; i++) {
        const mc_block *block = &model->blocks[i];
        const float *vector = i < model->n_blocks_theta ? model->theta : model->statistics;
        const mc_tensor *tensor = golden_tensor(&state, "%s", block->name);
        float *values = golden_f32(tensor);
        ck_assert_int_eq(tensor->size, block->size);
        ck_assert_int_eq(tensor->rank, block->rank);
        ck_assert_mem_eq(values, vector + block->offset, (size_t)block->size * sizeof(float));
        free(values);
    }
    for (int64_t i = 0; i < mc_safetensors_count(state.file); i++) {
        total += strstr(mc_safetensors_at(state.file, i)->name, "num_batches_tracked") == NULL;
    }
    ck_assert_int_eq(total, blocks);
    golden_close(&state);
}

static void check_eval(const golden *g, const modeconn_model *model, int64_t n)
{
    int64_t width = 0;
    float *x = golden_f32(golden_tensor(g, "%lld.images", (long long)n));
    const mc_tensor *logits = golden_tensor(g, "%lld.logits", (long long)n);
    const mc_tensor *hidden = golden_tensor(g, "%lld.representation", (long long)n);
    OK(modeconn_model_representation(model, NULL, 0, NULL, &width));
    ck_assert_int_eq(width, hidden->shape[1]);
    ck_assert_int_eq(model->classes, logits->shape[1]);

    float *values = malloc((size_t)(n * (width + model->classes)) * sizeof(float));
    ck_assert_ptr_nonnull(values);
    OK(modeconn_model_logits(model, x, n, values));
    golden_near(g, logits, values, n * model->classes, TOLERANCE_LOGITS);
    OK(modeconn_model_representation(model, x, n, values, NULL));
    golden_near(g, hidden, values, n * width, TOLERANCE_LOGITS);
    free(values);
    free(x);
}

static void check_train(const golden *g, const modeconn_model *model, int64_t n)
{
    char prefix[32];
    double mean = 0, *losses = malloc((size_t)n * sizeof(double));
    float *x = golden_f32(golden_tensor(g, "%lld.images", (long long)n));
    int32_t *y = golden_i32(golden_tensor(g, "%lld.labels", (long long)n));
    float *grad = malloc((size_t)model->n_theta * sizeof(float));
    float *running = golden_copy(model->statistics, model->n_stats);
    mc_batch batch = {x, y, n};
    mc_session *session = NULL;

    ck_assert(losses != NULL && grad != NULL);
    OK(modeconn_model_gradient(model, x, y, n, &mean, grad));
    golden_near_f64(g, golden_tensor(g, "%lld.loss", (long long)n), &mean, 1, TOLERANCE_LOSS);
    snprintf(prefix, sizeof(prefix), "%lld.grad", (long long)n);
    golden_theta_near(g, prefix, model, grad, NULL, TOLERANCE_GRADIENT);

    /* The session that training uses: running statistics, twice the loss, a spare place. */
    OK(model->ops->session_create(model, n + 3, 1, true, &session));
    OK(model->ops->bind(session, model->theta, NULL));
    OK(model->ops->gradient(session, &batch, 2.0, losses, NULL, grad, running));
    for (int64_t i = 0; i < model->n_theta; i++) {
        grad[i] *= 0.5f;
    }
    golden_theta_near(g, prefix, model, grad, NULL, TOLERANCE_GRADIENT);
    snprintf(prefix, sizeof(prefix), "%lld.stats", (long long)n);
    golden_statistics_near(g, prefix, model, running, TOLERANCE_STATISTICS);
    mean = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += losses[i] / (double)n;
    }
    golden_near_f64(g, golden_tensor(g, "%lld.loss", (long long)n), &mean, 1, TOLERANCE_LOSS);
    model->ops->session_destroy(session);

    free(running);
    free(grad);
    free(losses);
    free(x);
    free(y);
}

/* Every case with every set of kernels. */
START_TEST(test_case)
{
    const model_case *c = &cases[_i / ISAS];
    char name[GOLDEN_NAME], prefix[32];
    modeconn_context *context = isa_context(_i % ISAS, 0);
    golden g;
    if (context == NULL) {
        return;
    }
    snprintf(name, sizeof(name), "%s.expected", c->name);
    golden_open(&g, context, name);
    snprintf(prefix, sizeof(prefix), "%lld.", (long long)c->evaluated[0]);
    modeconn_dataset *like = golden_dataset(&g, prefix, c->classes, NULL);
    modeconn_model *model = c->arch != NULL ? golden_model(context, c->name, c->arch, like)
                                            : build_graph(context, c->name);
    check_loaded(c, context, model);
    for (int i = 0; c->evaluated[i] > 0; i++) {
        check_eval(&g, model, c->evaluated[i]);
    }
    for (int i = 0; c->train[i] > 0; i++) {
        check_train(&g, model, c->train[i]);
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(like);
    golden_close(&g);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_case, 0, N_CASES * ISAS);
}

int main(void)
{
    return unit_run("golden models", add);
}
