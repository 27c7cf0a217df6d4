/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paired percentile bootstrap of a mean. The pairing is the caller's: d_i is a difference of two
 * losses of the same sample. Resample r draws n indices with replacement and takes the mean of
 * their d; the interval lies between the (1 - confidence) / 2 and (1 + confidence) / 2 quantiles
 * of the resampled means.
 *
 * Draw k of resample r is mc_random_u64(seed, MC_STREAM_BOOTSTRAP, r, k), so the interval depends
 * on (d, seed) alone, whoever computes which resample.
 *
 * The band holds for the means of several columns at once (max-t): with E_w the mean of column w,
 * s_w its standard error and E*_w its mean over the resampled rows,
 *
 *   low_w = E_w - c s_w,   c  = quantile (1 + confidence) / 2 of max_w (E*_w - E_w) / s_w
 *   high_w = E_w + c' s_w, c' = the same quantile of max_w (E_w - E*_w) / s_w
 */
#include "measure/measure.h"
#include <math.h>
#include <stdlib.h>

/* Resamples of one task. Fixed, so that the cut depends on the request only. And values that are
 * drawn before somebody is asked whether to go on: some 20 ms. */
enum { CHUNK = 32, TURN = 1 << 24 };

/* Runs the tasks of all resamples, each of `values` values, some at a time; *first is the number of
 * the first one of these. */
static int32_t run_turns(modeconn_context *context, mc_progress *progress, int64_t resamples,
                         int64_t values, mc_task_fn fn, void *job, int64_t *first)
{
    int64_t tasks = (resamples + CHUNK - 1) / CHUNK, turn = TURN / CHUNK / values + 2;
    int32_t status = MODECONN_OK;
    for (*first = 0; *first < tasks && status == MODECONN_OK; *first += turn) {
        status = *first > 0 && progress != NULL ? mc_progress_poll(progress) : MODECONN_OK;
        if (status == MODECONN_OK) {
            int64_t left = tasks - *first;
            mc_pool_run(context->pool, left < turn ? left : turn, fn, job);
        }
    }
    return status;
}

/* Resamples begin .. end-1 of a task. */
static void bounds_of(int64_t task, int64_t resamples, int64_t *begin, int64_t *end)
{
    *begin = task * CHUNK;
    *end = *begin + CHUNK < resamples ? *begin + CHUNK : resamples;
}

typedef struct resampling {
    const double *d; /* [n] */
    int64_t n, resamples, first;
    uint64_t seed;
    double *means; /* [resamples] */
} resampling;

/* Scales the 64-bit fraction u / 2^64 to 0 .. n-1 and leaves in *u the fraction that was not used
 * up. Two indices out of one draw have a bias below n^2 / 2^64: 1e-7 at a million samples. */
static inline int64_t take_index(uint64_t *u, uint64_t n)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)*u * n;
    *u = (uint64_t)product;
    return (int64_t)(uint64_t)(product >> 64);
}

static double resampled_mean(const resampling *job, int64_t resample)
{
    uint64_t n = (uint64_t)job->n;
    uint32_t pairs = (uint32_t)(n / 2);
    double even = 0.0, odd = 0.0;
    for (uint32_t k = 0; k < pairs; k++) {
        uint64_t u = mc_random_u64(job->seed, MC_STREAM_BOOTSTRAP, (uint64_t)resample, k);
        even += job->d[take_index(&u, n)];
        odd += job->d[take_index(&u, n)];
    }
    if (n % 2 == 1) {
        uint64_t u = mc_random_u64(job->seed, MC_STREAM_BOOTSTRAP, (uint64_t)resample, pairs);
        even += job->d[take_index(&u, n)];
    }
    return (even + odd) / (double)n;
}

static void resample_chunk(void *arg, int64_t task, int worker)
{
    const resampling *job = arg;
    int64_t begin, end;
    (void)worker;
    bounds_of(job->first + task, job->resamples, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        job->means[r] = resampled_mean(job, r);
    }
}

static int ascending_order(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double mc_quantile(const double *ascending, int64_t n, double q)
{
    double position = q * (double)(n - 1);
    int64_t below = (int64_t)position;
    if (below >= n - 1) {
        return ascending[n - 1];
    }
    double fraction = position - (double)below;
    return ascending[below] + fraction * (ascending[below + 1] - ascending[below]);
}

int32_t mc_bootstrap_mean(modeconn_context *context, mc_progress *progress, const double *d,
                          int64_t n, double confidence, int64_t resamples, uint64_t seed,
                          double *mean, double *low, double *high)
{
    /* Draws are numbered in 32 bits. */
    if (n < 1 || n > INT32_MAX) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "bootstrap of %lld samples: not in 1 .. 2^31-1",
                       (long long)n);
    }
    double *means = mc_alloc(context, resamples, sizeof(*means));
    if (means == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    resampling job = {.d = d, .n = n, .resamples = resamples, .seed = seed, .means = means};
    int32_t status = run_turns(context, progress, resamples, n, resample_chunk, &job, &job.first);
    if (status == MODECONN_OK) {
        qsort(means, (size_t)resamples, sizeof(*means), ascending_order);
        *mean = mc_mean(d, n);
        *low = mc_quantile(means, resamples, 0.5 * (1.0 - confidence));
        *high = mc_quantile(means, resamples, 0.5 * (1.0 + confidence));
    }
    mc_free(context, means);
    return status;
}

/* ---- a band over columns -------------------------------------------------------------------- */

typedef struct banding {
    const double *d; /* [n][width] */
    int64_t n, width, resamples, first;
    uint64_t seed;
    const double *mean, *error; /* [width]; error 0 where a column does not vary */
    double *up, *down;          /* [resamples] largest deviations, in standard errors */
    double *sums;               /* [workers][width] */
} banding;

static void resample_rows(const banding *job, int64_t resample, double *sums)
{
    uint64_t n = (uint64_t)job->n, u = 0;
    int64_t width = job->width;
    for (int64_t w = 0; w < width; w++) {
        sums[w] = 0.0;
    }
    for (int64_t i = 0; i < job->n; i++) {
        if (i % 2 == 0) { /* two indices out of a draw, as above */
            u = mc_random_u64(job->seed, MC_STREAM_BOOTSTRAP, (uint64_t)resample,
                              (uint32_t)(i / 2));
        }
        const double *row = job->d + take_index(&u, n) * width;
        for (int64_t w = 0; w < width; w++) {
            sums[w] += row[w];
        }
    }
}

static void band_chunk(void *arg, int64_t task, int worker)
{
    const banding *job = arg;
    double *sums = job->sums + worker * job->width;
    int64_t begin, end;
    bounds_of(job->first + task, job->resamples, &begin, &end);
    for (int64_t r = begin; r < end; r++) {
        double up = -HUGE_VAL, down = -HUGE_VAL;
        resample_rows(job, r, sums);
        for (int64_t w = 0; w < job->width; w++) {
            if (job->error[w] > 0.0) {
                double z = (sums[w] / (double)job->n - job->mean[w]) / job->error[w];
                up = z > up ? z : up;
                down = -z > down ? -z : down;
            }
        }
        job->up[r] = up;
        job->down[r] = down;
    }
}

/* Means and standard errors of the columns; false where none varies. */
static bool column_errors(const double *d, int64_t n, int64_t width, double *mean, double *error)
{
    bool varies = false;
    for (int64_t w = 0; w < width; w++) {
        double sum = 0.0, squares = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += d[i * width + w];
        }
        mean[w] = sum / (double)n;
        for (int64_t i = 0; i < n; i++) {
            squares += (d[i * width + w] - mean[w]) * (d[i * width + w] - mean[w]);
        }
        error[w] = n > 1 ? sqrt(squares / (double)(n - 1) / (double)n) : 0.0;
        varies = varies || error[w] > 0.0;
    }
    return varies;
}

static double upper_quantile(double *values, int64_t n, double confidence)
{
    qsort(values, (size_t)n, sizeof(*values), ascending_order);
    return fmax(0.0, mc_quantile(values, n, 0.5 * (1.0 + confidence)));
}

int32_t mc_bootstrap_band(modeconn_context *context, mc_progress *progress, const double *d,
                          int64_t n, int64_t width, double confidence, int64_t resamples,
                          uint64_t seed, double *mean, double *low, double *high)
{
    if (n < 1 || n > INT32_MAX) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "bootstrap of %lld samples: not in 1 .. 2^31-1",
                       (long long)n);
    }
    banding job = {
        .d = d, .n = n, .width = width, .resamples = resamples, .seed = seed, .mean = mean};
    int32_t status = MODECONN_OK;
    double above = 0.0, below = 0.0;
    double *error = mc_alloc(context, width, sizeof(*error));
    job.up = mc_alloc(context, resamples, sizeof(double));
    job.down = mc_alloc(context, resamples, sizeof(double));
    job.sums = mc_alloc(context, mc_pool_size(context->pool) * width, sizeof(double));
    if (error == NULL || job.up == NULL || job.down == NULL || job.sums == NULL) {
        status = MODECONN_ERROR_MEMORY;
    } else {
        job.error = error;
        if (column_errors(d, n, width, mean, error)) {
            status =
                run_turns(context, progress, resamples, n * width, band_chunk, &job, &job.first);
        }
        if (status == MODECONN_OK && job.first > 0) {
            above = upper_quantile(job.up, resamples, confidence);
            below = upper_quantile(job.down, resamples, confidence);
        }
        for (int64_t w = 0; w < width && status == MODECONN_OK; w++) {
            low[w] = mean[w] - above * error[w];
            high[w] = mean[w] + below * error[w];
        }
    }
    mc_free(context, error);
    mc_free(context, job.up);
    mc_free(context, job.down);
    mc_free(context, job.sums);
    return status;
}
