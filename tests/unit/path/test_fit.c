/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Fitting: the step of every control point against finite differences through the path in double,
 * momentum and both decays against the formulas, ends untouched, equal bits for any number of
 * threads, cancelling, errors.
 */
#include "nn/graph.h"
#include "path/path.h"
#include "train/small.h"

/* Mean cross-entropy in double at gamma(t), control point `moved` shifted by `by` in one place. */
typedef struct loss_of {
    const modeconn_path *path;
    mc_plain *plain;
    double t, *theta, *x;
    const int32_t *y;
    int64_t n;
} loss_of;

static double loss_at(const loss_of *of, int64_t moved, int64_t place, double by)
{
    const modeconn_path *path = of->path;
    const modeconn_model *model = path->points[0];
    double w[MC_PATH_POINTS_MAX], sum = 0;
    path->family->weights(of->t, path->n_points, w);
    for (int64_t i = 0; i < model->n_theta; i++) {
        of->theta[i] = 0;
        for (int64_t k = 0; k < path->n_points; k++) {
            of->theta[i] +=
                w[k] * ((double)path->points[k]->theta[i] + (k == moved && i == place ? by : 0));
        }
    }
    mc_plain_forward(of->plain, of->theta, NULL, MC_NORM_BATCH, of->x);
    const double *logits = mc_plain_logits(of->plain);
    for (int64_t i = 0; i < of->n; i++) {
        double total = 0;
        for (int64_t j = 0; j < model->classes; j++) {
            total += exp(logits[i * model->classes + j]);
        }
        sum += log(total) - logits[i * model->classes + of->y[i]];
    }
    return sum / (double)of->n;
}

static const char *const kinds[] = {
    "family=bezier,degree=2,start=random", "family=bezier,degree=3,start=random",
    "family=bezier,degree=4,start=random", "family=chain,bends=1,start=random",
    "family=chain,bends=3,start=random"};

static modeconn_path *make_path(modeconn_context *context, const modeconn_dataset *data,
                                const char *arch, const char *size, const char *settings)
{
    modeconn_model *a = small_model(context, arch, size, data), *b = NULL;
    modeconn_options *options = options_of("path", settings);
    modeconn_path *path = NULL;
    OK(modeconn_model_clone(a, &b));
    for (int64_t i = 0; i < b->n_theta; i++) {
        b->theta[i] += 0.2F * (float)mc_random_normal(5, 1005, (uint64_t)i, 0);
    }
    OK(modeconn_path_create(a, b, options, &path));
    modeconn_options_destroy(options);
    modeconn_model_destroy(a);
    modeconn_model_destroy(b);
    return path;
}

/* One plain step of rate 1 in mode curve moves each control point by minus its gradient. */
START_TEST(finite_differences)
{
    enum { N = 6, STEPS = 3 };
    static const double ts[STEPS] = {0.2, 0.55, 0.8};
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_points(context, N, 1);
    float x[N * 4], velocity_memory[4][200], theta[200], grad[200], scaled[200], before[5][200];
    float *velocity[5] = {NULL, velocity_memory[0], velocity_memory[1], velocity_memory[2], NULL};
    double x64[N * 4], theta64[200];
    int32_t y[N];
    OK(mc_dataset_gather(data, NULL, 0, N, x, y));
    for (int i = 0; i < N * 4; i++) {
        x64[i] = (double)x[i];
    }
    modeconn_path *path = make_path(context, data, "mlp", "5", kinds[_i]);
    const modeconn_model *model = path->points[0];
    loss_of of = {.path = path, .theta = theta64, .x = x64, .y = y, .n = N};
    mc_session *session;
    ck_assert_int_le(model->n_theta, 200);
    OK(mc_plain_create(model->graph, N, &of.plain));
    OK(model->ops->session_create(model, N, 1, true, &session));
    for (int s = 0; s < STEPS; s++) {
        double w[MC_PATH_POINTS_MAX], apart = 0, norm = 0;
        mc_batch batch = {x, y, N};
        mc_path_update update = {.rate = 1, .first = true};
        of.t = ts[s];
        path->family->weights(of.t, path->n_points, w);
        mc_path_at(path, of.t, theta, NULL);
        OK(model->ops->bind(session, theta, NULL));
        OK(model->ops->gradient(session, &batch, 1.0, NULL, NULL, grad, NULL));
        for (int64_t k = 0; k < path->n_points; k++) {
            memcpy(before[k], path->points[k]->theta, (size_t)model->n_theta * sizeof(float));
        }
        mc_path_step(path, &update, of.t, theta, grad, scaled, velocity);
        for (int64_t k = 0; k < path->n_points; k++) {
            float *values = path->points[k]->theta;
            bool end = k == 0 || k == path->n_points - 1;
            for (int64_t i = 0; i < model->n_theta; i++) {
                float moved = values[i];
                values[i] = before[k][i];
                before[k][i] = moved; /* swapped: the path is as it was */
            }
            if (end) {
                ck_assert_int_eq(memcmp(values, before[k], (size_t)model->n_theta * sizeof(float)),
                                 0);
            }
        }
        for (int64_t k = 1; k < path->n_points - 1; k++) {
            for (int64_t i = 0; i < model->n_theta; i++) {
                double d = (loss_at(&of, k, i, 1e-5) - loss_at(&of, k, i, -1e-5)) / 2e-5;
                double step = (double)path->points[k]->theta[i] - (double)before[k][i];
                apart += (d - step) * (d - step);
                norm += d * d;
            }
        }
        ck_assert_double_gt(norm, 0);
        ck_assert_msg(sqrt(apart / norm) < 1e-5, "%s at t %g: %g off", kinds[_i], of.t,
                      sqrt(apart / norm));
    }
    model->ops->session_destroy(session);
    mc_plain_free(of.plain);
    modeconn_path_destroy(path);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Two steps of a midpoint by hand: momentum, decay of gamma(t) or of the midpoint, both modes. */
START_TEST(formulas)
{
    bool reference = _i % 2 == 1, curve = _i / 2 == 1;
    const double decay = 0.1, momentum = 0.9, rate = 0.5, ts[2] = {0.3, 0.6};
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_path *path = make_path(context, data, "mlp", "5", "start=random");
    float theta[200], grad[200], scaled[200], memory[200], *velocity[3] = {NULL, memory, NULL};
    int64_t n = path->points[0]->n_theta;
    double m[200], v[200];
    ck_assert_int_le(n, 200);
    for (int64_t i = 0; i < n; i++) {
        m[i] = (double)path->points[1]->theta[i];
        grad[i] = (float)mc_random_normal(9, 1006, (uint64_t)i, 0);
    }
    for (int s = 0; s < 2; s++) {
        double t = ts[s], w = 2 * t * (1 - t);
        mc_path_update update = {.sgd = {.momentum = momentum, .weight_decay = curve ? 0 : decay},
                                 .rate = rate,
                                 .curve_decay = curve ? decay : 0,
                                 .reference = reference,
                                 .first = s == 0};
        mc_path_at(path, t, theta, NULL);
        mc_path_step(path, &update, t, theta, grad, scaled, velocity);
        for (int64_t i = 0; i < n; i++) {
            double a = (double)path->points[0]->theta[i], b = (double)path->points[2]->theta[i];
            double gamma = (1 - t) * (1 - t) * a + w * m[i] + t * t * b;
            double g = ((double)grad[i] + (curve ? decay * gamma : 0)) * (reference ? 1 : w) +
                       (curve ? 0 : decay * m[i]);
            v[i] = s == 0 ? g : momentum * v[i] + g;
            m[i] -= rate * (reference ? w : 1) * v[i];
            ck_assert_double_eq_tol((double)path->points[1]->theta[i], m[i], 2e-6);
        }
    }
    modeconn_path_destroy(path);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static const char *const runs[] = {
    "epochs=2,batch_size=32,learning_rate=0.05,seed=4",
    "epochs=2,batch_size=32,learning_rate=0.05,seed=4,mode=reference,views=cue,nocue,randcue",
    "epochs=1,batch_size=16,t_law=arc,schedule=cosine,seed=4"};

START_TEST(same_bits)
{
    modeconn_path *paths[2];
    for (int k = 0; k < 2; k++) {
        modeconn_context *context = small_context(k == 0 ? 1 : 3);
        modeconn_dataset *data = small_shapes(context, 70, "nocue");
        modeconn_options *options = options_of("path_fit", runs[_i]);
        modeconn_model *ends[2];
        modeconn_history *history = NULL;
        int64_t epochs;
        paths[k] = make_path(context, data, "vgg13", "0.05", "degree=3");
        OK(modeconn_model_clone(paths[k]->points[0], &ends[0]));
        OK(modeconn_model_clone(paths[k]->points[3], &ends[1]));
        OK(modeconn_path_fit(paths[k], data, options, NULL, NULL));
        ck_assert(small_equal(ends[0], paths[k]->points[0]));
        ck_assert(small_equal(ends[1], paths[k]->points[3]));
        OK(modeconn_path_history(paths[k], &history));
        OK(modeconn_history_size(history, &epochs, NULL));
        ck_assert_int_eq(epochs, _i == 2 ? 1 : 2);
        modeconn_history_destroy(history);
        modeconn_model_destroy(ends[0]);
        modeconn_model_destroy(ends[1]);
        modeconn_options_destroy(options);
        modeconn_dataset_destroy(data);
        modeconn_context_destroy(context);
    }
    for (int64_t i = 0; i < 4; i++) {
        ck_assert(small_equal(paths[0]->points[i], paths[1]->points[i]));
    }
    modeconn_path_destroy(paths[0]);
    modeconn_path_destroy(paths[1]);
}
END_TEST

/* Milestones and warm-up are those of training: a drop after each epoch, told in two ways; and a
 * first rate of a third. */
START_TEST(rates)
{
    static const char *const told[] = {"epochs=2,batch_size=20,seed=4,step_epochs=1",
                                       "epochs=2,batch_size=20,seed=4,milestones=1",
                                       "epochs=2,batch_size=20,seed=4,milestones=0.5"};
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 60, 1);
    modeconn_path *paths[3];
    for (int k = 0; k < 3; k++) {
        modeconn_options *options = options_of("path_fit", told[k]);
        paths[k] = make_path(context, data, "mlp", "8", "");
        OK(modeconn_path_fit(paths[k], data, options, NULL, NULL));
        ck_assert(small_equal(paths[0]->points[1], paths[k]->points[1]));
        modeconn_options_destroy(options);
    }
    modeconn_options *options = options_of("path_fit", "batch_size=20,warmup_epochs=1");
    modeconn_fitter *fitter = NULL;
    OK(modeconn_fitter_create(paths[0], data, options, &fitter));
    ck_assert_double_eq_tol(mc_run_rate(&fitter->run), 0.1 / 3, 1e-12);
    modeconn_fitter_destroy(fitter);
    OK(modeconn_options_set_str(options, "milestones", "2,1"));
    FAILS(modeconn_fitter_create(paths[0], data, options, &fitter), MODECONN_ERROR_ARGUMENT,
          "milestones");
    modeconn_options_destroy(options);
    for (int k = 0; k < 3; k++) {
        modeconn_path_destroy(paths[k]);
    }
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(learns)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 60, 1);
    modeconn_path *path = make_path(context, data, "mlp", "8", "start=random");
    modeconn_options *options =
        options_of("path_fit", "epochs=30,batch_size=20,learning_rate=0.1,schedule=constant");
    modeconn_history *history = NULL;
    double early, late;
    OK(modeconn_path_fit(path, data, options, NULL, NULL));
    OK(modeconn_path_history(path, &history));
    OK(modeconn_history_value(history, "loss", 0, &early));
    OK(modeconn_history_value(history, "loss", 29, &late));
    ck_assert_double_lt(late, early);
    modeconn_history_destroy(history);
    modeconn_options_destroy(options);
    modeconn_path_destroy(path);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* The last update of an epoch: no loss sees what it did. */
START_TEST(last_update)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 40, 1);
    modeconn_path *path = make_path(context, data, "mlp", "5", "degree=2");
    modeconn_options *options =
        options_of("path_fit", "epochs=1,batch_size=16,learning_rate=0.01,schedule=step,"
                               "step_factor=1e42,milestones=0.7");
    modeconn_model *before = NULL;
    OK(modeconn_model_clone(path->points[1], &before));
    FAILS(modeconn_path_fit(path, data, options, NULL, NULL), MODECONN_ERROR_NUMERIC,
          "control point 1: ");
    ck_assert(small_equal(path->points[1], before));
    modeconn_model_destroy(before);
    modeconn_options_destroy(options);
    modeconn_path_destroy(path);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(errors)
{
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 9, 1), *shapes = small_shapes(context, 9, "cue");
    modeconn_path *path = make_path(context, data, "mlp", "5", "degree=2");
    modeconn_path *line = make_path(context, data, "mlp", "5", "family=linear");
    modeconn_path *deep = make_path(context, shapes, "vgg13", "0.05", "degree=2");
    modeconn_path *lost = make_path(context, data, "mlp", "5", "family=chain,bends=1");
    modeconn_options *wrong = options_of("train", ""), *views = options_of("path_fit", "views=x");
    modeconn_options *twice = options_of("path_fit", "views=nocue,nocue");
    modeconn_options *single = options_of("path_fit", "batch_size=8");
    modeconn_options *wild = options_of("path_fit", "epochs=3,learning_rate=1e38");
    modeconn_history *history = NULL;
    small_stop stop = {.at = 1};
    FAILS(modeconn_path_fit(NULL, data, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_fit(path, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "dataset");
    FAILS(modeconn_path_fit(path, data, wrong, NULL, NULL), MODECONN_ERROR_ARGUMENT, "train");
    FAILS(modeconn_path_fit(path, data, views, NULL, NULL), MODECONN_ERROR_UNKNOWN, "x");
    FAILS(modeconn_path_fit(path, data, twice, NULL, NULL), MODECONN_ERROR_ARGUMENT, "twice");
    FAILS(modeconn_path_fit(path, shapes, NULL, NULL, NULL), MODECONN_ERROR_SHAPE, "mlp");
    FAILS(modeconn_path_fit(line, data, NULL, NULL, NULL), MODECONN_ERROR_UNSUPPORTED, "linear");
    FAILS(modeconn_path_fit(deep, shapes, single, NULL, NULL), MODECONN_ERROR_UNSUPPORTED,
          "batch norm");
    FAILS(modeconn_path_fit(lost, data, wild, NULL, NULL), MODECONN_ERROR_NUMERIC, "");
    FAILS(modeconn_path_history(NULL, &history), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_history(path, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_fit(path, data, NULL, small_progress, &stop), MODECONN_ERROR_CANCELLED,
          "cancelled");
    OK(modeconn_path_fit(path, data, NULL, NULL, NULL)); /* usable after it */
    modeconn_path_destroy(lost);
    modeconn_options_destroy(wild);
    modeconn_options_destroy(wrong);
    modeconn_options_destroy(views);
    modeconn_options_destroy(twice);
    modeconn_options_destroy(single);
    modeconn_path_destroy(deep);
    modeconn_path_destroy(line);
    modeconn_path_destroy(path);
    modeconn_dataset_destroy(shapes);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, finite_differences, 0, 5);
    tcase_add_loop_test(tests, formulas, 0, 4);
    tcase_add_loop_test(tests, same_bits, 0, 3);
    tcase_add_test(tests, rates);
    tcase_add_test(tests, learns);
    tcase_add_test(tests, last_update);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("path/fit", add);
}
