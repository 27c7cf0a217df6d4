/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The straight line gamma(t) = (1-t) theta_1 + t theta_2; its length is || theta_2 - theta_1 ||.
 */
#include "path/path.h"
#include <math.h>

static void linear_weights(double t, int64_t count, double *w)
{
    (void)count;
    w[0] = 1 - t;
    w[1] = t;
}

static double linear_length(const double *gram, int64_t legs, double t)
{
    (void)legs;
    return t * sqrt(gram[0]);
}

const mc_path_family mc_path_linear = {"linear", 2, 2, linear_weights, linear_length};

int32_t modeconn_path_linear(const modeconn_model *first, const modeconn_model *second,
                             modeconn_path **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (first == NULL) {
        return mc_null("first");
    }
    if (second == NULL) {
        return mc_null("second");
    }
    const modeconn_model *const ends[2] = {first, second};
    return mc_path_create(&mc_path_linear, ends, 2, MC_NAMES_ALL, out);
}
