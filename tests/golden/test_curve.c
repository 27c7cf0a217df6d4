/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Pooled batch-norm statistics and whole linear curves against PyTorch: two trained VGG-13, 11
 * points, loss and accuracy on 48 test images without and with the cue; 45 images for the
 * statistics, 20 at a time, so that the last batch is short.
 */
#include "golden.h"
#include "train/train.h"

enum { POINTS = 11, TRAIN = 45, TRAIN_BATCH = 20 };

static modeconn_context *context;
static golden g;
static modeconn_dataset *train, *test;
static modeconn_model *ends[2];

static void setup(void)
{
    modeconn_options *options = NULL;
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
    golden_open(&g, context, "curve.expected");
    OK(modeconn_options_create(context, "dataset", &options));
    OK(modeconn_options_set_str(options, "cue", "box"));
    train = golden_dataset(&g, "train.", 10, options);
    test = golden_dataset(&g, "test.", 10, options);
    modeconn_options_destroy(options);
    ends[0] = golden_model(context, "curve_first", "vgg13", train);
    ends[1] = golden_model(context, "curve_second", "vgg13", train);
}

static void teardown(void)
{
    modeconn_model_destroy(ends[0]);
    modeconn_model_destroy(ends[1]);
    modeconn_dataset_destroy(train);
    modeconn_dataset_destroy(test);
    golden_close(&g);
    modeconn_context_destroy(context);
}

/* Statistics pooled at point i of 10, batch by batch. */
static void check_pooled(int i, const char *prefix)
{
    const modeconn_model *model = ends[0];
    const mc_model_ops *ops = model->ops;
    modeconn_path *line = NULL;
    mc_session *session = NULL;
    float *x = golden_f32(golden_tensor(&g, "train.images"));
    int32_t *y = golden_i32(golden_tensor(&g, "train.labels"));
    float *theta = malloc((size_t)model->n_theta * sizeof(float));
    float *statistics = malloc((size_t)model->n_stats * sizeof(float));
    ck_assert(theta != NULL && statistics != NULL);

    OK(modeconn_path_linear(ends[0], ends[1], &line));
    OK(modeconn_path_parameters(line, i / 10.0, theta, model->n_theta));
    OK(ops->session_create(model, TRAIN_BATCH, 1, false, &session));
    OK(ops->bind(session, theta, NULL));
    OK(ops->statistics_begin(session));
    for (int64_t done = 0; done < TRAIN; done += TRAIN_BATCH) {
        mc_batch batch = {x + done * 20 * 20, y + done,
                          TRAIN - done < TRAIN_BATCH ? TRAIN - done : TRAIN_BATCH};
        OK(ops->statistics_add(session, &batch));
    }
    OK(ops->statistics_finish(session, statistics));
    golden_statistics_near(&g, prefix, model, statistics, TOLERANCE_STATISTICS);

    ops->session_destroy(session);
    modeconn_path_destroy(line);
    free(statistics);
    free(theta);
    free(x);
    free(y);
}

START_TEST(test_pooled_statistics)
{
    check_pooled(0, "pooled0");
    check_pooled(3, "pooled3");
}
END_TEST

/* Loss and accuracy of one view; an accuracy is a count of 48, so it agrees to the last image. */
static void check_view(const modeconn_curve *curve, const char *policy, const char *view)
{
    double loss[POINTS], accuracy[POINTS];
    OK(modeconn_curve_values(curve, view, loss, accuracy, POINTS));
    const mc_tensor *losses = golden_tensor(&g, "%s.%s.loss", policy, view);
    golden_near_f64(&g, losses, loss, POINTS, TOLERANCE_CURVE);
    double *expected = golden_f64(losses);
    for (int i = 0; i < POINTS; i++) {
        ck_assert_double_le(fabs(loss[i] - expected[i]), TOLERANCE_CURVE * expected[i]);
    }
    free(expected);
    golden_near_f64(&g, golden_tensor(&g, "%s.%s.accuracy", policy, view), accuracy, POINTS, 1e-12);
}

static const char *const policies[] = {"reset", "interpolate", "batch"};

START_TEST(test_curve)
{
    modeconn_options *options = NULL;
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    OK(modeconn_options_create(context, "curve", &options));
    OK(modeconn_options_parse(options, "points=11,bn_batch_size=20,batch_size=16"));
    OK(modeconn_options_set_str(options, "statistics", policies[_i]));
    OK(modeconn_options_set_str(options, "views", "nocue,cue"));
    OK(modeconn_path_linear(ends[0], ends[1], &line));
    OK(modeconn_curve_measure(line, train, test, options, NULL, NULL, &curve));
    check_view(curve, policies[_i], "nocue");
    check_view(curve, policies[_i], "cue");
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    modeconn_options_destroy(options);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_pooled_statistics);
    tcase_add_loop_test(tests, test_curve, 0, 3);
}

int main(void)
{
    return unit_run("golden curve", add);
}
