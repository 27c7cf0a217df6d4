/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Uniform numbers of consecutive indices, bit for bit those of mc_random_f64() (core/random.c),
 * several at a time: Philox4x32-10 is ten rounds of
 *
 *     c0, c1, c2, c3 = high(M1 c2) ^ c1 ^ k0, low(M1 c2), high(M0 c0) ^ c3 ^ k1, low(M0 c0)
 *
 * on counters that do not know of each other. Compiled per instruction set.
 */
#include "kernels/isa.h"

enum { TOGETHER = 8 };

#if defined(__AVX2__)
enum { ROUNDS = 10, QUARTET = 4 };

static inline __m256i in_all(uint64_t value)
{
    return _mm256_set1_epi64x((long long)value);
}

/* The 64 bits that mc_random_u64() gives for indices first .. first + 3. A counter has a 64-bit
 * lane for each, whose upper half is what happens to be there: products do not read it. */
static inline void draw_quartet(uint64_t seed, uint32_t stream, uint64_t first, uint64_t *out)
{
    const __m256i m0 = in_all(0xD2511F53U), m1 = in_all(0xCD9E8D57U);
    __m256i c0 = _mm256_add_epi64(in_all(first), _mm256_setr_epi64x(0, 1, 2, 3));
    __m256i c1 = _mm256_srli_epi64(c0, 32), c2 = _mm256_setzero_si256(), c3 = in_all(stream);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);

    MC_UNROLL
    for (int round = 0; round < ROUNDS; round++) {
        __m256i p0 = _mm256_mul_epu32(m0, c0), p1 = _mm256_mul_epu32(m1, c2);
        c0 = _mm256_xor_si256(_mm256_srli_epi64(p1, 32), _mm256_xor_si256(c1, in_all(k0)));
        c1 = p1;
        c2 = _mm256_xor_si256(_mm256_srli_epi64(p0, 32), _mm256_xor_si256(c3, in_all(k1)));
        c3 = p0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    /* c1's lower half above c0's. */
    c1 = _mm256_slli_epi64(c1, 32);
    c0 = _mm256_and_si256(c0, in_all(UINT32_MAX));
    _mm256_storeu_si256((__m256i *)(void *)out, _mm256_or_si256(c0, c1));
}

static void draw(uint64_t seed, uint32_t stream, uint64_t first, uint64_t *out)
{
    for (int i = 0; i < TOGETHER; i += QUARTET) {
        draw_quartet(seed, stream, first + (uint64_t)i, out + i);
    }
}
#else
static void draw(uint64_t seed, uint32_t stream, uint64_t first, uint64_t *out)
{
    for (int i = 0; i < TOGETHER; i++) {
        out[i] = mc_random_u64(seed, stream, first + (uint64_t)i, 0);
    }
}
#endif

void MC_ISA_NAME(uniform)(uint64_t seed, uint32_t stream, uint64_t first, int64_t n, double bound,
                          float *values)
{
    for (int64_t i = 0; i < n; i += TOGETHER) {
        uint64_t bits[TOGETHER];
        int64_t left = n - i < TOGETHER ? n - i : TOGETHER;
        draw(seed, stream, first + (uint64_t)i, bits);
        for (int64_t l = 0; l < left; l++) {
            double u = (double)(int64_t)(bits[l] >> 11) * 0x1p-53;
            values[i + l] = (float)(bound * (2.0 * u - 1.0));
        }
    }
}
