/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sums and rectification, value by value, and the table of this instruction set. Compiled per
 * instruction set.
 */
#include "kernels/isa.h"

void MC_ISA_NAME(add)(const float *restrict a, const float *restrict b, int64_t n, bool relu,
                      float *restrict y)
{
    if (b == NULL) {
        for (int64_t i = 0; i < n; i++) {
            y[i] = relu && a[i] < 0.0f ? 0.0f : a[i];
        }
    } else if (relu) {
        for (int64_t i = 0; i < n; i++) {
            float v = a[i] + b[i];
            y[i] = v < 0.0f ? 0.0f : v; /* NaN stays NaN */
        }
    } else {
        for (int64_t i = 0; i < n; i++) {
            y[i] = a[i] + b[i];
        }
    }
}

void MC_ISA_NAME(pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx)
{
    for (int64_t i = 0; i < n; i++) {
        float g = y == NULL || y[i] > 0.0f ? dy[i] : 0.0f;
        dx[i] = accumulate ? dx[i] + g : g;
    }
}

#define MC_ISA_TEXT2(isa) #isa
#define MC_ISA_TEXT(isa) MC_ISA_TEXT2(isa)

const mc_kernels MC_ISA_NAME(kernels) = {
    .isa = MC_ISA_TEXT(MC_ISA),
    .lanes = MC_LANES,
    .vectors = MC_VECTORS,
    .pack_panels = MC_ISA_NAME(pack_panels),
    .product = MC_ISA_NAME(product),
    .outer = MC_ISA_NAME(outer),
    .winograd_input = MC_ISA_NAME(winograd_input),
    .winograd_cotangent = MC_ISA_NAME(winograd_cotangent),
    .winograd_output = MC_ISA_NAME(winograd_output),
    .winograd_filter = MC_ISA_NAME(winograd_filter),
    .winograd_filter_back = MC_ISA_NAME(winograd_filter_back),
    .moments = MC_ISA_NAME(moments),
    .affine = MC_ISA_NAME(affine),
    .norm_reduce = MC_ISA_NAME(norm_reduce),
    .norm_apply = MC_ISA_NAME(norm_apply),
    .add = MC_ISA_NAME(add),
    .pass_back = MC_ISA_NAME(pass_back),
    .mean_rows = MC_ISA_NAME(mean_rows),
    .mean_rows_back = MC_ISA_NAME(mean_rows_back),
    .sum_rows = MC_ISA_NAME(sum_rows),
    .gelu = MC_ISA_NAME(gelu),
    .gelu_back = MC_ISA_NAME(gelu_back),
    .layer_norm = MC_ISA_NAME(layer_norm),
    .layer_norm_back = MC_ISA_NAME(layer_norm_back),
};
