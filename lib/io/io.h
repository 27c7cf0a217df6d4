/* SPDX-License-Identifier: BSD-3-Clause
 *
 * io: files and exchange formats. Depends on core only; callers bring tensors and JSON.
 */
#ifndef MC_IO_H
#define MC_IO_H

#include "core/core.h"
#include <jansson.h>

/* ---- whole files (file.c) ------------------------------------------------------------------ */

/* An output file under a temporary name in the target's folder, renamed over it on commit. A
 * symbolic link is followed, an existing file's permissions are kept (and its write protection
 * respected); devices and pipes, which cannot be replaced, are written to as they are. After a
 * failed write, commit fails too. */
typedef struct mc_writer mc_writer;
int32_t mc_writer_open(const modeconn_context *context, const char *path, mc_writer **out);
int32_t mc_writer_write(mc_writer *writer, const void *data, size_t size);
/* Flushes to disk and renames; frees the writer either way. */
int32_t mc_writer_commit(mc_writer *writer);
/* Removes the temporary file; NULL is ignored. */
void mc_writer_abort(mc_writer *writer);

/* ---- JSON (json.c) ------------------------------------------------------------------------- */

/* The capacity / needed protocol for a JSON value; takes the caller's reference, NULL means out
 * of memory. Indented, keys in insertion order, NaN and infinities as null (use mc_json_real). */
int32_t mc_json_out(json_t *value, char *buffer, int64_t capacity, int64_t *needed);
json_t *mc_json_real(double value);

/* ---- safetensors (safetensors.c) ------------------------------------------------------------ */

typedef struct mc_tensor {
    const char *name;
    int32_t rank;
    int64_t shape[8];
    const char *dtype; /* "F32", "F64", "F16", "BF16", "I64", ... */
    const void *data;  /* little endian, may be unaligned when read from a file */
    int64_t size;      /* values */
} mc_tensor;

/* Writes tensors of any dtype and string metadata, names in the given order. Tensors go from the
 * caller's memory to the file as they are. A duplicate name, a name or text that is not UTF-8, an
 * unknown dtype and a size that is not the shape's product are MODECONN_ERROR_ARGUMENT. */
int32_t mc_safetensors_write(const modeconn_context *context, const char *path,
                             const mc_tensor *tensors, int64_t n_tensors,
                             const char *const *meta_keys, const char *const *meta_values,
                             int64_t n_meta);

/* A file read whole and checked: header size and JSON, dtypes, shapes, offsets inside the file,
 * no overlap, no gap, no duplicate name; MODECONN_ERROR_FORMAT names path and tensor otherwise.
 * Tensors come in the header's order. */
typedef struct mc_safetensors mc_safetensors;
int32_t mc_safetensors_read(const modeconn_context *context, const char *path,
                            mc_safetensors **out);
void mc_safetensors_free(mc_safetensors *file);
int64_t mc_safetensors_count(const mc_safetensors *file);
const mc_tensor *mc_safetensors_at(const mc_safetensors *file, int64_t index);
const mc_tensor *mc_safetensors_find(const mc_safetensors *file, const char *name); /* or NULL */
/* Where every name begins with `prefix`, takes it off all of them; else does nothing and gives
 * false.
 */
bool mc_safetensors_strip(mc_safetensors *file, const char *prefix);
const char *mc_safetensors_meta(const mc_safetensors *file, const char *key); /* or NULL */
int64_t mc_safetensors_meta_count(const mc_safetensors *file);
void mc_safetensors_meta_at(const mc_safetensors *file, int64_t index, const char **key,
                            const char **value);
/* Copies a floating-point tensor (F32, F64, F16, BF16) into floats [size];
 * MODECONN_ERROR_FORMAT names it and its dtype otherwise, MODECONN_ERROR_NUMERIC a finite F64 that
 * no float can hold. */
int32_t mc_tensor_to_f32(const mc_tensor *tensor, float *out);

#endif
