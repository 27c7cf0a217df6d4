/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Numbers from text, the same in every locale. The grammar is checked here, because the C
 * library's functions also take white space, hexadecimal digits and "nan(...)".
 */
#include "core/core.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Number of decimal digits that `text` begins with. */
static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

bool mc_parse_i64(const char *text, int64_t *value)
{
    const char *number = text + (*text == '-' || *text == '+');
    const size_t length = digits(number);
    long long parsed;

    if (length == 0 || number[length] != '\0') {
        return false;
    }
    errno = 0;
    parsed = strtoll(text, NULL, 10);
    if (errno != 0) {
        return false;
    }
    *value = parsed;
    return true;
}

/* [digits][.digits][e[sign]digits], with a digit before or after the point. */
static bool is_decimal(const char *text)
{
    const size_t whole = digits(text);
    size_t fraction = 0;

    text += whole;
    if (*text == '.') {
        fraction = digits(text + 1);
        text += 1 + fraction;
    }
    if (whole + fraction == 0) {
        return false;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '-' || *text == '+';
        if (digits(text) == 0) {
            return false;
        }
        text += digits(text);
    }
    return *text == '\0';
}

bool mc_parse_f64(const char *text, double *value)
{
    const char *number = text + (*text == '-' || *text == '+');
    locale_t plain;
    double parsed;
    int error;

    if (strcmp(number, "inf") == 0) {
        *value = *text == '-' ? -HUGE_VAL : HUGE_VAL;
        return true;
    }
    if (!is_decimal(number)) {
        return false;
    }
    plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) {
        return false;
    }
    errno = 0;
    parsed = strtod_l(text, NULL, plain);
    error = errno;
    freelocale(plain);
    /* A subnormal result also sets errno, but is a number. */
    if (error != 0 && (isinf(parsed) || parsed == 0)) {
        return false;
    }
    *value = parsed;
    return true;
}
