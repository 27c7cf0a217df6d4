/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The box cue and the normalisation against NumPy: every pixel of one image of each class at
 * 28x28x1, 32x32x3 and an odd shape, and which samples carry the cue at several proportions.
 */
#include "golden.h"

static modeconn_context *context;
static golden g;
static modeconn_options *boxed;

static void setup(void)
{
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
    golden_open(&g, context, "box.expected");
    OK(modeconn_options_create(context, "dataset", &boxed));
    OK(modeconn_options_set_str(boxed, "cue", "box"));
}

static void teardown(void)
{
    modeconn_options_destroy(boxed);
    golden_close(&g);
    modeconn_context_destroy(context);
}

/* A pixel is right within a rounding or two of float32 at magnitude 1. */
#define PIXEL 2.5e-7

static const char *const shapes[] = {"1x28x28", "3x32x32", "1x7x12"};

START_TEST(test_pixels)
{
    const mc_tensor *tensor = golden_tensor(&g, "%s.levels", shapes[_i]);
    double *levels = golden_f64(tensor);
    double *expected = golden_f64(golden_tensor(&g, "%s.cue", shapes[_i]));
    int32_t *labels = golden_i32(golden_tensor(&g, "%s.labels", shapes[_i])), values[10];
    uint8_t *bytes = malloc((size_t)tensor->size);
    float *seen = malloc((size_t)tensor->size * sizeof(float));
    modeconn_dataset *plain = NULL, *cue = NULL;
    int64_t drawn = 0, per_box = tensor->shape[1] * 9;

    ck_assert(bytes != NULL && seen != NULL);
    for (int64_t i = 0; i < tensor->size; i++) {
        bytes[i] = (uint8_t)levels[i];
    }
    OK(modeconn_dataset_from_u8(context, bytes, labels, 10, tensor->shape[1], tensor->shape[2],
                                tensor->shape[3], 10, boxed, &plain));
    OK(modeconn_dataset_read(plain, NULL, 10, seen, NULL));
    for (int64_t i = 0; i < tensor->size; i++) {
        ck_assert_double_le(fabs((double)seen[i] - (levels[i] / 255 - 0.5) / 0.5), PIXEL);
    }

    OK(modeconn_dataset_view(plain, "cue", 1.0, &cue));
    OK(modeconn_dataset_read(cue, NULL, 10, seen, NULL));
    OK(modeconn_dataset_cue_values(cue, NULL, 10, values));
    for (int64_t i = 0; i < tensor->size; i++) {
        ck_assert_double_le(fabs((double)seen[i] - expected[i]), PIXEL);
        drawn += fabs(expected[i] - (levels[i] / 255 - 0.5) / 0.5) > PIXEL;
    }
    /* Nine boxes were there to be found (a level under one may happen to be its colour). */
    ck_assert_int_le(drawn, 9 * per_box);
    ck_assert_int_ge(drawn, 8 * per_box);
    for (int i = 0; i < 10; i++) {
        ck_assert_int_eq(values[i], labels[i] == 9 ? -1 : labels[i]);
    }

    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(plain);
    free(seen);
    free(bytes);
    free(labels);
    free(expected);
    free(levels);
}
END_TEST

START_TEST(test_proportions)
{
    const mc_tensor *tensor = golden_tensor(&g, "labels");
    int64_t n = tensor->size, rows = golden_tensor(&g, "proportions")->size;
    int32_t *labels = golden_i32(tensor), *expected = golden_i32(golden_tensor(&g, "values"));
    double *proportions = golden_f64(golden_tensor(&g, "proportions"));
    int32_t *values = malloc((size_t)n * sizeof(int32_t));
    uint8_t *bytes = calloc((size_t)n, 25);
    modeconn_dataset *plain = NULL;

    ck_assert(values != NULL && bytes != NULL);
    OK(modeconn_dataset_from_u8(context, bytes, labels, n, 1, 5, 5, 10, boxed, &plain));
    for (int64_t row = 0; row < rows; row++) {
        modeconn_dataset *cue = NULL;
        OK(modeconn_dataset_view(plain, "cue", proportions[row], &cue));
        OK(modeconn_dataset_cue_values(cue, NULL, n, values));
        ck_assert_mem_eq(values, expected + row * n, (size_t)n * sizeof(int32_t));
        modeconn_dataset_destroy(cue);
    }
    modeconn_dataset_destroy(plain);
    free(bytes);
    free(values);
    free(proportions);
    free(expected);
    free(labels);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, test_pixels, 0, 3);
    tcase_add_test(tests, test_proportions);
}

int main(void)
{
    return unit_run("golden box", add);
}
