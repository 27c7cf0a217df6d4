/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The library's own reading of options: set values, defaults, kinds that do not fit.
 */
#include "unit.h"
#include "core/core.h"

#include <math.h>

static const mc_option_spec rows[] = {
    MC_OPT_I64("count", -5, HUGE_VAL, "-3", "a count"),
    MC_OPT_F64("share", 0, 1, "0.25", "a share"),
    MC_OPT_STR("name", NULL, "nobody", "a name"),
};
static const mc_option_kind kind = MC_OPTION_KIND("own", rows);

START_TEST(defaults_without_an_object)
{
    ck_assert_int_eq(mc_option_i64(NULL, &kind, "count"), -3);
    ck_assert_double_eq(mc_option_f64(NULL, &kind, "share"), 0.25);
    ck_assert_str_eq(mc_option_str(NULL, &kind, "name"), "nobody");
    ck_assert(!mc_option_is_set(NULL, "count"));
    ck_assert_int_eq(mc_option_find(&kind, "name"), 2);
    ck_assert_int_eq(mc_option_find(&kind, "names"), -1);
}
END_TEST

START_TEST(set_values_win)
{
    mc_option_value values[3] = {{.is_set = false}};
    modeconn_options options = {.kind = &kind, .values = values};

    ck_assert_int_eq(mc_option_i64(&options, &kind, "count"), -3);
    OK(modeconn_options_set_i64(&options, "count", INT64_MAX));
    OK(modeconn_options_set_f64(&options, "share", 0.5));
    OK(modeconn_options_set_str(&options, "name", "somebody"));
    ck_assert_int_eq(mc_option_i64(&options, &kind, "count"), INT64_MAX);
    ck_assert_double_eq(mc_option_f64(&options, &kind, "share"), 0.5);
    ck_assert_str_eq(mc_option_str(&options, &kind, "name"), "somebody");
    ck_assert(mc_option_is_set(&options, "count"));
    ck_assert(!mc_option_is_set(&options, "absent"));
    mc_free(NULL, values[2].str);
}
END_TEST

START_TEST(kinds_are_checked)
{
    modeconn_options *options = NULL;

    OK(mc_options_check(NULL, &kind));
    OK(modeconn_options_create(NULL, "context", &options));
    OK(mc_options_check(options, &mc_kind_context));
    FAILS(mc_options_check(options, &kind), MODECONN_ERROR_ARGUMENT,
          "options are of kind \"context\", but this call takes kind \"own\"");
    modeconn_options_destroy(options);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, defaults_without_an_object);
    tcase_add_test(tests, set_values_win);
    tcase_add_test(tests, kinds_are_checked);
}

int main(void)
{
    return unit_run("core_option_values", add);
}
