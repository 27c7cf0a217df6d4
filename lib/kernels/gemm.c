/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Matrix products through BLIS: the only file that knows it.
 *
 * BLIS runs serially inside our tasks. Its plain calls take their thread count from the host's
 * settings (BLIS_NUM_THREADS), which are not ours to change, so the expert call gets a run-time
 * object with one thread. That object's layout differs between BLIS 0.9 and 1.x under the same
 * SONAME: it is used only where the library found at run time is of the series whose header this
 * file was compiled with; otherwise the plain call serves.
 */
#include "kernels/kernels.h"
#include <blis.h>

/* The series of the header: 1.x has a threading implementation in rntm_t that 0.9 lacks.
 * MC_BLIS_1 comes from the build. */
static const char header_series = MC_BLIS_1 ? '1' : '0';

static bool one_thread_possible(void)
{
    return bli_info_get_version_str()[0] == header_series;
}

void mc_gemm(int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b, float beta, float *c,
             int64_t ldc)
{
    if (m == 0 || n == 0) {
        return;
    }
    float one = 1.0f;
    /* BLIS reads its operands only, though its prototypes say otherwise. */
    float *pa = (float *)(uintptr_t)a.data, *pb = (float *)(uintptr_t)b.data;

    if (one_thread_possible()) {
        rntm_t runtime = BLIS_RNTM_INITIALIZER;
        bli_rntm_set_num_threads(1, &runtime);
        bli_sgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &one, pa, a.rows, a.cols, pb,
                     b.rows, b.cols, &beta, c, ldc, 1, NULL, &runtime);
    } else {
        bli_sgemm(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &one, pa, a.rows, a.cols, pb,
                  b.rows, b.cols, &beta, c, ldc, 1);
    }
}

void mc_gemm_f64(int64_t m, int64_t n, int64_t k, const double *a, int64_t a_row, int64_t a_col,
                 const double *b, int64_t b_row, int64_t b_col, double *c, int64_t ldc)
{
    if (m == 0 || n == 0) {
        return;
    }
    double one = 1.0;
    double *pa = (double *)(uintptr_t)a, *pb = (double *)(uintptr_t)b;

    if (one_thread_possible()) {
        rntm_t runtime = BLIS_RNTM_INITIALIZER;
        bli_rntm_set_num_threads(1, &runtime);
        bli_dgemm_ex(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &one, pa, a_row, a_col, pb,
                     b_row, b_col, &one, c, ldc, 1, NULL, &runtime);
    } else {
        bli_dgemm(BLIS_NO_TRANSPOSE, BLIS_NO_TRANSPOSE, m, n, k, &one, pa, a_row, a_col, pb, b_row,
                  b_col, &one, c, ldc, 1);
    }
}

void mc_gemm_plain(int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b, float beta, float *c,
                   int64_t ldc)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = beta == 0.0f ? 0.0 : (double)beta * (double)c[i * ldc + j];
            for (int64_t l = 0; l < k; l++) {
                sum += (double)a.data[i * a.rows + l * a.cols] *
                       (double)b.data[l * b.rows + j * b.cols];
            }
            c[i * ldc + j] = (float)sum;
        }
    }
}

typedef struct gemm_tiles {
    int64_t m, n, k, ldc, tile_m, tile_n, columns;
    mc_matrix a, b;
    float beta;
    float *c;
} gemm_tiles;

static void gemm_tile(void *arg, int64_t task, int worker)
{
    (void)worker;
    const gemm_tiles *t = arg;
    int64_t i = task / t->columns * t->tile_m, j = task % t->columns * t->tile_n;
    int64_t m = t->m - i < t->tile_m ? t->m - i : t->tile_m;
    int64_t n = t->n - j < t->tile_n ? t->n - j : t->tile_n;
    mc_matrix a = {t->a.data + i * t->a.rows, t->a.rows, t->a.cols};
    mc_matrix b = {t->b.data + j * t->b.cols, t->b.rows, t->b.cols};

    mc_gemm(m, n, t->k, a, b, t->beta, t->c + i * t->ldc + j, t->ldc);
}

/* Size of one of about `pieces` equal tiles of `extent`, a multiple of `unit`. */
static int64_t tile_size(int64_t extent, int64_t pieces, int64_t unit)
{
    int64_t size = (extent + pieces - 1) / pieces;
    return (size + unit - 1) / unit * unit;
}

void mc_gemm_parallel(mc_pool *pool, int64_t m, int64_t n, int64_t k, mc_matrix a, mc_matrix b,
                      float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) {
        return;
    }
    /* Eight tiles keep 1, 2, 4 and 8 threads evenly busy; below about a million multiplications
     * waking the others costs more than it saves. Tiles follow the longer side. */
    gemm_tiles t = {m, n, k, ldc, m, n, 1, a, b, beta, c};
    if (m * n * k > (int64_t)1 << 20) {
        int64_t along_n = n >= 2 * m ? 8 : m >= 2 * n ? 1 : 4;
        t.tile_n = tile_size(n, along_n, 16);
        t.tile_m = tile_size(m, 8 / along_n, 6);
    }
    t.columns = (n + t.tile_n - 1) / t.tile_n;
    mc_pool_run(pool, t.columns * ((m + t.tile_m - 1) / t.tile_m), gemm_tile, &t);
}

void mc_blis_info(const char **version, const char **kernel, int *single_threaded)
{
    *version = bli_info_get_version_str();
    *kernel = bli_arch_string(bli_arch_query_id());
    *single_threaded = one_thread_possible();
}
