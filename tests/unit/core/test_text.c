/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Texts out to buffers, growing texts, shortest decimals, edit distance, the clock.
 */
#include "unit.h"
#include "core/core.h"
#include "core/comma_locale.h"
#include "failing.h"

#include <errno.h>
#include <float.h>
#include <math.h>

START_TEST(out_follows_the_capacity_protocol)
{
    char buffer[8] = "before";
    int64_t needed = -1;

    OK(mc_text_out("hello", NULL, 0, &needed));
    ck_assert_int_eq(needed, 6);
    OK(mc_text_out("hello", NULL, 0, NULL));
    needed = -1;
    FAILS(mc_text_out("hello", buffer, 5, &needed), MODECONN_ERROR_BUFFER, "6");
    ck_assert_int_eq(needed, 6);
    ck_assert_str_eq(buffer, "before");
    FAILS(mc_text_out("hello", buffer, 0, NULL), MODECONN_ERROR_BUFFER, "0 bytes");
    FAILS(mc_text_out("hello", buffer, -1, NULL), MODECONN_ERROR_ARGUMENT, "-1");
    FAILS(mc_text_out("hello", NULL, 6, NULL), MODECONN_ERROR_ARGUMENT, "buffer");
    OK(mc_text_out("hello", buffer, 6, NULL));
    ck_assert_str_eq(buffer, "hello");
}
END_TEST

START_TEST(text_grows)
{
    mc_text text;

    mc_text_init(&text, NULL);
    ck_assert_ptr_null(text.data);
    mc_text_add(&text, "%s", "");
    ck_assert_str_eq(text.data, "");
    for (int i = 0; i < 1000; i++) {
        mc_text_add(&text, "%04d,", i);
    }
    ck_assert(!text.failed);
    ck_assert_int_eq(text.size, 5000);
    ck_assert_uint_eq(strlen(text.data), 5000);
    ck_assert_str_eq(text.data + 4990, "0998,0999,");
    mc_text_free(&text);
    ck_assert_ptr_null(text.data);
}
END_TEST

START_TEST(text_stays_failed)
{
    failing state = {.fail_at = 2};
    const modeconn_context hooks = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &state};
    mc_text text;

    mc_text_init(&text, &hooks);
    mc_text_add(&text, "%s", "kept");
    mc_text_add(&text, "%500d", 1);
    ck_assert(text.failed);
    mc_text_add(&text, "%s", "ignored");
    mc_text_add_f64(&text, 1);
    ck_assert_str_eq(text.data, "kept");
    ck_assert_int_eq(state.calls, 2);
    mc_text_free(&text);
    ck_assert_int_eq(state.live, 0);
}
END_TEST

static void check_decimals(void)
{
    static const struct {
        double value;
        const char *expected;
    } rows[] = {
        {0, "0"},
        {-0.0, "-0"},
        {1, "1"},
        {0.1, "0.1"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {1e-4, "0.0001"},
        {1e300, "1e+300"},
        {5e-324, "5e-324"},
        {9007199254740992.0, "9007199254740992"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
        {-NAN, "nan"},
        {-2.5, "-2.5"},
        {DBL_MAX, "1.7976931348623157e+308"},
    };
    char number[MC_F64_TEXT];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        mc_format_f64(number, rows[i].value);
        ck_assert_str_eq(number, rows[i].expected);
    }
}

START_TEST(decimals_are_shortest)
{
    check_decimals();
    ck_assert_str_eq(mc_not_finite(NAN), "nan");
    ck_assert_str_eq(mc_not_finite(-NAN), "nan");
    ck_assert_str_eq(mc_not_finite(INFINITY), "inf");
    ck_assert_str_eq(mc_not_finite(-INFINITY), "-inf");
}
END_TEST

START_TEST(decimals_read_back)
{
    for (uint32_t i = 0; i < 2000; i++) {
        const uint64_t bits = mc_random_u64(1, 1, i, 0);
        double value, back = 0;
        char number[MC_F64_TEXT];
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value)) {
            continue;
        }
        mc_format_f64(number, value);
        ck_assert(mc_parse_f64(number, &back));
        ck_assert_mem_eq(&value, &back, sizeof(value));
    }
}
END_TEST

START_TEST(no_locale_matters)
{
    mc_text text;

    if (!set_comma_locale("core_text")) {
        return;
    }
    check_decimals();
    mc_text_init(&text, NULL);
    mc_text_add(&text, "%.2f %s", 1.5, "x");
    mc_text_add_f64(&text, 2.5);
    ck_assert_str_eq(text.data, "1.50 x2.5");
    mc_text_free(&text);
    mc_fail(MODECONN_ERROR_IO, "%g", 0.5);
    ck_assert_str_eq(modeconn_last_error(), "0.5");
    char own[8];
    snprintf(own, sizeof(own), "%.1f", 0.5);
    ck_assert_str_eq(own, "0,5"); /* the program's own locale is as it was */
}
END_TEST

START_TEST(distances)
{
    char longer[200];

    ck_assert_int_eq(mc_text_distance("", ""), 0);
    ck_assert_int_eq(mc_text_distance("abc", ""), 3);
    ck_assert_int_eq(mc_text_distance("", "abc"), 3);
    ck_assert_int_eq(mc_text_distance("kitten", "sitting"), 3);
    ck_assert_int_eq(mc_text_distance("epoch", "epochs"), 1);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    ck_assert_int_eq(mc_text_distance(longer, "y"), 63);
    ck_assert_int_eq(mc_text_distance("y", longer), 63);
}
END_TEST

START_TEST(clock_does_not_go_back)
{
    const double before = mc_seconds();

    ck_assert_double_ge(mc_seconds(), before);
    ck_assert_double_lt(mc_seconds() - before, 60);
}
END_TEST

START_TEST(utf8_is_told_from_other_bytes)
{
    static const char *const valid[] = {"",
                                        "plain",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf"};
    static const char *const invalid[] = {"\x80",
                                          "\xc1\xbf",
                                          "\xc3",
                                          "\xc3(",
                                          "\xe0\x9f\xbf",
                                          "\xed\xa0\x80",
                                          "\xf0\x8f\xbf\xbf",
                                          "\xf4\x90\x80\x80",
                                          "\xf5\x80",
                                          "ok\xff",
                                          "\xe2\x82",
                                          "\xf0\x9f\x98",
                                          "\xe2\x28\xa1",
                                          "\xf0\x9f\x98("};
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        ck_assert_msg(mc_utf8_valid(valid[i]), "valid text %zu", i);
    }
    ck_assert_int_eq(mc_utf8_length("a\xff"), 1);
    ck_assert_int_eq(mc_utf8_length("\xc3\xa4z"), 2);
    ck_assert_int_eq(mc_utf8_length("\xe2\x82\xac"), 3);
    ck_assert_int_eq(mc_utf8_length("\xf0\x9f\x98\x80"), 4);
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        ck_assert_msg(!mc_utf8_valid(invalid[i]), "invalid text %zu", i);
    }
}
END_TEST

START_TEST(errno_texts_are_english)
{
    ck_assert_str_eq(mc_errno_text(ENOSPC), "No space left on device");
    ck_assert_str_eq(mc_errno_text(123456), "unknown error");
}
END_TEST

/* Given out once, or taken over; either way the text is empty afterwards. */
START_TEST(texts_end)
{
    mc_text text;
    char buffer[8];
    int64_t needed = 0;

    mc_text_init(&text, NULL);
    mc_text_add(&text, "1,%d", 2);
    ck_assert_int_eq(mc_text_finish(&text, buffer, sizeof(buffer), &needed), MODECONN_OK);
    ck_assert_str_eq(buffer, "1,2");
    ck_assert_int_eq(needed, 4);
    ck_assert_ptr_null(text.data);
    mc_text_add(&text, "again");
    char *taken = mc_text_take(&text);
    ck_assert_str_eq(taken, "again");
    ck_assert_ptr_null(text.data);
    mc_free(NULL, taken);
    mc_text_add(&text, "lost");
    text.failed = true;
    ck_assert_int_eq(mc_text_finish(&text, buffer, sizeof(buffer), NULL), MODECONN_ERROR_MEMORY);
    mc_text_add(&text, "lost");
    text.failed = true;
    ck_assert_ptr_null(mc_text_take(&text));
}
END_TEST

START_TEST(json_strings_escape)
{
    mc_text text;

    mc_text_init(&text, NULL);
    mc_text_add_json(&text, "a \"b\" \\ \n\x01 \xc3\xa4 \xff\xe2\x82.");
    ck_assert_str_eq(text.data,
                     "\"a \\\"b\\\" \\\\ \\u000a\\u0001 \xc3\xa4 \\ufffd\\ufffd\\ufffd.\"");
    mc_text_free(&text);
}
END_TEST

START_TEST(csv_fields_are_quoted)
{
    mc_text text;

    mc_text_init(&text, NULL);
    mc_text_add_csv(&text, "layers.0");
    mc_text_add(&text, ",");
    mc_text_add_csv(&text, "a \"b\", c");
    mc_text_add_csv(&text, "\n");
    ck_assert_str_eq(text.data, "layers.0,\"a \"\"b\"\", c\"\"\n\"");
    mc_text_free(&text);
}
END_TEST

START_TEST(finite_values)
{
    float values[20] = {FLT_MAX, -FLT_MAX, 0.0F};

    ck_assert(mc_all_finite(values, 20) && mc_all_finite(NULL, 0));
    for (int i = 0; i < 3; i++) {
        values[17] = (float[3]){NAN, INFINITY, -INFINITY}[i];
        ck_assert(!mc_all_finite(values, 20) && mc_all_finite(values, 17));
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, utf8_is_told_from_other_bytes);
    tcase_add_test(tests, errno_texts_are_english);
    tcase_add_test(tests, json_strings_escape);
    tcase_add_test(tests, csv_fields_are_quoted);
    tcase_add_test(tests, finite_values);
    tcase_add_test(tests, out_follows_the_capacity_protocol);
    tcase_add_test(tests, text_grows);
    tcase_add_test(tests, text_stays_failed);
    tcase_add_test(tests, texts_end);
    tcase_add_test(tests, decimals_are_shortest);
    tcase_add_test(tests, decimals_read_back);
    tcase_add_test(tests, no_locale_matters);
    tcase_add_test(tests, distances);
    tcase_add_test(tests, clock_does_not_go_back);
}

int main(void)
{
    return unit_run("core_text", add);
}
