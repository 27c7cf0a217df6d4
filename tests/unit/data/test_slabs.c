/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The slabs generator: geometry stated anew, laws counted, independence given the label,
 * interventions, settings and their errors.
 */
#include "data_test.h"
#include <math.h>

static modeconn_dataset *open_slabs(modeconn_context *context, const char *settings,
                                    const char *view)
{
    char spec[200];
    modeconn_options *options = options_of("dataset", "");
    modeconn_dataset *dataset = NULL;
    OK(modeconn_options_set_str(options, "view", view));
    snprintf(spec, sizeof(spec), "slabs:%s", settings);
    OK(modeconn_dataset_open(context, spec, "train", options, &dataset));
    modeconn_options_destroy(options);
    return dataset;
}

/* Slab of x among S in [-1, 1] with margin 0.05, by search; -1 in a gap. */
static int slab_of(float x, int slabs)
{
    double thick = (2 - 0.1 * (slabs - 1)) / slabs;
    for (int s = 0; s < slabs; s++) {
        double from = -1 + s * (thick + 0.1);
        if (x >= from - 1e-6 && x <= from + thick + 1e-6) {
            return s;
        }
    }
    return -1;
}

/* Within five standard deviations of a binomial count. */
static void check_count(int64_t count, double n, double p)
{
    double deviation = sqrt(n * p * (1 - p)) + 1;
    ck_assert_msg(fabs((double)count - n * p) < 5 * deviation, "%d of %g at %g", (int)count, n, p);
}

START_TEST(test_geometry)
{
    enum { SAMPLES = 4000, D = 6 };
    static const int slabs[4] = {2, 2, 3, 5}; /* of complexity 0, 1, 2, 4 */
    modeconn_context *context = context_of("threads=2");
    modeconn_dataset *dataset =
        open_slabs(context, "slabs=0+1+2+4,noise=2,margin=0.05,train=4000", "nocue");
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
    ck_assert(n == SAMPLES && channels == D && height == 1 && width == 1 && classes == 2);
    float *x = images_of(dataset);
    int32_t *labels = labels_of(dataset);
    int64_t counts[4][5] = {{0}}, together[3][2] = {{0}};
    double mean = 0, square = 0;
    for (int i = 0; i < SAMPLES; i++) {
        ck_assert_int_eq(labels[i], i % 2);
        for (int a = 0; a < 4; a++) {
            int slab = slab_of(x[i * D + a], slabs[a]);
            ck_assert_int_eq(slab % 2, labels[i]); /* every attribute tells the label */
            counts[a][slab]++;
        }
        if (labels[i] == 0) { /* the 5 and the 3 slabs, side of 3 against place of 5 */
            together[slab_of(x[i * D + 3], 5) / 2][slab_of(x[i * D + 2], 3) / 2]++;
        }
        mean += (double)x[i * D + 5] / SAMPLES;
        square += (double)x[i * D + 5] * (double)x[i * D + 5] / SAMPLES;
        ck_assert(fabsf(x[i * D + 4]) <= 1 && fabsf(x[i * D + 5]) <= 1);
    }
    for (int s = 0; s < 5; s++) {
        check_count(counts[3][s], 2000, s % 2 == 0 ? 1 / 3.0 : 0.5);
    }
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 2; j++) {
            check_count(together[i][j], 2000, 1 / 6.0); /* independent given the label */
        }
    }
    ck_assert(fabs(mean) < 0.05 && fabs(square - 1 / 3.0) < 0.03);
    free(labels);
    free(x);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_laws)
{
    modeconn_context *context = context_of("threads=1");
    static const double centres[] = {0, 0.25, 1};
    for (int c = 0; c < 3; c++) {
        char settings[100];
        snprintf(settings, sizeof(settings), "slabs=4,noise=0,margin=0.05,centre=%g", centres[c]);
        modeconn_dataset *dataset = open_slabs(context, settings, "nocue");
        float *x = images_of(dataset);
        int64_t middle = 0, left = 0;
        for (int i = 0; i < 4000; i += 2) {
            middle += slab_of(x[i], 5) == 2;
            left += slab_of(x[i], 5) == 0;
        }
        check_count(middle, 2000, centres[c]);
        check_count(left, 2000, (1 - centres[c]) / 2);
        free(x);
        modeconn_dataset_destroy(dataset);
    }
    modeconn_dataset *normal =
        open_slabs(context, "slabs=0,noise=3,law=normal,noise_scale=2", "nocue");
    float *x = images_of(normal);
    double square = 0, cross = 0;
    for (int i = 0; i < 4000; i++) {
        square += (double)x[i * 4 + 1] * (double)x[i * 4 + 1] / 4000;
        cross += (double)x[i * 4 + 1] * (double)x[i * 4 + 2] / 4000;
    }
    ck_assert(fabs(square - 4) < 0.6 && fabs(cross) < 0.4);
    free(x);
    modeconn_dataset_destroy(normal);
    modeconn_context_destroy(context);
}
END_TEST

/* One attribute new, over all slabs and both labels alike; nothing else touched. */
START_TEST(test_interventions)
{
    modeconn_context *context = context_of("threads=2");
    const char *settings = "slabs=0+4,noise=2,margin=0.05";
    modeconn_dataset *dataset = open_slabs(context, settings, "nocue");
    float *before = images_of(dataset);
    for (int a = 0; a < 2; a++) {
        const char *name = NULL, *view = NULL;
        OK(modeconn_dataset_attribute(dataset, a, &name, &view));
        ck_assert_str_eq(name, a == 0 ? "slab1" : "slab2");
        ck_assert_str_eq(view, a == 0 ? "randslab1" : "randslab2");
        modeconn_dataset *seen = open_slabs(context, settings, view);
        float *after = images_of(seen);
        int64_t counts[2][5] = {{0}};
        int slabs = a == 0 ? 2 : 5;
        for (int i = 0; i < 4000; i++) {
            for (int d = 0; d < 4; d++) {
                ck_assert((after[i * 4 + d] == before[i * 4 + d]) == (d != a));
            }
            int slab = slab_of(after[i * 4 + a], slabs);
            ck_assert_int_ge(slab, 0);
            counts[i % 2][slab]++;
        }
        for (int s = 0; s < slabs; s++) {
            check_count(counts[0][s], 2000, 1.0 / slabs);
            check_count(counts[1][s], 2000, 1.0 / slabs);
        }
        free(after);
        modeconn_dataset_destroy(seen);
    }
    free(before);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_same_bits)
{
    modeconn_context *one = context_of("threads=1"), *four = context_of("threads=4");
    const char *settings = "slabs=3+2,noise=30,law=normal,train=2000";
    modeconn_dataset *a = open_slabs(one, settings, "randslab2");
    modeconn_dataset *b = open_slabs(four, settings, "randslab2"), *test = NULL;
    float *x = images_of(a), *y = images_of(b);
    ck_assert_mem_eq(x, y, 2000 * 32 * sizeof(float));
    OK(modeconn_dataset_open(one, "slabs:slabs=3+2,noise=30,law=normal,test=2000", "test", NULL,
                             &test));
    free(y);
    y = images_of(test);
    int equal = 0;
    for (int i = 0; i < 2000 * 32; i++) {
        equal += x[i] == y[i];
    }
    ck_assert_int_lt(equal, 10);
    ck_assert_str_eq(test->store->source,
                     "slabs:slabs=3+2,noise=30,law=normal,noise_scale=1,width=1,margin=0.1,"
                     "centre=-1,train=4000,test=2000,seed=0");
    free(x);
    free(y);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(b);
    modeconn_dataset_destroy(a);
    modeconn_context_destroy(four);
    modeconn_context_destroy(one);
}
END_TEST

START_TEST(test_settings)
{
    modeconn_context *context = context_of("threads=1");
    static const struct {
        const char *settings, *culprit;
    } bad[] = {
        {"slabs=", "slabs="},         {"slabs=1+", "slabs=1+"},
        {"slabs=-1", "slabs=-1"},     {"slabs=0+x", "slabs=0+x"},
        {"slabs=1++2", "slabs=1++2"}, {"slabs=2000000", "2000000"},
        {"margin=1", "margin 1"},     {"slabs=40,margin=0.03", "41 slabs"},
        {"centre=-0.5", "-0.5"},      {"centre=2", "centre"},
        {"law=cauchy", "cauchy"},     {"noise=-1", "noise"},
        {"width=0", "width"},         {"train=0", "train"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char spec[100];
        snprintf(spec, sizeof(spec), "slabs:%s", bad[i].settings);
        open_fails(context, spec, "train", MODECONN_ERROR_ARGUMENT, bad[i].culprit);
    }
    open_fails(context, "slabs:colour=red", "train", MODECONN_ERROR_UNKNOWN, "colour");
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    fail_each(&state, context, attempt_open, "slabs:slabs=0+1+4,noise=2,train=50", 20);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_geometry);
    tcase_add_test(tests, test_laws);
    tcase_add_test(tests, test_interventions);
    tcase_add_test(tests, test_same_bits);
    tcase_add_test(tests, test_settings);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_slabs", add);
}
