/* SPDX-License-Identifier: BSD-3-Clause
 *
 * cli: what the verbs of the command-line program share. The program is a client of the public
 * API alone. A verb is one file with one function and one row in the table of main.c.
 */
#ifndef CLI_H
#define CLI_H

#include <jansson.h>
#include <modeconn/modeconn.h>
#include <stdbool.h>
#include <stdio.h>

/* Exit statuses of the program. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

#define CLI_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* ---- verbs (verb_*.c) -------------------------------------------------------------------- */

int cli_verb_train(int argc, char **argv);
int cli_verb_eval(int argc, char **argv);
int cli_verb_probe(int argc, char **argv);
int cli_verb_barrier(int argc, char **argv);
int cli_verb_connect(int argc, char **argv);
int cli_verb_align(int argc, char **argv);
int cli_verb_finetune(int argc, char **argv);
int cli_verb_compare(int argc, char **argv);
int cli_verb_connectivity(int argc, char **argv);
int cli_verb_plot(int argc, char **argv);
int cli_verb_report(int argc, char **argv);
int cli_verb_reproduce(int argc, char **argv);
int cli_verb_info(int argc, char **argv);
int cli_verb_bench(int argc, char **argv);

/* ---- arguments (args.c) ------------------------------------------------------------------ */

/* An option of the verb's own. One of text, integer, real or flag receives the value; numbers are
 * checked against [min, max]. */
typedef struct cli_option {
    const char *name;       /* "bn-samples"; '_' is accepted for '-' */
    const char *value;      /* "FILE" in --help; NULL for a flag */
    const char *help;       /* without range and default, which --help adds */
    const char *by_default; /* as --help says it; NULL: not said */
    bool required;
    bool output; /* a file that is written, see cli_outputs() */
    const char **text;
    int64_t *integer;
    double *real;
    bool *flag;
    double min, max;
} cli_option;

/* A kind of the library's options: each of its keys becomes an option of the verb. */
typedef struct cli_kind {
    const char *kind;          /* "train" */
    const char *title;         /* its heading in --help */
    const char *const *except; /* keys not offered, NULL-ended; "seed" never is, see rename */
    const char *const *rename; /* pairs of key and option name, NULL-ended */
    const char *const *reword; /* pairs of key and help, where the library's is not the program's */
    modeconn_options *options; /* made by cli_parse() */
} cli_kind;

typedef struct cli_args {
    const char *verb;     /* "train" */
    const char *about;    /* what --help says first; after a '\v', last */
    const char *operands; /* "FIRST SECOND", NULL for none */
    const char *needs;    /* an option of a kind that most data cannot do without, "[--cue=box]" */
    int min_operands, max_operands;
    const cli_option *options;
    int n_options;
    cli_kind *kinds;
    int n_kinds;

    /* Filled by cli_parse(). */
    const char *operand[2];
    int n_operands;
    const char *json; /* --json: a file, "-" for standard output, or NULL */
    cli_kind context; /* --threads, --seed, --isa */
    struct cli_slot *slots;
    int n_slots;
} cli_args;

/* Fills `args` from the command line. Wrong usage says why and ends the program with CLI_USAGE,
 * --help with CLI_OK. Returns CLI_OK, or CLI_FAILED when out of memory; cli_args_free() either
 * way. */
int cli_parse(cli_args *args, int argc, char **argv);
void cli_args_free(cli_args *args);

/* Whether the option (spelled with '-') was on the command line. */
bool cli_given(const cli_args *args, const char *option);

/* The options object of a kind that the verb offers; NULL for another. */
modeconn_options *cli_options(const cli_args *args, const char *kind);

/* `return cli_usage(args, ...)`: prints "modeconn VERB: ..." and gives CLI_USAGE. */
int cli_usage(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Creates the context that --threads, --seed and --isa ask for; an exit status. */
int cli_context(const cli_args *args, modeconn_context **out);

/* Writes the help of --arch: the library's architectures by name. */
enum { CLI_HELP = 256 };
void cli_architecture_help(char text[CLI_HELP]);

/* Whether `arch` is an architecture of the library; says which there are otherwise. */
bool cli_known_arch(const cli_args *args, const char *arch);

/* ---- output and errors (output.c) --------------------------------------------------------- */

/* Prints "modeconn VERB: ..." on standard error and gives CLI_FAILED. */
int cli_error(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* False for MODECONN_OK; otherwise prints the library's error text. */
bool cli_failed(const cli_args *args, int32_t status);
/* The same for a call whose wrong arguments and unknown names can only be what was typed: CLI_OK,
 * CLI_USAGE for those two, CLI_FAILED for the rest. */
int cli_outcome(const cli_args *args, int32_t status);

/* A folder and those above it, unless they are there. */
int cli_make_folder(const cli_args *args, const char *path);

/* Text for a person on standard output; nothing with --json -. */
void cli_say(const cli_args *args, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The errno of the last text of cli_say() that could not be written; 0 if there is none. */
int cli_say_errno(void);

/* Writes `value` (NULL: out of memory) to `path`, "-" for standard output; an exit status. */
int cli_json_save(const cli_args *args, const char *path, const json_t *value);

/* Likewise to where --json says, if it says so. */
int cli_json(const cli_args *args, const json_t *value);

/* Reads a JSON file; NULL after a message naming it. */
json_t *cli_json_load(const cli_args *args, const char *path);

/* Writes what `stream` (of open_memstream, closed here) gathered in *text (freed here). */
int cli_stream_save(const cli_args *args, const char *path, FILE *stream, char **text);

/* CLI_OK when a file can be written at `path` (NULL is fine): asked before long work. */
int cli_writable(const cli_args *args, const char *path);
/* The same of every option of the verb that is an output, which "-" is no name for, and of --json.
 */
int cli_outputs(const cli_args *args);

/* The same of a picture or a page, which may go to standard output if the JSON does not. */
int cli_picture_output(const cli_args *args, const char *path);

/* Loads a model; with `arch` also a file without our metadata, made to fit `like`. */
int cli_model_load(const cli_args *args, modeconn_context *context, const char *path,
                   const char *arch, const modeconn_dataset *like, modeconn_model **out);

/* JSON real; null for what JSON cannot say. */
json_t *cli_real(double value);
/* JSON string of text from outside, a file name say: what is not UTF-8 becomes U+FFFD. */
json_t *cli_text(const char *text);
/* Bytes of the UTF-8 character that `text` begins with; 0 where it is not one. */
int cli_utf8(const char *text);

/* What the bits of this run's results hang on: the build, with the instruction set that --isa
 * picked as "isa". NULL on failure. */
json_t *cli_build_json(const cli_args *args);
/* What handles say of themselves, as JSON; NULL on failure. */
json_t *cli_model_json(const modeconn_model *model);
json_t *cli_dataset_json(const modeconn_dataset *dataset);
json_t *cli_history_json(const modeconn_model *model);
json_t *cli_path_history_json(const modeconn_path *path);
json_t *cli_evaluation_json(const modeconn_evaluation *evaluation);
json_t *cli_probe_json(const modeconn_probe *probe);
json_t *cli_curve_json(const modeconn_curve *curve);
json_t *cli_comparison_json(const modeconn_comparison *comparison);
json_t *cli_connectivity_json(const modeconn_connectivity *connectivity);
json_t *cli_patterns_json(const modeconn_patterns *patterns);
json_t *cli_cka_json(const modeconn_cka *cka);
json_t *cli_options_json(const modeconn_options *options);
/* Puts `value` (NULL: out of memory) into a model's metadata: a string as it is, else its JSON; an
 * exit status. */
int cli_note(const cli_args *args, modeconn_model *model, const char *key, const json_t *value);
/* CSV of a curve, to be freed; NULL on failure. */
char *cli_curve_csv(const modeconn_curve *curve);

/* Number under `key` of an object, NaN where there is none. */
double cli_number(const json_t *object, const char *key);
/* 0 for what would print as -0.00 or +0.00. */
double cli_two_decimals(double value);
/* Text under `key`, "" where there is none. */
const char *cli_string(const json_t *object, const char *key);
/* Value at a path of keys, NULL-ended; NULL where there is none. */
json_t *cli_at(const json_t *object, const char *const *keys);

/* Seconds of a monotonic clock. */
double cli_seconds(void);

/* ---- data (data.c) ------------------------------------------------------------------------ */

/* The row of --data for a verb's options. */
#define CLI_DATA_OPTION(variable)                                                                  \
    {                                                                                              \
        .name = "data", .value = "DATA",                                                           \
        .help = "fashion-mnist[:DIR], cifar10:DIR, cifar100:DIR, dominoes:CIFAR,FMNIST, "          \
                "idx:IMAGES,LABELS, npy:IMAGES,LABELS, npz:FILE, or built in: "                    \
                "shapes[:KEY=VALUE,...], slabs[:KEY=VALUE,...]",                                   \
        .required = true, .text = (variable)                                                       \
    }

/* The row of --arch for files without our metadata. */
#define CLI_ARCH_OPTION(variable)                                                                  \
    {                                                                                              \
        .name = "arch", .value = "ARCH",                                                           \
        .help = "architecture of model files that do not say it (PyTorch exports)",                \
        .text = (variable)                                                                         \
    }

/* The training set as --view, --cue and --cue-proportion ask to see it: an explicit --view wins;
 * otherwise view cue where there is a cue, nocue where there is none. */
int cli_data_train(const cli_args *args, modeconn_context *context, const char *spec,
                   modeconn_dataset **out);

/* The test set for measuring, which chooses the views itself. */
int cli_data_test(const cli_args *args, modeconn_context *context, const char *spec,
                  modeconn_dataset **out);

/* The whole training set, clean, for batch-norm statistics; --limit is of the test set. */
int cli_data_statistics(const cli_args *args, modeconn_context *context, const char *spec,
                        modeconn_dataset **out);

/* ---- progress (progress.c) ---------------------------------------------------------------- */

/* One bar for work that may consist of several phases of different size. */
typedef struct cli_progress {
    bool terminal;      /* standard error is one */
    char label[80];     /* of the phase */
    double total;       /* work of all phases, any unit; at least what the phases add up to */
    double done, phase; /* work of the phases before this one, and of this one */
    double started, drawn;
} cli_progress;

/* Starts the bar and lets Ctrl-C (SIGINT, SIGTERM) set a flag instead of ending the program; a
 * second one ends it. */
void cli_progress_begin(cli_progress *progress, double total);
/* Begins a phase; the one before it counts as done. */
void cli_progress_phase(cli_progress *progress, double work, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A modeconn_progress_fn; `user` is the cli_progress. */
int32_t cli_progress_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                          double accuracy, double rate, double seconds_left);
/* Wipes the bar from the line, so that text can be printed. */
void cli_progress_clear(cli_progress *progress);
void cli_progress_end(cli_progress *progress);
bool cli_interrupted(void);
/* A line on epoch `epoch` (from 0) of a history. */
void cli_say_epoch(const cli_args *args, const modeconn_history *history, int64_t epoch,
                   int64_t total);

/* ---- charts (svg.c) ----------------------------------------------------------------------- */

typedef struct cli_series {
    const char *name, *color;
    int marker;      /* 0 circle, 1 square, 2 triangle, 3 diamond */
    const double *y; /* [n]; NaN leaves a gap */
} cli_series;

typedef struct cli_panel {
    const char *x_label, *y_label;
    const double *x; /* [n], ascending */
    int n;
    const cli_series *series;
    int n_series;
    double reach;  /* the axis goes this high at least: panels to be compared share it */
    bool percent;  /* fractions, axis 0 .. 100 % */
    bool baseline; /* a thin dashed line between the ends of each series */
} cli_panel;

typedef struct cli_chart {
    const char *title, *subtitle, *description, *footnote; /* the last three may be NULL */
    const char *id;                                        /* unique in a page */
    const cli_panel *panels; /* the legend is that of the one with most series */
    int n_panels;            /* 1 to 4 */
} cli_chart;

/* What writes a chart: a picture of its own, or a part of a page, whose panels go below each other
 * where it is narrow (and which explains what a footnote would). */
typedef void cli_chart_fn(FILE *out, const cli_chart *chart);
void cli_chart_write(FILE *out, const cli_chart *chart);
void cli_chart_page(FILE *out, const cli_chart *chart);

/* Text with &, <, > and quotes escaped, and U+FFFD for what is not UTF-8. */
void cli_xml(FILE *out, const char *text);
/* The same in a page, with theta_NAME as a theta with a subscript. */
void cli_html(FILE *out, const char *text);

/* ---- figures and words of results (figure.c, words.c, html.c) ------------------------------- */

typedef struct cli_figure {
    const char *title, *id;
    const char *ends;  /* of a curve, along its axis: "theta_C (t = 0) to CBFT (t = 1)" */
    const char *scale; /* what it was run at, in place of the footnote; NULL: none */
    cli_chart_fn *write;
} cli_figure;

/* Of a curve whose models are files. */
#define CLI_ENDS "t: 0 is the first model, 1 the second"

/* Draws a curve's JSON: loss and accuracy on each view. False where it is not one. */
bool cli_figure_curve(FILE *out, const json_t *curve, const cli_figure *figure);
/* Likewise into a file; an exit status. */
int cli_curve_draw(const cli_args *args, const char *path, const json_t *curve,
                   const cli_figure *figure);
/* Draws a training history's JSON. */
bool cli_figure_history(FILE *out, const json_t *history, const cli_figure *figure);

/* Name of a view as the paper abbreviates it: NC, C, RC, RI; the name itself otherwise. */
const char *cli_view_short(const char *view);

/* Names of the demo's models, in the order of its table, NULL-ended. */
extern const char *const cli_demo_models[];

/* The demo's table, and what it shows in sentences (an array of text), from results.json. */
void cli_demo_table(FILE *out, const json_t *results);
json_t *cli_demo_words(const json_t *results);
/* One sentence on what was trained and measured on what. */
void cli_demo_caption(FILE *out, const json_t *results);

/* What a reader who does not know the paper needs, as parts of a page (html_prose.c): the question
 * and what was done, from results.json; how to read the table; how to read the curves. */
void cli_html_question(FILE *out, const json_t *results);
void cli_html_table_guide(FILE *out);
void cli_html_curve_guide(FILE *out);

/* A self-contained page for results.json of the demo, or for one curve. */
bool cli_html_report(FILE *out, const json_t *results);

/* ---- reproductions (reproduce_*.c) ---------------------------------------------------------- */

int cli_reproduce_demo(int argc, char **argv);
/* table1, fig-... and all; argv[0] is the experiment's name. */
int cli_reproduce_paper(int argc, char **argv);

#endif
