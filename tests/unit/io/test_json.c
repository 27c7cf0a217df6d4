/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/io/json.c: layout, numbers, the capacity / needed protocol, UTF-8.
 */
#include "unit.h"
#include "io/io.h"

#include <locale.h>
#include <math.h>

/* The text of a value, whose reference is taken; free() it. */
static char *text_of(json_t *value)
{
    int64_t size = 0;
    json_incref(value);
    OK(mc_json_out(value, NULL, 0, &size));
    char *text = malloc((size_t)size);
    ck_assert_ptr_nonnull(text);
    OK(mc_json_out(value, text, size, NULL));
    ck_assert_int_eq((int64_t)strlen(text) + 1, size);
    return text;
}

static void assert_text(json_t *value, const char *expected)
{
    char *text = text_of(value);
    ck_assert_str_eq(text, expected);
    free(text);
}

START_TEST(test_layout)
{
    assert_text(json_pack("{s:[f, f], s:{s:i, s:n}, s:[{s:b}], s:{}, s:[]}", "t", 0.0, 0.1, "inner",
                          "n", 3, "none", "list", "yes", 1, "empty", "nothing"),
                "{\n"
                "  \"t\": [0.0, 0.1],\n"
                "  \"inner\": {\n"
                "    \"n\": 3,\n"
                "    \"none\": null\n"
                "  },\n"
                "  \"list\": [\n"
                "    {\n"
                "      \"yes\": true\n"
                "    }\n"
                "  ],\n"
                "  \"empty\": {},\n"
                "  \"nothing\": []\n"
                "}");
}
END_TEST

START_TEST(test_keys_stay_in_insertion_order)
{
    assert_text(json_pack("{s:i, s:i, s:i}", "z", 1, "a", 2, "m", 3),
                "{\n  \"z\": 1,\n  \"a\": 2,\n  \"m\": 3\n}");
}
END_TEST

START_TEST(test_awkward_text_reads_back)
{
    const char *awkward = "quote \" backslash \\ slash / tab \t line \n bell \a percent %s%n "
                          "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80";
    char *text = text_of(json_pack("{s:s}", awkward, awkward));
    json_t *back = json_loads(text, 0, NULL);
    ck_assert_ptr_nonnull(back);
    ck_assert_str_eq(json_string_value(json_object_get(back, awkward)), awkward);
    json_decref(back);
    free(text);
}
END_TEST

START_TEST(test_numbers_read_back_bit_for_bit)
{
    static const double values[] = {
        0.1,      1.0 / 3, -2.5e-310, 1e300, 123456789.0, 1e22,    -0.0,
        4.9e-324, 1.0,     -17.25,    1e15,  1e16,        0x1p-53, 1.7976931348623157e308};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char *text = text_of(mc_json_real(values[i]));
        json_t *back = json_loads(text, JSON_DECODE_ANY, NULL);
        ck_assert_msg(json_is_real(back), "%s is not a real", text);
        double value = json_real_value(back);
        ck_assert_mem_eq(&value, &values[i], sizeof(value));
        json_decref(back);
        free(text);
    }
    assert_text(mc_json_real(0.1), "0.1");
    assert_text(mc_json_real(2), "2.0");
}
END_TEST

START_TEST(test_what_is_not_finite_is_null)
{
    assert_text(mc_json_real((double)NAN), "null");
    assert_text(mc_json_real(HUGE_VAL), "null");
    assert_text(mc_json_real(-HUGE_VAL), "null");
}
END_TEST

START_TEST(test_locale_does_not_matter)
{
    if (setlocale(LC_ALL, "de_DE.UTF-8") == NULL && setlocale(LC_ALL, "fr_FR.UTF-8") == NULL) {
        printf("skipped: no locale with a decimal comma\n");
        return;
    }
    assert_text(mc_json_real(0.5), "0.5");
    setlocale(LC_ALL, "C");
}
END_TEST

START_TEST(test_buffers)
{
    char buffer[8] = "before";
    int64_t needed = 0;
    OK(mc_json_out(json_integer(12345), NULL, 0, &needed));
    ck_assert_int_eq(needed, 6);
    FAILS(mc_json_out(json_integer(12345), buffer, 5, &needed), MODECONN_ERROR_BUFFER, "6");
    ck_assert_str_eq(buffer, "before");
    OK(mc_json_out(json_integer(12345), buffer, 6, NULL));
    ck_assert_str_eq(buffer, "12345");
    FAILS(mc_json_out(NULL, buffer, 6, NULL), MODECONN_ERROR_MEMORY, "memory");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_layout);
    tcase_add_test(tests, test_keys_stay_in_insertion_order);
    tcase_add_test(tests, test_awkward_text_reads_back);
    tcase_add_test(tests, test_numbers_read_back_bit_for_bit);
    tcase_add_test(tests, test_what_is_not_finite_is_null);
    tcase_add_test(tests, test_locale_does_not_matter);
    tcase_add_test(tests, test_buffers);
}

int main(void)
{
    return unit_run("io_json", add);
}
