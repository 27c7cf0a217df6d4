/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Layer norm of rows and its transpose (the formulas stand in kernels.h), in double: what is left
 * of a row without its mean, and of a gradient without its parts along the row and along ones, may
 * be far smaller than the row. Sums are taken in LANES parts, which are added in order. Compiled
 * per instruction set.
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
                             const float *beta, double eps, double *moments, float *y)
{
    for (int64_t row = 0; row < rows; row++, x += d, y += d, moments += 2) {
        double mean = mean_of(x, d), r = 1.0 / sqrt(variance_of(x, d, mean) + eps);
        moments[0] = mean;
        moments[1] = r;
        for (int64_t i = 0; i < d; i++) {
            double hat = ((double)x[i] - mean) * r;
            y[i] = (float)(gamma != NULL ? hat * (double)gamma[i] + (double)beta[i] : hat);
        }
    }
}

/* g of kernels.h, value i. */
static inline double weighted(const float *dy, const float *gamma, int64_t i)
{
    return gamma != NULL ? (double)dy[i] * (double)gamma[i] : (double)dy[i];
}

/* Means of g and of g xhat over a row. */
static void mean_gradients(const float *x, const float *dy, int64_t d, const float *gamma,
                           double mean, double r, double *plain, double *with_hat)
{
    double sums[LANES] = {0.0}, products[LANES] = {0.0};
    for (int64_t i = 0; i < d; i += LANES) {
        int64_t count = d - i < LANES ? d - i : LANES;
        for (int64_t j = 0; j < count; j++) {
            double g = weighted(dy, gamma, i + j);
            sums[j] += g;
            products[j] += g * ((double)x[i + j] - mean) * r;
        }
    }
    *plain = total(sums) / (double)d;
    *with_hat = total(products) / (double)d;
}

void MC_ISA_NAME(layer_norm_back)(const float *x, const float *dy, const double *moments,
                                  int64_t rows, int64_t d, const float *gamma, bool accumulate,
                                  float *dx, double *sum, double *product)
{
    for (int64_t row = 0; row < rows; row++, x += d, dy += d, moments += 2) {
        double mean = moments[0], r = moments[1], plain, with_hat;
        for (int64_t i = 0; i < d && gamma != NULL; i++) {
            sum[i] += (double)dy[i];
            product[i] += (double)dy[i] * ((double)x[i] - mean) * r;
        }
        if (dx == NULL) {
            continue;
        }
        mean_gradients(x, dy, d, gamma, mean, r, &plain, &with_hat);
        MC_INDEPENDENT
        for (int64_t i = 0; i < d; i++) {
            double hat = ((double)x[i] - mean) * r;
            double v = r * (weighted(dy, gamma, i) - plain - hat * with_hat);
            dx[i] = (float)(accumulate ? (double)dx[i] + v : v);
        }
        dx += d;
    }
}
