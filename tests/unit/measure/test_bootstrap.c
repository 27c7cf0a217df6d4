/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The bootstrap of a mean: quantiles, coverage of a known mean, the law of its width, the same
 * bits for any number of threads, and its cost.
 */
#include "planted.h"

enum { MOST = 2000 };

static double d[MOST];

START_TEST(quantiles_interpolate)
{
    static const double ascending[] = {1.0, 2.0, 4.0, 8.0, 16.0};
    ck_assert_double_eq(mc_quantile(ascending, 5, 0.0), 1.0);
    ck_assert_double_eq(mc_quantile(ascending, 5, 1.0), 16.0);
    ck_assert_double_eq(mc_quantile(ascending, 5, 0.5), 4.0);
    ck_assert_double_eq_tol(mc_quantile(ascending, 5, 0.125), 1.5, 1e-15);
    ck_assert_double_eq_tol(mc_quantile(ascending, 5, 0.9), 12.8, 1e-12);
    ck_assert_double_eq(mc_quantile(ascending, 1, 0.3), 1.0);
}
END_TEST

START_TEST(constant_differences)
{
    modeconn_context *context = context_with(1, 0);
    double mean = 0.0, low = 0.0, high = 0.0;
    for (int i = 0; i < MOST; i++) {
        d[i] = 0.75;
    }
    OK(mc_bootstrap_mean(context, NULL, d, 101, 0.95, 200, 1, &mean, &low, &high));
    ck_assert_double_eq(mean, 0.75);
    ck_assert_double_eq(low, 0.75);
    ck_assert_double_eq(high, 0.75);
    OK(mc_bootstrap_mean(context, NULL, d, 1, 0.95, 200, 1, &mean, &low, &high));
    ck_assert_double_eq(low, 0.75);
    modeconn_context_destroy(context);
}
END_TEST

/* Skewed differences, as rises in loss are: exponential with mean 1, minus 0.8. */
static void draw_differences(uint64_t seed, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double u = mc_random_f64(seed, STREAM_SYNTHETIC, (uint64_t)i, 0);
        d[i] = -log1p(-u) - 0.8;
    }
}

/* 400 sets of 200 samples: a 95 % interval should hold the true mean, 0.2, in 380 of them, with a
 * deviation of 4.4; the percentile interval of a skewed law loses a little more. */
START_TEST(coverage_of_a_known_mean)
{
    modeconn_context *context = context_with(2, 0);
    int covered = 0, below = 0, above = 0;
    for (uint64_t set = 0; set < 400; set++) {
        double mean = 0.0, low = 0.0, high = 0.0;
        draw_differences(set, 200);
        OK(mc_bootstrap_mean(context, NULL, d, 200, 0.95, 400, set, &mean, &low, &high));
        ck_assert_double_lt(low, mean);
        ck_assert_double_gt(high, mean);
        covered += low <= 0.2 && 0.2 <= high;
        below += high < 0.2;
        above += low > 0.2;
    }
    ck_assert_msg(covered >= 365 && covered <= 392, "covered %d of 400 (%d below, %d above)",
                  covered, below, above);
    modeconn_context_destroy(context);
}
END_TEST

/* Half the width is close to z sd / sqrt(n). */
START_TEST(width_follows_the_deviation)
{
    modeconn_context *context = context_with(2, 0);
    double mean = 0.0, low = 0.0, high = 0.0, narrow_low = 0.0, narrow_high = 0.0;
    draw_differences(7, MOST);
    OK(mc_bootstrap_mean(context, NULL, d, MOST, 0.95, 4000, 3, &mean, &low, &high));
    double squares = 0.0;
    for (int i = 0; i < MOST; i++) {
        squares += (d[i] - mean) * (d[i] - mean);
    }
    double expected = 1.96 * sqrt(squares / MOST / MOST);
    ck_assert_double_eq_tol(0.5 * (high - low), expected, 0.06 * expected);
    OK(mc_bootstrap_mean(context, NULL, d, MOST, 0.5, 4000, 3, &mean, &narrow_low, &narrow_high));
    ck_assert_double_eq_tol((narrow_high - narrow_low) / (high - low), 0.6745 / 1.96, 0.03);
    modeconn_context_destroy(context);
}
END_TEST

/* Every index is drawn about as often as any other, also at both ends and for odd n. */
START_TEST(indices_are_uniform)
{
    modeconn_context *context = context_with(1, 0);
    enum { N = 7, RESAMPLES = 20000 };
    for (int hot = 0; hot < N; hot++) {
        double mean = 0.0, low = 0.0, high = 0.0;
        for (int i = 0; i < N; i++) {
            d[i] = i == hot;
        }
        /* The resampled sum is binomial(7, 1/7): its quartiles are 0 and 2 of 7, its 0.6
         * quantile 1 of 7. */
        OK(mc_bootstrap_mean(context, NULL, d, N, 0.5, RESAMPLES, 5, &mean, &low, &high));
        ck_assert_double_eq(mean, 1.0 / 7.0);
        ck_assert_double_eq(low, 0.0);
        ck_assert_double_eq_tol(high, 2.0 / 7.0, 1e-12);
        OK(mc_bootstrap_mean(context, NULL, d, N, 0.2, RESAMPLES, 5, &mean, &low, &high));
        ck_assert_double_eq_tol(low, 1.0 / 7.0, 1e-12);
        ck_assert_double_eq_tol(high, 1.0 / 7.0, 1e-12);
    }
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(same_bits_for_any_threads_other_bits_for_other_seeds)
{
    double low[3], high[3], mean[3];
    draw_differences(11, 777);
    for (int i = 0; i < 3; i++) {
        static const int64_t threads[] = {1, 2, 5};
        modeconn_context *context = context_with(threads[i], 0);
        OK(mc_bootstrap_mean(context, NULL, d, 777, 0.9, 333, 42, &mean[i], &low[i], &high[i]));
        modeconn_context_destroy(context);
    }
    ck_assert(memcmp(&low[0], &low[1], sizeof(double)) == 0);
    ck_assert(memcmp(&low[0], &low[2], sizeof(double)) == 0);
    ck_assert(memcmp(&high[0], &high[1], sizeof(double)) == 0);
    ck_assert(memcmp(&high[0], &high[2], sizeof(double)) == 0);
    modeconn_context *context = context_with(1, 0);
    OK(mc_bootstrap_mean(context, NULL, d, 777, 0.9, 333, 43, &mean[1], &low[1], &high[1]));
    ck_assert_double_ne(low[0], low[1]);
    modeconn_context_destroy(context);
}
END_TEST

/* Well under 0.1 s; the bound leaves room for a sanitizer and a loaded machine. */
START_TEST(two_thousand_squared_is_quick)
{
    modeconn_context *context = context_with(0, 0);
    double mean = 0.0, low = 0.0, high = 0.0;
    draw_differences(13, MOST);
    double started = mc_seconds();
    OK(mc_bootstrap_mean(context, NULL, d, MOST, 0.95, 2000, 1, &mean, &low, &high));
    double seconds = mc_seconds() - started;
    ck_assert_msg(seconds < 2.0, "%g s", seconds);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(errors)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    double mean = 0.0, low = 0.0, high = 0.0;
    FAILS(mc_bootstrap_mean(context, NULL, d, 0, 0.95, 200, 1, &mean, &low, &high),
          MODECONN_ERROR_ARGUMENT, "0 samples");
    FAILS(mc_bootstrap_mean(context, NULL, d, INT64_C(1) << 31, 0.95, 200, 1, &mean, &low, &high),
          MODECONN_ERROR_ARGUMENT, "2147483648");
    failing_at(&allocator, 1);
    FAILS(mc_bootstrap_mean(context, NULL, d, 10, 0.95, 200, 1, &mean, &low, &high),
          MODECONN_ERROR_MEMORY, "out of memory");
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

/* The callback says no the k-th time: nothing is written, and more resamples would have come. */
typedef struct patience {
    int64_t calls, most;
} patience;

static int32_t stop_after(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                          double accuracy, double rate, double left)
{
    patience *has = user;
    (void)epoch, (void)step, (void)total, (void)loss, (void)accuracy, (void)rate, (void)left;
    return ++has->calls > has->most;
}

START_TEST(stops)
{
    enum { N = 1000, RESAMPLES = 60000 };
    modeconn_context *context = context_with(2, 0);
    double mean[2] = {-9, -9}, low[2] = {-9, -9}, high[2] = {-9, -9}, means[2];
    draw_differences(5, N);
    for (int64_t most = 0; most < 2; most++) {
        patience has = {.most = most};
        mc_progress progress;
        mc_progress_init(&progress, stop_after, &has, 1);
        FAILS(mc_bootstrap_mean(context, &progress, d, N, 0.9, RESAMPLES, 1, mean, low, high),
              MODECONN_ERROR_CANCELLED, "step 0 of 1");
        ck_assert_int_eq(has.calls, most + 1);
        ck_assert(mean[0] == -9 && low[0] == -9 && high[0] == -9);
        has.calls = 0;
        FAILS(
            mc_bootstrap_band(context, &progress, d, N / 2, 2, 0.9, RESAMPLES, 1, means, low, high),
            MODECONN_ERROR_CANCELLED, "cancelled");
        ck_assert_int_eq(has.calls, most + 1);
        ck_assert(low[0] == -9 && high[1] == -9);
    }
    /* Asked or not, the same interval. */
    patience endless = {.most = INT64_MAX};
    mc_progress progress;
    mc_progress_init(&progress, stop_after, &endless, 1);
    OK(mc_bootstrap_mean(context, &progress, d, N, 0.9, RESAMPLES, 1, mean, low, high));
    ck_assert_int_ge(endless.calls, 2);
    OK(mc_bootstrap_mean(context, NULL, d, N, 0.9, RESAMPLES, 1, mean + 1, low + 1, high + 1));
    ck_assert(mean[0] == mean[1] && low[0] == low[1] && high[0] == high[1]);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- the band ------------------------------------------------------------------------------- */

enum { WIDTH = 6, ROWS = 100, DRAWS = 300 };

/* Columns whose means are 0, correlated; the last never varies. */
static void draw_rows(uint64_t seed, double *rows)
{
    for (uint64_t i = 0; i < ROWS; i++) {
        double common = mc_random_normal(seed, 9102, i, 0);
        for (uint32_t w = 0; w < WIDTH; w++) {
            double own = mc_random_normal(seed, 9102, i, 1 + w);
            rows[i * WIDTH + w] = w == WIDTH - 1 ? 0.5 : (1.0 + w) * (0.6 * common + 0.8 * own);
        }
    }
}

/* All five means lie within the band at once in 90 % of the data sets or a little less (percentile
 * quantiles are a little short at 100 rows), where five single intervals would miss more often. */
START_TEST(band_holds_at_once)
{
    modeconn_context *context = NULL;
    double rows[ROWS * WIDTH], mean[WIDTH], low[WIDTH], high[WIDTH];
    int64_t held = 0;
    OK(modeconn_context_create(NULL, &context));
    for (uint64_t seed = 0; seed < DRAWS; seed++) {
        bool all = true;
        draw_rows(seed, rows);
        OK(mc_bootstrap_band(context, NULL, rows, ROWS, WIDTH, 0.9, 300, seed, mean, low, high));
        for (int w = 0; w < WIDTH - 1; w++) {
            ck_assert(low[w] <= mean[w] && mean[w] <= high[w]);
            all = all && low[w] <= 0.0 && high[w] >= 0.0;
        }
        ck_assert(low[WIDTH - 1] == 0.5 && high[WIDTH - 1] == 0.5);
        held += all;
    }
    ck_assert_int_ge(held, DRAWS * 84 / 100);
    ck_assert_int_le(held, DRAWS * 95 / 100);
    modeconn_context_destroy(context);
}
END_TEST

/* A function of data and seed alone; a column's scale scales its band; an error where there is
 * nothing to resample. */
START_TEST(band_properties)
{
    double rows[ROWS * WIDTH], mean[3][WIDTH], low[3][WIDTH], high[3][WIDTH];
    static const char *const threads[3] = {"threads=1", "threads=3", "threads=1"};
    draw_rows(1, rows);
    for (int i = 0; i < 3; i++) {
        modeconn_context *context = context_of(threads[i]);
        for (int k = 0; i == 2 && k < ROWS; k++) {
            rows[k * WIDTH + 1] *= 4.0;
        }
        OK(mc_bootstrap_band(context, NULL, rows, ROWS, WIDTH, 0.95, 500, 7, mean[i], low[i],
                             high[i]));
        FAILS(mc_bootstrap_band(context, NULL, rows, 0, WIDTH, 0.95, 500, 7, mean[i], low[i],
                                high[i]),
              MODECONN_ERROR_ARGUMENT, "0 samples");
        modeconn_context_destroy(context);
    }
    ck_assert_int_eq(memcmp(low[0], low[1], sizeof(low[0])), 0);
    ck_assert_int_eq(memcmp(high[0], high[1], sizeof(high[0])), 0);
    for (int w = 0; w < WIDTH; w++) {
        double scale = w == 1 ? 4.0 : 1.0;
        ck_assert(fabs(low[2][w] - scale * low[0][w]) < 1e-12);
        ck_assert(fabs(high[2][w] - scale * high[0][w]) < 1e-12);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, band_holds_at_once);
    tcase_add_test(tests, band_properties);
    tcase_add_test(tests, quantiles_interpolate);
    tcase_add_test(tests, constant_differences);
    tcase_add_test(tests, coverage_of_a_known_mean);
    tcase_add_test(tests, width_follows_the_deviation);
    tcase_add_test(tests, indices_are_uniform);
    tcase_add_test(tests, same_bits_for_any_threads_other_bits_for_other_seeds);
    tcase_add_test(tests, two_thousand_squared_is_quick);
    tcase_add_test(tests, errors);
    tcase_add_test(tests, stops);
}

int main(void)
{
    return unit_run("measure_bootstrap", add);
}
