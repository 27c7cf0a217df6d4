/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Families of paths: weights, ends exact to the bit, lengths against closed forms, where control
 * points start, what does not go together.
 */
#include "path/path.h"
#include "train/small.h"

static modeconn_context *context;
static modeconn_dataset *data;
static modeconn_model *first, *second;

static void setup(void)
{
    context = small_context(2);
    data = small_points(context, 9, 1);
    first = small_model(context, "mlp", "5", data);
    OK(modeconn_model_clone(first, &second));
    for (int64_t i = 0; i < second->n_theta; i++) {
        second->theta[i] += (float)(i % 7) - 2.5F;
    }
    first->theta[0] = -0.0F;
}

static void teardown(void)
{
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}

static modeconn_path *path_of(const char *settings)
{
    modeconn_options *options = options_of("path", settings);
    modeconn_path *path = NULL;
    OK(modeconn_path_create(first, second, options, &path));
    modeconn_options_destroy(options);
    return path;
}

START_TEST(weights)
{
    double w[MC_PATH_POINTS_MAX];
    for (int64_t count = 2; count <= MC_PATH_POINTS_MAX; count += 31) {
        for (int i = 0; i <= 10; i++) {
            double t = i / 10.0, sum = 0, chain = 0;
            mc_path_bezier.weights(t, count, w);
            for (int64_t k = 0; k < count; k++) {
                double degree = (double)count - 1, at = (double)k;
                double c = exp(lgamma(degree + 1) - lgamma(at + 1) - lgamma(degree - at + 1));
                ck_assert_double_eq_tol(w[k], c * pow(t, at) * pow(1 - t, degree - at), 1e-11);
                sum += w[k];
            }
            ck_assert_double_eq_tol(sum, 1, 1e-14);
            mc_path_chain.weights(t, count, w);
            for (int64_t k = 0; k < count; k++) {
                chain += w[k] * (double)k; /* mean control point is where t says */
            }
            ck_assert_double_eq_tol(chain, t * (double)(count - 1), 1e-12);
        }
    }
}
END_TEST

static const char *const families[] = {
    "family=linear",          "family=bezier,degree=1",
    "family=bezier,degree=2", "family=bezier,degree=7,start=random",
    "family=chain,bends=0",   "family=chain,bends=3,start=random",
};

START_TEST(ends)
{
    modeconn_path *path = path_of(families[_i]);
    modeconn_model *at = NULL;
    for (int end = 0; end < 2; end++) {
        OK(modeconn_path_model(path, end, &at));
        ck_assert(small_equal(at, end == 0 ? first : second));
        modeconn_model_destroy(at);
    }
    modeconn_path_destroy(path);
}
END_TEST

/* Control points on the line: the curve is the line, travelled at even speed. */
START_TEST(starts)
{
    modeconn_path *line = path_of("family=linear"), *curve = path_of("family=bezier,degree=5");
    double expected, length;
    OK(modeconn_path_length(line, &expected));
    OK(modeconn_path_length(curve, &length));
    ck_assert_double_eq_tol(length, expected, 1e-6 * expected);
    modeconn_path_destroy(curve);
    curve = path_of("degree=2");
    modeconn_model *middle = NULL;
    OK(modeconn_path_control(curve, 1, &middle));
    for (int64_t i = 0; i < middle->n_theta; i++) {
        ck_assert(middle->theta[i] ==
                  (float)(0.5 * (double)first->theta[i] + 0.5 * (double)second->theta[i]));
    }
    modeconn_model_destroy(middle);
    modeconn_path *a = path_of("degree=3,start=random,seed=3"); /* the seed that made `first` */
    modeconn_path *b = path_of("degree=3,start=random,seed=3");
    modeconn_path *c = path_of("degree=3,start=random,seed=4");
    ck_assert(small_equal(a->points[1], b->points[1]));
    ck_assert(!small_equal(a->points[1], c->points[1]));
    ck_assert(!small_equal(a->points[1], a->points[2]));
    ck_assert(a->points[1]->theta[1] != first->theta[1]);
    modeconn_path_destroy(a);
    modeconn_path_destroy(b);
    modeconn_path_destroy(c);
    modeconn_path_destroy(curve);
    modeconn_path_destroy(line);
}
END_TEST

/* One object of options serves several families. */
START_TEST(settings_not_read)
{
    static const struct {
        const char *read, *more;
    } rows[] = {
        {"family=linear", "family=linear,degree=4,bends=3,start=random,seed=5"},
        {"family=bezier,degree=3", "family=bezier,degree=3,bends=5,seed=5"},
        {"family=chain,bends=2", "family=chain,bends=2,degree=7"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t n = 0, same = 0;
        modeconn_path *plain = path_of(rows[i].read), *other = path_of(rows[i].more);
        OK(modeconn_path_size(plain, &n));
        OK(modeconn_path_size(other, &same));
        ck_assert_int_eq(n, same);
        for (int64_t k = 0; k < n; k++) {
            ck_assert(small_equal(plain->points[k], other->points[k]));
        }
        modeconn_path_destroy(other);
        modeconn_path_destroy(plain);
    }
}
END_TEST

/* A parabola from (0,0) over (1/2,c) to (1,0) in the first two coordinates. */
START_TEST(lengths)
{
    const double c = 3, root = sqrt(1 + 4 * c * c);
    double arc = root / 2 + asinh(2 * c) / (4 * c), length;
    modeconn_model *points[3];
    for (int k = 0; k < 3; k++) {
        OK(modeconn_model_clone(first, &points[k]));
        memset(points[k]->theta, 0, (size_t)first->n_theta * sizeof(float));
        points[k]->theta[0] = 0.5F * (float)k;
        points[k]->theta[1] = k == 1 ? (float)c : 0;
    }
    modeconn_path *path = NULL;
    const modeconn_model *const list[3] = {points[0], points[1], points[2]};
    OK(modeconn_path_from_models("bezier", list, 3, &path));
    OK(modeconn_path_length(path, &length));
    ck_assert_double_eq_tol(length, arc, 1e-9 * arc);
    double *gram = mc_path_gram(path);
    ck_assert_ptr_nonnull(gram);
    ck_assert_double_eq_tol(mc_path_arc(path, gram, 0.5), 0.5, 1e-9); /* by symmetry */
    double t = mc_path_arc(path, gram, 0.2);
    ck_assert_double_eq_tol(path->family->length(gram, 2, t), 0.2 * arc, 1e-8);
    mc_free(context, gram);
    modeconn_path_destroy(path);
    OK(modeconn_path_from_models("chain", list, 3, &path));
    OK(modeconn_path_length(path, &length));
    ck_assert_double_eq_tol(length, 2 * sqrt(0.25 + c * c), 1e-12);
    modeconn_path_destroy(path);
    for (int k = 0; k < 3; k++) {
        modeconn_model_destroy(points[k]);
    }
}
END_TEST

START_TEST(errors)
{
    modeconn_model *other = small_model(context, "mlp", "6", data), *at = NULL;
    const modeconn_model *const list[3] = {first, NULL, second}, *const mixed[2] = {first, other};
    modeconn_options *wrong = options_of("train", "");
    modeconn_path *path = NULL;
    int64_t size;
    FAILS(modeconn_path_create(NULL, first, NULL, &path), MODECONN_ERROR_ARGUMENT, "first");
    FAILS(modeconn_path_create(first, NULL, NULL, &path), MODECONN_ERROR_ARGUMENT, "second");
    FAILS(modeconn_path_create(first, second, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_create(first, second, wrong, &path), MODECONN_ERROR_ARGUMENT, "train");
    FAILS(modeconn_path_create(first, other, NULL, &path), MODECONN_ERROR_SHAPE, "differ");
    FAILS(modeconn_path_from_models(NULL, list, 3, &path), MODECONN_ERROR_ARGUMENT, "family");
    FAILS(modeconn_path_from_models("chain", NULL, 3, &path), MODECONN_ERROR_ARGUMENT, "models");
    FAILS(modeconn_path_from_models("chain", list, 3, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_from_models("spline", list, 3, &path), MODECONN_ERROR_UNKNOWN, "spline");
    FAILS(modeconn_path_from_models("chain", list, 1, &path), MODECONN_ERROR_ARGUMENT, "is 1");
    FAILS(modeconn_path_from_models("bezier", list, 65, &path), MODECONN_ERROR_ARGUMENT, "is 65");
    FAILS(modeconn_path_from_models("linear", list, 3, &path), MODECONN_ERROR_ARGUMENT, "is 3");
    FAILS(modeconn_path_from_models("chain", list, 3, &path), MODECONN_ERROR_ARGUMENT, "[1]");
    FAILS(modeconn_path_from_models("linear", mixed, 2, &path), MODECONN_ERROR_SHAPE, "differ");
    ck_assert_ptr_null(path);
    OK(modeconn_path_create(first, second, NULL, &path));
    OK(modeconn_path_size(path, &size));
    ck_assert_int_eq(size, 3);
    FAILS(modeconn_path_size(NULL, &size), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_size(path, NULL), MODECONN_ERROR_ARGUMENT, "points");
    FAILS(modeconn_path_control(NULL, 0, &at), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_control(path, 0, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_control(path, 3, &at), MODECONN_ERROR_ARGUMENT, "3");
    FAILS(modeconn_path_control(path, -1, &at), MODECONN_ERROR_ARGUMENT, "-1");
    modeconn_path_destroy(path);
    modeconn_options_destroy(wrong);
    modeconn_model_destroy(other);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, weights);
    tcase_add_loop_test(tests, ends, 0, 6);
    tcase_add_test(tests, starts);
    tcase_add_test(tests, settings_not_read);
    tcase_add_test(tests, lengths);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("path/create", add);
}
