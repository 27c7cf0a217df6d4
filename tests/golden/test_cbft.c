/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Connectivity-based fine-tuning (Lubana et al. 2023) against PyTorch, with given t and batches:
 * the gradient of L_B through the interpolated model, on either side of kappa; the gradient of
 * L_CE + lambda/K L_I, three classes of ten missing from one batch or both; and whole steps of the
 * method, alternating and joint. The method draws t itself: the clipped law puts 31 % of its draws
 * on each of 1/4 and 3/4, so there is a seed whose first draws are the t wanted.
 */
#include "finetune/finetune.h"
#include "golden.h"

enum { N_CLEAN = 12, N_CUE = 10, CLASSES = 10 };

static modeconn_context *context;
static golden g;
static modeconn_dataset *clean, *cue;
static modeconn_model *origin, *start;

static void setup(void)
{
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
    golden_open(&g, context, "cbft.expected");
    clean = golden_dataset(&g, "nc.", CLASSES, NULL);
    cue = golden_dataset(&g, "c.", CLASSES, NULL);
    origin = golden_model(context, "cbft_origin", "vgg13", clean);
    start = golden_model(context, "cbft_start", "vgg13", clean);
}

static void teardown(void)
{
    modeconn_model_destroy(origin);
    modeconn_model_destroy(start);
    modeconn_dataset_destroy(clean);
    modeconn_dataset_destroy(cue);
    golden_close(&g);
    modeconn_context_destroy(context);
}

static double t_of(int index)
{
    double *t = golden_f64(golden_tensor(&g, "t")), value = t[index];
    free(t);
    return value;
}

/* d/dtheta |1 - L(t theta_C + (1-t) theta)| = (1-t) sign(L - 1) dL/dmix. */
START_TEST(test_barrier_gradient)
{
    const mc_model_ops *ops = start->ops;
    mc_session *session = NULL;
    float *x = golden_f32(golden_tensor(&g, "c.images"));
    int32_t *y = golden_i32(golden_tensor(&g, "c.labels"));
    float *mix = malloc((size_t)start->n_theta * sizeof(float));
    float *grad = malloc((size_t)start->n_theta * sizeof(float));
    mc_batch batch = {x, y, N_CUE};
    double loss[N_CUE], barrier[2];

    ck_assert(mix != NULL && grad != NULL);
    OK(ops->session_create(start, N_CUE, 1, true, &session));
    for (int i = 0; i < 2; i++) {
        double t = t_of(i);
        mc_interpolate(context, t, start->theta, origin->theta, start->n_theta, mix);
        OK(ops->bind(session, mix, NULL));
        OK(ops->gradient(session, &batch, i == 0 ? 1 - t : t - 1, loss, NULL, grad, NULL));
        double excess = mc_mean(loss, N_CUE) - 1;
        ck_assert(i == 0 ? excess > 0 : excess < 0);
        barrier[i] = fabs(excess);
        golden_theta_near(&g, i == 0 ? "barrier0" : "barrier1", start, grad, NULL,
                          TOLERANCE_GRADIENT);
    }
    golden_near_f64(&g, golden_tensor(&g, "loss_barrier"), barrier, 2, TOLERANCE_LOSS);
    ops->session_destroy(session);
    free(grad);
    free(mix);
    free(x);
    free(y);
}
END_TEST

START_TEST(test_rest_gradient)
{
    const mc_model_ops *ops = start->ops;
    mc_session *session = NULL;
    mc_cbft_objective objective = {0};
    float *x[2] = {golden_f32(golden_tensor(&g, "nc.images")),
                   golden_f32(golden_tensor(&g, "c.images"))};
    int32_t *y[2] = {golden_i32(golden_tensor(&g, "nc.labels")),
                     golden_i32(golden_tensor(&g, "c.labels"))};
    mc_batch nc = {x[0], y[0], N_CLEAN}, c = {x[1], y[1], N_CUE};
    float *grad = malloc((size_t)start->n_theta * sizeof(float));

    ck_assert_ptr_nonnull(grad);
    OK(mc_cbft_objective_init(&objective, start));
    objective.weight = 1.0 / CLASSES;
    OK(ops->session_create(start, N_CLEAN, 2, true, &session));
    OK(ops->bind(session, start->theta, NULL));
    OK(ops->pair_gradient(session, &nc, &c, mc_cbft_objective_pair, &objective, grad, NULL));
    golden_theta_near(&g, "rest", start, grad, NULL, TOLERANCE_GRADIENT);
    double parts[2] = {objective.loss_ce, objective.loss_invariance};
    golden_near_f64(&g, golden_tensor(&g, "loss_rest"), parts, 2, TOLERANCE_LOSS);

    ops->session_destroy(session);
    mc_cbft_objective_free(&objective);
    free(grad);
    for (int i = 0; i < 2; i++) {
        free(x[i]);
        free(y[i]);
    }
}
END_TEST

/* The first seed whose clipped draws for steps 0 and 1 are both t. */
static int64_t seed_of(double t)
{
    const mc_draw law = {true, 0.5, 0.5};
    for (int64_t seed = 0; seed < 1000; seed++) {
        if (mc_cbft_draw_t((uint64_t)seed, &law, 0) == t &&
            mc_cbft_draw_t((uint64_t)seed, &law, 1) == t) {
            return seed;
        }
    }
    ck_abort_msg("no seed draws t = %g twice", t);
    return -1;
}

static modeconn_options *cbft_options(const char *schedule, int64_t steps, double t)
{
    modeconn_options *options = NULL;
    OK(modeconn_options_create(context, "finetune", &options));
    OK(modeconn_options_parse(options, "method=cbft,batch_size=12,learning_rate=0.02,momentum=0.9,"
                                       "weight_decay=5e-3,kappa=1,lambda=1,draw=clipped,"
                                       "invariance_from=0,barrier_from=0"));
    OK(modeconn_options_set_str(options, "schedule", schedule));
    OK(modeconn_options_set_i64(options, "epochs", steps));
    OK(modeconn_options_set_i64(options, "seed", seed_of(t)));
    return options;
}

/* Loop index: bit 0 the schedule, bit 1 one step or two (an epoch is one step: all data). */
START_TEST(test_method)
{
    static const char *const columns[] = {"loss_ce", "loss_barrier", "loss_invariance"};
    const char *schedule = (_i & 1) == 0 ? "alternating" : "joint";
    int64_t steps = 1 + _i / 2;
    char prefix[32];
    double losses[6];
    modeconn_history *history = NULL;
    mc_finetune_job job = {.origin = origin, .clean = clean, .cued = cue};
    modeconn_options *options = cbft_options(schedule, steps, t_of(_i & 1));

    snprintf(prefix, sizeof(prefix), "%s%d", schedule, (int)steps);
    job.options = options;
    OK(modeconn_model_clone(start, &job.tuned));
    const mc_method *method = NULL;
    OK(mc_method_find("cbft", &method));
    OK(mc_finetune_run(method, &job));
    OK(modeconn_model_history(job.tuned, &history));
    for (int64_t k = 0; k < steps; k++) {
        for (int part = 0; part < 3; part++) {
            OK(modeconn_history_value(history, columns[part], k, &losses[k * 3 + part]));
        }
    }
    golden_near_f64(&g, golden_tensor(&g, "%s.loss", prefix), losses, steps * 3, TOLERANCE_LOSS);
    golden_theta_near(&g, prefix, job.tuned, job.tuned->theta, start->theta, TOLERANCE_GRADIENT);
    golden_statistics_near(&g, prefix, job.tuned, job.tuned->statistics, TOLERANCE_STATISTICS);

    modeconn_history_destroy(history);
    modeconn_model_destroy(job.tuned);
    modeconn_options_destroy(options);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_barrier_gradient);
    tcase_add_test(tests, test_rest_gradient);
    tcase_add_loop_test(tests, test_method, 0, 4);
}

int main(void)
{
    return unit_run("golden cbft", add);
}
