/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Barriers of a sampled curve L(t), t[0] = 0 .. t[n-1] = 1 (docs/measurements.md):
 *
 *   linear  sup_t [L(t) - ((1-t) L(0) + t L(1))]
 *   mean    max(0, sup_t L(t) - (L(0) + L(1)) / 2)
 *   max     max(0, sup_t L(t) - max(L(0), L(1)))
 *   half    L(1/2) - (L(0) + L(1)) / 2
 */
#include "measure/measure.h"
#include <math.h>

/* Definition 1's height. Both ends contribute 0 by definition, so it is never negative. The
 * baseline is taken down from the higher end: rounding can then lift it neither above that end
 * (linear >= max holds exactly) nor off a constant (which has no barrier at all). */
static double linear_barrier(const double *t, const double *values, int64_t n)
{
    double first = values[0], last = values[n - 1], height = 0.0;
    bool falls = first > last;
    double top = falls ? first : last, drop = falls ? first - last : last - first;
    for (int64_t i = 1; i < n - 1; i++) {
        double above = values[i] - (top - (falls ? t[i] : 1.0 - t[i]) * drop);
        if (above > height) {
            height = above;
        }
    }
    return height;
}

static double height_over(const double *values, int64_t n, double level)
{
    double height = 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (values[i] - level > height) {
            height = values[i] - level;
        }
    }
    return height;
}

/* Points are i/n in integers, so that 1/2 is met exactly or not at all. */
static double half_barrier(const double *t, const double *values, int64_t n, double level)
{
    for (int64_t i = 0; i < n; i++) {
        if (t[i] == 0.5) {
            return values[i] - level;
        }
    }
    return NAN;
}

double mc_barrier(const double *t, const double *values, int64_t n, int32_t definition)
{
    double first = values[0], last = values[n - 1];
    double mean = 0.5 * (first + last);
    switch (definition) {
    case MODECONN_BARRIER_LINEAR:
        return linear_barrier(t, values, n);
    case MODECONN_BARRIER_MEAN:
        return height_over(values, n, mean);
    case MODECONN_BARRIER_MAX:
        return height_over(values, n, first > last ? first : last);
    default:
        return half_barrier(t, values, n, mean);
    }
}
