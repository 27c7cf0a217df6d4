/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A product's way through memory that is wanted soon (mc_ahead), for product.c and outer.c.
 */
#ifndef MC_TOUCH_H
#define MC_TOUCH_H

#include "kernels/kernels.h"

/* Next line, and MC_LINE or, where nothing is wanted, 0. */
typedef struct touching {
    const char *at;
    int64_t step;
} touching;

/* `else_at`: memory that is in the first cache, to be touched instead of a test. */
static inline touching touch_from(const mc_ahead *ahead, const void *else_at)
{
    bool any = ahead != NULL && ahead->lines > 0;
    return (touching){any ? ahead->at : else_at, any ? MC_LINE : 0};
}

/* A line into the second cache, for two steps of a sum by several vectors or one by a single one:
 * more lines, or into the first cache, would keep the sum's own loads waiting. */
static inline void touch(touching *t)
{
    __builtin_prefetch(t->at, 0, 2);
    t->at += t->step;
}

static inline void touched_to(touching t, mc_ahead *ahead)
{
    if (t.step > 0) {
        ahead->lines -= (t.at - ahead->at) / MC_LINE;
        ahead->at = t.at;
    }
}

#endif
