/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Philox4x32-10 against its published vectors, and the laws of what is drawn from it.
 */
#include "unit.h"
#include "core/core.h"

#include <math.h>

/* "philox4x32 10" of kat_vectors in Random123. */
static const struct vector {
    uint32_t counter[4], key[2], expected[4];
} vectors[] = {
    {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
    {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
     {0xffffffff, 0xffffffff},
     {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
    {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
     {0xa4093822, 0x299f31d0},
     {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
};

START_TEST(published_vectors)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        uint32_t out[4];
        mc_philox(vectors[i].counter, vectors[i].key, out);
        ck_assert_mem_eq(out, vectors[i].expected, sizeof(out));
    }
}
END_TEST

START_TEST(counter_and_key_have_their_places)
{
    /* Third vector: index, draw, stream and seed as the header's layout puts them. */
    ck_assert_uint_eq(mc_random_u64(UINT64_C(0x299f31d0a4093822), 0x03707344,
                                    UINT64_C(0x85a308d3243f6a88), 0x13198a2e),
                      UINT64_C(0x94fdccebd16cfe09));
}
END_TEST

START_TEST(every_coordinate_matters)
{
    const uint64_t base = mc_random_u64(1, 2, 3, 4);

    ck_assert_uint_eq(base, mc_random_u64(1, 2, 3, 4));
    ck_assert_uint_ne(base, mc_random_u64(2, 2, 3, 4));
    ck_assert_uint_ne(base, mc_random_u64(1 | UINT64_C(1) << 40, 2, 3, 4));
    ck_assert_uint_ne(base, mc_random_u64(1, 3, 3, 4));
    ck_assert_uint_ne(base, mc_random_u64(1, 2, 4, 4));
    ck_assert_uint_ne(base, mc_random_u64(1, 2, 3 | UINT64_C(1) << 40, 4));
    ck_assert_uint_ne(base, mc_random_u64(1, 2, 3, 5));
}
END_TEST

/* Mean and variance of n draws lie within five standard errors of the law's. */
START_TEST(uniform_and_normal_moments)
{
    enum { N = 20000 };
    double sum = 0, squares = 0, normal_sum = 0, normal_squares = 0, fourth = 0;

    for (uint32_t i = 0; i < N; i++) {
        const double u = mc_random_f64(7, MC_STREAM_INIT, i, 0);
        const double z = mc_random_normal(7, MC_STREAM_SHAPES_TRAIN, 0, i);
        ck_assert(u >= 0 && u < 1);
        ck_assert(isfinite(z));
        sum += u;
        squares += (u - 0.5) * (u - 0.5);
        normal_sum += z;
        normal_squares += z * z;
        fourth += z * z * z * z;
    }
    ck_assert_double_eq_tol(sum / N, 0.5, 5 * sqrt(1.0 / 12 / N));
    ck_assert_double_eq_tol(squares / N, 1.0 / 12, 5 * sqrt(1.0 / 180 / N));
    ck_assert_double_eq_tol(normal_sum / N, 0, 5 * sqrt(1.0 / N));
    ck_assert_double_eq_tol(normal_squares / N, 1, 5 * sqrt(2.0 / N));
    ck_assert_double_eq_tol(fourth / N, 3, 5 * sqrt(96.0 / N));
}
END_TEST

START_TEST(below_is_in_range_and_even)
{
    enum { SIDES = 10, N = 20000 };
    int64_t counts[SIDES] = {0};

    for (uint32_t i = 0; i < N; i++) {
        const int64_t drawn = mc_random_below(3, MC_STREAM_RANDCUE, i, 0, SIDES);
        ck_assert_int_ge(drawn, 0);
        ck_assert_int_lt(drawn, SIDES);
        counts[drawn]++;
        ck_assert_int_eq(mc_random_below(3, MC_STREAM_RANDCUE, i, 0, 1), 0);
        ck_assert_int_ge(mc_random_below(3, MC_STREAM_RANDCUE, i, 1, INT64_MAX), 0);
    }
    for (int i = 0; i < SIDES; i++) {
        ck_assert_int_lt(llabs(counts[i] - N / SIDES), 5 * 43); /* sqrt(N * 0.1 * 0.9) = 42.4 */
    }
}
END_TEST

START_TEST(permutations_are_permutations)
{
    enum { N = 1000 };
    int64_t order[N], other[N];
    bool seen[N] = {false};
    int in_place = 0;

    mc_random_permutation(5, MC_STREAM_SHUFFLE, 0, N, order);
    mc_random_permutation(5, MC_STREAM_SHUFFLE, 1, N, other);
    ck_assert_mem_ne(order, other, sizeof(order));
    for (int i = 0; i < N; i++) {
        ck_assert(order[i] >= 0 && order[i] < N && !seen[order[i]]);
        seen[order[i]] = true;
        in_place += order[i] == i;
    }
    ck_assert_int_le(in_place, 10); /* Poisson of mean 1 */
    mc_random_permutation(5, MC_STREAM_SHUFFLE, 1, N, order);
    ck_assert_mem_eq(order, other, sizeof(order));
    mc_random_permutation(5, MC_STREAM_SHUFFLE, 1, 1, order);
    ck_assert_int_eq(order[0], 0);
    mc_random_permutation(5, MC_STREAM_SHUFFLE, 1, 0, NULL);
}
END_TEST

/* All six orders of three, evenly, over many streams of draws. */
START_TEST(permutations_are_even)
{
    enum { N = 12000 };
    int counts[27] = {0};

    for (uint64_t i = 0; i < N; i++) {
        int64_t order[3];
        mc_random_permutation(11, MC_STREAM_SPLIT, i, 3, order);
        counts[order[0] * 9 + order[1] * 3 + order[2]]++;
    }
    for (int i = 0; i < 27; i++) {
        ck_assert(counts[i] == 0 || abs(counts[i] - N / 6) < 5 * 41); /* sqrt(N * 5 / 36) = 40.8 */
    }
    ck_assert_int_gt(counts[0 * 9 + 1 * 3 + 2], 0);
    ck_assert_int_gt(counts[2 * 9 + 1 * 3 + 0], 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, published_vectors);
    tcase_add_test(tests, counter_and_key_have_their_places);
    tcase_add_test(tests, every_coordinate_matters);
    tcase_add_test(tests, uniform_and_normal_moments);
    tcase_add_test(tests, below_is_in_range_and_even);
    tcase_add_test(tests, permutations_are_permutations);
    tcase_add_test(tests, permutations_are_even);
}

int main(void)
{
    return unit_run("core_random", add);
}
