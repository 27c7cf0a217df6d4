/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a source that is compiled once per instruction set includes: its functions are named
 * MC_ISA_NAME(x) = mc_x_<isa>, with MC_ISA (baseline, avx2, avx512) from the build.
 */
#ifndef MC_ISA_H
#define MC_ISA_H

#include "kernels/kernels.h"
#if defined(__AVX2__)
#    include <immintrin.h>
#endif

/* Before a loop whose iterations do not depend on each other though its pointers may be equal. */
#if defined(__clang__)
#    define MC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#    define MC_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* A vector register of floats, loaded and stored at any address. What a product keeps in registers
 * (product.c) are the sums of MC_ROWS rows by up to two vectors of columns, or of half as many rows
 * by four where MC_VECTORS is 4, or of twice as many by one: 24 of 32 or 12 of 16 registers. */
#if defined(__AVX512F__)
#    define MC_LANES 16
#    define MC_ROWS 12
#    define MC_VECTORS 4
#elif defined(__AVX2__)
#    define MC_LANES 8
#    define MC_ROWS 6
#    define MC_VECTORS 2
#elif defined(__aarch64__)
#    define MC_LANES 4
#    define MC_ROWS 12
#    define MC_VECTORS 4
#else
#    define MC_LANES 4
#    define MC_ROWS 4
#    define MC_VECTORS 2
#endif
typedef float mc_vec __attribute__((vector_size(MC_LANES * sizeof(float)), aligned(4), may_alias));

/* Elementwise maximum; b where one of them is not a number. */
static inline mc_vec mc_max(mc_vec a, mc_vec b)
{
#if defined(__AVX512F__)
    return (mc_vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (mc_vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    typedef int32_t mask __attribute__((vector_size(MC_LANES * sizeof(int32_t))));
    mask greater = (mask)(a > b);
    return (mc_vec)((greater & (mask)a) | (~greater & (mask)b));
#endif
}

/* Before a loop of few iterations that has to vanish. */
#define MC_UNROLL _Pragma("GCC unroll 24")

#define MC_ISA_PASTE2(x, isa) mc_##x##_##isa
#define MC_ISA_PASTE(x, isa) MC_ISA_PASTE2(x, isa)
#define MC_ISA_NAME(x) MC_ISA_PASTE(x, MC_ISA)

void MC_ISA_NAME(pack_panels)(int64_t k, int64_t n, mc_matrix b, int64_t panel_rows, float *to);
void MC_ISA_NAME(product)(const mc_product *p);
void MC_ISA_NAME(outer)(const mc_outer *p);
void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const mc_map *x, int64_t first,
                                 int64_t tiles, mc_planes v);
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t count, int64_t first, int64_t tiles, mc_planes d);
void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t first,
                                  int64_t tiles, const float *bias, bool accumulate, bool relu,
                                  float *y);
void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const float *weight, int64_t c, int64_t o,
                                  bool backward, int64_t first, int64_t count, mc_planes u);
void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const float *du, int64_t c, int64_t o,
                                       int64_t first, int64_t count, int64_t groups,
                                       bool accumulate, float *grad);
void MC_ISA_NAME(moments)(const float *x, int64_t rows, int64_t c, const float *shift, double *sum,
                          double *square);
void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *scale,
                         const float *offset, bool relu, float *y);
void MC_ISA_NAME(norm_reduce)(const mc_map *x, const float *dy, int64_t rows, const float *shift,
                              double *sum, double *product);
void MC_ISA_NAME(norm_apply)(const mc_map *x, const float *dy, int64_t rows, const float *a,
                             const float *p, const float *q, bool accumulate, float *dx);
void MC_ISA_NAME(add)(const float *a, const float *b, int64_t n, bool relu, float *y);
void MC_ISA_NAME(pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx);
void MC_ISA_NAME(mean_rows)(const float *x, int64_t n, int64_t hw, int64_t c, float *y);
void MC_ISA_NAME(mean_rows_back)(const float *dy, int64_t n, int64_t hw, int64_t c, bool accumulate,
                                 float *dx);
void MC_ISA_NAME(sum_rows)(const float *x, int64_t rows, int64_t c, double *sum);
void MC_ISA_NAME(gelu)(const float *x, int64_t n, bool tanh_form, float *y);
void MC_ISA_NAME(gelu_back)(const float *x, const float *dy, int64_t n, bool tanh_form,
                            bool accumulate, float *dx);
void MC_ISA_NAME(layer_norm)(const float *x, int64_t rows, int64_t d, const float *gamma,
                             const float *beta, double eps, float *moments, float *y);
void MC_ISA_NAME(layer_norm_back)(const float *x, const float *dy, const float *moments,
                                  int64_t rows, int64_t d, const float *gamma, bool accumulate,
                                  float *dx, double *sum, double *product);

extern const mc_kernels MC_ISA_NAME(kernels);

#endif
