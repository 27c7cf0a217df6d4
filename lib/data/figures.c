/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Drawing one image of the shapes set: a figure of one of ten classes, at a drawn place, size,
 * turn and stretch, lighter or darker than a background with a slope, stripes and specks, under
 * pixel noise. A pure function of (seed, split, index), free of libm: sums, products and
 * quotients only, so the images are the same wherever arithmetic is IEEE 754.
 *
 * Classes: 0 disc, 1 ring, 2 square, 3 square outline, 4 triangle, 5 diagonal cross, 6 plus,
 * 7 horizontal bars, 8 vertical bars, 9 checkerboard. Samples 10k .. 10k+9 hold every class once,
 * in a drawn order.
 */
#include "data.h"
#include <math.h>

enum { CLASSES = 10, SPECKS = 3, SAMPLING = 3 };

/* Draw numbers of a sample; the noise of value p of the image is draw DRAW_NOISE + p. */
enum {
    DRAW_X,
    DRAW_Y,
    DRAW_EXTENT,
    DRAW_TURN,
    DRAW_STRETCH,
    DRAW_CONTRAST,
    DRAW_SIGN,
    DRAW_BASE,
    DRAW_SLOPE_X,
    DRAW_SLOPE_Y,
    DRAW_STRIPE_X,
    DRAW_STRIPE_Y,
    DRAW_STRIPE_LEVEL,
    DRAW_STRIPE_PHASE,
    DRAW_SPECK = 32, /* 4 a speck */
    DRAW_TINT = 64,  /* 1 a channel */
    DRAW_NOISE = 4096
};

typedef struct scene {
    uint64_t seed, index;
    uint32_t stream;
    int32_t figure;
    double x, y, cosine, sine, across, along; /* pose: centre, turn, half extents, pixels */
    double base, contrast, slope_x, slope_y;
    double stripe_x, stripe_y, stripe_level, stripe_phase;
    double speck[SPECKS][4]; /* centre, squared radius, level */
} scene;

/* Uniform in [low, high). */
static double draw(const scene *s, uint32_t number, double low, double high)
{
    return low + (high - low) * mc_random_f64(s->seed, s->stream, s->index, number);
}

static int32_t class_of(uint64_t seed, uint32_t stream, int64_t index)
{
    /* Indices of blocks are apart from those of samples. */
    uint64_t block = UINT64_C(1) << 63 | (uint64_t)(index / CLASSES);
    int64_t order[CLASSES];
    mc_random_permutation(seed, stream, block, CLASSES, order);
    return (int32_t)order[index % CLASSES];
}

static scene make_scene(uint64_t seed, uint32_t stream, int64_t index, int64_t size)
{
    scene s = {.seed = seed, .stream = stream, .index = (uint64_t)index};
    double side = (double)size;
    s.figure = class_of(seed, stream, index);
    /* At least 3.2 pixels: below, bars and checkers would blur into one grey. */
    double extent = draw(&s, DRAW_EXTENT, 0.26, 0.42) * side;
    extent = extent < 3.2 ? 3.2 : extent;
    s.x = 0.5 * side + (0.5 * side - extent) * draw(&s, DRAW_X, -1.0, 1.0);
    s.y = 0.5 * side + (0.5 * side - extent) * draw(&s, DRAW_Y, -1.0, 1.0);
    /* cos and sin of 2 atan(t), up to 22 degrees either way. */
    double t = draw(&s, DRAW_TURN, -0.2, 0.2);
    s.cosine = (1.0 - t * t) / (1.0 + t * t);
    s.sine = 2.0 * t / (1.0 + t * t);
    double stretch = draw(&s, DRAW_STRETCH, 0.87, 1.15);
    s.across = extent * stretch;
    s.along = extent / stretch;
    double contrast = draw(&s, DRAW_CONTRAST, 0.22, 0.6);
    s.contrast = draw(&s, DRAW_SIGN, -1.0, 1.0) < 0.0 ? -contrast : contrast;
    /* So that background and figure both stay within the range of grey. */
    double room = draw(&s, DRAW_BASE, 0.15, 0.85 - contrast);
    s.base = s.contrast < 0.0 ? room + contrast : room;
    s.slope_x = draw(&s, DRAW_SLOPE_X, -0.2, 0.2) / side;
    s.slope_y = draw(&s, DRAW_SLOPE_Y, -0.2, 0.2) / side;
    s.stripe_x = draw(&s, DRAW_STRIPE_X, -5.0, 5.0) / side;
    s.stripe_y = draw(&s, DRAW_STRIPE_Y, -5.0, 5.0) / side;
    s.stripe_level = draw(&s, DRAW_STRIPE_LEVEL, 0.0, 0.12);
    s.stripe_phase = draw(&s, DRAW_STRIPE_PHASE, 0.0, 1.0);
    for (uint32_t i = 0; i < SPECKS; i++) {
        double radius = draw(&s, DRAW_SPECK + 4 * i + 2, 0.03, 0.09) * side;
        s.speck[i][0] = draw(&s, DRAW_SPECK + 4 * i, 0.0, side);
        s.speck[i][1] = draw(&s, DRAW_SPECK + 4 * i + 1, 0.0, side);
        s.speck[i][2] = radius * radius;
        s.speck[i][3] = draw(&s, DRAW_SPECK + 4 * i + 3, -0.5, 0.5);
    }
    return s;
}

/* Whether (u, v), in units of the figure's half extents, lies in the figure. */
static bool inside(int32_t figure, double u, double v)
{
    double a = fabs(u), b = fabs(v), far = a > b ? a : b, near = a > b ? b : a;
    switch (figure) {
    case 0:
        return u * u + v * v < 0.81;
    case 1:
        return u * u + v * v < 0.81 && u * u + v * v > 0.3;
    case 2:
        return far < 0.78;
    case 3:
        return far < 0.78 && far > 0.45;
    case 4:
        return v < 0.75 && a < 0.5 * (v + 0.9);
    case 5:
        return far < 0.9 && far - near < 0.3;
    case 6:
        return far < 0.9 && near < 0.22;
    case 7: /* five stripes, every other one drawn */
        return far < 0.85 && (int)((v + 0.85) / 0.34) % 2 == 0;
    case 8:
        return far < 0.85 && (int)((u + 0.85) / 0.34) % 2 == 0;
    default: /* 4x4 fields */
        return far < 0.85 && ((int)((u + 0.85) / 0.425) + (int)((v + 0.85) / 0.425)) % 2 == 0;
    }
}

/* Share of pixel (row, column) that the figure covers. */
static double coverage(const scene *s, int64_t row, int64_t column)
{
    int hits = 0;
    for (int i = 0; i < SAMPLING * SAMPLING; i++) {
        double y = (double)row + (i / SAMPLING + 0.5) / SAMPLING - s->y;
        double x = (double)column + (i % SAMPLING + 0.5) / SAMPLING - s->x;
        double u = (s->cosine * x + s->sine * y) / s->across;
        double v = (s->cosine * y - s->sine * x) / s->along;
        hits += inside(s->figure, u, v);
    }
    return (double)hits / (SAMPLING * SAMPLING);
}

/* What lies behind the figure, relative to its base level. */
static double background(const scene *s, int64_t row, int64_t column)
{
    double y = (double)row + 0.5, x = (double)column + 0.5;
    double phase = s->stripe_x * x + s->stripe_y * y + s->stripe_phase;
    double wave = 4.0 * fabs(phase - floor(phase) - 0.5) - 1.0; /* triangle, -1 .. 1 */
    double level = s->slope_x * (x - s->x) + s->slope_y * (y - s->y) + s->stripe_level * wave;
    for (int i = 0; i < SPECKS; i++) {
        double dx = x - s->speck[i][0], dy = y - s->speck[i][1];
        if (dx * dx + dy * dy < s->speck[i][2]) {
            level += s->speck[i][3];
        }
    }
    return level;
}

/* Mean 0, variance 1, bell-shaped: the sum of four uniforms of 16 bits, scaled. */
static double bell(uint64_t bits)
{
    uint64_t sum = (bits & 0xFFFF) + (bits >> 16 & 0xFFFF) + (bits >> 32 & 0xFFFF) + (bits >> 48);
    return ((double)sum / 65535.0 - 2.0) * 1.7320508075688772;
}

int32_t mc_shapes_image(uint64_t seed, uint32_t stream, int64_t index, int64_t size,
                        int64_t channels, double noise, uint8_t *pixels)
{
    scene s = make_scene(seed, stream, index, size);
    /* Colours differ in how strongly a channel shows the figure, never in its sign. */
    double tint[MC_SHAPES_CHANNELS] = {1.0};
    for (int64_t c = 0; channels > 1 && c < channels; c++) {
        tint[c] = draw(&s, DRAW_TINT + (uint32_t)c, 0.6, 1.0);
    }
    for (int64_t p = 0; p < size * size; p++) {
        double cover = coverage(&s, p / size, p % size);
        double behind = s.base + background(&s, p / size, p % size) * (1.0 - cover);
        for (int64_t c = 0; c < channels; c++) {
            int64_t at = c * size * size + p;
            double grain =
                bell(mc_random_u64(seed, stream, (uint64_t)index, DRAW_NOISE + (uint32_t)at));
            double level = behind + s.contrast * tint[c] * cover + noise * grain;
            level = level < 0.0 ? 0.0 : level > 1.0 ? 1.0 : level;
            pixels[at] = (uint8_t)(255.0 * level + 0.5);
        }
    }
    return s.figure;
}
