/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Puts a test into a locale whose decimal point is a comma, compiled for the test by the C
 * library's own localedef: nothing needs to be installed.
 */
#ifndef MC_COMMA_LOCALE_H
#define MC_COMMA_LOCALE_H

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* False, with a line that says so, where it cannot be made. The category LC_NUMERIC is the only
 * one given: localedef then makes it, complains of the others and fails. */
static inline bool set_comma_locale(const char *test)
{
    char folder[] = "/tmp/modeconn-locale-XXXXXX";
    char command[256];
    bool found = false;

    if (mkdtemp(folder) != NULL) {
        snprintf(command, sizeof(command),
                 "cd %s && printf 'LC_NUMERIC\\ndecimal_point \",\"\\nthousands_sep \".\"\\n"
                 "grouping 3;3\\nEND LC_NUMERIC\\n' >source && "
                 "localedef -c -i source ./comma >/dev/null 2>&1",
                 folder);
        if (system(command) != -1 && setenv("LOCPATH", folder, 1) == 0)
            found = setlocale(LC_NUMERIC, "comma") != NULL && localeconv()->decimal_point[0] == ',';
        snprintf(command, sizeof(command), "rm -r %s", folder);
        found = system(command) == 0 && found;
    }
    if (!found)
        printf("%s: locale part skipped, no locale with a decimal comma\n", test);
    return found;
}

#endif
