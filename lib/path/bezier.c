/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bezier curves of degree d over d + 1 control points: w_i(t) = C(d, i) t^i (1-t)^(d-i) (degree 2
 * is the paper's quadratic path). The speed is |gamma'(t)| = d |sum_k b_k(t) (P_{k+1} - P_k)| with
 * the weights b of degree d - 1.
 */
#include "path/path.h"
#include <math.h>

/* De Casteljau's recursion on the weights: no large binomials, exact 0 and 1 at the ends. */
static void bezier_weights(double t, int64_t count, double *w)
{
    w[0] = 1;
    for (int64_t level = 1; level < count; level++) {
        w[level] = t * w[level - 1];
        for (int64_t i = level - 1; i > 0; i--) {
            w[i] = (1 - t) * w[i] + t * w[i - 1];
        }
        w[0] *= 1 - t;
    }
}

static double speed(const double *gram, int64_t legs, double t)
{
    double b[MC_PATH_POINTS_MAX], sum = 0;
    bezier_weights(t, legs, b);
    for (int64_t i = 0; i < legs; i++) {
        for (int64_t j = 0; j < legs; j++) {
            sum += b[i] * b[j] * gram[i * legs + j];
        }
    }
    return sum > 0 ? (double)legs * sqrt(sum) : 0; /* rounding may go below 0 at a cusp */
}

/* Composite Gauss-Legendre of five points on 64 intervals: within 1e-9 of the whole where the
 * speed has no zero nearby, 1e-4 at a cusp. */
static double bezier_length(const double *gram, int64_t legs, double t)
{
    static const double node[3] = {0, 0.53846931010568309, 0.90617984593866399};
    static const double weight[3] = {0.56888888888888889, 0.47862867049936647, 0.23692688505618909};
    enum { INTERVALS = 64 };
    double half = t / (2 * INTERVALS), sum = 0;
    for (int i = 0; i < INTERVALS; i++) {
        double middle = (2 * i + 1) * half;
        sum += weight[0] * speed(gram, legs, middle);
        for (int k = 1; k < 3; k++) {
            sum += weight[k] * (speed(gram, legs, middle - half * node[k]) +
                                speed(gram, legs, middle + half * node[k]));
        }
    }
    return sum * half;
}

const mc_path_family mc_path_bezier = {"bezier", 2, MC_PATH_POINTS_MAX, bezier_weights,
                                       bezier_length};
