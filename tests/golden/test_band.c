/* SPDX-License-Identifier: BSD-3-Clause
 *
 * 200 training steps of a quarter-width VGG-13 stay where ten runs of PyTorch go whose initial
 * weights differ by one unit in the last place. make_band.py says what the band is, and argues it;
 * pictures, labels and weights are made here as there.
 */
#include "golden.h"
#include "isas.h"
#include "train/train.h"

enum { STEPS = 200, BATCH = 32, CLASSES = 10, SIDE = 28, PIXELS = SIDE * SIDE, SEED = 41 };
enum { PATTERN = 1010, NOISE = 1011, LABEL = 1012, WEIGHT = 1013 };

/* Level of a pixel of sample `index`, which shows class `shown`. */
static float pixel(int64_t index, int64_t shown, int64_t at)
{
    int64_t block = at / SIDE / 4 * 7 + at % SIDE / 4;
    bool light = (mc_random_u64(SEED, PATTERN, (uint64_t)(shown * 49 + block), 0) & 1) != 0;
    int64_t noise = (int64_t)(mc_random_u64(SEED, NOISE, (uint64_t)index, (uint32_t)at) % 200);
    int64_t level = 128 + (light ? 40 : -40) + noise - 100;
    level = level < 0 ? 0 : level > 255 ? 255 : level;
    return (float)((double)level / 127.5 - 1.0);
}

static int32_t sample(int64_t index, float *x)
{
    uint64_t shown = mc_random_u64(SEED, LABEL, (uint64_t)index, 0) % CLASSES;
    uint64_t other = mc_random_u64(SEED, LABEL, (uint64_t)index, 1);
    for (int64_t at = 0; at < PIXELS; at++) {
        x[at] = pixel(index, (int64_t)shown, at);
    }
    return (int32_t)(other % 5 == 0 ? (other >> 32) % CLASSES : shown);
}

/* U(+-1/sqrt(fan_in)); a norm's parameters stay as they are. */
static void set_weights(modeconn_model *model)
{
    int64_t fan_in = 0;
    for (int64_t k = 0; k < model->n_blocks_theta; k++) {
        const mc_block *block = &model->blocks[k];
        if (block->rank == 1 && strstr(block->name, "linear") == NULL) {
            continue;
        }
        /* The linear bias comes behind its weight and shares its bound. */
        fan_in = block->rank > 1 ? block->size / block->shape[0] : fan_in;
        for (int64_t i = block->offset; i < block->offset + block->size; i++) {
            double u = mc_random_f64(SEED, WEIGHT, (uint64_t)i, 0);
            model->theta[i] = (float)((2.0 * u - 1.0) / sqrt((double)fan_in));
        }
    }
    mc_model_changed(model);
}

/* Both sides start from the same numbers. */
static void check_inputs(const golden *g, const modeconn_model *model, const double sums[2])
{
    double *expected = golden_f64(golden_tensor(g, "sums")), weights = 0.0;
    for (int64_t i = 0; i < model->n_theta; i++) {
        weights += fabs((double)model->theta[i]);
    }
    ck_assert_double_eq_tol(sums[0], expected[0], 1e-9 * fabs(expected[0]));
    ck_assert_double_eq(sums[1], expected[1]);
    ck_assert_double_eq_tol(weights, expected[2], 1e-9 * expected[2]);
    free(expected);
}

static void train(modeconn_context *context, const golden *g, double *mean)
{
    modeconn_model *model =
        model_with(context, "vgg13", "width=0.25,channels=1,height=28,width_pixels=28,classes=10");
    double *rule = golden_f64(golden_tensor(g, "sgd")), sums[2] = {0.0, 0.0}, loss[BATCH];
    const mc_sgd sgd = {.momentum = rule[1], .weight_decay = rule[2]};
    float *velocity = calloc((size_t)model->n_theta, sizeof(float));
    float *grad = malloc((size_t)model->n_theta * sizeof(float));
    float *x = malloc(BATCH * PIXELS * sizeof(float));
    int32_t y[BATCH];
    mc_batch batch = {x, y, BATCH};
    mc_session *session = NULL;

    ck_assert(velocity != NULL && grad != NULL && x != NULL);
    set_weights(model);
    float *start = golden_copy(model->theta, model->n_theta);
    OK(model->ops->session_create(model, BATCH, 1, true, &session));
    for (int64_t k = 0; k < STEPS; k++) {
        for (int64_t i = 0; i < BATCH; i++) {
            y[i] = sample(k * BATCH + i, x + i * PIXELS);
            sums[1] += y[i];
        }
        for (int64_t i = 0; i < BATCH * PIXELS; i++) {
            sums[0] += (double)x[i] * (double)(1 + (k * BATCH * PIXELS + i) % 7);
        }
        OK(model->ops->bind(session, model->theta, NULL));
        OK(model->ops->gradient(session, &batch, 1.0, loss, NULL, grad, model->statistics));
        mean[k] = mc_mean(loss, BATCH);
        mc_sgd_step(context, &sgd, rule[0], k == 0, model->n_theta, model->theta, velocity, grad);
    }
    memcpy(model->theta, start, (size_t)model->n_theta * sizeof(float));
    check_inputs(g, model, sums);
    model->ops->session_destroy(session);
    modeconn_model_destroy(model);
    free(rule);
    free(velocity);
    free(grad);
    free(x);
    free(start);
}

/* The band's largest width within `reach` steps of step k, and the floor. */
static double widest(const double *low, const double *high, int64_t k, int64_t reach, double floor)
{
    double width = 0.0;
    for (int64_t j = k - reach < 0 ? 0 : k - reach; j <= k + reach && j < STEPS; j++) {
        width = fmax(width, high[j] - low[j]);
    }
    return width + floor * high[k];
}

START_TEST(test_band)
{
    golden g;
    double mean[STEPS], farthest = 0.0;
    int outside = 0;
    modeconn_context *context = isa_context(_i, 2);
    if (context == NULL) {
        return;
    }
    golden_open(&g, context, "band.expected");
    double *low = golden_f64(golden_tensor(&g, "low"));
    double *high = golden_f64(golden_tensor(&g, "high"));
    double *rule = golden_f64(golden_tensor(&g, "rule"));

    train(context, &g, mean);
    for (int64_t k = 0; k < STEPS; k++) {
        double w = widest(low, high, k, (int64_t)rule[0], rule[1]);
        double off = fmax(low[k] - mean[k], mean[k] - high[k]);
        ck_assert_msg(off <= w, "%s, step %d: loss %.7g is outside [%.7g, %.7g] by %.2f widths",
                      isas[_i], (int)k, mean[k], low[k], high[k], off / w);
        farthest = fmax(farthest, off / w);
        outside += off > 0.0;
    }
    printf("%s: outside the ten runs at %d of %d steps, farthest by %.2f widths\n", isas[_i],
           outside, STEPS, farthest);
    free(low);
    free(high);
    free(rule);
    golden_close(&g);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, test_band, 0, 3);
}

int main(void)
{
    return unit_run("golden band", add);
}
