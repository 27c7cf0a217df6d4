/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Against PyTorch (make_path_goldens.py): control points of Bezier curves and chains after two
 * epochs through the public call, in both modes and with both decays, orders, t and a short batch
 * included; loss and accuracy along curves whose statistics are reset at every point.
 */
#include "golden.h"
#include "path/path.h"

enum { POINTS = 7 };

static modeconn_context *context;
static golden g;
static modeconn_dataset *train, *test;
static modeconn_model *ends[2];

static void setup(void)
{
    golden curve;
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
    golden_open(&curve, context, "curve.expected");
    train = golden_dataset(&curve, "train.", 10, NULL);
    test = golden_dataset(&curve, "test.", 10, NULL);
    golden_close(&curve);
    ends[0] = golden_model(context, "curve_first", "vgg13", train);
    ends[1] = golden_model(context, "curve_second", "vgg13", train);
    golden_open(&g, context, "path.expected");
}

static void teardown(void)
{
    golden_close(&g);
    modeconn_model_destroy(ends[0]);
    modeconn_model_destroy(ends[1]);
    modeconn_dataset_destroy(train);
    modeconn_dataset_destroy(test);
    modeconn_context_destroy(context);
}

static const struct {
    const char *name, *path, *fit;
} fits[] = {
    {"curve", "degree=2", "mode=curve,seed=3"},
    {"reference", "degree=2", "mode=reference,seed=1"},
    {"cubic", "degree=3", "mode=curve,decay=points,seed=1"},
    {"chain", "family=chain,bends=2", "mode=curve,seed=3"},
};
enum { N_FITS = sizeof(fits) / sizeof(fits[0]) };

START_TEST(test_fits)
{
    modeconn_options *shape = options_of("path", fits[_i].path);
    modeconn_options *options =
        options_of("path_fit", "epochs=2,batch_size=16,learning_rate=0.05,weight_decay=5e-3");
    modeconn_path *path = NULL;
    modeconn_history *history = NULL;
    double losses[2];
    OK(modeconn_options_parse(options, fits[_i].fit));
    OK(modeconn_path_create(ends[0], ends[1], shape, &path));
    OK(modeconn_path_fit(path, train, options, NULL, NULL));
    OK(modeconn_path_history(path, &history));
    for (int64_t epoch = 0; epoch < 2; epoch++) {
        OK(modeconn_history_value(history, "loss", epoch, &losses[epoch]));
    }
    golden_near_f64(&g, golden_tensor(&g, "%s.loss", fits[_i].name), losses, 2, TOLERANCE_LOSS);
    for (int64_t k = 1; k < path->n_points - 1; k++) {
        char name[GOLDEN_NAME];
        snprintf(name, sizeof(name), "%s.%lld", fits[_i].name, (long long)k);
        golden_theta_near(&g, name, path->points[k], path->points[k]->theta, NULL,
                          TOLERANCE_GRADIENT);
    }
    modeconn_history_destroy(history);
    modeconn_path_destroy(path);
    modeconn_options_destroy(options);
    modeconn_options_destroy(shape);
}
END_TEST

static const char *const families[] = {"bezier", "chain"};

START_TEST(test_curves)
{
    const modeconn_model *const points[4] = {ends[0], ends[1], ends[0], ends[1]};
    modeconn_options *options = options_of("curve", "points=7,bn_batch_size=20,views=nocue");
    modeconn_path *path = NULL;
    modeconn_curve *curve = NULL;
    double loss[POINTS], accuracy[POINTS];
    OK(modeconn_path_from_models(families[_i], points, 4, &path));
    OK(modeconn_curve_measure(path, train, test, options, NULL, NULL, &curve));
    OK(modeconn_curve_values(curve, "nocue", loss, accuracy, POINTS));
    const mc_tensor *expected = golden_tensor(&g, "along.%s.loss", families[_i]);
    double *values = golden_f64(expected);
    for (int i = 0; i < POINTS; i++) {
        ck_assert_msg(fabs(loss[i] - values[i]) <= TOLERANCE_CURVE * values[i],
                      "%s, point %d: %.6f, expected %.6f", families[_i], i, loss[i], values[i]);
    }
    golden_near_f64(&g, golden_tensor(&g, "along.%s.accuracy", families[_i]), accuracy, POINTS,
                    1e-12);
    free(values);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(path);
    modeconn_options_destroy(options);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_fits, 0, N_FITS);
    tcase_add_loop_test(tests, test_curves, 0, 2);
}

int main(void)
{
    return unit_run("golden path", add);
}
