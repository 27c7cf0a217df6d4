/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Version number and build facts.
 */
#include "unit.h"

#include <jansson.h>

START_TEST(version_is_the_headers)
{
    ck_assert_int_eq(modeconn_version(), MODECONN_VERSION_MAJOR * 1000000 +
                                             MODECONN_VERSION_MINOR * 1000 +
                                             MODECONN_VERSION_PATCH);
}
END_TEST

START_TEST(build_info_is_json)
{
    char small[4] = "abc";
    int64_t needed = 0;
    const char *version, *compiler, *blis_version, *kernel, *isa;
    int single_threaded;

    OK(modeconn_build_info(NULL, 0, &needed));
    ck_assert_int_gt(needed, 20);
    FAILS(modeconn_build_info(small, 4, NULL), MODECONN_ERROR_BUFFER, "4 bytes");
    ck_assert_str_eq(small, "abc");
    FAILS(modeconn_build_info(NULL, 4, NULL), MODECONN_ERROR_ARGUMENT, "buffer");
    FAILS(modeconn_build_info(small, -1, NULL), MODECONN_ERROR_ARGUMENT, "-1");

    char *text = malloc((size_t)needed);
    OK(modeconn_build_info(text, needed, &needed));
    json_t *info = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(info);
    ck_assert_int_eq(json_unpack(info, "{s:s, s:s, s:{s:s, s:s, s:b}, s:s !}", "version", &version,
                                 "compiler", &compiler, "blis", "version", &blis_version, "kernel",
                                 &kernel, "single_threaded", &single_threaded, "isa", &isa),
                     0);
    ck_assert_str_eq(version, "0.1.0");
    ck_assert_str_ne(compiler, "");
    ck_assert_str_ne(blis_version, "");
    ck_assert_str_ne(kernel, "");
    ck_assert(strcmp(isa, "baseline") == 0 || strcmp(isa, "avx2") == 0 ||
              strcmp(isa, "avx512") == 0);
    json_decref(info);
    free(text);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, version_is_the_headers);
    tcase_add_test(tests, build_info_is_json);
}

int main(void)
{
    return unit_run("core_version", add);
}
