/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the reader and the writer of safetensors share.
 */
#ifndef MC_SAFETENSORS_H
#define MC_SAFETENSORS_H

#include "io/io.h"

/* The format's own limit on its header. */
enum { MC_SAFETENSORS_HEADER_MAX = 100000000 };

#define MC_SAFETENSORS_METADATA "__metadata__"

/* Bytes of one value, 0 for a dtype that is not known. `canonical` receives the static name. */
int64_t mc_dtype_bytes(const char *dtype, const char **canonical);

/* Number of values of a shape; false where a dimension is negative or the product overflows. */
bool mc_shape_product(const int64_t *shape, int32_t rank, int64_t *size);

#endif
