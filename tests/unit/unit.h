/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every unit test program shares: one Check suite, a context, and status assertions.
 */
#ifndef MC_UNIT_H
#define MC_UNIT_H

#include <check.h>
#include <modeconn/modeconn.h>
#include <stdlib.h>
#include <string.h>

/* The call succeeds; its error text is printed otherwise. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        int32_t ok_status = (call);                                                                \
        ck_assert_msg(ok_status == MODECONN_OK, "%s: %s (%s)", #call,                              \
                      modeconn_status_name(ok_status), modeconn_last_error());                     \
    } while (0)

/* The call fails with this status, and the error text contains `culprit`. */
#define FAILS(call, expected, culprit)                                                             \
    do {                                                                                           \
        int32_t fails_status = (call);                                                             \
        ck_assert_msg(fails_status == (expected), "%s: %s, expected %s (%s)", #call,               \
                      modeconn_status_name(fails_status), modeconn_status_name(expected),          \
                      modeconn_last_error());                                                      \
        ck_assert_msg(strstr(modeconn_last_error(), (culprit)) != NULL,                            \
                      "%s: \"%s\" does not name %s", #call, modeconn_last_error(), (culprit));     \
    } while (0)

/* Runs a suite of one case and is main()'s return value. */
static inline int unit_run(const char *name, void (*add)(TCase *tests))
{
    Suite *suite = suite_create(name);
    TCase *tests = tcase_create(name);
    add(tests);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#endif
