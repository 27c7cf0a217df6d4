/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The box cue of Lubana et al. 2023, a 3x3 box, in two variants.
 *
 * Up to ten classes (CIFAR-10): values 0 (top left) .. 8 (bottom right) row by row, at offsets 0,
 * floor((H-3)/2), H-3 and likewise in W; value 9 draws nothing. The value of a label is the label.
 * Channels are (0, 1, 0, ...); a single one is 1.
 *
 * Up to a hundred classes on three channels (CIFAR-100): the value is the place, label mod 10;
 * place 9 has its corner at floor((H-3)/2) - floor(H/4), likewise in W. The colour is that of the
 * hue floor(label/10)/10 at full saturation and value, its red, green and blue written as channels
 * 1, 2, 0: (B, R, G). A randomised cue draws its hue from U[0, 1) beside the place.
 */
#include "data.h"
#include <math.h>

enum {
    SIDE = 3,
    PLACES = 9,
    VALUES = PLACES + 1,
    HUES = 10,
    COLOURS = 3,
    SMALLEST = 5 /* below, the three offsets are not distinct */
};

static int32_t check_size(const mc_store *store)
{
    if (store->height < SMALLEST || store->width < SMALLEST) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "cue box: images of %lldx%lld are too small, expected at least %dx%d",
                       (long long)store->height, (long long)store->width, SMALLEST, SMALLEST);
    }
    return MODECONN_OK;
}

static int32_t fits(const mc_cue *cue, const mc_store *store)
{
    (void)cue;
    if (store->classes > VALUES) {
        return mc_fail(MODECONN_ERROR_SHAPE, "cue box: %lld classes, but it has only %d values",
                       (long long)store->classes, VALUES);
    }
    return check_size(store);
}

static int32_t coloured_fits(const mc_cue *cue, const mc_store *store)
{
    (void)cue;
    int32_t status = check_size(store);
    if (status == MODECONN_OK && (store->classes > VALUES * HUES || store->channels != COLOURS)) {
        status = mc_fail(MODECONN_ERROR_SHAPE,
                         "cue box: %lld classes on %lld channels; it has %d values, or %d places "
                         "and colours on %d channels",
                         (long long)store->classes, (long long)store->channels, VALUES,
                         VALUES * HUES, COLOURS);
    }
    return status;
}

static int64_t range(const mc_cue *cue, const mc_store *store)
{
    (void)cue;
    (void)store;
    return VALUES;
}

static int64_t place_of(const mc_store *store, int64_t sample)
{
    return store->labels[sample] % VALUES;
}

static bool visible(int64_t value)
{
    return value >= 0 && value < PLACES;
}

/* Offset of the box along one side: row or column 0, 1 or 2 of the nine places, 3 for the tenth. */
static int64_t offset(int64_t part, int64_t size)
{
    int64_t room = size - SIDE, middle = room / 2;
    int64_t tenth = middle - size / 4;
    return part == 0 ? 0 : part == 1 ? middle : part == 2 ? room : tenth < 0 ? 0 : tenth;
}

static void fill(const mc_store *store, int64_t value, int64_t channel, float level, float *x)
{
    int64_t top = offset(value < PLACES ? value / 3 : 3, store->height);
    int64_t left = offset(value < PLACES ? value % 3 : 3, store->width);
    for (int64_t row = 0; row < SIDE; row++) {
        float *line = x + (channel * store->height + top + row) * store->width + left;
        for (int64_t column = 0; column < SIDE; column++) {
            line[column] = level;
        }
    }
}

static int32_t draw(const mc_cue *cue, const mc_store *store, const mc_cue_setting *setting,
                    float *x)
{
    (void)cue;
    for (int64_t c = 0; c < store->channels; c++) {
        fill(store, setting->value, c, store->channels == 1 || c == 1 ? 1.0F : 0.0F, x);
    }
    return MODECONN_OK;
}

/* Red, green and blue of a hue in [0, 1) at saturation and value 1, as Python's colorsys. */
static void colour_of_hue(double hue, double rgb[COLOURS])
{
    double sixth = hue * 6.0, f = sixth - floor(sixth);
    const double rows[6][COLOURS] = {{1, f, 0},     {1 - f, 1, 0}, {0, 1, f},
                                     {0, 1 - f, 1}, {f, 0, 1},     {1, 0, 1 - f}};
    const double *row = rows[(int)sixth % 6];
    for (int c = 0; c < COLOURS; c++) {
        rgb[c] = row[c];
    }
}

static int32_t coloured_draw(const mc_cue *cue, const mc_store *store,
                             const mc_cue_setting *setting, float *x)
{
    (void)cue;
    double hue = setting->randomised ? (double)(setting->random >> 11) * 0x1p-53
                                     : (double)(setting->label / VALUES) / HUES;
    double rgb[COLOURS];
    colour_of_hue(hue, rgb);
    for (int c = 0; c < COLOURS; c++) {
        fill(store, setting->value, c, (float)rgb[(c + 2) % COLOURS], x);
    }
    return MODECONN_OK;
}

const mc_cue mc_cue_box = {
    .name = "box",
    .fits = fits,
    .range = range,
    .value_of = mc_cue_value_is_label,
    .draw = draw,
    .visible = visible,
};

const mc_cue mc_cue_coloured_box = {
    .name = "box",
    .fits = coloured_fits,
    .range = range,
    .value_of = place_of,
    .draw = coloured_draw,
    .visible = mc_cue_always_visible,
};
