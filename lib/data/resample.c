/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bilinear resizing of 8-bit planes, byte for byte what PIL's Image.resize((W, H), BILINEAR) gives:
 * a triangle filter of support 1 (times the scale where the image shrinks), weights normalised and
 * rounded to 22-bit fixed point, a pass over the rows, then one over the columns, each rounded to
 * uint8. (Pillow 13 takes the columns first where the image gets lower and wider.)
 */
#include "data.h"
#include <math.h>

enum { PRECISION = 22 };

/* Weights of every value of a line of `size` values that becomes one of `to` values. */
typedef struct taps {
    int64_t most;    /* weights a value at most */
    int64_t *first;  /* [to] first value that counts */
    int64_t *count;  /* [to] */
    int32_t *weight; /* [to][most] */
} taps;

static void taps_free(const modeconn_context *context, taps *made)
{
    mc_free(context, made->first);
    mc_free(context, made->count);
    mc_free(context, made->weight);
    *made = (taps){0};
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static void weigh(double centre, double filter_scale, int64_t first, int64_t count, int32_t *weight)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += triangle(((double)(i + first) - centre + 0.5) / filter_scale);
    }
    for (int64_t i = 0; i < count; i++) {
        double share = triangle(((double)(i + first) - centre + 0.5) / filter_scale);
        share = sum != 0.0 ? share / sum : share;
        weight[i] = (int32_t)(0.5 + share * (double)(1 << PRECISION));
    }
}

static int32_t taps_make(const modeconn_context *context, int64_t size, int64_t to, taps *made)
{
    double scale = (double)size / (double)to, filter_scale = scale < 1.0 ? 1.0 : scale;
    int64_t weights = 0;
    *made = (taps){.most = (int64_t)ceil(filter_scale) * 2 + 1};
    if (!mc_mul(to, made->most, &weights)) {
        weights = INT64_MAX; /* which the allocator refuses */
    }
    made->first = mc_alloc(context, to, sizeof(int64_t));
    made->count = mc_alloc(context, to, sizeof(int64_t));
    made->weight = mc_alloc(context, weights, sizeof(int32_t));
    if (made->first == NULL || made->count == NULL || made->weight == NULL) {
        taps_free(context, made);
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < to; i++) {
        double centre = ((double)i + 0.5) * scale;
        double from = centre - filter_scale + 0.5, end = centre + filter_scale + 0.5;
        int64_t first = from < 0 ? 0 : (int64_t)from;
        int64_t last = end > (double)size ? size : (int64_t)end;
        made->first[i] = first;
        made->count[i] = last - first;
        weigh(centre, filter_scale, first, last - first, made->weight + i * made->most);
    }
    return MODECONN_OK;
}

/* One value of a line whose values are `step` bytes apart. */
static uint8_t resampled(const taps *made, int64_t i, const uint8_t *line, int64_t step)
{
    const int32_t *weight = made->weight + i * made->most;
    int64_t sum = 1 << (PRECISION - 1);
    for (int64_t k = 0; k < made->count[i]; k++) {
        sum += (int64_t)weight[k] * line[(made->first[i] + k) * step];
    }
    sum >>= PRECISION;
    return (uint8_t)(sum > 255 ? 255 : sum);
}

int32_t mc_resize_bilinear(const modeconn_context *context, const uint8_t *plane, int64_t height,
                           int64_t width, uint8_t *to, int64_t to_height, int64_t to_width)
{
    taps across = {0}, down = {0};
    int64_t size = 0;
    uint8_t *rows = NULL; /* [height][to_width] */
    int32_t status = taps_make(context, width, to_width, &across);
    if (status == MODECONN_OK) {
        status = taps_make(context, height, to_height, &down);
    }
    if (status == MODECONN_OK) {
        rows = mc_mul(height, to_width, &size) ? mc_alloc(context, size, 1) : NULL;
        status = rows == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    }
    for (int64_t i = 0; status == MODECONN_OK && i < height * to_width; i++) {
        rows[i] = resampled(&across, i % to_width, plane + i / to_width * width, 1);
    }
    for (int64_t i = 0; status == MODECONN_OK && i < to_height * to_width; i++) {
        to[i] = resampled(&down, i / to_width, rows + i % to_width, to_width);
    }
    mc_free(context, rows);
    taps_free(context, &down);
    taps_free(context, &across);
    return status;
}
