/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The CIFAR-100 box against NumPy and colorsys, resizing and Dominoes against PIL
 * (make_cue_goldens.py).
 */
#include "data/data.h"
#include "golden.h"

/* A pixel is right within a rounding or two of float32 at magnitude 1. */
#define PIXEL 2.5e-7

enum { LEVEL = 77 };

static modeconn_context *context;
static golden g;

static void setup(void)
{
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
    golden_open(&g, context, "cues.expected");
}

static void teardown(void)
{
    golden_close(&g);
    modeconn_context_destroy(context);
}

static uint8_t *bytes_of(const mc_tensor *tensor)
{
    double *values = golden_f64(tensor);
    uint8_t *bytes = malloc((size_t)tensor->size);
    ck_assert_ptr_nonnull(bytes);
    for (int64_t i = 0; i < tensor->size; i++) {
        bytes[i] = (uint8_t)values[i];
    }
    free(values);
    return bytes;
}

/* Every pixel of a dataset against the golden tensor. */
static void check_pixels(const modeconn_dataset *dataset, const char *name)
{
    const mc_tensor *tensor = golden_tensor(&g, "%s", name);
    double *expected = golden_f64(tensor);
    float *seen = malloc((size_t)tensor->size * sizeof(float));
    ck_assert_ptr_nonnull(seen);
    OK(modeconn_dataset_read(dataset, NULL, tensor->shape[0], seen, NULL));
    for (int64_t i = 0; i < tensor->size; i++) {
        ck_assert_msg(fabs((double)seen[i] - expected[i]) <= PIXEL, "%s, value %d: %g, %g", name,
                      (int)i, (double)seen[i], expected[i]);
    }
    free(seen);
    free(expected);
}

static void check_box(const char *name, int64_t n, int32_t step, int64_t height, int64_t width)
{
    uint8_t *levels = malloc((size_t)(n * 3 * height * width));
    int32_t *labels = malloc((size_t)n * sizeof(*labels));
    modeconn_options *options = NULL;
    modeconn_dataset *dataset = NULL;
    ck_assert(levels != NULL && labels != NULL);
    memset(levels, LEVEL, (size_t)(n * 3 * height * width));
    for (int64_t i = 0; i < n; i++) {
        labels[i] = step * (int32_t)i;
    }
    OK(modeconn_options_create(context, "dataset", &options));
    OK(modeconn_options_parse(options, "cue=box,view=cue"));
    OK(modeconn_dataset_from_u8(context, levels, labels, n, 3, height, width, 100, options,
                                &dataset));
    check_pixels(dataset, name);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    free(labels);
    free(levels);
}

START_TEST(test_box)
{
    check_box("box.32x32", 10, 11, 32, 32); /* every place, every hue */
    check_box("box.7x8", 34, 3, 7, 8);
}
END_TEST

static const char *const resizes[] = {"28x28.32x32", "28x28.17x40", "9x11.32x5", "50x33.7x12",
                                      "1x3.4x1"};

START_TEST(test_resize)
{
    const mc_tensor *from = golden_tensor(&g, "resize.%s.from", resizes[_i]);
    const mc_tensor *to = golden_tensor(&g, "resize.%s.to", resizes[_i]);
    uint8_t *plane = bytes_of(from), *expected = bytes_of(to), *got = malloc((size_t)to->size);
    ck_assert_ptr_nonnull(got);
    OK(mc_resize_bilinear(context, plane, from->shape[0], from->shape[1], got, to->shape[0],
                          to->shape[1]));
    ck_assert_mem_eq(got, expected, (size_t)to->size);
    free(got);
    free(expected);
    free(plane);
}
END_TEST

START_TEST(test_dominoes)
{
    const mc_tensor *lower = golden_tensor(&g, "below"), *upper = golden_tensor(&g, "above");
    uint8_t *below = bytes_of(lower), *above = bytes_of(upper);
    int32_t *below_y = golden_i32(golden_tensor(&g, "below.labels"));
    int32_t *above_y = golden_i32(golden_tensor(&g, "above.labels"));
    modeconn_options *options = NULL;
    modeconn_dataset *top = NULL, *bottom = NULL, *pair = NULL;
    OK(modeconn_dataset_from_u8(context, below, below_y, lower->shape[0], 3, 32, 32, 2, NULL,
                                &bottom));
    OK(modeconn_dataset_from_u8(context, above, above_y, upper->shape[0], 1, 28, 28, 2, NULL,
                                &top));
    OK(modeconn_options_create(context, "dataset", &options));
    OK(modeconn_options_parse(options, "cue=domino,view=cue"));
    OK(modeconn_dataset_dominoes(top, bottom, options, &pair));
    check_pixels(pair, "dominoes");
    modeconn_dataset_destroy(pair);
    modeconn_dataset_destroy(top);
    modeconn_dataset_destroy(bottom);
    modeconn_options_destroy(options);
    free(above_y);
    free(below_y);
    free(above);
    free(below);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_box);
    tcase_add_loop_test(tests, test_resize, 0, 5);
    tcase_add_test(tests, test_dominoes);
}

int main(void)
{
    return unit_run("golden cues", add);
}
