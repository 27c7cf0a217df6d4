/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The products of a convolution that keeps its channels apart. Compiled per instruction set.
 *
 *     depthwise:        y[i][j]  = sum_t sum_k x[i][a_t + k n + j] B[b_t + k][j]
 *     depthwise_outer:  w[k][j] += sum_r x[r][k n + j] d[r][j]
 *
 * They are those of product.c with channels j in place of a matrix's columns: taps k lie n numbers
 * apart, and B [..][n] is not in panels. Several sums at a time hide how long each addition takes.
 */
#include "kernels/isa.h"

/* Rows of y, and shares of the rows of x and d, that are summed at the same time. */
enum { TOGETHER = 4 };

/* Channels j and on of rows x and y, of which `rows` are real. */
static void sum_rows_of(const mc_product *p, const float *const *x_rows, float *const *y_rows,
                        int64_t rows, int64_t j)
{
    mc_mask mask = mc_first(p->n - j);
    const float *x[TOGETHER];
    mc_vec sum[TOGETHER];
    for (int i = 0; i < TOGETHER; i++) {
        x[i] = x_rows[i] + p->x_offset + j;
        sum[i] = p->bias != NULL ? mc_load_masked(p->bias + j, mask) : (mc_vec){0.0f};
    }
    for (int64_t t = 0; t < p->taps; t++) {
        const float *b = p->panels + p->panel_at[t] * p->n + j;
        for (int64_t at = p->x_at[t], k = 0; k < p->run; k++, at += p->n, b += p->n) {
            mc_vec line = mc_load_masked(b, mask);
            MC_UNROLL
            for (int i = 0; i < TOGETHER; i++) {
                sum[i] += line * mc_load_masked(x[i] + at, mask);
            }
        }
    }
    for (int i = 0; i < rows; i++) {
        float *y = y_rows[i] + p->y_offset + j;
        if (p->accumulate) {
            sum[i] += mc_load_masked(y, mask);
        }
        if (p->relu) {
            sum[i] = mc_max((mc_vec){0.0f}, sum[i]);
        }
        mc_store_masked(y, mask, sum[i]);
    }
}

void MC_ISA_NAME(depthwise)(const mc_product *p)
{
    int64_t stretch = 0, row = 0;
    for (int64_t left = p->rows; left > 0; left -= TOGETHER) {
        const float *x[TOGETHER];
        float *y[TOGETHER];
        for (int i = 0; i < TOGETHER; i++) { /* the last again where there are fewer */
            x[i] = p->x[stretch] + row * p->x_step;
            y[i] = p->y[stretch] + row * p->y_step;
            if (i + 1 < left && ++row == p->each) {
                row = 0;
                stretch++;
            }
        }
        for (int64_t j = 0; j < p->n; j += MC_LANES) {
            sum_rows_of(p, x, y, left < TOGETHER ? left : TOGETHER, j);
        }
    }
}

void MC_ISA_NAME(depthwise_outer)(const mc_outer *p)
{
    for (int64_t k = 0; k < p->k; k++) {
        for (int64_t j = 0; j < p->n; j += MC_LANES) {
            mc_mask mask = mc_first(p->n - j);
            int64_t x_offset = p->x_offset + k * p->n + j, d_offset = p->d_offset + j;
            float *w = p->w + k * p->w_stride + j;
            mc_vec sum[TOGETHER] = {{0.0f}};
            for (int64_t left = p->count, stretch = 0, rows; left > 0; left -= rows, stretch++) {
                const float *x = p->x[stretch] + x_offset, *d = p->d[stretch] + d_offset;
                rows = p->each < left ? p->each : left;
                for (int64_t r = 0; r < rows; r += TOGETHER) {
                    MC_UNROLL
                    for (int i = 0; i < TOGETHER; i++, x += p->x_step, d += p->d_step) {
                        if (r + i < rows) {
                            sum[i] += mc_load_masked(x, mask) * mc_load_masked(d, mask);
                        }
                    }
                }
            }
            mc_vec total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            if (p->accumulate) {
                total += mc_load_masked(w, mask);
            }
            mc_store_masked(w, mask, total);
        }
    }
}
