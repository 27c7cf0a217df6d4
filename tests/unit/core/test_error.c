/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Status names and the error text: set, prefixed, cut, copied, one for each thread.
 */
#include "unit.h"
#include "core/core.h"

#include <pthread.h>

START_TEST(names_are_pinned)
{
    ck_assert_str_eq(modeconn_status_name(MODECONN_OK), "MODECONN_OK");
    ck_assert_str_eq(modeconn_status_name(-1), "MODECONN_ERROR_ARGUMENT");
    ck_assert_str_eq(modeconn_status_name(-6), "MODECONN_ERROR_SHAPE");
    ck_assert_str_eq(modeconn_status_name(MODECONN_ERROR_SYSTEM), "MODECONN_ERROR_SYSTEM");
    ck_assert_str_eq(modeconn_status_name(MODECONN_ERROR_CALLBACK), "MODECONN_ERROR_CALLBACK");
    ck_assert_str_eq(modeconn_status_name(1), "unknown status");
    ck_assert_str_eq(modeconn_status_name(-13), "unknown status");
    ck_assert_str_eq(modeconn_status_name(INT32_MIN), "unknown status");
}
END_TEST

START_TEST(text_begins_empty_and_is_set)
{
    ck_assert_str_eq(modeconn_last_error(), "");
    ck_assert_int_eq(mc_fail(MODECONN_ERROR_IO, "%s: line %d", "a.csv", 3), MODECONN_ERROR_IO);
    ck_assert_str_eq(modeconn_last_error(), "a.csv: line 3");
    ck_assert_int_eq(mc_fail_prefix(MODECONN_ERROR_FORMAT, "model %d", 7), MODECONN_ERROR_FORMAT);
    ck_assert_str_eq(modeconn_last_error(), "model 7: a.csv: line 3");
    mc_fail(MODECONN_ERROR_IO, "again: %s", modeconn_last_error());
    ck_assert_str_eq(modeconn_last_error(), "again: model 7: a.csv: line 3");
    FAILS(mc_null("model"), MODECONN_ERROR_ARGUMENT, "model is NULL");
}
END_TEST

/* Whether every UTF-8 character of a text of ASCII and 2-byte characters is whole. */
static bool is_whole(const char *text)
{
    for (; *text != '\0'; text++) {
        const unsigned char byte = (unsigned char)*text;
        if (byte < 0x80) {
            continue;
        }
        if ((byte & 0xE0) != 0xC0 || ((unsigned char)*++text & 0xC0) != 0x80) {
            return false;
        }
    }
    return true;
}

START_TEST(long_text_is_cut_between_characters)
{
    char path[5000];

    for (size_t shift = 0; shift < 2; shift++) {
        memset(path, 'a', shift);
        for (size_t i = shift; i + 2 < sizeof(path); i += 2) {
            memcpy(path + i, "\xC3\xA9", 3);
        }
        mc_fail(MODECONN_ERROR_IO, "%s: cannot be opened", path);
        const char *text = modeconn_last_error();
        ck_assert_uint_ge(strlen(text), 1000);
        ck_assert_uint_lt(strlen(text), 1024);
        ck_assert_str_eq(text + strlen(text) - 3, "...");
        ck_assert(is_whole(text));
        mc_fail_prefix(MODECONN_ERROR_IO, "%s", path);
        ck_assert(is_whole(modeconn_last_error()));
    }
}
END_TEST

START_TEST(copy_follows_the_capacity_protocol)
{
    char buffer[16] = "untouched";
    int64_t needed = -1;

    mc_fail(MODECONN_ERROR_IO, "0123456789");
    OK(modeconn_last_error_copy(NULL, 0, &needed));
    ck_assert_int_eq(needed, 11);
    FAILS(modeconn_last_error_copy(buffer, 10, &needed), MODECONN_ERROR_BUFFER, "0123456789");
    ck_assert_str_eq(buffer, "untouched");
    FAILS(modeconn_last_error_copy(NULL, 10, &needed), MODECONN_ERROR_ARGUMENT, "0123456789");
    FAILS(modeconn_last_error_copy(buffer, -1, &needed), MODECONN_ERROR_ARGUMENT, "0123456789");
    OK(modeconn_last_error_copy(buffer, 11, NULL));
    ck_assert_str_eq(buffer, "0123456789");
}
END_TEST

static void *fail_elsewhere(void *arg)
{
    (void)arg;
    const bool was_empty = modeconn_last_error()[0] == '\0';
    mc_fail(MODECONN_ERROR_IO, "elsewhere");
    return was_empty ? arg : NULL;
}

START_TEST(each_thread_has_its_own_text)
{
    pthread_t thread;
    int marker;
    void *result;

    mc_fail(MODECONN_ERROR_IO, "here");
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_elsewhere, &marker), 0);
    pthread_join(thread, &result);
    ck_assert_ptr_eq(result, &marker);
    ck_assert_str_eq(modeconn_last_error(), "here");
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, names_are_pinned);
    tcase_add_test(tests, text_begins_empty_and_is_set);
    tcase_add_test(tests, long_text_is_cut_between_characters);
    tcase_add_test(tests, copy_follows_the_capacity_protocol);
    tcase_add_test(tests, each_thread_has_its_own_text);
}

int main(void)
{
    return unit_run("core_error", add);
}
