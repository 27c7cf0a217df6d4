/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which tiles a 3x3 convolution is made of (winograd.h).
 */
#include "kernels/kernels.h"

static mc_tile_axis at_stride_1(int64_t from, int64_t to, int64_t padding)
{
    bool whole = from == 2 && to == 2 && padding == 1;
    /* T2 sees the whole dimension, F4 a window that begins in the padding. */
    return whole ? (mc_tile_axis){.tile = MC_TILE_T2, .in = 2, .out = 2, .freq = 3}
                 : (mc_tile_axis){.tile = MC_TILE_F4,
                                  .in = 6,
                                  .out = 4,
                                  .freq = 6,
                                  .step = 4,
                                  .before = padding};
}

static mc_tile_axis at_stride_2(bool backward)
{
    return backward
               ? (mc_tile_axis){.tile = MC_TILE_UP, .in = 5, .out = 8, .freq = 5, .step = 4}
               : (mc_tile_axis){
                     .tile = MC_TILE_DOWN, .in = 9, .out = 4, .freq = 5, .step = 8, .before = 1};
}

static mc_tile_axis axis_of(int64_t extent, int64_t out_extent, const mc_window *window,
                            bool backward)
{
    int64_t from = backward ? out_extent : extent, to = backward ? extent : out_extent;
    mc_tile_axis axis =
        window->stride == 2
            ? at_stride_2(backward)
            : at_stride_1(from, to, backward ? 2 - window->padding : window->padding);
    axis.from = from;
    axis.to = to;
    axis.tiles = (to + axis.out - 1) / axis.out;
    return axis;
}

bool mc_winograd_possible(const mc_window *p)
{
    return p->kernel == 3 && p->h > 1 && p->w > 1 &&
           ((p->stride == 1 && p->padding <= 2) || (p->stride == 2 && p->padding == 1));
}

mc_winograd mc_winograd_of(const mc_window *window, bool backward)
{
    return (mc_winograd){axis_of(window->h, window->oh, window, backward),
                         axis_of(window->w, window->ow, window, backward)};
}

int64_t mc_winograd_frequencies(const mc_winograd *w)
{
    return w->y.freq * w->x.freq;
}

/* In every dimension two phases, but one at the last frequency, infinity. */
int64_t mc_winograd_phases(const mc_winograd *w, int64_t f)
{
    if (w->y.tile < MC_TILE_DOWN) {
        return 1;
    }
    return (f / w->x.freq == w->y.freq - 1 ? 1 : 2) * (f % w->x.freq == w->x.freq - 1 ? 1 : 2);
}

int64_t mc_winograd_most_phases(const mc_winograd *w)
{
    return mc_winograd_phases(w, 0);
}

int64_t mc_winograd_lines(const mc_winograd *w)
{
    return w->y.tile < MC_TILE_DOWN ? mc_winograd_frequencies(w)
                                    : (2 * w->y.freq - 1) * (2 * w->x.freq - 1);
}
