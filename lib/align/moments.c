/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Moments of the units of two models over any number of rows. Each chunk of rows is centred at its
 * own means before it is multiplied, so that float products lose nothing to large means; chunks
 * join in double: with counts n, m and means that differ by d (of a) and e (of b),
 *
 *     sum (a - mean)(b - mean)  =  both chunks' own sums + d e n m / (n + m)
 *
 * One chunk's products are one matrix product over its rows.
 */
#include "align/align.h"
#include "kernels/kernels.h"
#include <math.h>
#include <string.h>

/* A unit counts as constant where its deviation is less than this part of its mean: float values
 * cannot tell more. */
#define CONSTANT 1e-6

int32_t mc_moments_init(mc_moments *moments, modeconn_context *context, int64_t size)
{
    *moments = (mc_moments){.context = context, .size = size};
    bool failed = false;
    for (int k = 0; k < 2; k++) {
        moments->mean[k] = mc_calloc(context, size, sizeof(double));
        moments->square[k] = mc_calloc(context, size, sizeof(double));
        failed = failed || moments->mean[k] == NULL || moments->square[k] == NULL;
    }
    moments->cross = mc_calloc(context, size * size, sizeof(double));
    moments->product = mc_alloc(context, size * size, sizeof(float));
    if (failed || moments->cross == NULL || moments->product == NULL) {
        mc_moments_free(moments);
        return MODECONN_ERROR_MEMORY;
    }
    return MODECONN_OK;
}

void mc_moments_free(mc_moments *moments)
{
    for (int k = 0; k < 2; k++) {
        mc_free(moments->context, moments->mean[k]);
        mc_free(moments->context, moments->square[k]);
    }
    mc_free(moments->context, moments->cross);
    mc_free(moments->context, moments->product);
    *moments = (mc_moments){0};
}

static int64_t chunk_count(int64_t rows)
{
    return (rows + MC_MOMENT_ROWS - 1) / MC_MOMENT_ROWS;
}

static int64_t chunk_rows(int64_t rows, int64_t chunk)
{
    int64_t left = rows - chunk * MC_MOMENT_ROWS;
    return left < MC_MOMENT_ROWS ? left : MC_MOMENT_ROWS;
}

int32_t mc_centred_init(mc_centred *centred, const modeconn_context *context, int64_t rows,
                        int64_t size)
{
    int64_t values;
    *centred = (mc_centred){.size = size};
    if (!mc_mul(rows, size, &values)) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: activations");
    }
    centred->deviation = mc_alloc(context, values, sizeof(float));
    centred->mean = mc_alloc(context, chunk_count(rows) * size, sizeof(double));
    centred->square = mc_alloc(context, chunk_count(rows) * size, sizeof(double));
    centred->shift = mc_alloc(context, chunk_count(rows) * size * 3, sizeof(float));
    centred->rest = mc_alloc(context, chunk_count(rows) * size, sizeof(double));
    if (centred->deviation == NULL || centred->mean == NULL || centred->square == NULL ||
        centred->shift == NULL || centred->rest == NULL) {
        mc_centred_free(centred, context);
        return MODECONN_ERROR_MEMORY;
    }
    return MODECONN_OK;
}

void mc_centred_free(mc_centred *centred, const modeconn_context *context)
{
    mc_free(context, centred->deviation);
    mc_free(context, centred->mean);
    mc_free(context, centred->square);
    mc_free(context, centred->shift);
    mc_free(context, centred->rest);
    *centred = (mc_centred){0};
}

typedef struct centre_job {
    const mc_kernels *kernels;
    const float *values;
    mc_centred *to;
} centre_job;

/* Deviations are taken from the means rounded to float: what that adds to the products is the
 * square of a rounding error. */
static void centre_chunk(void *arg, int64_t chunk, int worker)
{
    (void)worker;
    const centre_job *job = arg;
    int64_t c = job->to->size, rows = chunk_rows(job->to->rows, chunk);
    const float *x = job->values + chunk * MC_MOMENT_ROWS * c;
    float *out = job->to->deviation + chunk * MC_MOMENT_ROWS * c;
    double *mean = job->to->mean + chunk * c, *square = job->to->square + chunk * c;

    float *shift = job->to->shift + chunk * 3 * c, *one = shift + c, *minus = one + c;
    double *rest = job->to->rest + chunk * c;
    memset(mean, 0, (size_t)c * sizeof *mean);
    memset(rest, 0, (size_t)c * sizeof *rest);
    memset(square, 0, (size_t)c * sizeof *square);
    job->kernels->sum_rows(x, rows, c, mean);
    for (int64_t i = 0; i < c; i++) {
        shift[i] = (float)(mean[i] / (double)rows);
        minus[i] = -shift[i];
        one[i] = 1.0f;
    }
    job->kernels->affine(x, rows, c, one, minus, false, out);
    job->kernels->moments(x, rows, c, c, shift, rest, square);
    for (int64_t i = 0; i < c; i++) {
        mean[i] = (double)shift[i] + rest[i] / (double)rows;
        square[i] -= rest[i] * rest[i] / (double)rows;
        square[i] = square[i] > 0.0 ? square[i] : 0.0;
    }
}

void mc_centred_take(mc_centred *centred, modeconn_context *context, const float *values,
                     int64_t rows)
{
    centre_job job = {context->kernels, values, centred};
    centred->rows = rows;
    mc_pool_run(context->pool, chunk_count(rows), centre_chunk, &job);
}

bool mc_centred_is_finite(const mc_centred *centred)
{
    int64_t others = 0;
    for (int64_t i = 0; i < chunk_count(centred->rows) * centred->size; i++) {
        others += !isfinite(centred->mean[i]);
    }
    return others == 0;
}

static void join_chunk(mc_moments *m, double rows, const double *const mean[2],
                       const double *const square[2])
{
    int64_t size = m->size;
    double weight = m->count * rows / (m->count + rows), share = rows / (m->count + rows);
    for (int64_t i = 0; i < size; i++) {
        double d = (mean[0][i] - m->mean[0][i]) * weight;
        double *cross = m->cross + i * size;
        const float *product = m->product + i * size;
        for (int64_t j = 0; j < size; j++) {
            cross[j] += (double)product[j] + d * (mean[1][j] - m->mean[1][j]);
        }
    }
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < size; i++) {
            double d = mean[k][i] - m->mean[k][i];
            m->square[k][i] += square[k][i] + d * d * weight;
            m->mean[k][i] += d * share;
        }
    }
    m->count += rows;
}

void mc_moments_add(mc_moments *moments, const mc_centred *a, const mc_centred *b)
{
    int64_t c = moments->size;
    for (int64_t chunk = 0; chunk < chunk_count(a->rows); chunk++) {
        int64_t rows = chunk_rows(a->rows, chunk), at = chunk * MC_MOMENT_ROWS * c;
        const double *const mean[2] = {a->mean + chunk * c, b->mean + chunk * c};
        const double *const square[2] = {a->square + chunk * c, b->square + chunk * c};
        mc_gemm_parallel(moments->context->pool, c, c, rows, (mc_matrix){a->deviation + at, 1, c},
                         (mc_matrix){b->deviation + at, c, 1}, 0.0f, moments->product, c);
        join_chunk(moments, (double)rows, mean, square);
    }
}

/* What a unit's products are divided by, 0 where they count as none. */
static double norm_of(const mc_moments *m, int which, int64_t i, mc_similarity kind)
{
    double mean = m->mean[which][i], square = m->square[which][i], level = m->count * mean * mean;
    if (kind == MC_SIMILARITY_COVARIANCE) {
        return sqrt(m->count);
    }
    if (kind == MC_SIMILARITY_COSINE) {
        return sqrt(square + level);
    }
    return square <= CONSTANT * CONSTANT * level ? 0.0 : sqrt(square);
}

/* Of units i and j, whose products are divided by a and b. */
static double similarity_of(const mc_moments *m, mc_similarity kind, int64_t i, int64_t j, double a,
                            double b)
{
    double level = kind == MC_SIMILARITY_COSINE ? m->count * m->mean[0][i] * m->mean[1][j] : 0.0;
    return a > 0.0 && b > 0.0 ? (m->cross[i * m->size + j] + level) / (a * b) : 0.0;
}

void mc_moments_similarity(const mc_moments *moments, mc_similarity kind, double *out)
{
    int64_t size = moments->size;
    for (int64_t j = 0; j < size; j++) { /* the last row waits for its turn as room for norms */
        out[(size - 1) * size + j] = norm_of(moments, 1, j, kind);
    }
    for (int64_t i = 0; i < size; i++) {
        double a = norm_of(moments, 0, i, kind);
        for (int64_t j = 0; j < size; j++) {
            double b = out[(size - 1) * size + j];
            out[i * size + j] = similarity_of(moments, kind, i, j, a, b);
        }
    }
}

double mc_moments_mean(const mc_moments *moments, mc_similarity kind, const int64_t *permutation)
{
    double sum = 0.0;
    for (int64_t i = 0; i < moments->size; i++) {
        double a = norm_of(moments, 0, i, kind), b = norm_of(moments, 1, permutation[i], kind);
        sum += similarity_of(moments, kind, i, permutation[i], a, b);
    }
    return sum / (double)moments->size;
}
