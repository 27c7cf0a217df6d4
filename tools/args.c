/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Command lines: a verb's own options, and every key of the library's option kinds that it names,
 * enumerated, so that the library's list is the only one. argp does the parsing and --help.
 */
#include "cli.h"

#include <argp.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* One option as argp knows it: the verb's own, or a key of a kind. */
typedef struct cli_slot {
    const cli_option *own;
    cli_kind *kind;
    const char *key;
    char *name, *alias; /* with '-', and with '_' where that differs */
    char *value, *help;
    bool given;
} cli_slot;

enum { FIRST_KEY = 0x1000, JSON_KEY = 0xfff, HELP_KEY = 'h' };

static char *replace(const char *text, char from, char to)
{
    char *copy = strdup(text);
    for (char *c = copy; c != NULL && *c != '\0'; c++) {
        if (*c == from) {
            *c = to;
        }
    }
    return copy;
}

static bool listed(const char *const *list, const char *key)
{
    for (int i = 0; list != NULL && list[i] != NULL; i++) {
        if (strcmp(list[i], key) == 0) {
            return true;
        }
    }
    return false;
}

static const char *renamed(const cli_kind *kind, const char *key)
{
    for (int i = 0; kind->rename != NULL && kind->rename[i] != NULL; i += 2) {
        if (strcmp(kind->rename[i], key) == 0) {
            return kind->rename[i + 1];
        }
    }
    return NULL;
}

static cli_slot *add_slot(cli_args *args, const char *name)
{
    cli_slot *slots = realloc(args->slots, (size_t)(args->n_slots + 1) * sizeof(*slots));
    if (slots == NULL) {
        return NULL;
    }
    args->slots = slots;
    cli_slot *slot = &slots[args->n_slots++];
    *slot = (cli_slot){.name = replace(name, '_', '-'), .alias = replace(name, '-', '_')};
    return slot->name != NULL && slot->alias != NULL ? slot : NULL;
}

static bool taken(const cli_args *args, const char *key)
{
    for (int i = 0; i < args->n_slots; i++) {
        if (strcmp(args->slots[i].alias, key) == 0) {
            return true;
        }
    }
    return false;
}

static const char *reworded(const cli_kind *kind, const char *key)
{
    for (int i = 0; kind->reword != NULL && kind->reword[i] != NULL; i += 2) {
        if (strcmp(kind->reword[i], key) == 0) {
            return kind->reword[i + 1];
        }
    }
    return NULL;
}

/* Help of a key: its sentence, range and default, or the verb's own words for all of them; choices
 * stand in place of the value's name. */
static bool describe_key(cli_slot *slot, int32_t type, const char *by_default, const char *range,
                         const char *help)
{
    bool choices = type == MODECONN_OPTION_STR && range[0] != '\0';
    /* 2^53, the library's "as many as you like", says nothing to a person. */
    bool bounded = !choices && range[0] != '\0' && strstr(range, "9007199254740992") == NULL;
    const char *value = type == MODECONN_OPTION_I64   ? "N"
                        : type == MODECONN_OPTION_F64 ? "X"
                        : choices                     ? range
                                                      : "TEXT";
    const char *own = reworded(slot->kind, slot->key);
    slot->value = strdup(value);
    if (own != NULL) {
        slot->help = strdup(own);
        return slot->value != NULL && slot->help != NULL;
    }
    char default_text[96] = "";
    if (by_default[0] != '\0') {
        snprintf(default_text, sizeof(default_text), "; default %.80s", by_default);
    }
    if (asprintf(&slot->help, "%s%s%s%s", help, bounded ? "; in " : "", bounded ? range : "",
                 default_text) < 0) {
        slot->help = NULL;
    }
    return slot->value != NULL && slot->help != NULL;
}

static int add_kind(cli_args *args, cli_kind *kind, bool with_seed)
{
    int64_t n = 0;
    if (cli_failed(args, modeconn_options_create(NULL, kind->kind, &kind->options)) ||
        cli_failed(args, modeconn_options_count(kind->options, &n))) {
        return CLI_FAILED;
    }
    for (int64_t i = 0; i < n; i++) {
        const char *key, *by_default, *range, *help;
        int32_t type;
        if (cli_failed(args, modeconn_options_describe(kind->options, i, &key, &type, &by_default,
                                                       &range, &help))) {
            return CLI_FAILED;
        }
        const char *name = renamed(kind, key);
        /* --seed is the context's, which the others default to; where a verb lets them differ, it
         * renames them. */
        bool hidden = listed(kind->except, key) || (strcmp(key, "seed") == 0 && !with_seed);
        if (name == NULL && (hidden || taken(args, key))) {
            continue;
        }
        cli_slot *slot = add_slot(args, name != NULL ? name : key);
        if (slot != NULL) {
            slot->kind = kind;
            slot->key = key;
        }
        if (slot == NULL || !describe_key(slot, type, by_default, range, help)) {
            return cli_error(args, "out of memory");
        }
    }
    return CLI_OK;
}

/* The same for an option of the verb's own. */
static bool describe_own(cli_slot *slot)
{
    const cli_option *own = slot->own;
    char range[64] = "";
    if (own->integer != NULL || own->real != NULL) {
        /* A huge maximum guards the program and says nothing to a person. */
        snprintf(range, sizeof(range), own->max < 1e9 ? "; in [%.15g, %.15g]" : "; at least %.15g",
                 own->min, own->max);
    }
    return asprintf(&slot->help, "%s%s%s%s", own->help, range,
                    own->by_default != NULL ? "; default " : "",
                    own->by_default != NULL ? own->by_default : "") >= 0;
}

static int add_slots(cli_args *args)
{
    for (int i = 0; i < args->n_options; i++) {
        cli_slot *slot = add_slot(args, args->options[i].name);
        if (slot == NULL) {
            return cli_error(args, "out of memory");
        }
        slot->own = &args->options[i];
        if (!describe_own(slot)) {
            slot->help = NULL;
            return cli_error(args, "out of memory");
        }
    }
    for (int i = 0; i < args->n_kinds; i++) {
        int status = add_kind(args, &args->kinds[i], false);
        if (status != CLI_OK) {
            return status;
        }
    }
    static const char *const words[] = {
        "seed", "seed of everything that is drawn; default 0", "threads",
        "threads to compute on; 0: one for every core this process may use; in "
        "[0, 1024]; default 0",
        NULL};
    args->context = (cli_kind){.kind = "context", .reword = words};
    return add_kind(args, &args->context, true);
}

/* ---- parsing ----------------------------------------------------------------------------- */

static void set_own(const cli_slot *slot, const char *text, struct argp_state *state)
{
    const cli_option *own = slot->own;
    char *end = NULL;
    errno = 0;
    if (own->flag != NULL) {
        *own->flag = true;
    } else if (own->text != NULL) {
        *own->text = text;
    } else if (own->integer != NULL) {
        long long value = strtoll(text, &end, 10);
        if (end == text || *end != '\0' || errno != 0 || (double)value < own->min ||
            (double)value > own->max) {
            argp_error(state, "--%s %s: an integer from %.15g to %.15g is wanted", slot->name, text,
                       own->min, own->max);
        }
        *own->integer = (int64_t)value;
    } else {
        double value = strtod(text, &end);
        if (end == text || *end != '\0' || errno != 0 ||
            !(value >= own->min && value <= own->max)) {
            argp_error(state, "--%s %s: a number from %g to %g is wanted", slot->name, text,
                       own->min, own->max);
        }
        *own->real = value;
    }
}

static void check_complete(const cli_args *args, struct argp_state *state)
{
    for (int i = 0; i < args->n_slots; i++) {
        const cli_option *own = args->slots[i].own;
        if (own != NULL && own->required && !args->slots[i].given) {
            argp_error(state, "--%s %s is missing", args->slots[i].name, own->value);
        }
    }
    if (args->n_operands < args->min_operands) {
        argp_error(state, "%s %s missing", args->operands, args->min_operands > 1 ? "are" : "is");
    }
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    cli_args *args = state->input;
    if (key == JSON_KEY) {
        args->json = text;
    } else if (key == HELP_KEY) {
        argp_state_help(state, state->out_stream, ARGP_HELP_STD_HELP);
    } else if (key == ARGP_KEY_ARG) {
        if (args->n_operands >= args->max_operands) {
            argp_error(state, "\"%s\" is one argument too many", text);
        }
        args->operand[args->n_operands++] = text;
    } else if (key == ARGP_KEY_END) {
        check_complete(args, state);
    } else if (key >= FIRST_KEY && key < FIRST_KEY + args->n_slots) {
        cli_slot *slot = &args->slots[key - FIRST_KEY];
        slot->given = true;
        if (slot->own != NULL) {
            set_own(slot, text, state);
        } else if (modeconn_options_set_text(slot->kind->options, slot->key, text) < 0) {
            argp_error(state, "--%s %s: %s", slot->name, text, modeconn_last_error());
        }
    } else {
        return ARGP_ERR_UNKNOWN;
    }
    return 0;
}

/* Required options of the verb's own come first, then its others, then the kinds. */
static struct argp_option *fill_group(cli_args *args, const cli_kind *kind, bool required,
                                      int group, struct argp_option *row)
{
    for (int i = 0; i < args->n_slots; i++) {
        const cli_slot *slot = &args->slots[i];
        if (slot->kind != kind || (slot->own != NULL && slot->own->required) != required) {
            continue;
        }
        *row++ = (struct argp_option){.name = slot->name,
                                      .key = FIRST_KEY + i,
                                      .arg = slot->own != NULL ? slot->own->value : slot->value,
                                      .doc = slot->help,
                                      .group = group};
        if (strcmp(slot->alias, slot->name) != 0) {
            *row++ = (struct argp_option){
                .name = slot->alias, .flags = OPTION_ALIAS | OPTION_HIDDEN, .group = group};
        }
    }
    return row;
}

static void fill_rows(cli_args *args, struct argp_option *row)
{
    int group = 1;
    *row++ = (struct argp_option){.key = HELP_KEY, .flags = OPTION_HIDDEN, .group = -1};
    row = fill_group(args, NULL, true, group, row);
    row = fill_group(args, NULL, false, ++group, row);
    for (int i = 0; i <= args->n_kinds; i++) {
        const cli_kind *kind = i < args->n_kinds ? &args->kinds[i] : &args->context;
        group++;
        *row++ = (struct argp_option){.doc = i < args->n_kinds ? kind->title : "Running:",
                                      .group = group};
        row = fill_group(args, kind, false, group, row);
    }
    *row++ = (struct argp_option){.name = "json",
                                  .key = JSON_KEY,
                                  .arg = "FILE",
                                  .doc = "write the result as JSON; - is standard output, and "
                                         "nothing else goes there",
                                  .group = group};
    *row = (struct argp_option){0};
}

/* What the usage line says after [OPTION...]: what cannot be left out. To be freed; NULL when out
 * of memory. */
static char *synopsis(const cli_args *args)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    if (out == NULL) {
        return NULL;
    }
    for (int i = 0; i < args->n_options; i++) {
        if (args->options[i].required) {
            fprintf(out, "--%s=%s ", args->options[i].name, args->options[i].value);
        }
    }
    fprintf(out, "%s%s", args->needs != NULL ? args->needs : "", args->needs != NULL ? " " : "");
    fputs(args->operands != NULL ? args->operands : "", out);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    while (size > 0 && text[size - 1] == ' ') {
        text[--size] = '\0';
    }
    return text;
}

/* Seeds that the command line does not tell apart are --seed, by number: so results name them. */
static int settle_seeds(const cli_args *args)
{
    int64_t general = 0;
    if (cli_failed(args, modeconn_options_get_i64(args->context.options, "seed", &general))) {
        return CLI_FAILED;
    }
    for (int i = 0; i < args->n_kinds; i++) {
        modeconn_options *options = args->kinds[i].options;
        int64_t seed = 0;
        bool general_one =
            modeconn_options_get_i64(options, "seed", &seed) == MODECONN_OK && seed == -1;
        if (general_one && cli_failed(args, modeconn_options_set_i64(options, "seed", general))) {
            return CLI_FAILED;
        }
    }
    return CLI_OK;
}

int cli_parse(cli_args *args, int argc, char **argv)
{
    char name[64];
    snprintf(name, sizeof(name), "modeconn %s", args->verb);
    int status = add_slots(args);
    if (status != CLI_OK) {
        return status;
    }
    /* Each slot with its alias, a heading for each kind, -h, --json and the end. */
    size_t n_rows = (size_t)(2 * args->n_slots + args->n_kinds + 5);
    struct argp_option *rows = calloc(n_rows, sizeof(*rows));
    char *usage = synopsis(args);
    if (rows == NULL || usage == NULL) {
        free(usage);
        free(rows);
        return cli_error(args, "out of memory");
    }
    fill_rows(args, rows);
    const struct argp argp = {.options = rows,
                              .parser = on_option,
                              .args_doc = usage[0] != '\0' ? usage : NULL,
                              .doc = args->about};
    argv[0] = name;
    error_t error = argp_parse(&argp, argc, argv, 0, NULL, args);
    free(usage);
    free(rows);
    return error == 0 ? settle_seeds(args) : cli_error(args, "%s", strerror(error));
}

void cli_args_free(cli_args *args)
{
    for (int i = 0; i < args->n_slots; i++) {
        free(args->slots[i].name);
        free(args->slots[i].alias);
        free(args->slots[i].value);
        free(args->slots[i].help);
    }
    free(args->slots);
    args->slots = NULL;
    args->n_slots = 0;
    for (int i = 0; i < args->n_kinds; i++) {
        modeconn_options_destroy(args->kinds[i].options);
    }
    modeconn_options_destroy(args->context.options);
}

bool cli_given(const cli_args *args, const char *option)
{
    for (int i = 0; i < args->n_slots; i++) {
        if (strcmp(args->slots[i].name, option) == 0) {
            return args->slots[i].given;
        }
    }
    return false;
}

modeconn_options *cli_options(const cli_args *args, const char *kind)
{
    for (int i = 0; i < args->n_kinds; i++) {
        if (strcmp(args->kinds[i].kind, kind) == 0) {
            return args->kinds[i].options;
        }
    }
    return NULL;
}

int cli_usage(const cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "modeconn %s: ", args->verb);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\nTry `modeconn %s --help' for more information.\n", args->verb);
    return CLI_USAGE;
}

int cli_context(const cli_args *args, modeconn_context **out)
{
    int32_t status = modeconn_context_create(args->context.options, out);
    return cli_failed(args, status) ? CLI_FAILED : CLI_OK;
}

/* Names of the library's architectures, "vgg13, resnet18, ...". */
static void list_architectures(char text[CLI_HELP], const char *before)
{
    int64_t n = 0;
    size_t used = (size_t)snprintf(text, CLI_HELP, "%s", before);
    modeconn_architecture_count(&n);
    for (int64_t i = 0; i < n && used < CLI_HELP; i++) {
        const char *name = "";
        modeconn_architecture_describe(i, &name, NULL);
        used += (size_t)snprintf(text + used, CLI_HELP - used, "%s%s", i > 0 ? ", " : "", name);
    }
}

void cli_architecture_help(char text[CLI_HELP])
{
    list_architectures(text, "architecture: ");
}

bool cli_known_arch(const cli_args *args, const char *arch)
{
    int64_t n = 0;
    char list[CLI_HELP];
    modeconn_architecture_count(&n);
    for (int64_t i = 0; i < n; i++) {
        const char *name = "";
        modeconn_architecture_describe(i, &name, NULL);
        if (strcmp(name, arch) == 0) {
            return true;
        }
    }
    list_architectures(list, "");
    cli_usage(args, "--arch %s: there is %s", arch, list);
    return false;
}
