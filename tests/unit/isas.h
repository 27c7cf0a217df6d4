/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The instruction sets, for tests that go through all of them. With MODECONN_TEST_ISA=avx512, say,
 * they leave out the others, as `make avx512` does, whose processor is emulated and slow.
 */
#ifndef MC_UNIT_ISAS_H
#define MC_UNIT_ISAS_H

#include "core/core.h"
#include "unit.h"
#include <stdio.h>

static const char *const isas[] = {"baseline", "avx2", "avx512"};
enum { ISAS = sizeof isas / sizeof isas[0] };

static inline bool isa_left_out(int which)
{
    const char *only = getenv("MODECONN_TEST_ISA");
    if (only == NULL || strcmp(only, isas[which]) == 0) {
        return false;
    }
    bool known = false;
    for (int i = 0; i < ISAS; i++) {
        known = known || strcmp(only, isas[i]) == 0;
    }
    ck_assert_msg(known, "MODECONN_TEST_ISA: \"%s\" is none of them", only);
    return true;
}

/* NULL: there is nothing to test; this processor lacks the set, or it is left out. */
static inline const mc_kernels *isa_kernels(int which)
{
    const mc_kernels *kernels = NULL;
    if (isa_left_out(which)) {
        return NULL;
    }
    int32_t status = mc_kernels_select(isas[which], &kernels);
    ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_UNSUPPORTED);
    ck_assert(kernels == NULL || strcmp(mc_kernels_isa(kernels), isas[which]) == 0);
    return kernels;
}

/* NULL as above. 0 threads: one for every core. */
static inline modeconn_context *isa_context(int which, int threads)
{
    char settings[64];
    snprintf(settings, sizeof settings, "threads=%d,isa=%s", threads, isas[which]);
    return isa_left_out(which) ? NULL : context_of(settings);
}

#endif
