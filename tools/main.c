/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The program `modeconn`: finds the verb and hands over. Adding a verb = one file, one row here.
 */
#include "cli.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct cli_verb {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} cli_verb;

static const cli_verb verbs[] = {
    {"train", "train a model on a view of a dataset", cli_verb_train},
    {"eval", "loss and accuracy of a model on every view", cli_verb_eval},
    {"probe", "what a model is invariant to, with intervals", cli_verb_probe},
    {"barrier", "loss along the line between two models, or a curve", cli_verb_barrier},
    {"connect", "fit a curve of low loss between two models", cli_verb_connect},
    {"finetune", "change what a model relies on (naive, llrt, lpft, cbft)", cli_verb_finetune},
    {"align", "match the units of a model to another's; the line before and after", cli_verb_align},
    {"compare", "are two models mechanistically similar?", cli_verb_compare},
    {"connectivity", "are two models mechanistically connected?", cli_verb_connectivity},
    {"plot", "draw a result as SVG", cli_verb_plot},
    {"report", "make a page of results", cli_verb_report},
    {"reproduce", "run an experiment of the paper (demo, table1, fig-..., all)",
     cli_verb_reproduce},
    {"info", "what a model file, or this build, is", cli_verb_info},
    {"bench", "time the engine", cli_verb_bench},
};

static void print_verbs(FILE *out)
{
    fprintf(out, "Usage: modeconn VERB [OPTION...]\n\n"
                 "Mode connectivity: do two networks predict for the same reason, what lies\n"
                 "between them in weight space, and how do I change the reason?\n\nVerbs:\n");
    for (int i = 0; i < CLI_COUNT(verbs); i++) {
        fprintf(out, "  %-12s %s\n", verbs[i].name, verbs[i].help);
    }
    fprintf(out, "\n`modeconn VERB --help' lists the options of a verb; `modeconn --version'\n"
                 "tells the version. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static void print_version(FILE *out, struct argp_state *state)
{
    (void)state;
    int32_t v = modeconn_version();
    fprintf(out, "modeconn %d.%d.%d\n", (int)(v / 1000000), (int)(v / 1000 % 1000),
            (int)(v % 1000));
}

/* What the program is about to give; 0 also where argp ends it after --help. */
static int exit_status = CLI_OK;

/* A full disk or a closed pipe shows at the latest when the last text is flushed; by then the text
 * may have been lost before. */
static void close_output(void)
{
    int reason = fflush(stdout) != 0 ? errno : cli_say_errno();
    if ((reason != 0 || ferror(stdout)) && exit_status == CLI_OK) {
        if (reason != EPIPE) {
            fprintf(stderr, "modeconn: cannot write to standard output: %s\n",
                    strerror(reason != 0 ? reason : EIO));
        }
        _exit(CLI_FAILED);
    }
}

static int run(int argc, char **argv)
{
    if (argc < 2) {
        print_verbs(stderr);
        return CLI_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-?") == 0 || strcmp(name, "-h") == 0 ||
        (strcmp(name, "help") == 0 && argc == 2)) {
        print_verbs(stdout);
        return CLI_OK;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        print_version(stdout, NULL);
        return CLI_OK;
    }
    char help[] = "--help";
    if (strcmp(name, "help") == 0) { /* modeconn help VERB */
        name = argv[2];
        argv[2] = help;
    }
    for (int i = 0; i < CLI_COUNT(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0) {
            return verbs[i].run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "modeconn: there is no verb \"%s\"; `modeconn --help' lists them\n", name);
    return CLI_USAGE;
}

int main(int argc, char **argv)
{
    argp_err_exit_status = CLI_USAGE;
    argp_program_version_hook = print_version;
    /* A reader that went away must not end a training run before its files are written. */
    signal(SIGPIPE, SIG_IGN);
    atexit(close_output);
    exit_status = run(argc, argv);
    return exit_status;
}
