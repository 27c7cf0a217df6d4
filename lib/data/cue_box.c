/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The box cue: a 3x3 box at one of nine places, values 0 (top left) .. 8 (bottom right) row by
 * row, at offsets 0, floor((H-3)/2), H-3 and likewise in W; value 9 draws nothing. The value of a
 * label is the label. Channels are (0, 1, 0, ...), as Lubana et al. 2023 have it on CIFAR-10; a
 * single one is 1.
 */
#include "data.h"

enum { SIDE = 3, PLACES = 9, SMALLEST = 5 /* below, the three offsets are not distinct */ };

static int32_t fits(const mc_store *store)
{
    if (store->height < SMALLEST || store->width < SMALLEST) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "cue box: images of %lldx%lld are too small, expected at least %dx%d",
                       (long long)store->height, (long long)store->width, SMALLEST, SMALLEST);
    }
    if (store->classes > PLACES + 1) {
        return mc_fail(MODECONN_ERROR_SHAPE, "cue box: %lld classes, but it has only %d values",
                       (long long)store->classes, PLACES + 1);
    }
    return MODECONN_OK;
}

static int64_t value_of_label(int32_t label)
{
    return label;
}

static bool visible(int64_t value)
{
    return value >= 0 && value < PLACES;
}

static int64_t offset(int64_t place, int64_t size)
{
    int64_t room = size - SIDE;
    return place == 0 ? 0 : place == 1 ? room / 2 : room;
}

static bool draw(int64_t value, int64_t channels, int64_t height, int64_t width, float *x)
{
    if (!visible(value)) {
        return false;
    }
    int64_t top = offset(value / 3, height), left = offset(value % 3, width);
    for (int64_t c = 0; c < channels; c++) {
        float level = channels == 1 || c == 1 ? 1.0F : 0.0F;
        for (int64_t row = 0; row < SIDE; row++) {
            float *line = x + (c * height + top + row) * width + left;
            for (int64_t column = 0; column < SIDE; column++) {
                line[column] = level;
            }
        }
    }
    return true;
}

const mc_cue mc_cue_box = {
    .name = "box",
    .range = PLACES + 1,
    .fits = fits,
    .value_of_label = value_of_label,
    .draw = draw,
    .visible = visible,
};
