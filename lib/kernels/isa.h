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

/* Of a function that is compiled once, not anew for what some callers always say. */
#if defined(__clang__)
#    define MC_ONCE __attribute__((noinline))
#else
#    define MC_ONCE __attribute__((noinline, noclone))
#endif

/* A vector register of floats, loaded and stored at any address. What a product keeps in registers
 * (product.c, outer.c) are the sums of MC_ROWS rows by MC_VECTORS vectors of columns, MC_ROWS_2 by
 * two or MC_ROWS_1 by one: at most 24 of 32 registers, or 12 of 16. Of MC_ROWS rows and of MC_FEW
 * every even number but 2 is made. */
#if defined(__AVX512F__)
#    define MC_LANES 16
#    define MC_VECTORS 4
#    define MC_ROWS 6
#    define MC_FEW 4
#    define MC_ROWS_2 8
#    define MC_ROWS_1 16
#elif defined(__AVX2__)
#    define MC_LANES 8
#    define MC_VECTORS 2
#    define MC_ROWS 6
#    define MC_FEW 4
#    define MC_ROWS_2 6
#    define MC_ROWS_1 12
#elif defined(__aarch64__)
#    define MC_LANES 4
#    define MC_VECTORS 4
#    define MC_ROWS 6
#    define MC_FEW 4
#    define MC_ROWS_2 8
#    define MC_ROWS_1 16
#else
#    define MC_LANES 4
#    define MC_VECTORS 2
#    define MC_ROWS 4
#    define MC_FEW 2
#    define MC_ROWS_2 4
#    define MC_ROWS_1 8
#endif
typedef float mc_vec __attribute__((vector_size(MC_LANES * sizeof(float)), aligned(4), may_alias));

/* A number in all lanes. */
static inline mc_vec mc_all(float number)
{
#if defined(__AVX512F__)
    return (mc_vec)_mm512_set1_ps(number);
#elif defined(__AVX2__)
    return (mc_vec)_mm256_set1_ps(number);
#else
    return (mc_vec){number, number, number, number};
#endif
}

/* sum += a b, rounded once where the processor can, in the sum's own register: left to choose, the
 * compiler puts the result into that of a or b and then moves sums about, in loops whose every
 * instruction counts. */
static inline __attribute__((always_inline)) void mc_add_product(mc_vec *sum, mc_vec a, mc_vec b)
{
#if defined(__AVX512F__)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
#elif defined(__AVX2__)
    __asm__("vfmadd231ps %2, %1, %0" : "+x"(*sum) : "x"(a), "x"(b));
#else
    *sum += a * b;
#endif
}

/* The same with a number that is multiplied by this vector only: AVX-512 takes it from memory as it
 * multiplies. */
static inline __attribute__((always_inline)) void mc_add_single(mc_vec *sum, float number, mc_vec b)
{
#if defined(__AVX512F__)
    *sum += number * b;
#else
    mc_add_product(sum, mc_all(number), b);
#endif
}

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

/* Forgets what is known of where a pointer comes from. */
#define MC_OPAQUE(pointer) __asm__("" : "+r"(pointer))

/* After a row's part of a step of a sum that fills the registers: where these are 16, the next
 * row's number must not be loaded before this one's is done with. */
#if MC_ROWS_1 >= 16
#    define MC_ROW_DONE ((void)0)
#else
#    define MC_ROW_DONE __asm__ volatile("" ::: "memory")
#endif

/* Before a loop of few iterations that has to vanish. */
#define MC_UNROLL _Pragma("GCC unroll 32")
/* Before one whose body is large enough: unrolled, its addresses would not fit the registers. */
#define MC_ROLLED _Pragma("GCC unroll 1")

/* a0 b0 a1 b1 ... of the lower or the upper half of both. */
#if MC_LANES == 16
#    define MC_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#    define MC_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif MC_LANES == 8
#    define MC_LOW 0, 8, 1, 9, 2, 10, 3, 11
#    define MC_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#    define MC_LOW 0, 4, 1, 5
#    define MC_HIGH 2, 6, 3, 7
#endif
static inline mc_vec mc_interleave_low(mc_vec a, mc_vec b)
{
    return __builtin_shufflevector(a, b, MC_LOW);
}
static inline mc_vec mc_interleave_high(mc_vec a, mc_vec b)
{
    return __builtin_shufflevector(a, b, MC_HIGH);
}

/* A square of rows: row l becomes lane l. Each round interleaves the rows of the first half with
 * the second's. */
static inline __attribute__((always_inline)) void mc_transpose(mc_vec *rows)
{
    mc_vec next[MC_LANES];
    MC_UNROLL
    for (int step = 1; step < MC_LANES; step *= 2) {
        MC_UNROLL
        for (int i = 0; i < MC_LANES / 2; i++) {
            next[2 * i] = mc_interleave_low(rows[i], rows[i + MC_LANES / 2]);
            next[2 * i + 1] = mc_interleave_high(rows[i], rows[i + MC_LANES / 2]);
        }
        MC_UNROLL
        for (int i = 0; i < MC_LANES; i++) {
            rows[i] = next[i];
        }
    }
}

/* Which lanes of a vector are there: the first n, or all where n is more, or none. */
#if defined(__AVX512F__)
typedef __mmask16 mc_mask;
static inline mc_mask mc_first(int64_t n)
{
    return (mc_mask)(n >= MC_LANES ? 0xffff : n <= 0 ? 0 : (1 << n) - 1);
}
#elif defined(__AVX2__)
typedef __m256i mc_mask;
static inline mc_mask mc_first(int64_t n)
{
    int32_t most = n >= MC_LANES ? MC_LANES : n <= 0 ? 0 : (int32_t)n;
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(most), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#else
typedef int64_t mc_mask;
static inline mc_mask mc_first(int64_t n)
{
    return n >= MC_LANES ? MC_LANES : n <= 0 ? 0 : n;
}
#endif

/* The mask, or no lane; without a branch, which would often go the other way. */
static inline mc_mask mc_if(bool on, mc_mask mask)
{
#if defined(__AVX512F__)
    return (mc_mask)(mask & -(int)on);
#elif defined(__AVX2__)
    return _mm256_and_si256(mask, _mm256_set1_epi32(-(int)on));
#else
    return mask & -(int64_t)on;
#endif
}

#if !defined(__AVX2__)
/* Some lanes, one by one: seldom, and long if it stood wherever a vector is loaded or stored. */
__attribute__((noinline, unused)) static mc_vec mc_load_lanes(const float *p, mc_mask mask)
{
    float values[MC_LANES] = {0.0f};
    for (int64_t i = 0; i < mask; i++) {
        values[i] = p[i];
    }
    return *(const mc_vec *)values;
}

__attribute__((noinline, unused)) static void mc_store_lanes(float *p, mc_mask mask, mc_vec v)
{
    for (int64_t i = 0; i < mask; i++) {
        p[i] = v[i];
    }
}
#endif

/* Lanes that are there from memory, zeros for the others; memory of those is not touched. */
static inline mc_vec mc_load_masked(const float *p, mc_mask mask)
{
#if defined(__AVX512F__)
    return (mc_vec)_mm512_maskz_loadu_ps(mask, p);
#elif defined(__AVX2__)
    return (mc_vec)_mm256_maskload_ps(p, mask);
#else
    return mask == MC_LANES ? *(const mc_vec *)p : mc_load_lanes(p, mask);
#endif
}

/* AVX2's masked stores take some processors sixteen cycles (AMD's Zen 3), so whole vectors, which
 * are nearly all, go without; the compiler makes one test of those by the same mask. */
static inline void mc_store_masked(float *p, mc_mask mask, mc_vec v)
{
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, mask, (__m512)v);
#elif defined(__AVX2__)
    int there = _mm256_movemask_ps(_mm256_castsi256_ps(mask));
    if (__builtin_expect(there == (1 << MC_LANES) - 1, true)) {
        *(mc_vec *)p = v;
    } else if (there != 0) {
        _mm256_maskstore_ps(p, mask, (__m256)v);
    }
#else
    if (mask == MC_LANES) {
        *(mc_vec *)p = v;
    } else {
        mc_store_lanes(p, mask, v);
    }
#endif
}

/* v where lanes are there, zeros elsewhere. */
static inline mc_vec mc_keep(mc_mask mask, mc_vec v)
{
#if defined(__AVX512F__)
    return (mc_vec)_mm512_maskz_mov_ps(mask, (__m512)v);
#elif defined(__AVX2__)
    return (mc_vec)_mm256_and_ps(_mm256_castsi256_ps(mask), (__m256)v);
#else
    for (int64_t i = mask; i < MC_LANES; i++) {
        v[i] = 0.0f;
    }
    return v;
#endif
}

static inline mc_vec mc_load(const float *p, int64_t n)
{
    return n >= MC_LANES ? *(const mc_vec *)p : mc_load_masked(p, mc_first(n));
}

static inline void mc_store(float *p, int64_t n, mc_vec v)
{
    if (n >= MC_LANES) {
        *(mc_vec *)p = v;
    } else {
        mc_store_masked(p, mc_first(n), v);
    }
}

/* For arrays of vectors in memory: the type itself promises no alignment. */
#define MC_ALIGNED _Alignas(64)

/* v where x > 0, zeros elsewhere. */
static inline mc_vec mc_where_positive(mc_vec x, mc_vec v)
{
#if defined(__AVX512F__)
    return (mc_vec)_mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)v);
#else
    typedef int32_t bits __attribute__((vector_size(MC_LANES * sizeof(int32_t))));
    return (mc_vec)((bits)(x > 0.0f) & (bits)v);
#endif
}

#define MC_ISA_PASTE2(x, isa) mc_##x##_##isa
#define MC_ISA_PASTE(x, isa) MC_ISA_PASTE2(x, isa)
#define MC_ISA_NAME(x) MC_ISA_PASTE(x, MC_ISA)

void MC_ISA_NAME(pack_panels)(const float *w, int64_t o, int64_t c, int64_t taps, int64_t first,
                              int64_t count, float *panels);
void MC_ISA_NAME(product)(const mc_product *p);
void MC_ISA_NAME(outer)(const mc_outer *p);
void MC_ISA_NAME(depthwise)(const mc_product *p);
void MC_ISA_NAME(depthwise_outer)(const mc_outer *p);
void MC_ISA_NAME(winograd_input)(const mc_winograd *w, const mc_map *x, const mc_tiles *tiles,
                                 mc_planes v);
void MC_ISA_NAME(winograd_cotangent)(const mc_winograd *w, const float *dy, const mc_pull *pull,
                                     int64_t c, int64_t count, const mc_tiles *tiles, mc_planes d);
void MC_ISA_NAME(winograd_output)(const mc_winograd *w, mc_planes m, int64_t c, int64_t count,
                                  const mc_tiles *tiles, const float *bias, bool accumulate,
                                  bool relu, float *y);
void MC_ISA_NAME(winograd_input_back)(const mc_winograd *w, mc_planes m, int64_t c,
                                      const mc_tiles *tiles, bool accumulate, float *dx);
void MC_ISA_NAME(winograd_filter)(const mc_winograd *w, const mc_filter *k, mc_planes u,
                                  int64_t u_row);
void MC_ISA_NAME(winograd_filter_back)(const mc_winograd *w, const mc_filter *k, mc_planes du,
                                       int64_t groups, int64_t group_step, bool accumulate,
                                       float *grad);
void MC_ISA_NAME(moments)(const float *x, int64_t rows, int64_t c, int64_t step, const float *shift,
                          double *sum, double *square);
void MC_ISA_NAME(affine)(const float *x, int64_t rows, int64_t c, const float *scale,
                         const float *offset, bool relu, float *y);
void MC_ISA_NAME(norm_reduce)(const mc_map *x, const float *dy, int64_t rows, int64_t count,
                              double *sum, double *product);
void MC_ISA_NAME(mask_reduce)(const mc_map *x, const float *y, float *dy, int64_t rows,
                              int64_t count, double *sum, double *product);
void MC_ISA_NAME(norm_apply)(const mc_pull *pull, const float *dy, int64_t rows, bool accumulate,
                             float *dx);
void MC_ISA_NAME(add)(const mc_map *a, const mc_map *b, int64_t rows, bool relu, float *y);
void MC_ISA_NAME(pass_back)(const float *y, const float *dy, int64_t n, bool accumulate, float *dx);
void MC_ISA_NAME(window_sum)(const float *x, int64_t rows, int64_t pitch, int64_t columns,
                             int64_t c, float scale, float *y);
void MC_ISA_NAME(mean_back)(const float *dy, int64_t hw, int64_t c, bool accumulate, float *dx);
void MC_ISA_NAME(sum_rows)(const float *x, int64_t rows, int64_t c, double *sum);
void MC_ISA_NAME(gelu)(const float *x, int64_t n, bool tanh_form, float *y);
void MC_ISA_NAME(gelu_back)(const float *x, const float *dy, int64_t n, bool tanh_form,
                            bool accumulate, float *dx);
void MC_ISA_NAME(layer_norm)(const float *x, int64_t rows, int64_t d, const float *gamma,
                             const float *beta, double eps, double *moments, float *y);
void MC_ISA_NAME(layer_norm_back)(const float *x, const float *dy, const double *moments,
                                  int64_t rows, int64_t d, const float *gamma, bool accumulate,
                                  float *dx, double *sum, double *product);
void MC_ISA_NAME(uniform)(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, double bound,
                          float *values);

extern const mc_kernels MC_ISA_NAME(kernels);

#endif
