/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Polygonal chains: straight legs from control point to control point, each taking an equal share
 * of t whatever its length.
 */
#include "path/path.h"
#include <math.h>

/* Leg of t, and how far along it t is in [0, 1]. */
static int64_t leg_of(double t, int64_t legs, double *along)
{
    int64_t leg = (int64_t)(t * (double)legs);
    leg = leg < legs ? leg : legs - 1;
    *along = t * (double)legs - (double)leg;
    return leg;
}

static void chain_weights(double t, int64_t count, double *w)
{
    double along;
    int64_t leg = leg_of(t, count - 1, &along);
    for (int64_t i = 0; i < count; i++) {
        w[i] = 0;
    }
    w[leg] = 1 - along;
    w[leg + 1] = along;
}

static double chain_length(const double *gram, int64_t legs, double t)
{
    double along, sum = 0;
    int64_t leg = leg_of(t, legs, &along);
    for (int64_t i = 0; i < leg; i++) {
        sum += sqrt(gram[i * legs + i]);
    }
    return sum + along * sqrt(gram[leg * legs + leg]);
}

const mc_path_family mc_path_chain = {"chain", 2, MC_PATH_POINTS_MAX, chain_weights, chain_length};
