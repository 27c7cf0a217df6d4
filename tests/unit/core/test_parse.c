/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Numbers from text: what is taken, what is refused, and that no locale matters.
 */
#include "unit.h"
#include "core/core.h"
#include "core/comma_locale.h"

#include <math.h>

START_TEST(integers)
{
    int64_t value = 0;

    ck_assert(mc_parse_i64("42", &value) && value == 42);
    ck_assert(mc_parse_i64("-1", &value) && value == -1);
    ck_assert(mc_parse_i64("+7", &value) && value == 7);
    ck_assert(mc_parse_i64("007", &value) && value == 7);
    ck_assert(mc_parse_i64("9223372036854775807", &value) && value == INT64_MAX);
    ck_assert(mc_parse_i64("-9223372036854775808", &value) && value == INT64_MIN);
}
END_TEST

START_TEST(not_integers)
{
    static const char *const bad[] = {"",    "-",    " 1",  "1 ",  "1x",
                                      "1.0", "0x10", "1e3", "--1", "9223372036854775808"};
    int64_t value = 5;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!mc_parse_i64(bad[i], &value), "\"%s\" was taken", bad[i]);
    }
    ck_assert_int_eq(value, 5);
}
END_TEST

static void check_numbers(void)
{
    double value = 0;

    ck_assert(mc_parse_f64("0.1", &value) && value == 0.1);
    ck_assert(mc_parse_f64("1e-4", &value) && value == 1e-4);
    ck_assert(mc_parse_f64("-2.5E+3", &value) && value == -2500);
    ck_assert(mc_parse_f64("+3", &value) && value == 3);
    ck_assert(mc_parse_f64(".5", &value) && value == 0.5);
    ck_assert(mc_parse_f64("5.", &value) && value == 5);
    ck_assert(mc_parse_f64("5e-324", &value) && value == 5e-324);
    ck_assert(mc_parse_f64("0e0", &value) && value == 0);
    ck_assert(mc_parse_f64("inf", &value) && isinf(value) && value > 0);
    ck_assert(mc_parse_f64("-inf", &value) && isinf(value) && value < 0);
}

START_TEST(numbers)
{
    check_numbers();
}
END_TEST

START_TEST(not_numbers)
{
    static const char *const bad[] = {"",      ".",      "-",      "e5",       "1e",  "1e+",
                                      " 1",    "1 ",     "0x1p3",  "nan",      "1,5", "1.2.3",
                                      "1e999", "-1e999", "1e-999", "infinity", "+-1", "1e5.0"};
    double value = 5;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!mc_parse_f64(bad[i], &value), "\"%s\" was taken", bad[i]);
    }
    ck_assert_double_eq(value, 5);
}
END_TEST

START_TEST(no_locale_matters)
{
    double value = 5;

    if (!set_comma_locale("core_parse")) {
        return;
    }
    check_numbers();
    ck_assert(!mc_parse_f64("1,5", &value));
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, integers);
    tcase_add_test(tests, not_integers);
    tcase_add_test(tests, numbers);
    tcase_add_test(tests, not_numbers);
    tcase_add_test(tests, no_locale_matters);
}

int main(void)
{
    return unit_run("core_parse", add);
}
