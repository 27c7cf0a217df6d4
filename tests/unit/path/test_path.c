/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every path does: combining control points, parameters and models along it, its errors, the
 * snapshot of its ends.
 */
#include "path/path.h"
#include "train/small.h"

enum { N = 40000 };

static float *values(uint32_t stream)
{
    float *x = malloc(N * sizeof(*x));
    ck_assert_ptr_nonnull(x);
    for (int64_t i = 0; i < N; i++) {
        x[i] = (float)(4 * mc_random_f64(1, stream, (uint64_t)i, 0) - 2);
    }
    x[0] = -0.0F;
    return x;
}

START_TEST(interpolates)
{
    float *a = values(1001), *b = values(1002), *first = NULL;
    for (int64_t threads = 1; threads <= 3; threads++) {
        modeconn_context *context = small_context(threads);
        float *out = malloc(N * sizeof(*out));
        ck_assert_ptr_nonnull(out);
        mc_interpolate(context, 0, a, b, N, out);
        ck_assert_int_eq(memcmp(out, a, N * sizeof(*out)), 0);
        mc_interpolate(context, 1, a, b, N, out);
        ck_assert_int_eq(memcmp(out, b, N * sizeof(*out)), 0);
        mc_interpolate(context, 0.3, a, b, N, out);
        for (int64_t i = 0; i < N; i++) {
            float exact = (float)((1 - 0.3) * (double)a[i] + 0.3 * (double)b[i]);
            ck_assert(out[i] == exact);
        }
        if (first == NULL) {
            first = out;
        } else {
            ck_assert_int_eq(memcmp(out, first, N * sizeof(*out)), 0);
            free(out);
        }
        modeconn_context_destroy(context);
    }
    free(first);
    free(b);
    free(a);
}
END_TEST

/* gamma(t) from one end is gamma(1-t) from the other, to a float's last place; a point and itself
 * give that point to the bit. */
START_TEST(reversed)
{
    modeconn_context *context = small_context(2);
    float *a = values(1001), *b = values(1002);
    float *there = malloc(N * sizeof(*there)), *back = malloc(N * sizeof(*back));
    ck_assert(there != NULL && back != NULL);
    for (int i = 0; i <= 24; i++) {
        double t = (double)i / 24.0;
        mc_interpolate(context, t, a, b, N, there);
        mc_interpolate(context, 1.0 - t, b, a, N, back);
        int64_t apart = 0;
        for (int64_t k = 0; k < N; k++) {
            apart += there[k] != back[k] && nextafterf(there[k], back[k]) != back[k];
        }
        ck_assert_int_eq(apart, 0);
        mc_interpolate(context, t, a, a, N, there);
        ck_assert_int_eq(memcmp(there, a, N * sizeof(*there)), 0);
    }
    free(back);
    free(there);
    free(b);
    free(a);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(combines)
{
    modeconn_context *context = small_context(2);
    float *p[3] = {values(1001), values(1002), values(1003)};
    const float *const points[3] = {p[0], p[1], p[2]};
    float *out = malloc(N * sizeof(*out));
    const double middle[3] = {0, 1, 0}, mix[3] = {0.25, 0.5, 0.25};
    mc_combine(context, 3, middle, points, N, out);
    ck_assert_int_eq(memcmp(out, p[1], N * sizeof(*out)), 0);
    mc_combine(context, 3, mix, points, N, out);
    for (int64_t i = 0; i < N; i++) {
        ck_assert_double_eq_tol(
            (double)out[i], 0.25 * (double)p[0][i] + 0.5 * (double)p[1][i] + 0.25 * (double)p[2][i],
            1e-6);
    }
    for (int i = 0; i < 3; i++) {
        free(p[i]);
    }
    free(out);
    modeconn_context_destroy(context);
}
END_TEST

typedef struct ends {
    modeconn_context *context;
    modeconn_dataset *data;
    modeconn_model *first, *second;
} ends;

static ends make(const char *arch, const char *size)
{
    ends e = {.context = small_context(2)};
    e.data = small_shapes(e.context, 40, "nocue");
    e.first = small_model(e.context, arch, size, e.data);
    OK(modeconn_model_clone(e.first, &e.second));
    modeconn_options *options = options_of("train", "epochs=1,batch_size=20");
    OK(modeconn_train(e.second, e.data, options, NULL, NULL));
    modeconn_options_destroy(options);
    return e;
}

static void destroy(ends *e)
{
    modeconn_model_destroy(e->second);
    modeconn_model_destroy(e->first);
    modeconn_dataset_destroy(e->data);
    modeconn_context_destroy(e->context);
}

START_TEST(models_along)
{
    ends e = make("vgg13", "0.05");
    modeconn_path *path = NULL;
    modeconn_model *at = NULL;
    OK(modeconn_path_linear(e.first, e.second, &path));
    OK(modeconn_path_model(path, 0, &at));
    ck_assert(small_equal(at, e.first));
    modeconn_model_destroy(at);
    OK(modeconn_path_model(path, 1, &at));
    ck_assert(small_equal(at, e.second));
    modeconn_model_destroy(at);

    OK(modeconn_path_model(path, 0.5, &at));
    int64_t size;
    float *a = small_state(e.first, &size), *b = small_state(e.second, &size);
    float *middle = small_state(at, &size);
    for (int64_t i = 0; i < size; i++) { /* statistics too */
        ck_assert(middle[i] == (float)(0.5 * (double)a[i] + 0.5 * (double)b[i]));
    }
    float *theta = malloc((size_t)size * sizeof(*theta));
    OK(modeconn_path_parameters(path, 0.5, theta, e.first->n_theta));
    ck_assert_int_eq(memcmp(theta, middle, (size_t)e.first->n_theta * sizeof(*theta)), 0);
    free(theta);
    free(middle);
    free(b);
    free(a);
    modeconn_model_destroy(at);
    modeconn_path_destroy(path);
    destroy(&e);
}
END_TEST

/* The ends may change or go; the path does not. */
START_TEST(snapshot)
{
    ends e = make("mlp", "8");
    modeconn_path *path = NULL;
    modeconn_model *kept = NULL, *at = NULL;
    int64_t n = e.first->n_theta;
    OK(modeconn_model_clone(e.first, &kept));
    OK(modeconn_path_linear(e.first, e.second, &path));
    float *zeros = calloc((size_t)n, sizeof(*zeros));
    OK(modeconn_model_set_parameters(e.first, zeros, n));
    free(zeros);
    destroy(&e);
    OK(modeconn_path_model(path, 0, &at));
    ck_assert(small_equal(at, kept));
    modeconn_path_destroy(path);
    modeconn_model_destroy(at);
    modeconn_model_destroy(kept);
}
END_TEST

START_TEST(errors)
{
    ends e = make("mlp", "8");
    modeconn_path *path = NULL;
    modeconn_model *at = NULL;
    const char *family = NULL;
    double length;
    float theta[1];
    OK(modeconn_path_linear(e.first, e.second, &path));
    FAILS(modeconn_path_family(NULL, &family), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_family(path, NULL), MODECONN_ERROR_ARGUMENT, "family");
    FAILS(modeconn_path_length(NULL, &length), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_length(path, NULL), MODECONN_ERROR_ARGUMENT, "length");
    FAILS(modeconn_path_parameters(NULL, 0, theta, 1), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_parameters(path, 0, NULL, 1), MODECONN_ERROR_ARGUMENT, "theta");
    FAILS(modeconn_path_parameters(path, 0, theta, 1), MODECONN_ERROR_SHAPE, "count is 1");
    FAILS(modeconn_path_model(NULL, 0, &at), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_path_model(path, 0, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_path_model(path, 1.5, &at), MODECONN_ERROR_ARGUMENT, "1.5");
    FAILS(modeconn_path_model(path, NAN, &at), MODECONN_ERROR_ARGUMENT, "nan");
    ck_assert_ptr_null(at);
    float *enough = malloc((size_t)e.first->n_theta * sizeof(*enough));
    FAILS(modeconn_path_parameters(path, -0.1, enough, e.first->n_theta), MODECONN_ERROR_ARGUMENT,
          "-0.1");
    free(enough);
    modeconn_path_destroy(NULL);
    modeconn_path_destroy(path);
    destroy(&e);
}
END_TEST

START_TEST(out_of_memory)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *data = small_points(context, 6, 1);
    modeconn_model *model = small_model(context, "mlp", "5", data);
    for (long k = 1;; k++) {
        modeconn_path *path = NULL;
        modeconn_model *at = NULL;
        long live = atomic_load(&allocator.live);
        failing_at(&allocator, k);
        int32_t status = modeconn_path_linear(model, model, &path);
        if (status == MODECONN_OK) {
            status = modeconn_path_model(path, 0.5, &at);
        }
        failing_at(&allocator, 0);
        modeconn_model_destroy(at);
        modeconn_path_destroy(path);
        ck_assert_int_eq(atomic_load(&allocator.live), live);
        if (status == MODECONN_OK) {
            ck_assert_int_gt(k, 4);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
    }
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, interpolates);
    tcase_add_test(tests, reversed);
    tcase_add_test(tests, combines);
    tcase_add_test(tests, models_along);
    tcase_add_test(tests, snapshot);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, out_of_memory);
}

int main(void)
{
    return unit_run("path/path", add);
}
