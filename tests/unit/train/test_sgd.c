/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The SGD step against a twin in double, over several steps, for every combination of momentum,
 * Nesterov and weight decay; and the same bits for 1, 2 and 3 threads.
 */
#include "train/train.h"
#include "train/small.h"

enum { N = 40000, STEPS = 5 };

static const mc_sgd settings[] = {
    {0.9, 1e-4, false}, {0.9, 1e-4, true}, {0.0, 0.0, false}, {0.5, 0.1, true}, {0.9, 0.0, false},
};

static void fill(float *values, uint32_t stream)
{
    for (int64_t i = 0; i < N; i++) {
        values[i] = (float)(4 * mc_random_f64(1, stream, (uint64_t)i, 0) - 2);
    }
}

static void twin_step(const mc_sgd *sgd, double rate, bool first, double *theta, double *velocity,
                      const float *grad)
{
    for (int64_t i = 0; i < N; i++) {
        double g = (double)grad[i] + sgd->weight_decay * theta[i];
        velocity[i] = first ? g : sgd->momentum * velocity[i] + g;
        theta[i] -= rate * (sgd->nesterov ? g + sgd->momentum * velocity[i] : velocity[i]);
    }
}

/* In one step, or in halves with the gradient added between them. */
static float *run(modeconn_context *context, const mc_sgd *sgd, bool halves, float *grad)
{
    float *theta = malloc(N * sizeof(float)), *velocity = malloc(N * sizeof(float));
    ck_assert(theta != NULL && velocity != NULL);
    fill(theta, 901);
    fill(velocity, 902); /* the first step must not read it */
    for (int step = 0; step < STEPS; step++) {
        fill(grad, 910 + (uint32_t)step);
        double rate = 0.1 / (step + 1);
        if (!halves) {
            mc_sgd_step(context, sgd, rate, step == 0, N, theta, velocity, grad);
            continue;
        }
        mc_sgd_prepare(context, sgd, step == 0, N, theta, velocity);
        for (int64_t i = 0; i < N; i++) {
            velocity[i] += grad[i];
        }
        mc_sgd_move(context, rate, N, theta, velocity);
    }
    free(velocity);
    return theta;
}

START_TEST(twin)
{
    modeconn_context *context = small_context(2);
    float *grad = malloc(N * sizeof(float));
    double *theta = malloc(N * sizeof(double)), *velocity = calloc(N, sizeof(double));
    ck_assert(grad != NULL && theta != NULL && velocity != NULL);
    const mc_sgd *sgd = &settings[_i / 2];
    bool halves = _i % 2 == 1 && !sgd->nesterov;
    float *got = run(context, sgd, halves, grad);
    fill(grad, 901);
    for (int64_t i = 0; i < N; i++) {
        theta[i] = (double)grad[i];
    }
    for (int step = 0; step < STEPS; step++) {
        fill(grad, 910 + (uint32_t)step);
        twin_step(sgd, 0.1 / (step + 1), step == 0, theta, velocity, grad);
    }
    for (int64_t i = 0; i < N; i++) {
        ck_assert_double_eq_tol((double)got[i], theta[i], 4e-6);
    }
    free(got);
    free(velocity);
    free(theta);
    free(grad);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(threads)
{
    float *grad = malloc(N * sizeof(float));
    float *first = NULL;
    ck_assert(grad != NULL);
    for (int64_t count = 1; count <= 3; count++) {
        modeconn_context *context = small_context(count);
        float *got = run(context, &settings[_i], _i == 0, grad);
        if (first == NULL) {
            first = got;
        } else {
            ck_assert_int_eq(memcmp(got, first, N * sizeof(float)), 0);
            free(got);
        }
        modeconn_context_destroy(context);
    }
    free(first);
    free(grad);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, twin, 0, 2 * (int)(sizeof(settings) / sizeof(settings[0])));
    tcase_add_loop_test(tests, threads, 0, 2);
}

int main(void)
{
    return unit_run("train/sgd", add);
}
