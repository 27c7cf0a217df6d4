/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Text that is the same in every locale, UTF-8, growing texts, texts out to a caller's buffer, and
 * the clock.
 */
#include "core/core.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int32_t mc_text_out(const char *text, char *buffer, int64_t capacity, int64_t *needed)
{
    const int64_t size = (int64_t)strlen(text) + 1;

    if (capacity < 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "capacity %lld is negative", (long long)capacity);
    }
    if (buffer == NULL && capacity > 0) {
        return mc_null("buffer");
    }
    if (needed != NULL) {
        *needed = size;
    }
    if (buffer == NULL) {
        return MODECONN_OK;
    }
    if (capacity < size) {
        return mc_fail(MODECONN_ERROR_BUFFER, "buffer of %lld bytes is too small for %lld",
                       (long long)capacity, (long long)size);
    }
    memcpy(buffer, text, (size_t)size);
    return MODECONN_OK;
}

/* uselocale() changes this thread's locale only, and it is put back before anybody can look. */
int mc_vformat(char *buffer, size_t size, const char *format, va_list arguments)
{
    const locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    const locale_t before = plain != (locale_t)0 ? uselocale(plain) : (locale_t)0;
    const int length = vsnprintf(buffer, size, format, arguments);

    if (plain != (locale_t)0) {
        uselocale(before);
        freelocale(plain);
    }
    return length;
}

int mc_format(char *buffer, size_t size, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    const int length = mc_vformat(buffer, size, format, arguments);
    va_end(arguments);
    return length;
}

void mc_format_f64(char buffer[MC_F64_TEXT], double value)
{
    /* 15 digits bring back every shorter decimal, except among subnormal numbers. */
    int digits = fabs(value) < DBL_MIN ? 1 : 15;
    double back;

    if (isnan(value)) {
        memcpy(buffer, "nan", sizeof("nan"));
        return;
    }
    for (; digits <= 17; digits++) {
        mc_format(buffer, MC_F64_TEXT, "%.*g", digits, value);
        if (mc_parse_f64(buffer, &back) && back == value) {
            return;
        }
    }
}

const char *mc_not_finite(double value)
{
    return isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

bool mc_all_finite(const float *values, int64_t n)
{
    int64_t others = 0;
    for (int64_t i = 0; i < n; i++) {
        others += !(fabsf(values[i]) <= FLT_MAX);
    }
    return others == 0;
}

/* The first byte announces the length; the range of the second one excludes overlong forms,
 * surrogates and what lies above U+10FFFF (Unicode, table 3-7). The terminating NUL is never in
 * range, so nothing behind it is read. */
int mc_utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    const unsigned char low = s[0] == 0xE0 ? 0xA0 : s[0] == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = s[0] == 0xED ? 0x9F : s[0] == 0xF4 ? 0x8F : 0xBF;
    const int length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;

    if (s[0] < 0x80) {
        return 1;
    }
    if (s[0] < 0xC2 || s[0] > 0xF4 || s[1] < low || s[1] > high) {
        return 0;
    }
    for (int i = 2; i < length; i++) {
        if (s[i] < 0x80 || s[i] > 0xBF) {
            return 0;
        }
    }
    return length;
}

bool mc_utf8_valid(const char *text)
{
    while (*text != '\0') {
        const int length = mc_utf8_length(text);
        if (length == 0) {
            return false;
        }
        text += length;
    }
    return true;
}

const char *mc_errno_text(int error)
{
    const char *text = strerrordesc_np(error);

    return text != NULL ? text : "unknown error";
}

int mc_text_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    const int m = (int)strnlen(a, LONGEST), n = (int)strnlen(b, LONGEST);
    int row[LONGEST + 1]; /* row[j]: edits from the first i characters of a to the first j of b */

    for (int j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (int i = 1; i <= m; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            const int replaced = diagonal + (a[i - 1] != b[j - 1]);
            const int moved = 1 + (row[j] < row[j - 1] ? row[j] : row[j - 1]);
            diagonal = row[j];
            row[j] = replaced < moved ? replaced : moved;
        }
    }
    return row[n];
}

void mc_text_init(mc_text *text, const modeconn_context *context)
{
    *text = (mc_text){.context = context};
}

void mc_text_free(mc_text *text)
{
    mc_free(text->context, text->data);
    mc_text_init(text, text->context);
}

/* Makes room for `extra` more bytes and the NUL. */
static bool reserve(mc_text *text, int64_t extra)
{
    const int64_t wanted = text->size + extra + 1;
    int64_t capacity = text->capacity > 0 ? text->capacity : 256;
    char *data;

    if (wanted <= text->capacity) {
        return true;
    }
    while (capacity < wanted) {
        capacity *= 2;
    }
    data = mc_alloc(text->context, capacity, 1);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    if (text->size > 0) {
        memcpy(data, text->data, (size_t)text->size);
    }
    data[text->size] = '\0';
    mc_free(text->context, text->data);
    text->data = data;
    text->capacity = capacity;
    return true;
}

void mc_text_add(mc_text *text, const char *format, ...)
{
    va_list arguments;

    if (text->failed) {
        return;
    }
    va_start(arguments, format);
    const int length = mc_vformat(NULL, 0, format, arguments);
    va_end(arguments);
    if (length < 0) {
        mc_fail(MODECONN_ERROR_MEMORY, "out of memory: text of format \"%s\"", format);
        text->failed = true;
        return;
    }
    if (!reserve(text, length)) {
        return;
    }
    va_start(arguments, format);
    mc_vformat(text->data + text->size, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->size += length;
}

void mc_text_add_f64(mc_text *text, double value)
{
    char number[MC_F64_TEXT];

    mc_format_f64(number, value);
    mc_text_add(text, "%s", number);
}

void mc_text_add_json(mc_text *text, const char *value)
{
    mc_text_add(text, "\"");
    while (*value != '\0') {
        const int length = mc_utf8_length(value);
        if (length == 0) {
            mc_text_add(text, "\\ufffd");
        } else if (*value == '"' || *value == '\\') {
            mc_text_add(text, "\\%c", *value);
        } else if (length == 1 && *value < 0x20) {
            mc_text_add(text, "\\u%04x", (unsigned)*value);
        } else {
            mc_text_add(text, "%.*s", length, value);
        }
        value += length > 0 ? length : 1;
    }
    mc_text_add(text, "\"");
}

void mc_text_add_csv(mc_text *text, const char *field)
{
    if (strpbrk(field, ",\"\r\n") == NULL) {
        mc_text_add(text, "%s", field);
        return;
    }
    mc_text_add(text, "\"");
    for (; *field != '\0'; field++) {
        mc_text_add(text, "%s%c", *field == '"' ? "\"" : "", *field);
    }
    mc_text_add(text, "\"");
}

int32_t mc_text_finish(mc_text *text, char *buffer, int64_t capacity, int64_t *needed)
{
    int32_t status = text->failed ? mc_fail(MODECONN_ERROR_MEMORY, "out of memory: a text")
                                  : mc_text_out(text->data, buffer, capacity, needed);
    mc_text_free(text);
    return status;
}

char *mc_text_take(mc_text *text)
{
    if (text->failed) {
        mc_text_free(text);
    }
    char *data = text->data;
    mc_text_init(text, text->context);
    return data;
}

double mc_seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
