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

/* Options of a kind with settings as for modeconn_options_parse(). */
static inline modeconn_options *options_of(const char *kind, const char *settings)
{
    modeconn_options *options = NULL;
    OK(modeconn_options_create(NULL, kind, &options));
    OK(modeconn_options_parse(options, settings));
    return options;
}

/* NULL where this processor lacks the instructions that the settings ask for. */
static inline modeconn_context *context_of(const char *settings)
{
    modeconn_options *options = options_of("context", settings);
    modeconn_context *context = NULL;
    int32_t status = modeconn_context_create(options, &context);
    ck_assert_msg(status == MODECONN_OK || status == MODECONN_ERROR_UNSUPPORTED, "%s: %s", settings,
                  modeconn_last_error());
    modeconn_options_destroy(options);
    return context;
}

/* A model of settings that give every size. */
static inline modeconn_model *model_with(modeconn_context *context, const char *arch,
                                         const char *settings)
{
    modeconn_options *options = options_of("model", settings);
    modeconn_model *model = NULL;
    OK(modeconn_model_create(context, arch, NULL, options, &model));
    modeconn_options_destroy(options);
    return model;
}

/* The whole text of a call that follows the capacity protocol; free() it. */
#define TEXT(call, handle, text)                                                                   \
    do {                                                                                           \
        int64_t text_size = 0;                                                                     \
        OK(call(handle, NULL, 0, &text_size));                                                     \
        (text) = malloc((size_t)text_size);                                                        \
        ck_assert_ptr_nonnull(text);                                                               \
        FAILS(call(handle, (text), text_size - 1, NULL), MODECONN_ERROR_BUFFER, "");               \
        FAILS(call(handle, NULL, 1, NULL), MODECONN_ERROR_ARGUMENT, "buffer");                     \
        FAILS(call(handle, (text), -1, NULL), MODECONN_ERROR_ARGUMENT, "-1");                      \
        OK(call(handle, (text), text_size, NULL));                                                 \
        ck_assert_int_eq((int64_t)strlen(text) + 1, text_size);                                    \
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
