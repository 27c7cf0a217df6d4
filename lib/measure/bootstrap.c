/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paired percentile bootstrap of a mean. The pairing is the caller's: d_i is a difference of two
 * losses of the same sample. Resample r draws n indices with replacement and takes the mean of
 * their d; the interval lies between the (1 - confidence) / 2 and (1 + confidence) / 2 quantiles
 * of the resampled means.
 *
 * Draw k of resample r is mc_random_u64(seed, MC_STREAM_BOOTSTRAP, r, k), so the interval depends
 * on (d, seed) alone, whoever computes which resample.
 */
#include "measure/measure.h"
#include <stdlib.h>

/* Resamples of one task. Fixed, so that the cut depends on the request only. */
enum { CHUNK = 32 };

typedef struct resampling {
    const double *d; /* [n] */
    int64_t n, resamples;
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
    (void)worker;
    int64_t end = (task + 1) * CHUNK < job->resamples ? (task + 1) * CHUNK : job->resamples;
    for (int64_t r = task * CHUNK; r < end; r++) {
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

int32_t mc_bootstrap_mean(modeconn_context *context, const double *d, int64_t n, double confidence,
                          int64_t resamples, uint64_t seed, double *mean, double *low, double *high)
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
    resampling job = {d, n, resamples, seed, means};
    mc_pool_run(context->pool, (resamples + CHUNK - 1) / CHUNK, resample_chunk, &job);
    qsort(means, (size_t)resamples, sizeof(*means), ascending_order);
    *mean = mc_mean(d, n);
    *low = mc_quantile(means, resamples, 0.5 * (1.0 - confidence));
    *high = mc_quantile(means, resamples, 0.5 * (1.0 + confidence));
    mc_free(context, means);
    return MODECONN_OK;
}
