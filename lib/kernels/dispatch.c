/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Picks the kernels of one instruction set at run time. A row per set, best first, of which "auto"
 * takes the first that the processor has.
 */
#include "kernels/kernels.h"
#include <string.h>

extern const mc_kernels mc_kernels_baseline;
#if defined(__x86_64__)
extern const mc_kernels mc_kernels_avx2, mc_kernels_avx512;

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
#endif

static bool always(void)
{
    return true;
}

static const struct isa_row {
    const mc_kernels *kernels;
    bool (*supported)(void);
} isa_rows[] = {
#if defined(__x86_64__)
    {&mc_kernels_avx512, has_avx512},
    {&mc_kernels_avx2, has_avx2},
#endif
    {&mc_kernels_baseline, always},
};

int32_t mc_kernels_select(const char *isa, const mc_kernels **kernels)
{
    bool automatic = strcmp(isa, "auto") == 0;
    for (size_t i = 0; i < sizeof isa_rows / sizeof isa_rows[0]; i++) {
        const struct isa_row *row = &isa_rows[i];
        if ((automatic || strcmp(isa, row->kernels->isa) == 0) && row->supported()) {
            *kernels = row->kernels;
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNSUPPORTED, "isa %s: this processor or build does not have it",
                   isa);
}

const char *mc_kernels_isa(const mc_kernels *kernels)
{
    return kernels->isa;
}

/* One dimension: T2 where it applies, else F4. */
static void winograd_dimension(int64_t extent, int64_t out_extent, int64_t padding, bool *t2,
                               int *in, int *out, int *freq, int64_t *tiles)
{
    *t2 = extent == 2 && out_extent == 2 && padding == 1;
    *in = *t2 ? 2 : 6;
    *out = *t2 ? 2 : 4;
    *freq = *t2 ? 3 : 6;
    *tiles = (out_extent + *out - 1) / *out;
}

mc_winograd mc_winograd_of(int64_t h, int64_t w, int64_t oh, int64_t ow, int64_t padding)
{
    mc_winograd g = {.h = h, .w = w, .oh = oh, .ow = ow, .padding = padding};
    winograd_dimension(h, oh, padding, &g.t2_y, &g.in_y, &g.out_y, &g.freq_y, &g.tiles_y);
    winograd_dimension(w, ow, padding, &g.t2_x, &g.in_x, &g.out_x, &g.freq_x, &g.tiles_x);
    return g;
}
