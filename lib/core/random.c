/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). Counter: {index low, index high, draw, stream}; key: the seed.
 */
#include "core/core.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 10 };

__extension__ typedef unsigned __int128 uint128;

static const double two_pi = 6.283185307179586476925286766559;

void mc_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53U * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57U * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t mc_hash_keyed(uint64_t key, const char *text)
{
    uint64_t hash = key;
    for (size_t left = strlen(text) + 1; left > 0;) {
        size_t part = left < 8 ? left : 8;
        uint32_t block[4] = {0, 0, 0, 0}, out[4];
        memcpy(block, text, part);
        mc_philox(block, (uint32_t[2]){(uint32_t)hash, (uint32_t)(hash >> 32)}, out);
        hash = (uint64_t)out[0] << 32 | out[1];
        text += part;
        left -= part;
    }
    return hash;
}

uint64_t mc_random_u64(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw)
{
    const uint32_t counter[4] = {(uint32_t)index, (uint32_t)(index >> 32), draw, stream};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];

    mc_philox(counter, key, out);
    return out[0] | (uint64_t)out[1] << 32;
}

double mc_random_f64(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw)
{
    return (double)(mc_random_u64(seed, stream, index, draw) >> 11) * 0x1p-53;
}

int64_t mc_random_below(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw, int64_t n)
{
    const uint128 product = (uint128)mc_random_u64(seed, stream, index, draw) * (uint64_t)n;

    return (int64_t)(product >> 64);
}

double mc_random_normal(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw)
{
    /* 1 - u is in (0, 1], where the logarithm is finite. */
    const double u = 1.0 - mc_random_f64(seed, stream, index, 2 * draw);
    const double v = mc_random_f64(seed, stream, index, 2 * draw + 1);

    return sqrt(-2.0 * log(u)) * cos(two_pi * v);
}

void mc_random_permutation(uint64_t seed, uint32_t stream, uint64_t index, int64_t n,
                           int64_t *order)
{
    for (int64_t i = 0; i < n; i++) {
        order[i] = i;
    }
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = mc_random_below(seed, stream, index, (uint32_t)i, i + 1);
        const int64_t swapped = order[i];
        order[i] = order[j];
        order[j] = swapped;
    }
}
