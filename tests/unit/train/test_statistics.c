/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The statistics policies on a model whose one batch norm normalises the input's own channel
 * after a 1x1 convolution, so that pooled moments can be computed directly from the pixels: over
 * everything that the convolution gives, whatever the batches.
 */
#include "measure/measure.h" /* for a kind with the statistics keys */
#include "train/small.h"

enum { CLASSES = 3, PIXELS = 4, CHANNELS = 2 };

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *data;
    modeconn_model *model;
    mc_session *session;
    float keep[2 * CHANNELS], mixed[2 * CHANNELS];
} setting;

/* conv 1x1 without bias (1 -> 2 channels), batch norm, pool, linear. */
static modeconn_model *norm_model(modeconn_context *context)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, 2, 2, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "conv", "out_channels=2,kernel=1", &node, 1, &node));
    OK(modeconn_graph_add(graph, "batch_norm", "bn", "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "global_avg_pool", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "linear", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 5, &model));
    modeconn_graph_destroy(graph);
    return model;
}

static setting make(int64_t n)
{
    setting s = {.context = small_context(2)};
    s.data = small_points(s.context, n, 4);
    s.model = norm_model(s.context);
    for (int i = 0; i < 2 * CHANNELS; i++) {
        s.keep[i] = 0.25F + (float)i;
        s.mixed[i] = 0.5F + (float)i;
    }
    OK(s.model->ops->session_create(s.model, n + 1, 1, false, &s.session));
    return s;
}

static void destroy(setting *s)
{
    s->model->ops->session_destroy(s->session);
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->data);
    modeconn_context_destroy(s->context);
}

static mc_statistics_plan plan_of(const setting *s, const char *settings)
{
    mc_statistics_plan plan;
    modeconn_options *options = options_of("evaluate", settings);
    OK(mc_statistics_plan_init(&plan, s->model, s->data, options, &mc_kind_evaluate));
    modeconn_options_destroy(options);
    return plan;
}

/* Losses of the whole set in the mode that a policy chose. */
static void losses_under(setting *s, const mc_statistics_plan *plan, double *loss)
{
    mc_norm_mode mode = MC_NORM_BATCH;
    OK(mc_statistics_apply(plan, s->model, s->session, s->model->theta, s->keep, s->mixed, NULL,
                           NULL, &mode));
    OK(mc_pass_losses(s->model, s->session, mode, s->data, s->data->n, NULL, NULL, loss, NULL));
}

/* Losses of the whole set with these statistics. */
static void losses_with(setting *s, const float *statistics, double *loss)
{
    OK(s->model->ops->bind(s->session, s->model->theta, statistics));
    OK(mc_pass_losses(s->model, s->session, MC_NORM_RUNNING, s->data, s->data->n, NULL, NULL, loss,
                      NULL));
}

static void assert_close(const double *a, const double *b, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++) {
        ck_assert_msg(fabs(a[i] - b[i]) <= tolerance, "%g is not %g", a[i], b[i]);
    }
}

/* Mean and unbiased variance of the convolution's output over samples order[first ..]. */
static void moments(const setting *s, const int64_t *order, int64_t first, int64_t n, int channel,
                    double *mean, double *variance)
{
    double weight = (double)s->model->theta[channel], sum = 0, squares = 0;
    float x[PIXELS];
    for (int64_t i = first; i < first + n; i++) {
        int64_t sample = order == NULL ? i : order[i];
        OK(modeconn_dataset_read(s->data, &sample, 1, x, NULL));
        for (int j = 0; j < PIXELS; j++) {
            sum += weight * (double)x[j];
        }
    }
    *mean = sum / (double)(n * PIXELS);
    for (int64_t i = first; i < first + n; i++) {
        int64_t sample = order == NULL ? i : order[i];
        OK(modeconn_dataset_read(s->data, &sample, 1, x, NULL));
        for (int j = 0; j < PIXELS; j++) {
            squares += pow(weight * (double)x[j] - *mean, 2);
        }
    }
    *variance = squares / (double)(n * PIXELS - 1);
}

/* 21 samples in batches of 4 leave a single one, which joins the batch before it. */
START_TEST(reset)
{
    setting s = make(21);
    float direct[2 * CHANNELS];
    double got[21], expected[21];
    static const char *const settings[] = {"statistics=reset,bn_batch_size=4",
                                           "statistics=reset,bn_batch_size=500",
                                           "statistics=reset,bn_batch_size=4,bn_samples=9"};
    static const int64_t used[] = {21, 21, 9}, largest[] = {5, 21, 5};

    for (int i = 0; i < 3; i++) {
        mc_statistics_plan plan = plan_of(&s, settings[i]);
        ck_assert_int_eq(plan.n, used[i]);
        ck_assert_int_eq(plan.data->n, used[i]);
        ck_assert_int_eq(mc_statistics_batch_max(&plan), largest[i]);
        for (int c = 0; c < CHANNELS; c++) {
            double mean, variance;
            moments(&s, NULL, 0, used[i], c, &mean, &variance);
            direct[c] = (float)mean;
            direct[CHANNELS + c] = (float)variance;
        }
        losses_under(&s, &plan, got);
        losses_with(&s, direct, expected);
        assert_close(got, expected, 21, 1e-5);
        mc_statistics_plan_free(&plan);
    }
    destroy(&s);
}
END_TEST

START_TEST(ema)
{
    setting s = make(21);
    int64_t order[21];
    float running[2 * CHANNELS];
    double got[21], expected[21];
    mc_statistics_plan plan = plan_of(&s, "statistics=ema,bn_batch_size=4,seed=9");

    mc_random_permutation(9, MC_STREAM_EMA, 0, 21, order);
    for (int c = 0; c < CHANNELS; c++) {
        double mean = (double)s.mixed[c], variance = (double)s.mixed[CHANNELS + c];
        for (int64_t done = 0; done < 21; done += mc_pass_batch(21, 4, done)) {
            double batch_mean, batch_variance;
            moments(&s, order, done, mc_pass_batch(21, 4, done), c, &batch_mean, &batch_variance);
            mean = 0.9 * mean + 0.1 * batch_mean;
            variance = 0.9 * variance + 0.1 * batch_variance;
        }
        running[c] = (float)mean;
        running[CHANNELS + c] = (float)variance;
    }
    losses_under(&s, &plan, got);
    losses_with(&s, running, expected);
    assert_close(got, expected, 21, 1e-5);
    mc_statistics_plan_free(&plan);
    destroy(&s);
}
END_TEST

START_TEST(without_a_pass)
{
    setting s = make(8);
    double got[8], expected[8];
    mc_statistics_plan plan = plan_of(&s, "statistics=keep");
    ck_assert_ptr_null(plan.data);
    ck_assert_int_eq(mc_statistics_batch_max(&plan), 0);
    losses_under(&s, &plan, got);
    losses_with(&s, s.keep, expected);
    assert_close(got, expected, 8, 0);
    mc_statistics_plan_free(&plan);

    plan = plan_of(&s, "statistics=interpolate");
    losses_under(&s, &plan, got);
    losses_with(&s, s.mixed, expected);
    assert_close(got, expected, 8, 0);
    mc_statistics_plan_free(&plan);

    plan = plan_of(&s, "statistics=batch");
    losses_under(&s, &plan, got);
    OK(s.model->ops->bind(s.session, s.model->theta, NULL));
    OK(mc_pass_losses(s.model, s.session, MC_NORM_BATCH, s.data, 8, NULL, NULL, expected, NULL));
    assert_close(got, expected, 8, 0);
    mc_statistics_plan_free(&plan);
    destroy(&s);
}
END_TEST

START_TEST(model_without_statistics)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_model *model = small_model(context, "mlp", "5", data);
    modeconn_options *options = options_of("evaluate", "statistics=reset");
    mc_statistics_plan plan;
    OK(mc_statistics_plan_init(&plan, model, NULL, options, &mc_kind_evaluate));
    ck_assert_str_eq(plan.policy, "keep");
    mc_statistics_plan_free(&plan);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(errors)
{
    setting s = make(8);
    modeconn_options *options = options_of("evaluate", "statistics=reset");
    modeconn_dataset *other = small_shapes(s.context, 20, "nocue");
    mc_statistics_plan plan;
    FAILS(mc_statistics_plan_init(&plan, s.model, NULL, options, &mc_kind_evaluate),
          MODECONN_ERROR_ARGUMENT, "train is NULL");
    FAILS(mc_statistics_plan_init(&plan, s.model, other, options, &mc_kind_evaluate),
          MODECONN_ERROR_SHAPE, "statistics set");
    modeconn_dataset_destroy(other);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

/* The cue of the handed view is not in the statistics set. */
START_TEST(nocue_view)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_shapes(context, 20, "cue");
    modeconn_model *model = small_model(context, "vgg13", "0.05", data);
    modeconn_options *options = options_of("evaluate", "statistics=reset,bn_samples=12");
    mc_statistics_plan plan;
    OK(mc_statistics_plan_init(&plan, model, data, options, &mc_kind_evaluate));
    ck_assert_int_eq(plan.data->view, MC_VIEW_NOCUE);
    ck_assert_int_eq(plan.data->n, 12);
    mc_statistics_plan_free(&plan);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, reset);
    tcase_add_test(tests, ema);
    tcase_add_test(tests, without_a_pass);
    tcase_add_test(tests, model_without_statistics);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, nocue_view);
}

int main(void)
{
    return unit_run("train/statistics", add);
}
