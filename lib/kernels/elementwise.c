/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Sums and rectification, value by value, and the table of this instruction set. Compiled per
 * instruction set.
 */
#include "kernels/isa.h"
#include <math.h>

/* A vector of the map from value `at` on, channels from i on; constant `through`: it has a scale.
 */
static inline __attribute__((always_inline)) mc_vec
shown(const mc_map *map, bool through, mc_vec floor, int64_t at, int64_t i, mc_mask mask)
{
    mc_vec x = mc_load_masked(map->x + at, mask);
    if (through) {
        x = x * mc_load_masked(map->scale + i, mask) + mc_load_masked(map->offset + i, mask);
        x = mc_max(floor, x);
    }
    return x;
}

static inline __attribute__((always_inline)) void add_rows(const mc_map *a, const mc_map *b,
                                                           bool through_a, bool through_b,
                                                           int64_t rows, int64_t c, bool relu,
                                                           float *y)
{
    const mc_vec none = (mc_vec){0.0f} - INFINITY, zero = {0.0f};
    mc_vec floor = relu ? zero : none, floor_a = a->relu ? zero : none;
    mc_vec floor_b = b != NULL && b->relu ? zero : none;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < c; i += MC_LANES) {
            mc_mask mask = mc_first(c - i);
            mc_vec sum = shown(a, through_a, floor_a, r * c + i, i, mask);
            if (b != NULL) {
                sum += shown(b, through_b, floor_b, r * c + i, i, mask);
            }
            mc_store_masked(y + r * c + i, mask, mc_max(floor, sum)); /* NaN stays NaN */
        }
    }
}

void MC_ISA_NAME(add)(const mc_map *a, const mc_map *b, int64_t rows, bool relu, float *y)
{
    bool through_b = b != NULL && b->scale != NULL;
    if (a->scale != NULL && through_b) {
        add_rows(a, b, true, true, rows, a->c, relu, y);
    } else if (a->scale != NULL) {
        add_rows(a, b, true, false, rows, a->c, relu, y);
    } else if (through_b) {
        add_rows(a, b, false, true, rows, a->c, relu, y);
    } else {
        add_rows(a, b, false, false, 1, rows * a->c, relu, y);
    }
}

void MC_ISA_NAME(pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx)
{
    for (int64_t i = 0; i < n; i += MC_LANES) {
        mc_mask mask = mc_first(n - i);
        mc_vec g = mc_load_masked(dy + i, mask);
        if (y != NULL) {
            g = mc_where_positive(mc_load_masked(y + i, mask), g);
        }
        if (accumulate) {
            g += mc_load_masked(dx + i, mask);
        }
        mc_store_masked(dx + i, mask, g);
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
    .depthwise = MC_ISA_NAME(depthwise),
    .depthwise_outer = MC_ISA_NAME(depthwise_outer),
    .winograd_input = MC_ISA_NAME(winograd_input),
    .winograd_cotangent = MC_ISA_NAME(winograd_cotangent),
    .winograd_output = MC_ISA_NAME(winograd_output),
    .winograd_input_back = MC_ISA_NAME(winograd_input_back),
    .winograd_filter = MC_ISA_NAME(winograd_filter),
    .winograd_filter_back = MC_ISA_NAME(winograd_filter_back),
    .moments = MC_ISA_NAME(moments),
    .affine = MC_ISA_NAME(affine),
    .norm_reduce = MC_ISA_NAME(norm_reduce),
    .mask_reduce = MC_ISA_NAME(mask_reduce),
    .norm_apply = MC_ISA_NAME(norm_apply),
    .add = MC_ISA_NAME(add),
    .pass_back = MC_ISA_NAME(pass_back),
    .window_sum = MC_ISA_NAME(window_sum),
    .mean_back = MC_ISA_NAME(mean_back),
    .sum_rows = MC_ISA_NAME(sum_rows),
    .gelu = MC_ISA_NAME(gelu),
    .gelu_back = MC_ISA_NAME(gelu_back),
    .layer_norm = MC_ISA_NAME(layer_norm),
    .layer_norm_back = MC_ISA_NAME(layer_norm_back),
    .uniform = MC_ISA_NAME(uniform),
};
