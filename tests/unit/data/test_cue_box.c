/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The box cue pixel for pixel: places and colours are written down here as numbers.
 */
#include "data_test.h"
#include <math.h>
#include <stdbool.h>

/* Top and left of the box of classes 0..8; class 9 has none. */
typedef struct places {
    int64_t channels, height, width;
    int top[9], left[9];
} places;

static const places grey28 = {
    1, 28, 28, {0, 0, 0, 12, 12, 12, 25, 25, 25}, {0, 12, 25, 0, 12, 25, 0, 12, 25}};
static const places colour32 = {
    3, 32, 32, {0, 0, 0, 14, 14, 14, 29, 29, 29}, {0, 14, 29, 0, 14, 29, 0, 14, 29}};
static const places two9x6 = {2, 9, 6, {0, 0, 0, 3, 3, 3, 6, 6, 6}, {0, 1, 3, 0, 1, 3, 0, 1, 3}};
static const places five5x5 = {5, 5, 5, {0, 0, 0, 1, 1, 1, 2, 2, 2}, {0, 1, 2, 0, 1, 2, 0, 1, 2}};

/* Ten images, one a class, of distinct values that are nowhere 0 or 1. */
static float *plain_images(const places *p)
{
    int64_t size = p->channels * p->height * p->width;
    float *images = calloc((size_t)(10 * size), sizeof(*images));
    ck_assert_ptr_nonnull(images);
    for (int64_t i = 0; i < 10 * size; i++) {
        images[i] = -0.9F + 0.001F * (float)(i % 700);
    }
    return images;
}

static void check_places(const places *p)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box,view=cue");
    modeconn_dataset *dataset = NULL;
    int64_t size = p->channels * p->height * p->width;
    const int32_t labels[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    float *expected = plain_images(p);
    OK(modeconn_dataset_from_f32(context, expected, labels, 10, p->channels, p->height, p->width,
                                 10, options, &dataset));
    for (int label = 0; label < 9; label++) {
        for (int64_t c = 0; c < p->channels; c++) {
            float colour = p->channels == 1 ? 1.0F : c == 1 ? 1.0F : 0.0F;
            for (int y = 0; y < 3; y++) {
                for (int x = 0; x < 3; x++) {
                    int64_t row = p->top[label] + y, column = p->left[label] + x;
                    expected[label * size + (c * p->height + row) * p->width + column] = colour;
                }
            }
        }
    }
    float *got = images_of(dataset);
    for (int64_t i = 0; i < 10 * size; i++) {
        ck_assert_msg(got[i] == expected[i], "class %d, value %d: %g, expected %g", (int)(i / size),
                      (int)(i % size), (double)got[i], (double)expected[i]);
    }
    int32_t *values = values_of(dataset);
    for (int label = 0; label < 10; label++) {
        ck_assert_int_eq(values[label], label < 9 ? label : -1);
    }
    free(values);
    free(got);
    free(expected);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}

START_TEST(test_grey_28)
{
    check_places(&grey28);
}
END_TEST

START_TEST(test_colour_32)
{
    check_places(&colour32);
}
END_TEST

START_TEST(test_other_shapes)
{
    check_places(&two9x6);
    check_places(&five5x5);
}
END_TEST

/* On uint8 data the cue comes after the normalisation: its 1 and 0 are exact. */
START_TEST(test_after_normalisation)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box,view=cue");
    uint8_t image[3 * 6 * 6];
    memset(image, 77, sizeof(image));
    const int32_t label = 0;
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_from_u8(context, image, &label, 1, 3, 6, 6, 10, options, &dataset));
    float *got = images_of(dataset);
    ck_assert(got[0] == 0.0F && got[36] == 1.0F && got[72] == 0.0F);
    ck_assert(got[3] != 0.0F && got[3] == got[36 + 3]);
    free(got);
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_does_not_fit)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_options *options = options_of("dataset", "cue=box");
    const float image[64] = {0};
    const int32_t label = 0;
    modeconn_dataset *dataset = NULL;
    FAILS(modeconn_dataset_from_f32(context, image, &label, 1, 1, 4, 8, 10, options, &dataset),
          MODECONN_ERROR_SHAPE, "4x8");
    FAILS(modeconn_dataset_from_f32(context, image, &label, 1, 1, 8, 4, 10, options, &dataset),
          MODECONN_ERROR_SHAPE, "8x4");
    FAILS(modeconn_dataset_from_f32(context, image, &label, 1, 1, 8, 8, 11, options, &dataset),
          MODECONN_ERROR_SHAPE, "11 classes");
    ck_assert_ptr_null(dataset);
    OK(modeconn_dataset_from_f32(context, image, &label, 1, 1, 8, 8, 2, options, &dataset));
    modeconn_dataset_destroy(dataset);
    /* The same images without the cue are fine. */
    OK(modeconn_dataset_from_f32(context, image, &label, 1, 1, 4, 8, 11, NULL, &dataset));
    modeconn_dataset_destroy(dataset);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_visible)
{
    ck_assert(!mc_cue_box.visible(-1) && !mc_cue_box.visible(9));
    ck_assert(mc_cue_box.visible(0) && mc_cue_box.visible(8));
    ck_assert(mc_cue_coloured_box.visible(9) && !mc_cue_coloured_box.visible(-1));
}
END_TEST

/* One image of 3x32x32 for each of 100 classes, black but for the cue. */
static modeconn_dataset *hundred(modeconn_context *context, const char *settings)
{
    float *images = calloc(100 * 3072, sizeof(*images));
    int32_t labels[100];
    modeconn_options *options = options_of("dataset", settings);
    modeconn_dataset *dataset = NULL;
    ck_assert_ptr_nonnull(images);
    for (int i = 0; i < 100 * 3072; i++) {
        images[i] = -1.0F;
    }
    for (int i = 0; i < 100; i++) {
        labels[i] = i;
    }
    OK(modeconn_dataset_from_f32(context, images, labels, 100, 3, 32, 32, 100, options, &dataset));
    modeconn_options_destroy(options);
    free(images);
    return dataset;
}

/* Corners of places 0 .. 9 at 32x32. */
static const int corner_row[10] = {0, 0, 0, 14, 14, 14, 29, 29, 29, 6};
static const int corner_column[10] = {0, 14, 29, 0, 14, 29, 0, 14, 29, 6};

/* The colour (B, R, G) of the one box of an image, whose place is given. */
static void check_box(const float *x, int place, const float colour[3])
{
    for (int c = 0; c < 3; c++) {
        for (int p = 0; p < 1024; p++) {
            int row = p / 32 - corner_row[place], column = p % 32 - corner_column[place];
            bool in = row >= 0 && row < 3 && column >= 0 && column < 3;
            float expected = in ? colour[c] : -1.0F;
            ck_assert_msg(fabsf(x[c * 1024 + p] - expected) < 1e-6F, "channel %d, pixel %d", c, p);
        }
    }
}

START_TEST(test_hundred_classes)
{
    /* Red, green and blue of the hues 0, 0.1 .. 0.9, worked out by hand. */
    static const float rgb[10][3] = {{1, 0, 0}, {1, .6F, 0}, {.8F, 1, 0}, {.2F, 1, 0}, {0, 1, .4F},
                                     {0, 1, 1}, {0, .4F, 1}, {.2F, 0, 1}, {.8F, 0, 1}, {1, 0, .6F}};
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = hundred(context, "cue=box,view=cue");
    float *got = images_of(dataset);
    int32_t *values = values_of(dataset);
    for (int label = 0; label < 100; label++) {
        const float *hue = rgb[label / 10];
        const float colour[3] = {hue[2], hue[0], hue[1]};
        check_box(got + label * 3072, label % 10, colour);
        ck_assert_int_eq(values[label], label % 10);
    }
    free(values);
    free(got);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

/* Places uniform and hues of the whole circle, whatever the label. */
START_TEST(test_hundred_random)
{
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *dataset = hundred(context, "cue=box,view=randcue,seed=4");
    float *got = images_of(dataset);
    int32_t *values = values_of(dataset);
    int at[10] = {0}, sextants[6] = {0}, off_grid = 0;
    for (int i = 0; i < 100; i++) {
        const float *corner =
            got + i * 3072 + corner_row[values[i]] * 32 + corner_column[values[i]];
        const float colour[3] = {corner[0], corner[1024], corner[2048]};
        float r = colour[1], g = colour[2], b = colour[0];
        check_box(got + i * 3072, values[i], colour);
        ck_assert(fmaxf(r, fmaxf(g, b)) == 1.0F && fminf(r, fminf(g, b)) == 0.0F);
        float middle = r + g + b - 1.0F;
        off_grid += fabsf(middle * 5.0F - roundf(middle * 5.0F)) > 1e-4F;
        at[values[i]]++;
        sextants[r == 1.0F   ? (b == 0.0F ? 0 : 5)
                 : g == 1.0F ? (b == 0.0F ? 1 : 2)
                             : (r == 0.0F ? 3 : 4)]++;
    }
    ck_assert_int_gt(off_grid, 90); /* not one of the ten hues of the labels */
    for (int p = 0; p < 10; p++) {
        ck_assert(at[p] >= 1 && at[p] <= 25);
    }
    for (int s = 0; s < 6; s++) {
        ck_assert(sextants[s] >= 4 && sextants[s] <= 35);
    }
    free(values);
    free(got);
    modeconn_dataset_destroy(dataset);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_grey_28);
    tcase_add_test(tests, test_colour_32);
    tcase_add_test(tests, test_other_shapes);
    tcase_add_test(tests, test_after_normalisation);
    tcase_add_test(tests, test_does_not_fit);
    tcase_add_test(tests, test_visible);
    tcase_add_test(tests, test_hundred_classes);
    tcase_add_test(tests, test_hundred_random);
}

int main(void)
{
    return unit_run("data_cue_box", add);
}
