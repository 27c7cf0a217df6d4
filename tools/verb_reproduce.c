/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn reproduce: experiments of the paper. Adding one = one function, one row here.
 */
#include "cli.h"

#include <string.h>

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} experiments[] = {
    {"demo", "cue and no-cue minimizers, naive fine-tuning and CBFT, in minutes",
     cli_reproduce_demo},
};

static void print_experiments(FILE *out)
{
    fprintf(out, "Usage: modeconn reproduce EXPERIMENT [OPTION...]\n"
                 "Runs an experiment of the paper at a given scale.\n\nExperiments:\n");
    for (int i = 0; i < CLI_COUNT(experiments); i++) {
        fprintf(out, "  %-10s %s\n", experiments[i].name, experiments[i].help);
    }
    fprintf(out, "\n`modeconn reproduce EXPERIMENT --help' lists the options of one.\n");
}

int cli_verb_reproduce(int argc, char **argv)
{
    if (argc < 2) {
        print_experiments(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 ||
        strcmp(argv[1], "-h") == 0) {
        print_experiments(stdout);
        return CLI_OK;
    }
    for (int i = 0; i < CLI_COUNT(experiments); i++) {
        if (strcmp(experiments[i].name, argv[1]) == 0) {
            return experiments[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "modeconn reproduce: there is no experiment \"%s\"\n", argv[1]);
    print_experiments(stderr);
    return CLI_USAGE;
}
