/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Puts a test into a locale whose decimal point is a comma: an installed one, or one compiled for
 * the test from Debian's package "locales".
 */
#ifndef MC_COMMA_LOCALE_H
#define MC_COMMA_LOCALE_H

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static inline bool has_comma(const char *name)
{
    return setlocale(LC_ALL, name) != NULL && localeconv()->decimal_point[0] == ',';
}

/* Compiles de_DE into a folder of its own and has the C library look there. */
static inline bool compile_comma_locale(void)
{
    char folder[] = "/tmp/modeconn-locale-XXXXXX";
    char command[256];
    bool found = false;

    if (mkdtemp(folder) == NULL)
        return false;
    snprintf(command, sizeof(command), "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
             folder);
    if (system(command) == 0 && setenv("LOCPATH", folder, 1) == 0)
        found = has_comma("de_DE.UTF-8");
    snprintf(command, sizeof(command), "rm -r %s", folder);
    return system(command) == 0 && found;
}

/* False, with a line that says so, where there is none. */
static inline bool set_comma_locale(const char *test)
{
    if (has_comma("de_DE.UTF-8") || has_comma("fr_FR.UTF-8") || compile_comma_locale())
        return true;
    printf("%s: locale part skipped, no locale with a decimal comma\n", test);
    return false;
}

#endif
