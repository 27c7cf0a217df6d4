/* SPDX-License-Identifier: BSD-3-Clause
 *
 * CBFT's whole objective through a network with batch norm, in double over the plain twin:
 *
 *     F(theta) = L_CE(clean; theta) + lambda/K L_I(clean, cue; theta)
 *              + w |kappa - L_CE(cue; t theta_C + (1-t) theta)|
 *
 * with batch statistics in all three passes. One chain: one joint step of the library = F's
 * gradient by formulas = central differences of F by every parameter. Classes are missing from one
 * batch, from the other and from both; theta is not theta_C; kappa lies on both sides of the loss.
 */
#include "finetune/finetune.h"
#include "nn/twin.h"
#include "train/small.h"

enum { CHANNELS = 2, SIZE = 6, PIXELS = CHANNELS * SIZE * SIZE, WIDTH = 6, CLASSES = 5 };
enum { CLEAN, CUE, N_CLEAN = 7, N_CUE = 9 };

/* Class 2 is missing from the clean batch, class 3 from the cue's, class 4 from both. */
static const int32_t labels[2][N_CUE] = {{0, 1, 3, 0, 1, 0, 3}, {0, 1, 2, 1, 1, 0, 2, 0, 2}};
static const int n_of[2] = {N_CLEAN, N_CUE};

static const struct {
    double kappa, lambda, weight;
    bool below; /* kappa, of the loss at the interpolated model */
    int seed;   /* of t */
} cases[] = {
    {0.3, 1, 1, true, 1},    /* lowers the loss at the interpolated model ... */
    {6.0, 1, 1, false, 1},   /* ... and raises it */
    {0.3, 20, 0.7, true, 2}, /* other weights, another t */
    {6.0, 20, 3, false, 3},  {6.0, 0, 1, false, 4}, /* without L_I */
    {0.3, 20, 0, true, 5},                          /* without L_B */
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

typedef struct setting {
    modeconn_context *context;
    modeconn_model *origin, *tuned;
    modeconn_dataset *data[2];
    mc_plain *plain[2];
    double x[2][N_CUE * PIXELS];
    double *theta_c, *theta, *mix, *part, *grad; /* [n_theta] */
    double kappa, lambda, weight, t;
    double above; /* L_CE(cue; mix) - kappa of the last call of objective() */
} setting;

/* ---- F in double ---------------------------------------------------------------------------- */

/* Mean over a batch, and its cotangents d [n][CLASSES]. */
static double cross_entropy(const setting *s, int which, double *d)
{
    double sum = 0;
    for (int i = 0; i < n_of[which]; i++) {
        const double *z = mc_plain_logits(s->plain[which]) + i * CLASSES;
        int32_t y = labels[which][i];
        double total = 0;
        for (int k = 0; k < CLASSES; k++) {
            total += exp(z[k] - z[y]);
        }
        for (int k = 0; k < CLASSES; k++) {
            d[i * CLASSES + k] = (exp(z[k] - z[y]) / total - (k == y)) / n_of[which];
        }
        sum += log(total);
    }
    return sum / n_of[which];
}

typedef struct direction {
    double unit[WIDTH], length; /* of the mean over the samples of a class */
    int count;
} direction;

static direction class_direction(const setting *s, int which, int k)
{
    direction out = {{0}, 0, 0};
    for (int i = 0; i < n_of[which]; i++) {
        for (int j = 0; labels[which][i] == k && j < WIDTH; j++) {
            out.unit[j] += mc_plain_representation(s->plain[which])[i * WIDTH + j];
        }
        out.count += labels[which][i] == k;
    }
    for (int j = 0; j < WIDTH && out.count > 0; j++) {
        out.unit[j] /= out.count;
        out.length += out.unit[j] * out.unit[j];
    }
    out.length = sqrt(out.length);
    for (int j = 0; j < WIDTH && out.count > 0; j++) {
        out.unit[j] /= out.length;
    }
    return out;
}

/* d [n][WIDTH] of class k += scale times the gradient of |unit a - unit b|^2 = 2 - 2 cosine by the
 * samples behind a. */
static void add_cotangents(int which, int k, const direction *a, const direction *b, double cosine,
                           double scale, double *d)
{
    for (int i = 0; i < n_of[which]; i++) {
        for (int j = 0; labels[which][i] == k && j < WIDTH; j++) {
            d[i * WIDTH + j] +=
                -2 * scale * (b->unit[j] - cosine * a->unit[j]) / (a->length * a->count);
        }
    }
}

/* L_I; d gets `scale` times its cotangents. */
static double invariance(const setting *s, double scale, double d[2][N_CUE * WIDTH])
{
    double sum = 0;
    memset(d, 0, 2 * sizeof(d[0]));
    for (int k = 0; k < CLASSES; k++) {
        direction a = class_direction(s, CLEAN, k), b = class_direction(s, CUE, k);
        double cosine = 0;
        if (a.count == 0 || b.count == 0) {
            continue;
        }
        ck_assert(a.length > 0.01 && b.length > 0.01); /* far from where it has no gradient */
        for (int j = 0; j < WIDTH; j++) {
            cosine += a.unit[j] * b.unit[j];
        }
        sum += 2 - 2 * cosine;
        add_cotangents(CLEAN, k, &a, &b, cosine, scale, d[CLEAN]);
        add_cotangents(CUE, k, &b, &a, cosine, scale, d[CUE]);
    }
    return sum;
}

static void forward(const setting *s, int which, const double *theta)
{
    mc_plain_forward(s->plain[which], theta, NULL, MC_NORM_BATCH, s->x[which]);
}

/* grad += factor times the pulled-back cotangents; grad NULL: nothing. */
static void backward(setting *s, int which, const double *d_logits, const double *d_representation,
                     double factor, double *grad)
{
    if (grad == NULL) {
        return;
    }
    mc_plain_backward(s->plain[which], d_logits, d_representation, s->part);
    for (int64_t i = 0; i < s->tuned->n_theta; i++) {
        grad[i] += factor * s->part[i];
    }
}

/* F at theta; its gradient is added to grad unless NULL. */
static double objective(setting *s, const double *theta, double *grad)
{
    double d_logits[N_CUE * CLASSES], d[2][N_CUE * WIDTH];
    for (int64_t i = 0; i < s->tuned->n_theta; i++) {
        s->mix[i] = s->t * s->theta_c[i] + (1 - s->t) * theta[i];
    }
    forward(s, CUE, s->mix);
    s->above = cross_entropy(s, CUE, d_logits) - s->kappa;
    backward(s, CUE, d_logits, NULL, s->weight * (1 - s->t) * (s->above > 0 ? 1 : -1), grad);

    forward(s, CLEAN, theta);
    forward(s, CUE, theta);
    double value = s->weight * fabs(s->above) + cross_entropy(s, CLEAN, d_logits);
    value += s->lambda / CLASSES * invariance(s, s->lambda / CLASSES, d);
    backward(s, CLEAN, d_logits, d[CLEAN], 1, grad);
    backward(s, CUE, NULL, d[CUE], 1, grad);
    return value;
}

/* ---- the setting ---------------------------------------------------------------------------- */

static int32_t layer(modeconn_graph *graph, const char *type, const char *name,
                     const char *settings, int32_t input)
{
    int32_t node = -1;
    OK(modeconn_graph_add(graph, type, name, settings, &input, 1, &node));
    return node;
}

/* Batch norm behind each layer but the last: read by a convolution, on smaller maps, on vectors. */
static modeconn_model *normed_model(modeconn_context *context)
{
    modeconn_graph *graph;
    modeconn_model *model;
    OK(modeconn_graph_create(context, CHANNELS, SIZE, SIZE, &graph));
    int32_t a = layer(graph, "conv2d", "one", "out_channels=4,kernel=3,padding=1", 0);
    a = layer(graph, "relu", NULL, NULL, layer(graph, "batch_norm", "bn1", NULL, a));
    a = layer(graph, "conv2d", "two", "out_channels=5,kernel=3,padding=1,stride=2", a);
    a = layer(graph, "relu", NULL, NULL, layer(graph, "batch_norm", "bn2", NULL, a));
    a = layer(graph, "linear", "three", "out_features=6,bias=0", a);
    a = layer(graph, "relu", NULL, NULL, layer(graph, "batch_norm", "bn3", NULL, a));
    a = layer(graph, "linear", "head", "out_features=5", a);
    OK(modeconn_model_from_graph(graph, a, 3, &model));
    modeconn_graph_destroy(graph);
    ck_assert_int_eq(model->representation_width, WIDTH);
    return model;
}

static modeconn_dataset *samples(setting *s, int which)
{
    float x[N_CUE * PIXELS];
    modeconn_dataset *data = NULL;
    for (int i = 0; i < n_of[which] * PIXELS; i++) {
        x[i] = (float)twin_random((uint64_t)(30 + which), i);
        s->x[which][i] = (double)x[i];
    }
    OK(modeconn_dataset_from_f32(s->context, x, labels[which], n_of[which], CHANNELS, SIZE, SIZE,
                                 CLASSES, NULL, &data));
    return data;
}

/* theta_C off its initial values, gammas and betas too; theta well away from it. */
static void make(setting *s, int which)
{
    *s =
        (setting){.context = small_context(2),
                  .kappa = cases[which].kappa,
                  .lambda = cases[which].lambda,
                  .weight = cases[which].weight,
                  .t = mc_cbft_draw_t((uint64_t)cases[which].seed, &(mc_draw){false, 0.5, 0.5}, 0)};
    s->origin = normed_model(s->context);
    int64_t n = s->origin->n_theta;
    s->theta_c = twin_alloc(n, sizeof(double));
    s->theta = twin_alloc(n, sizeof(double));
    s->mix = twin_alloc(n, sizeof(double));
    s->part = twin_alloc(n, sizeof(double));
    s->grad = twin_alloc(n, sizeof(double));
    for (int64_t i = 0; i < n; i++) {
        s->origin->theta[i] += 0.2F * (float)twin_random(40, i);
        s->theta_c[i] = (double)s->origin->theta[i];
    }
    OK(modeconn_model_clone(s->origin, &s->tuned));
    for (int64_t i = 0; i < n; i++) {
        s->tuned->theta[i] += 0.4F * (float)twin_random(41, i);
        s->theta[i] = (double)s->tuned->theta[i];
    }
    for (int k = 0; k < 2; k++) {
        s->data[k] = samples(s, k);
        OK(mc_plain_create(s->origin->graph, n_of[k], &s->plain[k]));
    }
}

static void destroy(setting *s)
{
    for (int k = 0; k < 2; k++) {
        mc_plain_free(s->plain[k]);
        modeconn_dataset_destroy(s->data[k]);
    }
    free(s->theta_c);
    free(s->theta);
    free(s->mix);
    free(s->part);
    free(s->grad);
    modeconn_model_destroy(s->tuned);
    modeconn_model_destroy(s->origin);
    modeconn_context_destroy(s->context);
}

/* ---- the chain ------------------------------------------------------------------------------ */

/* With a step of 1e-6 a value crosses the kink of a ReLU about never. */
START_TEST(central_differences)
{
    setting s;
    const double h = 1e-6;
    make(&s, _i);
    objective(&s, s.theta, s.grad);
    ck_assert_int_eq(s.above > 0, cases[_i].below);
    ck_assert_double_gt(fabs(s.above), 0.1);
    for (int64_t i = 0; i < s.tuned->n_theta; i++) {
        double centre = s.theta[i];
        s.theta[i] = centre + h;
        double up = objective(&s, s.theta, NULL);
        s.theta[i] = centre - h;
        double slope = (up - objective(&s, s.theta, NULL)) / (2 * h);
        s.theta[i] = centre;
        ck_assert_msg(fabs(slope - s.grad[i]) <= 1e-7 * (1 + fabs(s.grad[i])),
                      "parameter %lld: difference %.9g, gradient %.9g", (long long)i, slope,
                      s.grad[i]);
    }
    destroy(&s);
}
END_TEST

/* One step from theta: a rate of 1000 makes the rounding of theta small beside it. */
static void library_step(setting *s, int which, double rate)
{
    char text[256];
    const mc_method *method = NULL;
    snprintf(text, sizeof(text),
             "epochs=1,batch_size=%d,learning_rate=%g,momentum=0,weight_decay=0,schedule=joint,"
             "invariance_from=0,kappa=%g,lambda=%g,barrier_weight=%g,seed=%d",
             N_CUE, rate, s->kappa, s->lambda, s->weight, cases[which].seed);
    modeconn_options *options = options_of("finetune", text);
    mc_finetune_job job = {.origin = s->origin,
                           .tuned = s->tuned,
                           .clean = s->data[CLEAN],
                           .cued = s->data[CUE],
                           .options = options};
    OK(mc_method_find("cbft", &method));
    OK(mc_finetune_run(method, &job));
    modeconn_options_destroy(options);
}

START_TEST(step_of_the_library)
{
    setting s;
    const double rate = 1000;
    double value;
    modeconn_history *history = NULL;
    make(&s, _i);
    double expected = objective(&s, s.theta, s.grad);
    library_step(&s, _i, rate);
    OK(modeconn_model_history(s.tuned, &history));
    OK(modeconn_history_value(history, "loss", 0, &value));
    ck_assert_double_eq_tol(value, expected, 1e-6 * expected);
    modeconn_history_destroy(history);

    float *step = twin_alloc(s.tuned->n_theta, sizeof(float));
    for (int64_t i = 0; i < s.tuned->n_theta; i++) {
        step[i] = (float)((s.theta[i] - (double)s.tuned->theta[i]) / rate);
    }
    for (int64_t k = 0; k < s.tuned->n_blocks_theta; k++) {
        const mc_block *block = &s.tuned->blocks[k];
        double d = twin_distance(step + block->offset, s.grad + block->offset, block->size);
        ck_assert_msg(d < 4e-6, "%s: %g", block->name, d);
    }
    free(step);
    destroy(&s);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, central_differences, 0, CASES);
    tcase_add_loop_test(tests, step_of_the_library, 0, CASES);
}

int main(void)
{
    return unit_run("finetune/cbft_gradient", add);
}
