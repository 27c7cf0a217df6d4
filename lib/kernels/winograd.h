/* SPDX-License-Identifier: BSD-3-Clause
 *
 * One dimension of the bilinear algorithms for 3x3 convolutions (Winograd, Toom-Cook), a vector of
 * channels at a time; winograd.c and winograd_filter.c make tiles and kernels of it. A dimension of
 * a tile at stride 1 is one of two:
 *
 * F4: 4 outputs from 6 inputs with 6 products, at the points 0, +-a, +-b and infinity. a = 5/8 and
 *     b = 3/2 lose the least accuracy of the points we know; their powers are exact in float. The
 *     rows of B^T are the coefficients of M(x) / (x - p), M = x (x^2 - a^2)(x^2 - b^2), and of M;
 *     those of A are (1, p, p^2, p^3), and (0, 0, 0, 1); those of G are (1, p, p^2) / N(p) with
 *     N(p) the product of p's distances to the other finite points, and (0, 0, 1).
 * T2: the whole of a 2-pixel dimension with one pixel of padding, a 2x2 Toeplitz product
 *     y0 = g1 x0 + g2 x1, y1 = g0 x0 + g1 x1, with 3 products instead of 4.
 *
 * At stride 2 and padding 1 both dimensions are of the same kind, and inputs have two phases: taps
 * 0 and 2 see every other input, tap 1 the ones between.
 *
 * DOWN: 4 outputs from 9 inputs. The 5 of the first phase meet 2 taps, with 5 products at the
 * points
 *     +-c, +-d and infinity (c = 1/2, d = 3/2; M = (x^2 - c^2)(x^2 - d^2), and so on as above). The
 *     4 of the second meet one tap: the same products, but that at infinity, which is zero. Both
 *     are transformed back by the same A, so their products are summed before: of two dimensions
 *     25 frequencies of 4, 2 or 1 phases, in all 81 products for 16 outputs, where the definition
 *     takes 144.
 * UP: the input's gradient of it, 8 outputs from 5 inputs by kernels turned by a half: 4 of each
 *     phase, from the same 5 transformed inputs.
 *
 * Where a map ends in a tile of which fewer outputs than 4 are inside, this one takes as many
 * points less: of n outputs the first n + 1 of 0, a, -a, b, -b, or the first n of c, -c, d, -d, and
 * infinity. Kernels are transformed for all points, once for all tiles; so G stays what it is, and
 * what N(p) has of the points left out, B^T has here.
 */
#ifndef MC_WINOGRAD_H
#define MC_WINOGRAD_H

#include "kernels/isa.h"

#define A1 0.625f
#define B1 1.5f
#define A_2 (A1 * A1)
#define B_2 (B1 * B1)
static const float A2 = A_2, A3 = A_2 * A1, B2 = B_2, B3 = B_2 * B1;
static const float A2B2 = A_2 * B_2, A2_B2 = A_2 + B_2;
/* 1/N of 0, of +-a and of +-b. */
static const float N0 = (float)(1.0 / (0.390625 * 2.25));
static const float NA = (float)(1.0 / (2.0 * 0.390625 * (0.390625 - 2.25)));
static const float NB = (float)(1.0 / (2.0 * 2.25 * (2.25 - 0.390625)));

#define C1 0.5f
#define D1 1.5f
#define C_2 (C1 * C1)
#define D_2 (D1 * D1)
static const float C2 = C_2, C3 = C_2 * C1, D2 = D_2, D3 = D_2 * D1;
static const float C2D2 = C_2 * D_2, C2_D2 = C_2 + D_2;
/* 1/N of c and of d; those of -c and -d are their negatives, whose sign B^T has. */
static const float NC = (float)(1.0 / (2.0 * 0.5 * (0.25 - 2.25)));
static const float ND = (float)(1.0 / (2.0 * 1.5 * (2.25 - 0.25)));

/* Frequencies of a dimension at stride 2, the last of them at infinity; most vectors that a
 * dimension takes or gives. */
enum { MC_PHASED = 5, MC_SIDE = 9 };

/* Each takes vectors x and gives vectors y, for n outputs (of each phase), MC_TILE_OUT or fewer;
 * a constant tile and n make one algorithm of it. Numbers of frequencies have the same place for
 * any n: those of points left out are neither read nor written. */
typedef void (*mc_transform_1d)(mc_tile_kind tile, int n, const mc_vec *x, mc_vec *y);

/* ---- tiles of fewer outputs ------------------------------------------------------------------ */

/* B^T for 1, 2 and 3 outputs: a row a finite point, the coefficients of M(x) / (x - p) times the
 * distances of p to the points left out; then infinity's, those of M. Of -c with the sign that G
 * leaves to B^T. And A^T at the finite points, their powers. */
enum { MC_POINTS = 5 };
/* clang-format off */
static const float end_input[3][MC_POINTS][MC_POINTS] = {
    {{A_2 * B_2, -A1 * B_2},
     {0, 2 * A1 * (A_2 - B_2)},
     {0, -A1, 1}},
    {{A_2 * B_2, 0, -B_2},
     {0, A1 * (A_2 - B_2), A_2 - B_2},
     {0, -A1 * (A_2 - B_2), A_2 - B_2},
     {0, -A_2, 0, 1}},
    {{A_2 * B_2, -A_2 * B1, -B_2, B1},
     {0, -A1 * B1 * (A1 + B1), A_2 - B_2, A1 + B1},
     {0, A1 * B1 * (B1 - A1), A_2 - B_2, B1 - A1},
     {0, -A_2 * 2 * B1, 0, 2 * B1},
     {0, A_2 * B1, -A_2, -B1, 1}}};
static const float end_phase_input[3][MC_POINTS][MC_POINTS] = {
    {{2 * C1 * (C_2 - D_2)},
     {-C1, 1}},
    {{C1 * (C_2 - D_2), C_2 - D_2},
     {C1 * (C_2 - D_2), D_2 - C_2},
     {-C_2, 0, 1}},
    {{-C1 * D1 * (C1 + D1), C_2 - D_2, C1 + D1},
     {-C1 * D1 * (D1 - C1), D_2 - C_2, C1 - D1},
     {-C_2 * 2 * D1, 0, 2 * D1},
     {C_2 * D1, -C_2, -D1, 1}}};
static const float end_output[3][MC_POINTS] = {
    {1, 1, 1, 1}, {0, A1, -A1, B1}, {0, A_2, A_2, B_2}};
static const float end_phase_output[3][MC_POINTS] = {
    {1, 1, 1}, {C1, -C1, D1}, {C_2, C_2, D_2}};
/* clang-format on */

/* Sum of `count` inputs, `step` apart, by constants, of which many are zero. */
static inline __attribute__((always_inline)) mc_vec weighted(const float *by, int count,
                                                             const mc_vec *x, int step)
{
    mc_vec sum = {0.0f};
    MC_UNROLL
    for (int k = 0; k < count; k++) {
        if (by[k] != 0.0f) {
            sum += by[k] * x[k * step];
        }
    }
    return sum;
}

/* B^T of one phase: `finite` points from as many inputs, and infinity, if wanted, from one more. */
static inline __attribute__((always_inline)) void end_input_1d(const float (*by)[MC_POINTS],
                                                               int finite, const mc_vec *x,
                                                               int step, mc_vec *y,
                                                               mc_vec *infinity)
{
    MC_UNROLL
    for (int p = 0; p < finite; p++) {
        y[p] = weighted(by[p], finite, x, step);
    }
    if (infinity != NULL) {
        *infinity = weighted(by[finite], finite + 1, x, step);
    }
}

/* A^T of one phase: n outputs, `step` apart. */
static inline __attribute__((always_inline)) void end_output_1d(const float (*by)[MC_POINTS],
                                                                int finite, int n, const mc_vec *x,
                                                                const mc_vec *infinity, mc_vec *y,
                                                                int step)
{
    MC_UNROLL
    for (int k = 0; k < n; k++) {
        y[k * step] = weighted(by[k], finite, x, 1);
    }
    if (infinity != NULL) {
        y[(n - 1) * step] += *infinity;
    }
}

/* A of one phase. */
static inline __attribute__((always_inline)) void end_cotangent_1d(const float (*by)[MC_POINTS],
                                                                   int finite, int n,
                                                                   const mc_vec *x, mc_vec *y,
                                                                   mc_vec *infinity)
{
    MC_UNROLL
    for (int p = 0; p < finite; p++) {
        y[p] = (mc_vec){0.0f};
        MC_UNROLL
        for (int k = 0; k < n; k++) {
            if (by[k][p] != 0.0f) {
                y[p] += by[k][p] * x[k];
            }
        }
    }
    *infinity = x[n - 1];
}

/* B of one phase, outputs `step` apart. */
static inline __attribute__((always_inline)) void end_input_back_1d(const float (*by)[MC_POINTS],
                                                                    int finite, const mc_vec *x,
                                                                    const mc_vec *infinity,
                                                                    mc_vec *y, int step)
{
    MC_UNROLL
    for (int k = 0; k < finite + (infinity != NULL); k++) {
        y[k * step] = (mc_vec){0.0f};
        MC_UNROLL
        for (int p = 0; p < finite; p++) {
            if (by[p][k] != 0.0f) {
                y[k * step] += by[p][k] * x[p];
            }
        }
        if (infinity != NULL && by[finite][k] != 0.0f) {
            y[k * step] += by[finite][k] * *infinity;
        }
    }
}

/* ---- one dimension --------------------------------------------------------------------------- */

/* B^T at the finite points of a phase, inputs `step` apart. */
static inline __attribute__((always_inline)) void phase_input(const mc_vec *x, int step, mc_vec *y)
{
    mc_vec even_c = C1 * (x[2 * step] - D2 * x[0]), odd_c = x[3 * step] - D2 * x[step];
    mc_vec even_d = D1 * (x[2 * step] - C2 * x[0]), odd_d = x[3 * step] - C2 * x[step];
    y[0] = even_c + odd_c;
    y[1] = even_c - odd_c;
    y[2] = even_d + odd_d;
    y[3] = even_d - odd_d;
}

/* B^T */
static inline __attribute__((always_inline)) void input_1d(mc_tile_kind tile, int n,
                                                           const mc_vec *x, mc_vec *y)
{
    const float(*by)[MC_POINTS] = (tile >= MC_TILE_DOWN ? end_phase_input : end_input)[n - 1];
    if (tile >= MC_TILE_DOWN) {
        const int step = tile == MC_TILE_DOWN ? 2 : 1;
        if (n < MC_TILE_OUT) {
            end_input_1d(by, n, x, step, y, &y[4]);
            if (tile == MC_TILE_DOWN) {
                end_input_1d(by, n, x + 1, step, y + MC_PHASED, NULL);
            }
            return;
        }
        phase_input(x, step, y);
        y[4] = C2D2 * x[0] + (x[4 * step] - C2_D2 * x[2 * step]);
        if (tile == MC_TILE_DOWN) {
            phase_input(x + 1, step, y + MC_PHASED);
        }
        return;
    }
    if (tile == MC_TILE_T2) {
        y[0] = x[0] + x[1];
        y[1] = x[1];
        y[2] = x[0];
        return;
    }
    if (n < MC_TILE_OUT) {
        end_input_1d(by, n + 1, x, 1, y, &y[5]);
        return;
    }
    mc_vec even_a = x[4] - B2 * x[2], odd_a = A1 * (x[3] - B2 * x[1]);
    mc_vec even_b = x[4] - A2 * x[2], odd_b = B1 * (x[3] - A2 * x[1]);
    y[0] = A2B2 * x[0] + (x[4] - A2_B2 * x[2]);
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = A2B2 * x[1] + (x[5] - A2_B2 * x[3]);
}

/* A^T at the finite points of a phase, outputs `step` apart. */
static inline __attribute__((always_inline)) void phase_output(const mc_vec *x, int step, mc_vec *y)
{
    mc_vec sum_c = x[0] + x[1], diff_c = x[0] - x[1], sum_d = x[2] + x[3], diff_d = x[2] - x[3];
    y[0] = sum_c + sum_d;
    y[step] = C1 * diff_c + D1 * diff_d;
    y[2 * step] = C2 * sum_c + D2 * sum_d;
    y[3 * step] = C3 * diff_c + D3 * diff_d;
}

/* A^T */
static inline __attribute__((always_inline)) void output_1d(mc_tile_kind tile, int n,
                                                            const mc_vec *x, mc_vec *y)
{
    if (n < MC_TILE_OUT && tile >= MC_TILE_DOWN) {
        const int step = tile == MC_TILE_DOWN ? 1 : 2;
        end_output_1d(end_phase_output, n, n, x, &x[4], y + step - 1, step);
        if (tile == MC_TILE_UP) {
            end_output_1d(end_phase_output, n, n, x + MC_PHASED, NULL, y, step);
        }
        return;
    }
    if (tile == MC_TILE_DOWN) {
        phase_output(x, 1, y);
        y[3] += x[4];
        return;
    }
    if (tile == MC_TILE_UP) {
        phase_output(x, 2, y + 1);
        y[7] += x[4];
        phase_output(x + MC_PHASED, 2, y);
        return;
    }
    if (tile == MC_TILE_T2) {
        y[0] = x[0] + x[1];
        y[1] = x[0] + x[2];
        return;
    }
    if (n < MC_TILE_OUT) {
        end_output_1d(end_output, n + 1, n, x, &x[5], y, 1);
        return;
    }
    mc_vec sum_a = x[1] + x[2], diff_a = x[1] - x[2], sum_b = x[3] + x[4], diff_b = x[3] - x[4];
    y[0] = x[0] + sum_a + sum_b;
    y[1] = A1 * diff_a + B1 * diff_b;
    y[2] = A2 * sum_a + B2 * sum_b;
    y[3] = A3 * diff_a + B3 * diff_b + x[5];
}

/* B at the finite points of a phase, outputs `step` apart: of inputs of B^T. */
static inline __attribute__((always_inline)) void phase_input_back(const mc_vec *x, int step,
                                                                   mc_vec *y)
{
    mc_vec sum_c = x[0] + x[1], diff_c = x[0] - x[1], sum_d = x[2] + x[3], diff_d = x[2] - x[3];
    y[0] = -(C1 * D2) * sum_c - (D1 * C2) * sum_d;
    y[step] = -D2 * diff_c - C2 * diff_d;
    y[2 * step] = C1 * sum_c + D1 * sum_d;
    y[3 * step] = diff_c + diff_d;
}

/* B */
static inline __attribute__((always_inline)) void input_back_1d(mc_tile_kind tile, int n,
                                                                const mc_vec *x, mc_vec *y)
{
    const float(*by)[MC_POINTS] = (tile >= MC_TILE_DOWN ? end_phase_input : end_input)[n - 1];
    if (tile >= MC_TILE_DOWN) {
        if (n < MC_TILE_OUT) {
            end_input_back_1d(by, n, x, &x[4], y, 2);
            end_input_back_1d(by, n, x + MC_PHASED, NULL, y + 1, 2);
            return;
        }
        phase_input_back(x, 2, y);
        y[0] += C2D2 * x[4];
        y[4] -= C2_D2 * x[4];
        y[8] = x[4];
        phase_input_back(x + MC_PHASED, 2, y + 1);
        return;
    }
    if (n < MC_TILE_OUT) {
        end_input_back_1d(by, n + 1, x, &x[5], y, 1);
        return;
    }
    mc_vec sum_a = x[1] + x[2], diff_a = A1 * (x[1] - x[2]);
    mc_vec sum_b = x[3] + x[4], diff_b = B1 * (x[3] - x[4]);
    y[0] = A2B2 * x[0];
    y[1] = A2B2 * x[5] - B2 * diff_a - A2 * diff_b;
    y[2] = -A2_B2 * x[0] - B2 * sum_a - A2 * sum_b;
    y[3] = diff_a + diff_b - A2_B2 * x[5];
    y[4] = x[0] + sum_a + sum_b;
    y[5] = x[5];
}

/* A */
static inline __attribute__((always_inline)) void cotangent_1d(mc_tile_kind tile, int n,
                                                               const mc_vec *x, mc_vec *y)
{
    if (n < MC_TILE_OUT && tile == MC_TILE_DOWN) {
        end_cotangent_1d(end_phase_output, n, n, x, y, &y[4]);
        return;
    }
    if (tile == MC_TILE_DOWN) {
        mc_vec even_c = x[0] + C2 * x[2], odd_c = C1 * x[1] + C3 * x[3];
        mc_vec even_d = x[0] + D2 * x[2], odd_d = D1 * x[1] + D3 * x[3];
        y[0] = even_c + odd_c;
        y[1] = even_c - odd_c;
        y[2] = even_d + odd_d;
        y[3] = even_d - odd_d;
        y[4] = x[3];
        return;
    }
    if (tile == MC_TILE_T2) {
        y[0] = x[0] + x[1];
        y[1] = x[0];
        y[2] = x[1];
        return;
    }
    if (n < MC_TILE_OUT) {
        end_cotangent_1d(end_output, n + 1, n, x, y, &y[5]);
        return;
    }
    mc_vec even_a = x[0] + A2 * x[2], odd_a = A1 * x[1] + A3 * x[3];
    mc_vec even_b = x[0] + B2 * x[2], odd_b = B1 * x[1] + B3 * x[3];
    y[0] = x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = x[3];
}

/* G */
static inline __attribute__((always_inline)) void filter_1d(mc_tile_kind tile, const mc_vec *x,
                                                            mc_vec *y)
{
    if (tile >= MC_TILE_DOWN) {
        y[0] = NC * (x[0] + C1 * x[2]);
        y[1] = NC * (x[0] - C1 * x[2]);
        y[2] = ND * (x[0] + D1 * x[2]);
        y[3] = ND * (x[0] - D1 * x[2]);
        y[4] = x[2];
        y[5] = y[6] = NC * x[1];
        y[7] = y[8] = ND * x[1];
        return;
    }
    if (tile == MC_TILE_T2) {
        y[0] = x[1];
        y[1] = x[2] - x[1];
        y[2] = x[0] - x[1];
        return;
    }
    mc_vec even_a = NA * (x[0] + A2 * x[2]), odd_a = NA * A1 * x[1];
    mc_vec even_b = NB * (x[0] + B2 * x[2]), odd_b = NB * B1 * x[1];
    y[0] = N0 * x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = x[2];
}

/* G^T */
static inline __attribute__((always_inline)) void filter_back_1d(mc_tile_kind tile, const mc_vec *x,
                                                                 mc_vec *y)
{
    if (tile == MC_TILE_DOWN) {
        y[0] = NC * (x[0] + x[1]) + ND * (x[2] + x[3]);
        y[1] = NC * (x[5] + x[6]) + ND * (x[7] + x[8]);
        y[2] = NC * C1 * (x[0] - x[1]) + ND * D1 * (x[2] - x[3]) + x[4];
        return;
    }
    if (tile == MC_TILE_T2) {
        y[0] = x[2];
        y[1] = x[0] - x[1] - x[2];
        y[2] = x[1];
        return;
    }
    mc_vec sum_a = NA * (x[1] + x[2]), diff_a = NA * A1 * (x[1] - x[2]);
    mc_vec sum_b = NB * (x[3] + x[4]), diff_b = NB * B1 * (x[3] - x[4]);
    y[0] = N0 * x[0] + sum_a + sum_b;
    y[1] = diff_a + diff_b;
    y[2] = A2 * sum_a + B2 * sum_b + x[5];
}

/* Vectors that a dimension takes and gives, by mc_tile_kind; 0: nobody asks. */
typedef struct mc_extents {
    int in[4], out[4];
} mc_extents;
static const mc_extents input_extents = {{6, 2, 9, 5}, {6, 3, 9, 5}};
static const mc_extents output_extents = {{6, 3, 5, 9}, {4, 2, 4, 8}};
static const mc_extents cotangent_extents = {{4, 2, 4, 0}, {6, 3, 5, 0}};
static const mc_extents input_back_extents = {{6, 0, 9, 0}, {6, 0, 9, 0}};
static const mc_extents filter_extents = {{3, 3, 3, 3}, {6, 3, 9, 9}};
static const mc_extents filter_back_extents = {{6, 3, 9, 0}, {3, 3, 3, 0}};

/* How many of those a dimension of n outputs takes or gives, where a whole one has `whole`. */
static inline __attribute__((always_inline)) int extent_of(int whole, int n)
{
    return whole - (MC_TILE_OUT - n) * (whole >= 2 * MC_TILE_OUT ? 2 : 1);
}

/* Where the k-th number of a transformed dimension of n outputs is among `whole` of them: behind
 * the finite points is infinity, and then perhaps another phase. */
static inline __attribute__((always_inline)) int number_of(int k, int whole, int n)
{
    const int infinity = whole == 6 ? 5 : MC_PHASED - 1, finite = infinity - (MC_TILE_OUT - n);
    return k < finite ? k : k - finite + infinity;
}

#endif
