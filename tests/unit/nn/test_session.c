/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sessions: the same bits for any number of threads, no allocation inside a step, pooled and
 * running statistics against direct formulas.
 */
#include "failing.h"
#include "twin.h"
#include <stdio.h>

static modeconn_context *context_with(int64_t threads, const char *isa)
{
    char settings[64];
    snprintf(settings, sizeof(settings), "threads=%lld,isa=%s", (long long)threads, isa);
    return context_of(settings);
}

typedef struct shipped {
    const char *arch, *settings;
    int64_t n;
    int times; /* at least, for each number of threads */
} shipped;

static const shipped shipped_cases[] = {
    {"vgg13", "width=0.125,channels=3,height=32,width_pixels=32,classes=10", 33, 1},
    {"resnet18", "width=0.125,channels=1,height=19,width_pixels=23,classes=10", 20, 1},
    {"mlp", "hidden=300,200,channels=1,height=28,width_pixels=28,classes=10", 50, 1},
    /* Blocks and panels long enough to be split, which depends on who is idle when. */
    {"vgg13", "channels=3,height=32,width_pixels=32,classes=10", 24, 2},
};
enum { SHIPPED = sizeof shipped_cases / sizeof shipped_cases[0] };

/* Two gradient steps' worth of results at `threads`, copied out. */
static float *run_at(int64_t threads, const shipped *s, int64_t *count, int64_t *helped)
{
    modeconn_context *context = context_with(threads, "auto");
    twin t;
    mc_session *session;
    twin_init(&t, model_with(context, s->arch, s->settings), s->n, 31);
    const modeconn_model *model = t.model;
    mc_batch batch = {t.x, t.y, s->n};
    *count = 2 * model->n_theta + model->n_stats + s->n * model->classes;
    float *all = twin_alloc(*count, sizeof(float));

    OK(model->ops->session_create(model, s->n, 1, true, &session));
    OK(model->ops->bind(session, model->theta, model->statistics));
    OK(model->ops->gradient(session, &batch, 1.0, NULL, NULL, all, model->statistics));
    batch.n -= 7;
    OK(model->ops->gradient(session, &batch, -0.5, NULL, NULL, all + model->n_theta, NULL));
    memcpy(all + 2 * model->n_theta, model->statistics, (size_t)model->n_stats * sizeof(float));
    OK(model->ops->outputs(session, MC_NORM_RUNNING, &batch,
                           all + 2 * model->n_theta + model->n_stats, NULL));
    *helped = mc_pool_helped(context->pool);
    model->ops->session_destroy(session);
    twin_free(&t);
    modeconn_context_destroy(context);
    return all;
}

START_TEST(test_same_bits_for_any_threads)
{
    static const int64_t threads[] = {2, 3, 8};
    int64_t count, helped;
    float *one = run_at(1, &shipped_cases[_i], &count, &helped);
    ck_assert_int_eq(helped, 0);
    for (int k = 0; k < 3; k++) {
        /* The other threads must really work; on a busy machine they may come late once. */
        helped = 0;
        for (int run = 0; run < shipped_cases[_i].times || (run < 20 && helped == 0); run++) {
            float *more = run_at(threads[k], &shipped_cases[_i], &count, &helped);
            ck_assert_msg(memcmp(one, more, (size_t)count * sizeof *one) == 0,
                          "%d threads give other bits", (int)threads[k]);
            free(more);
        }
        ck_assert_int_gt(helped, 0);
    }
    free(one);
}
END_TEST

START_TEST(test_no_allocation_in_a_step)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    mc_session *session;
    twin t;
    twin_init(&t, model_with(context, "resnet18", shipped_cases[1].settings), 8, 3);
    mc_batch batch = {t.x, t.y, 8};
    OK(t.model->ops->session_create(t.model, 8, 1, true, &session));
    long before = state.calls;
    OK(t.model->ops->bind(session, t.model->theta, t.model->statistics));
    OK(t.model->ops->gradient(session, &batch, 1.0, NULL, NULL, t.grad, t.model->statistics));
    OK(t.model->ops->evaluate(session, MC_NORM_BATCH, &batch, NULL, NULL));
    ck_assert_int_eq(state.calls, before);
    t.model->ops->session_destroy(session);
    twin_free(&t);
    modeconn_context_destroy(context);
}
END_TEST

/* One batch norm after the input: its pooled statistics are those of the pixels themselves. */
/* Sizes that leave int64 are no small ones. */
START_TEST(test_too_large)
{
    modeconn_context *context = context_with(1, "auto");
    modeconn_model *model = model_with(context, "vgg13",
                                       "channels=3,height=32,width_pixels=32,"
                                       "classes=10");
    mc_session *session = NULL;
    /* The second wraps to sizes of 0. */
    static const int64_t most[] = {INT64_MAX, INT64_C(1) << 62, INT64_C(1) << 40, INT64_C(1) << 36};
    for (size_t i = 0; i < sizeof most / sizeof most[0]; i++) {
        FAILS(model->ops->session_create(model, most[i], 2, true, &session), MODECONN_ERROR_MEMORY,
              "samples");
        ck_assert_ptr_null(session);
    }
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_pooled_statistics)
{
    modeconn_context *context = context_with(2, "auto");
    modeconn_graph *graph;
    modeconn_model *model;
    mc_session *session;
    int32_t node = 0;
    static const int64_t batches[] = {5, 3, 1};
    float x[9 * 2 * 6], stats[4], running[4] = {0.0f, 0.0f, 1.0f, 1.0f};
    for (int i = 0; i < 108; i++) {
        x[i] = (float)(3.0 + twin_random(4, i) * (i % 12 < 6 ? 1.0 : 0.01));
    }
    OK(modeconn_graph_create(context, 2, 2, 3, &graph));
    OK(modeconn_graph_add(graph, "batch_norm", "bn", NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "head", NULL, &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 0, &model));
    OK(model->ops->session_create(model, 5, 1, false, &session));
    OK(model->ops->bind(session, model->theta, NULL));
    OK(model->ops->statistics_begin(session));
    for (int k = 0, at = 0; k < 3; at += (int)batches[k++]) {
        mc_batch batch = {x + at * 12, NULL, batches[k]};
        OK(model->ops->statistics_add(session, &batch));
    }
    OK(model->ops->statistics_finish(session, stats));
    mc_batch first = {x, NULL, 5};
    OK(model->ops->statistics_ema(session, &first, running));
    for (int c = 0; c < 2; c++) {
        double mean = 0.0, var = 0.0, mean5 = 0.0, var5 = 0.0;
        for (int pass = 0; pass < 2; pass++) {
            for (int i = 0; i < 9 * 6; i++) {
                double v = (double)x[i / 6 * 12 + c * 6 + i % 6];
                mean += pass == 0 ? v / 54.0 : 0.0;
                var += pass == 1 ? (v - mean) * (v - mean) / 53.0 : 0.0;
                mean5 += pass == 0 && i < 30 ? v / 30.0 : 0.0;
                var5 += pass == 1 && i < 30 ? (v - mean5) * (v - mean5) / 29.0 : 0.0;
            }
        }
        ck_assert_double_eq_tol((double)stats[c], mean, 1e-5 * mean);
        ck_assert_double_eq_tol((double)stats[2 + c], var, 1e-5 * var);
        ck_assert_double_eq_tol((double)running[c], 0.1 * mean5, 1e-5 * mean5);
        ck_assert_double_eq_tol((double)running[2 + c], 0.9 + 0.1 * var5, 1e-5);
    }
    model->ops->session_destroy(session);
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    modeconn_context_destroy(context);
}
END_TEST

/* A batch of which every sample is classified, with and without the mean: losses per sample. */
START_TEST(test_evaluate)
{
    modeconn_context *context = context_with(1, "auto");
    twin t;
    mc_session *session;
    twin_init(&t, model_with(context, "mlp", shipped_cases[2].settings), 9, 3);
    int64_t classes = t.model->classes;
    float *logits = twin_alloc(9 * classes, sizeof(float));
    double loss[9];
    uint8_t correct[9];
    mc_batch batch = {t.x, t.y, 9};
    OK(t.model->ops->session_create(t.model, 9, 1, false, &session));
    OK(t.model->ops->bind(session, t.model->theta, NULL));
    OK(t.model->ops->outputs(session, MC_NORM_RUNNING, &batch, logits, NULL));
    OK(t.model->ops->evaluate(session, MC_NORM_RUNNING, &batch, loss, correct));
    for (int i = 0; i < 9; i++) {
        double sum = 0.0;
        int64_t best = 0;
        for (int64_t j = 0; j < classes; j++) {
            sum += exp((double)logits[i * classes + j]);
            best = logits[i * classes + j] > logits[i * classes + best] ? j : best;
        }
        ck_assert_double_eq_tol(loss[i], log(sum) - (double)logits[i * classes + t.y[i]], 1e-9);
        ck_assert_int_eq(correct[i], best == t.y[i]);
    }
    t.model->ops->session_destroy(session);
    free(logits);
    twin_free(&t);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_set_timeout(tests, 240);
    tcase_add_loop_test(tests, test_same_bits_for_any_threads, 0, SHIPPED);
    tcase_add_test(tests, test_no_allocation_in_a_step);
    tcase_add_test(tests, test_too_large);
    tcase_add_test(tests, test_pooled_statistics);
    tcase_add_test(tests, test_evaluate);
}

int main(void)
{
    return unit_run("nn session", add);
}
