/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Status names, and the thread-local text that says what went wrong in this thread's last
 * failed call. A fixed buffer: setting it never fails, not even when memory has run out.
 */
#include "core/core.h"

#include <string.h>

enum { ERROR_SIZE = 1024 };

static _Thread_local char error_text[ERROR_SIZE];

const char *modeconn_status_name(int32_t status)
{
    static const char *const names[] = {
        "MODECONN_OK",
        "MODECONN_ERROR_ARGUMENT",
        "MODECONN_ERROR_MEMORY",
        "MODECONN_ERROR_UNKNOWN",
        "MODECONN_ERROR_IO",
        "MODECONN_ERROR_FORMAT",
        "MODECONN_ERROR_SHAPE",
        "MODECONN_ERROR_NUMERIC",
        "MODECONN_ERROR_CANCELLED",
        "MODECONN_ERROR_UNSUPPORTED",
        "MODECONN_ERROR_BUFFER",
        "MODECONN_ERROR_SYSTEM",
        "MODECONN_ERROR_CALLBACK",
    };
    const int32_t count = (int32_t)(sizeof(names) / sizeof(names[0]));

    if (status > 0 || status <= -count) {
        return "unknown status";
    }
    return names[-status];
}

const char *modeconn_last_error(void)
{
    return error_text;
}

/* Fails without a text of its own: the one that the caller asks for must survive the asking. */
int32_t modeconn_last_error_copy(char *buffer, int64_t capacity, int64_t *needed)
{
    const int64_t size = (int64_t)strlen(error_text) + 1;

    if (capacity < 0 || (buffer == NULL && capacity > 0)) {
        return MODECONN_ERROR_ARGUMENT;
    }
    if (needed != NULL) {
        *needed = size;
    }
    if (buffer == NULL) {
        return MODECONN_OK;
    }
    if (capacity < size) {
        return MODECONN_ERROR_BUFFER;
    }
    memcpy(buffer, error_text, (size_t)size);
    return MODECONN_OK;
}

/* Ends `text`, cut at `size` bytes, with "..." in place of a character that was cut in two. */
static void end_cut_text(char *text, size_t size)
{
    size_t end = size - sizeof("...");

    while (end > 0 && ((unsigned char)text[end] & 0xC0U) == 0x80U) {
        end--;
    }
    memcpy(text + end, "...", sizeof("..."));
}

/* Formats into a buffer of its own first: an argument may be the old text itself. */
static void set_text(const char *format, va_list arguments)
{
    char text[ERROR_SIZE];
    const int length = mc_vformat(text, sizeof(text), format, arguments);

    if (length < 0) {
        memcpy(text, "?", sizeof("?"));
    } else if (length >= ERROR_SIZE) {
        end_cut_text(text, sizeof(text));
    }
    memcpy(error_text, text, strlen(text) + 1);
}

int32_t mc_fail(int32_t status, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    set_text(format, arguments);
    va_end(arguments);
    return status;
}

int32_t mc_fail_prefix(int32_t status, const char *format, ...)
{
    char old[ERROR_SIZE];
    char prefix[ERROR_SIZE];
    va_list arguments;

    memcpy(old, error_text, sizeof(old));
    va_start(arguments, format);
    set_text(format, arguments);
    va_end(arguments);
    memcpy(prefix, error_text, sizeof(prefix));
    return mc_fail(status, "%s: %s", prefix, old);
}

int32_t mc_null(const char *argument)
{
    return mc_fail(MODECONN_ERROR_ARGUMENT, "%s is NULL", argument);
}
