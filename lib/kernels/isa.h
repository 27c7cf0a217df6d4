/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a source that is compiled once per instruction set includes: its functions are named
 * MC_ISA_NAME(x) = mc_x_<isa>, with MC_ISA (baseline, avx2, avx512) from the build.
 */
#ifndef MC_ISA_H
#define MC_ISA_H

#include "kernels/kernels.h"

/* Before a loop whose iterations do not depend on each other though its pointers may be equal. */
#if defined(__clang__)
#    define MC_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#    define MC_INDEPENDENT _Pragma("GCC ivdep")
#endif

#define MC_ISA_PASTE2(x, isa) mc_##x##_##isa
#define MC_ISA_PASTE(x, isa) MC_ISA_PASTE2(x, isa)
#define MC_ISA_NAME(x) MC_ISA_PASTE(x, MC_ISA)

void MC_ISA_NAME(patches)(const mc_window *window, const float *x, int64_t first, int64_t rows,
                          int64_t tap, int64_t taps, float *col);
void MC_ISA_NAME(patches_add)(const mc_window *window, const float *col, int64_t first,
                              int64_t rows, float *x);
void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const float *x, int64_t c, int64_t first,
                                 int64_t tiles, float *v);
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, int64_t c,
                                     int64_t first, int64_t tiles, float *d);
void MC_ISA_NAME(winograd_output)(const mc_winograd *w, const float *m, int64_t c, int64_t first,
                                  int64_t tiles, const float *bias, bool accumulate, float *y);
void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const float *taps, int64_t total,
                                  int64_t first, int64_t count, bool flipped, float *u);
void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const float *du, int64_t total,
                                       int64_t first, int64_t count, int64_t groups, float *taps);
void MC_ISA_NAME(moments)(const float *x, int64_t rows, int64_t c, const float *shift, double *sum,
                          double *square);
void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *scale,
                         const float *offset, bool relu, float *y);
void MC_ISA_NAME(norm_reduce)(const float *x, const float *y, const float *dy, int64_t rows,
                              int64_t c, const float *shift, double *sum, double *product);
void MC_ISA_NAME(norm_apply)(const float *x, const float *y, const float *dy, int64_t rows,
                             int64_t c, const float *a, const float *p, const float *q,
                             bool accumulate, float *dx);
void MC_ISA_NAME(add)(const float *a, const float *b, int64_t n, bool relu, float *y);
void MC_ISA_NAME(pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx);
void MC_ISA_NAME(mean_rows)(const float *x, int64_t n, int64_t hw, int64_t c, float *y);
void MC_ISA_NAME(mean_rows_back)(const float *dy, int64_t n, int64_t hw, int64_t c, bool accumulate,
                                 float *dx);
void MC_ISA_NAME(sum_rows)(const float *x, int64_t rows, int64_t c, double *sum);
void MC_ISA_NAME(fill_rows)(const float *bias, int64_t rows, int64_t c, float *y);

extern const mc_kernels MC_ISA_NAME(kernels);

#endif
