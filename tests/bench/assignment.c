/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_assignment N: reads a matrix of N x N doubles from standard input, solves the largest
 * assignment REPEATS times and prints, as JSON, the least processor time and the sum.
 */
#include "align/align.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { REPEATS = 5 };

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int argc, char **argv)
{
    int64_t n = argc == 2 ? strtoll(argv[1], NULL, 10) : 0;
    if (n < 1 || n > 16384) {
        fprintf(stderr, "usage: bench_assignment N < N*N doubles\n");
        return 2;
    }
    double *cost = malloc((size_t)(n * n) * sizeof *cost), best = 1e300, sum = 0;
    int64_t *column = malloc((size_t)n * sizeof *column);
    int status = 1;
    if (cost == NULL || column == NULL ||
        fread(cost, sizeof *cost, (size_t)(n * n), stdin) != (size_t)(n * n)) {
        fprintf(stderr, "bench_assignment: no matrix of %lld\n", (long long)n);
        goto out;
    }
    for (int k = 0; k < REPEATS; k++) {
        double started = cpu_seconds();
        if (mc_assignment(NULL, cost, n, n, true, column, NULL, NULL) < 0) {
            fprintf(stderr, "bench_assignment: %s\n", modeconn_last_error());
            goto out;
        }
        double took = cpu_seconds() - started;
        best = took < best ? took : best;
    }
    for (int64_t i = 0; i < n; i++) {
        sum += cost[i * n + column[i]];
    }
    printf("{\"seconds\": %.6f, \"sum\": %.12g}\n", best, sum);
    status = 0;
out:
    free(cost);
    free(column);
    return status;
}
