/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The law of t; the cross-entropy and the invariance term against twins in double, their
 * cotangents against finite differences of those, with classes missing from either batch and
 * class means that vanish.
 */
#include "finetune/finetune.h"
#include "train/small.h"

static const mc_draw truncated = {false, 0.5, 0.5}, clipped = {true, 0.5, 0.5};

enum { A = 7, B = 9, CLASSES = 5, WIDTH = 4, DRAWS = 20000 };

/* ---- t ------------------------------------------------------------------------------------- */

START_TEST(truncated_draws)
{
    double sum = 0, squares = 0;
    for (int64_t step = 0; step < DRAWS; step++) {
        double t = mc_cbft_draw_t(5, &truncated, step);
        ck_assert(t >= 0 && t <= 1);
        sum += t;
        squares += (t - 0.5) * (t - 0.5);
    }
    ck_assert_double_eq_tol(sum / DRAWS, 0.5, 0.01);
    /* variance of N(1/2, 1/2) truncated at one deviation: 1/4 (1 - 2 phi(1) / (2 Phi(1) - 1)) */
    ck_assert_double_eq_tol(squares / DRAWS, 0.0728, 0.002);
}
END_TEST

START_TEST(clipped_draws)
{
    int64_t low = 0, high = 0;
    for (int64_t step = 0; step < DRAWS; step++) {
        double t = mc_cbft_draw_t(5, &clipped, step);
        ck_assert(t >= 0.25 && t <= 0.75);
        low += t == 0.25;
        high += t == 0.75;
    }
    ck_assert_double_eq_tol((double)low / DRAWS, 0.3085, 0.012);
    ck_assert_double_eq_tol((double)high / DRAWS, 0.3085, 0.012);
}
END_TEST

START_TEST(draws_are_functions)
{
    ck_assert_double_eq(mc_cbft_draw_t(5, &truncated, 3), mc_cbft_draw_t(5, &truncated, 3));
    ck_assert_double_ne(mc_cbft_draw_t(5, &truncated, 3), mc_cbft_draw_t(5, &truncated, 4));
    ck_assert_double_ne(mc_cbft_draw_t(5, &truncated, 3), mc_cbft_draw_t(6, &truncated, 3));
}
END_TEST

/* ---- the objective -------------------------------------------------------------------------- */

/* Inputs in double, as the twin differentiates them. */
typedef struct inputs {
    int32_t ya[A], yb[B];
    double logits[A * CLASSES], za[A * WIDTH], zb[B * WIDTH];
} inputs;

static const int32_t labels_all[A + B] = {0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 4, 4, 2, 1, 0};
/* class 2 is missing from a, class 4 from b, class 3 from both */
static const int32_t labels_some[A + B] = {0, 1, 4, 4, 4, 0, 1, 0, 1, 2, 2, 0, 1, 2, 1, 0};

static inputs make_inputs(const int32_t *labels, double size)
{
    inputs in;
    for (int i = 0; i < A; i++) {
        in.ya[i] = labels[i];
    }
    for (int i = 0; i < B; i++) {
        in.yb[i] = labels[A + i];
    }
    for (int i = 0; i < A * CLASSES; i++) {
        in.logits[i] = (double)(float)(size * mc_random_normal(1, 1001, (uint64_t)i, 0));
    }
    for (int i = 0; i < A * WIDTH; i++) {
        in.za[i] = (double)(float)mc_random_normal(1, 1002, (uint64_t)i, 0);
    }
    for (int i = 0; i < B * WIDTH; i++) {
        in.zb[i] = (double)(float)mc_random_normal(1, 1003, (uint64_t)i, 0);
    }
    return in;
}

static double twin_ce(const inputs *in)
{
    double sum = 0;
    for (int i = 0; i < A; i++) {
        double total = 0;
        for (int k = 0; k < CLASSES; k++) {
            total += exp(in->logits[i * CLASSES + k] - in->logits[i * CLASSES + in->ya[i]]);
        }
        sum += log(total);
    }
    return sum / A;
}

static int64_t unit_mean(const double *z, const int32_t *y, int n, int k, double *unit)
{
    double length = 0;
    int64_t count = 0;
    for (int j = 0; j < WIDTH; j++) {
        count = 0;
        unit[j] = 0;
        for (int i = 0; i < n; i++) {
            if (y[i] == k) {
                unit[j] += z[i * WIDTH + j];
                count++;
            }
        }
        unit[j] /= count > 0 ? (double)count : 1;
        length += unit[j] * unit[j];
    }
    for (int j = 0; j < WIDTH; j++) {
        unit[j] /= fmax(sqrt(length), 1e-12);
    }
    return count;
}

static double twin_invariance(const inputs *in)
{
    double sum = 0, ua[WIDTH], ub[WIDTH];
    for (int k = 0; k < CLASSES; k++) {
        if (unit_mean(in->za, in->ya, A, k, ua) == 0 || unit_mean(in->zb, in->yb, B, k, ub) == 0) {
            continue;
        }
        for (int j = 0; j < WIDTH; j++) {
            sum += (ua[j] - ub[j]) * (ua[j] - ub[j]);
        }
    }
    return sum;
}

/* The library's objective of the same inputs. */
typedef struct outputs {
    int32_t status;
    double ce, invariance;
    int64_t hits;
    float d_logits[A * CLASSES], d_logits_b[B * CLASSES], d_za[A * WIDTH], d_zb[B * WIDTH];
} outputs;

static void run(const inputs *in, double weight, outputs *out)
{
    modeconn_context *context = small_context(1);
    modeconn_model model = {.context = context, .classes = CLASSES, .representation_width = WIDTH};
    mc_cbft_objective objective;
    float logits[A * CLASSES], logits_b[B * CLASSES] = {0}, za[A * WIDTH], zb[B * WIDTH];
    for (int i = 0; i < A * CLASSES; i++) {
        logits[i] = (float)in->logits[i];
    }
    for (int i = 0; i < A * WIDTH; i++) {
        za[i] = (float)in->za[i];
    }
    for (int i = 0; i < B * WIDTH; i++) {
        zb[i] = (float)in->zb[i];
    }
    *out = (outputs){0};
    mc_pair pair = {.n = {A, B},
                    .classes = CLASSES,
                    .width = WIDTH,
                    .y = {in->ya, in->yb},
                    .logits = {logits, logits_b},
                    .representation = {za, zb},
                    .d_logits = {out->d_logits, out->d_logits_b},
                    .d_representation = {out->d_za, out->d_zb}};
    OK(mc_cbft_objective_init(&objective, &model));
    objective.weight = weight;
    out->status = mc_cbft_objective_pair(&objective, &pair);
    out->ce = objective.loss_ce;
    out->invariance = objective.loss_invariance;
    out->hits = objective.hits;
    mc_cbft_objective_free(&objective);
    modeconn_context_destroy(context);
}

/* Central difference of `f` by *x. */
static double slope(double (*f)(const inputs *), inputs *in, double *x, double h)
{
    double centre = *x;
    *x = centre + h;
    double above = f(in);
    *x = centre - h;
    double below = f(in);
    *x = centre;
    return (above - below) / (2 * h);
}

static void assert_slope(float got, double expected)
{
    ck_assert_msg(fabs((double)got - expected) <= 1e-6 * fabs(expected) + 1e-8, "%g is not %g",
                  (double)got, expected);
}

START_TEST(cross_entropy)
{
    inputs in = make_inputs(labels_all, 2);
    outputs out;
    int64_t hits = 0;
    run(&in, 0, &out);
    OK(out.status);
    ck_assert_double_eq_tol(out.ce, twin_ce(&in), 1e-12);
    for (int i = 0; i < A * CLASSES; i++) {
        assert_slope(out.d_logits[i], slope(twin_ce, &in, &in.logits[i], 1e-5));
    }
    for (int i = 0; i < B * CLASSES; i++) { /* the cue batch has no cross-entropy */
        ck_assert(out.d_logits_b[i] == 0);
    }
    for (int i = 0; i < A; i++) {
        int best = 0;
        for (int k = 1; k < CLASSES; k++) {
            best = in.logits[i * CLASSES + k] > in.logits[i * CLASSES + best] ? k : best;
        }
        hits += best == in.ya[i];
    }
    ck_assert_int_eq(out.hits, hits);
}
END_TEST

/* Logits of a thousand and more neither overflow nor lose the loss; ties go to the lowest class. */
START_TEST(extreme_logits)
{
    inputs in = make_inputs(labels_all, 0);
    outputs out;
    for (int i = 0; i < A; i++) {
        in.logits[i * CLASSES + 1] = in.logits[i * CLASSES + 3] = 2000;
    }
    run(&in, 0, &out);
    OK(out.status);
    ck_assert_int_eq(out.hits, 2); /* label 1 twice; label 3 loses the tie */
    /* log 2 for the three labels 1, 1, 3 and 2000 + log 2 for the other four */
    ck_assert_double_eq_tol(out.ce, log(2) + 2000.0 * 4 / 7, 1e-9);
    ck_assert_float_eq_tol(out.d_logits[0 * CLASSES + 0], -1.0F / A, 1e-7F);
    ck_assert_float_eq_tol(out.d_logits[1 * CLASSES + 1], -0.5F / A, 1e-7F);
}
END_TEST

static void check_invariance(inputs *in, double step_of_class_0)
{
    outputs out;
    const double weight = 0.3;
    run(in, weight, &out);
    OK(out.status);
    ck_assert_double_eq_tol(out.invariance, twin_invariance(in), 1e-12);
    for (int i = 0; i < A * WIDTH; i++) {
        double h = in->ya[i / WIDTH] == 0 ? step_of_class_0 : 1e-6;
        assert_slope(out.d_za[i], weight * slope(twin_invariance, in, &in->za[i], h));
    }
    for (int i = 0; i < B * WIDTH; i++) {
        assert_slope(out.d_zb[i], weight * slope(twin_invariance, in, &in->zb[i], 1e-6));
    }
}

START_TEST(invariance)
{
    inputs in = make_inputs(labels_all, 1);
    check_invariance(&in, 1e-6);
}
END_TEST

START_TEST(missing_classes)
{
    inputs in = make_inputs(labels_some, 1);
    outputs out;
    check_invariance(&in, 1e-6);
    run(&in, 1, &out);
    for (int i = 0; i < A * WIDTH; i++) {
        ck_assert(in.ya[i / WIDTH] != 4 || out.d_za[i] == 0);
    }
    for (int i = 0; i < B * WIDTH; i++) {
        ck_assert(in.yb[i / WIDTH] != 2 || out.d_zb[i] == 0);
    }
}
END_TEST

/* Class 0 of batch a has the mean zero: below the clamp the term is linear in z / 1e-12. */
START_TEST(zero_vectors)
{
    inputs in = make_inputs(labels_all, 1);
    outputs out;
    for (int i = 0; i < A * WIDTH; i++) {
        in.za[i] = in.ya[i / WIDTH] == 0 ? 0 : in.za[i];
    }
    check_invariance(&in, 1e-14);
    for (int i = 0; i < A * WIDTH; i++) { /* nearly zero */
        in.za[i] = in.ya[i / WIDTH] == 0 ? (double)(1e-13F * (float)(i % 3 + 1)) : in.za[i];
    }
    check_invariance(&in, 1e-15);
    for (int i = 0; i < A * WIDTH; i++) {
        in.za[i] = in.ya[i / WIDTH] == 0 ? 0 : in.za[i];
    }
    for (int i = 0; i < B * WIDTH; i++) { /* and in both batches: no difference, no gradient */
        in.zb[i] = in.yb[i / WIDTH] == 0 ? 0 : in.zb[i];
    }
    run(&in, 1, &out);
    ck_assert_double_eq_tol(out.invariance, twin_invariance(&in), 1e-12);
    for (int i = 0; i < A * WIDTH; i++) {
        ck_assert(in.ya[i / WIDTH] != 0 || out.d_za[i] == 0);
    }
}
END_TEST

START_TEST(without_weight)
{
    inputs in = make_inputs(labels_all, 1);
    outputs out;
    run(&in, 0, &out);
    ck_assert_double_eq_tol(out.invariance, twin_invariance(&in), 1e-12);
    for (int i = 0; i < A * WIDTH; i++) {
        ck_assert(out.d_za[i] == 0);
    }
    for (int i = 0; i < B * WIDTH; i++) {
        ck_assert(out.d_zb[i] == 0);
    }
}
END_TEST

START_TEST(not_finite)
{
    inputs in = make_inputs(labels_all, 1);
    outputs out;
    in.logits[3] = -NAN;
    run(&in, 1, &out);
    ck_assert_int_eq(out.status, MODECONN_ERROR_NUMERIC);
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), " is nan"));
    in = make_inputs(labels_all, 1);
    in.zb[3] = INFINITY;
    run(&in, 1, &out);
    ck_assert_int_eq(out.status, MODECONN_ERROR_NUMERIC);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, truncated_draws);
    tcase_add_test(tests, clipped_draws);
    tcase_add_test(tests, draws_are_functions);
    tcase_add_test(tests, cross_entropy);
    tcase_add_test(tests, extreme_logits);
    tcase_add_test(tests, invariance);
    tcase_add_test(tests, missing_classes);
    tcase_add_test(tests, zero_vectors);
    tcase_add_test(tests, without_weight);
    tcase_add_test(tests, not_finite);
}

int main(void)
{
    return unit_run("finetune/cbft_objective", add);
}
