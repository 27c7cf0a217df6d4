/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The one entry of the module that start.c loads to time a model without initial weights.
 */
#ifndef MC_BENCH_START_H
#define MC_BENCH_START_H

#include <stdint.h>

/* Creates a context and a VGG-13 for 3x32x32 images of ten classes whose weights are not drawn,
 * as loading a file does before it reads them. Returns a status. */
int32_t mc_bench_uninitialised(void);

#endif
