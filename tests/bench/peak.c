/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_peak [THREADS]: the single-precision FMA peak that this machine reaches, the measure that
 * the benchmark holds its GFLOP/s against.
 *
 * Each thread runs CHAINS independent chains acc = acc * x + y of vectors that stay in registers;
 * nothing else is done, no memory touched. An FMA of L lanes counts as 2 L operations. Every
 * instruction set that the processor has is tried; the best of REPEATS runs counts for each.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* As many as fit into 16 registers beside x and y; latency times ports is 8 to 10. */
enum { CHAINS = 12, REPEATS = 5, THREADS_MAX = 256 };

typedef float vector4 __attribute__((vector_size(16)));
typedef float vector8 __attribute__((vector_size(32)));
typedef float vector16 __attribute__((vector_size(64)));

/* Converges to 1 from anywhere: no overflow, nothing denormal. Opaque to the compiler. */
static volatile float factor = 0.999f, addend = 0.001f;

/* `rounds` links of each chain; the attribute names the instruction set. The sum keeps the work
 * alive. The compiler contracts each link to an FMA (-ffp-contract=fast). */
#define DEFINE_CHAINS(name, vector, attribute)                                                     \
    attribute static float name(int64_t rounds)                                                    \
    {                                                                                              \
        vector x = {0}, y = {0}, a[CHAINS], sum = {0};                                             \
        float total = 0;                                                                           \
        x += factor;                                                                               \
        y += addend;                                                                               \
        for (int i = 0; i < CHAINS; i++) {                                                         \
            a[i] = y * (float)i;                                                                   \
        }                                                                                          \
        for (int64_t r = 0; r < rounds; r++) {                                                     \
            for (int i = 0; i < CHAINS; i++) {                                                     \
                a[i] = a[i] * x + y;                                                               \
            }                                                                                      \
        }                                                                                          \
        for (int i = 0; i < CHAINS; i++) {                                                         \
            sum += a[i];                                                                           \
        }                                                                                          \
        for (size_t i = 0; i < sizeof sum / sizeof(float); i++) {                                  \
            total += sum[i];                                                                       \
        }                                                                                          \
        return total;                                                                              \
    }

#define NO_ATTRIBUTE
DEFINE_CHAINS(chains_baseline, vector4, NO_ATTRIBUTE)
static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
DEFINE_CHAINS(chains_avx2, vector8, __attribute__((target("avx2,fma"))))
DEFINE_CHAINS(chains_avx512, vector16, __attribute__((target("avx512f"))))

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f");
}
#endif

static const struct isa {
    const char *name;
    int lanes;
    float (*run)(int64_t rounds);
    bool (*supported)(void);
} isas[] = {
    {"baseline", 4, chains_baseline, always},
#if defined(__x86_64__)
    {"avx2", 8, chains_avx2, has_avx2},
    {"avx512", 16, chains_avx512, has_avx512},
#endif
};

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct team {
    const struct isa *isa;
    int64_t rounds;
    pthread_barrier_t barrier;
} team;

static void *worker(void *arg)
{
    team *t = arg;
    volatile float sink;
    for (int i = 0; i < REPEATS; i++) {
        pthread_barrier_wait(&t->barrier);
        sink = t->isa->run(t->rounds);
        pthread_barrier_wait(&t->barrier);
    }
    (void)sink;
    return NULL;
}

/* Rounds that take about a fifth of a second on one thread. */
static int64_t calibrate(const struct isa *isa)
{
    int64_t rounds = 1 << 16;
    for (;;) {
        double started = seconds();
        volatile float sink = isa->run(rounds);
        (void)sink;
        if (seconds() - started > 0.1) {
            return 2 * rounds;
        }
        rounds *= 2;
    }
}

/* GFLOP/s of all threads together, or -1. */
static double measure(const struct isa *isa, int threads)
{
    team t = {.isa = isa, .rounds = calibrate(isa)};
    pthread_t ids[THREADS_MAX];
    double best = -1;
    int made = 0;

    if (pthread_barrier_init(&t.barrier, NULL, (unsigned)threads + 1) != 0) {
        return -1;
    }
    while (made < threads && pthread_create(&ids[made], NULL, worker, &t) == 0) {
        made++;
    }
    if (made < threads) {
        /* Those that run wait for ever; the process ends with this. */
        return -1;
    }
    double operations = 2.0 * isa->lanes * CHAINS * (double)t.rounds * threads;
    for (int i = 0; i < REPEATS; i++) {
        pthread_barrier_wait(&t.barrier);
        double started = seconds();
        pthread_barrier_wait(&t.barrier);
        double rate = operations / (seconds() - started) * 1e-9;
        best = rate > best ? rate : best;
    }
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
    }
    pthread_barrier_destroy(&t.barrier);
    return best;
}

int main(int argc, char **argv)
{
    long threads = argc > 1 ? strtol(argv[1], NULL, 10) : 2;
    const char *best = "";
    double peak = 0;
    if (threads < 1 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: bench_peak [THREADS], 1 to %d\n", THREADS_MAX);
        return 2;
    }
    printf("{\"threads\": %ld, \"each\": {", threads);
    for (size_t i = 0; i < sizeof isas / sizeof isas[0]; i++) {
        double rate = isas[i].supported() ? measure(&isas[i], (int)threads) : 0;
        if (rate < 0) {
            fprintf(stderr, "bench_peak: no %ld threads\n", threads);
            return EXIT_FAILURE;
        }
        if (rate > 0) {
            printf("%s\"%s\": %.1f", i > 0 ? ", " : "", isas[i].name, rate);
        }
        if (rate > peak) {
            peak = rate;
            best = isas[i].name;
        }
    }
    printf("}, \"isa\": \"%s\", \"gflops\": %.1f}\n", best, peak);
    return EXIT_SUCCESS;
}
