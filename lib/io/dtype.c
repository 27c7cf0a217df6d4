/* SPDX-License-Identifier: BSD-3-Clause
 *
 * dtype: number formats of tensors, and their conversion to float. Everything is read byte by
 * byte, because tensors of a file are little endian and may lie at any address.
 */
#include "io/safetensors.h"

#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    int64_t bytes;
} dtypes[] = {
    {"F32", 4},  {"F64", 8}, {"F16", 2},     {"BF16", 2},    {"I64", 8}, {"I32", 4},
    {"I16", 2},  {"I8", 1},  {"U64", 8},     {"U32", 4},     {"U16", 2}, {"U8", 1},
    {"BOOL", 1}, {"C64", 8}, {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

int64_t mc_dtype_bytes(const char *dtype, const char **canonical)
{
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        if (strcmp(dtype, dtypes[i].name) == 0) {
            *canonical = dtypes[i].name;
            return dtypes[i].bytes;
        }
    }
    return 0;
}

bool mc_shape_product(const int64_t *shape, int32_t rank, int64_t *size)
{
    /* Zeros first: [0, huge, huge] holds nothing and does not overflow. */
    *size = 1;
    for (int32_t i = 0; i < rank; i++) {
        if (shape[i] < 0) {
            return false;
        }
        *size = shape[i] == 0 ? 0 : *size;
    }
    for (int32_t i = 0; i < rank; i++) {
        if (!mc_mul(*size, shape[i], size)) {
            return false;
        }
    }
    return true;
}

static uint64_t load(const unsigned char *bytes, int n)
{
    uint64_t value = 0;
    for (int i = n - 1; i >= 0; i--) {
        value = value << 8 | bytes[i];
    }
    return value;
}

static float float_of_bits(uint32_t bits)
{
    float value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float from_f32(const unsigned char *bytes)
{
    return float_of_bits((uint32_t)load(bytes, 4));
}

static double double_of(const unsigned char *bytes)
{
    uint64_t bits = load(bytes, 8);
    double value = 0;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static float from_f64(const unsigned char *bytes)
{
    return (float)double_of(bytes);
}

static float from_bf16(const unsigned char *bytes)
{
    return float_of_bits((uint32_t)load(bytes, 2) << 16);
}

/* Half precision: sign, 5 bits of exponent with bias 15, 10 bits of mantissa. */
static float from_f16(const unsigned char *bytes)
{
    uint32_t half = (uint32_t)load(bytes, 2);
    uint32_t sign = (half & 0x8000u) << 16;
    uint32_t exponent = half >> 10 & 0x1fu;
    uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0x1f) { /* infinity and NaN */
        return float_of_bits(sign | 0x7f800000u | mantissa << 13);
    }
    if (exponent == 0) { /* zero and subnormal: mantissa * 2^-24, exact in float */
        float value = (float)mantissa * 0x1p-24f;
        return sign != 0 ? -value : value;
    }
    return float_of_bits(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

/* Whether value `i` of a tensor is finite, although its float is not. */
static bool overflows(const mc_tensor *tensor, int64_t i, float converted, double *value)
{
    if (!isinf(converted) || strcmp(tensor->dtype, "F64") != 0) {
        return false;
    }
    *value = double_of((const unsigned char *)tensor->data + 8 * i);
    return isfinite(*value);
}

int32_t mc_tensor_to_f32(const mc_tensor *tensor, float *out)
{
    static const struct {
        const char *dtype;
        float (*convert)(const unsigned char *bytes);
    } converters[] = {{"F32", from_f32}, {"F64", from_f64}, {"F16", from_f16}, {"BF16", from_bf16}};
    const char *canonical = NULL;
    int64_t bytes = mc_dtype_bytes(tensor->dtype, &canonical);
    for (size_t k = 0; k < sizeof(converters) / sizeof(converters[0]); k++) {
        if (strcmp(tensor->dtype, converters[k].dtype) == 0) {
            const unsigned char *from = tensor->data;
            for (int64_t i = 0; i < tensor->size; i++) {
                double value = 0;
                out[i] = converters[k].convert(from + i * bytes);
                if (overflows(tensor, i, out[i], &value)) {
                    return mc_fail(MODECONN_ERROR_NUMERIC,
                                   "value %lld of tensor \"%s\" is %g, which does not fit float32",
                                   (long long)i, tensor->name, value);
                }
            }
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_FORMAT,
                   "tensor \"%s\" is of type %s, which is not a floating-point type that can be "
                   "read (F32, F64, F16, BF16)",
                   tensor->name, tensor->dtype);
}
