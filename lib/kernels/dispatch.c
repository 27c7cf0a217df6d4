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
