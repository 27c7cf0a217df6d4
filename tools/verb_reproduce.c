/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn reproduce: experiments of the paper, which are the rows of repro_experiments, and the
 * demo.
 */
#include "reproduce.h"

#include <string.h>

static void print_experiments(FILE *out)
{
    fprintf(out, "Usage: modeconn reproduce EXPERIMENT [OPTION...]\n"
                 "Runs an experiment of the paper at a given scale.\n\nExperiments:\n");
    fprintf(out, "  %-13s %s\n", "demo",
            "cue and no-cue minimizers, naive fine-tuning and CBFT, in minutes");
    for (int i = 0; i < repro_n_experiments; i++) {
        fprintf(out, "  %-13s %s\n", repro_experiments[i].name, repro_experiments[i].help);
    }
    fprintf(out, "  %-13s %s\n", "all", "all of these but the demo, in turn");
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
    if (strcmp(argv[1], "demo") == 0) {
        return cli_reproduce_demo(argc - 1, argv + 1);
    }
    bool known = strcmp(argv[1], "all") == 0;
    for (int i = 0; i < repro_n_experiments; i++) {
        known = known || strcmp(repro_experiments[i].name, argv[1]) == 0;
    }
    if (known) {
        return cli_reproduce_paper(argc - 1, argv + 1);
    }
    fprintf(stderr, "modeconn reproduce: there is no experiment \"%s\"\n", argv[1]);
    print_experiments(stderr);
    return CLI_USAGE;
}
