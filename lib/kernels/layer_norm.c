/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layer norm of rows and its transpose (the formulas stand in kernels.h). Sums of a row are taken
 * in double in LANES parts, which are added in order. Compiled per instruction set.
 */
#include "kernels/isa.h"
#include <math.h>

enum { LANES = 16 };

static double total(const double lanes[LANES])
{
    double sum = 0.0;
    for (int j = 0; j < LANES; j++) {
        sum += lanes[j];
    }
    return sum;
}

static double mean_of(const float *x, int64_t d)
{
    double lanes[LANES] = {0.0};
    int64_t whole = d - d % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            lanes[j] += (double)x[i + j];
        }
    }
    for (int64_t i = whole; i < d; i++) {
        lanes[i - whole] += (double)x[i];
    }
    return total(lanes) / (double)d;
}

static double variance_of(const float *x, int64_t d, double mean)
{
    double lanes[LANES] = {0.0};
    int64_t whole = d - d % LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        for (int j = 0; j < LANES; j++) {
            double v = (double)x[i + j] - mean;
            lanes[j] += v * v;
        }
    }
    for (int64_t i = whole; i < d; i++) {
        double v = (double)x[i] - mean;
        lanes[i - whole] += v * v;
    }
    return total(lanes) / (double)d;
}

void MC_ISA_NAME(layer_norm)(const float *x, int64_t rows, int64_t d, const float *gamma,
                             const float *beta, double eps, float *moments, float *y)
{
    for (int64_t row = 0; row < rows; row++, x += d, y += d, moments += 2) {
        double mean = mean_of(x, d);
        float m = (float)mean, r = (float)(1.0 / sqrt(variance_of(x, d, mean) + eps));
        moments[0] = m;
        moments[1] = r;
        for (int64_t i = 0; i < d; i++) {
            float hat = (x[i] - m) * r;
            y[i] = gamma != NULL ? hat * gamma[i] + beta[i] : hat;
        }
    }
}

/* Means of g and of g xhat over a row. */
static void mean_gradients(const float *x, const float *dy, int64_t d, const float *gamma, float m,
                           float r, double *plain, double *with_hat)
{
    double sums[LANES] = {0.0}, products[LANES] = {0.0};
    for (int64_t i = 0; i < d; i += LANES) {
        int64_t count = d - i < LANES ? d - i : LANES;
        for (int64_t j = 0; j < count; j++) {
            float g = gamma != NULL ? dy[i + j] * gamma[i + j] : dy[i + j];
            sums[j] += (double)g;
            products[j] += (double)g * (double)((x[i + j] - m) * r);
        }
    }
    *plain = total(sums) / (double)d;
    *with_hat = total(products) / (double)d;
}

void MC_ISA_NAME(layer_norm_back)(const float *x, const float *dy, const float *moments,
                                  int64_t rows, int64_t d, const float *gamma, bool accumulate,
                                  float *dx, double *sum, double *product)
{
    for (int64_t row = 0; row < rows; row++, x += d, dy += d, moments += 2) {
        float m = moments[0], r = moments[1];
        for (int64_t i = 0; i < d && gamma != NULL; i++) {
            sum[i] += (double)dy[i];
            product[i] += (double)dy[i] * (double)((x[i] - m) * r);
        }
        if (dx == NULL) {
            continue;
        }
        double plain, with_hat;
        mean_gradients(x, dy, d, gamma, m, r, &plain, &with_hat);
        float p = (float)plain, q = (float)with_hat;
        MC_INDEPENDENT
        for (int64_t i = 0; i < d; i++) {
            float g = gamma != NULL ? dy[i] * gamma[i] : dy[i];
            float v = r * (g - p - (x[i] - m) * r * q);
            dx[i] = accumulate ? dx[i] + v : v;
        }
        dx += d;
    }
}
