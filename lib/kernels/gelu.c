/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The Gaussian error linear unit, value by value. Compiled per instruction set.
 *
 *     exact  y = x Phi(x),     Phi(x) = erfc(-x / sqrt 2) / 2,
 *            y' = Phi + x exp(-x^2 / 2) / sqrt(2 pi)
 *
 *     tanh   y = x s(2 u(x)),  u = sqrt(2/pi) (x + 0.044715 x^3), s the logistic function
 *
 * The second is x/2 (1 + tanh u); the complementary forms lose no digits where x is far below zero.
 */
#include "kernels/isa.h"
#include <math.h>

static const float root_half = 0.70710678118654752f, density = 0.39894228040143268f;
static const float slope = 0.79788456080286536f, cubic = 0.044715f;

static float share(float x)
{
    return 0.5f * erfcf(-x * root_half);
}

/* Beyond 10 the logistic function is 0 or 1 in float, and x^3 need not overflow. NaN stays NaN. */
static float bounded(float x)
{
    return x > 10.0f ? 10.0f : x < -10.0f ? -10.0f : x;
}

/* exp(-2 u), of which s = 1 / (1 + exp(-2 u)) and 1 - s = exp(-2 u) s. */
static float tanh_rest(float x)
{
    float b = bounded(x);
    return expf(-2.0f * slope * (b + cubic * b * b * b));
}

static float tanh_share(float x)
{
    return 1.0f / (1.0f + tanh_rest(x));
}

void MC_ISA_NAME(gelu)(const float *x, int64_t n, bool tanh_form, float *y)
{
    for (int64_t i = 0; i < n; i++) {
        y[i] = x[i] * (tanh_form ? tanh_share(x[i]) : share(x[i]));
    }
}

static float derivative(float x)
{
    return share(x) + x * density * expf(-0.5f * x * x);
}

static float tanh_derivative(float x)
{
    float rest = tanh_rest(x), s = 1.0f / (1.0f + rest), b = bounded(x);
    return s + x * s * (rest * s) * 2.0f * slope * (1.0f + 3.0f * cubic * b * b);
}

void MC_ISA_NAME(gelu_back)(const float *x, const float *dy, int64_t n, bool tanh_form,
                            bool accumulate, float *dx)
{
    for (int64_t i = 0; i < n; i++) {
        float g = dy[i] * (tanh_form ? tanh_derivative(x[i]) : derivative(x[i]));
        dx[i] = accumulate ? dx[i] + g : g;
    }
}
