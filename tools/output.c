/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What the verbs write: errors, text for a person, JSON; and the JSON that handles give of
 * themselves.
 */
#include "cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* 15 digits: decimal constants such as 0.9 stay readable. */
enum { JSON_STYLE = JSON_INDENT(2) | JSON_REAL_PRECISION(15) };

int cli_error(const cli_args *args, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "modeconn %s: ", args->verb);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return CLI_FAILED;
}

bool cli_failed(const cli_args *args, int32_t status)
{
    if (status == MODECONN_OK) {
        return false;
    }
    if (status == MODECONN_ERROR_CANCELLED) {
        cli_error(args, "stopped");
    } else {
        cli_error(args, "%s", modeconn_last_error());
    }
    return true;
}

int cli_outcome(const cli_args *args, int32_t status)
{
    if (status == MODECONN_ERROR_ARGUMENT || status == MODECONN_ERROR_UNKNOWN) {
        return cli_usage(args, "%s", modeconn_last_error());
    }
    return cli_failed(args, status) ? CLI_FAILED : CLI_OK;
}

int cli_make_folder(const cli_args *args, const char *path)
{
    char *part = strdup(path);
    if (part == NULL) {
        return cli_error(args, "out of memory");
    }
    int status = CLI_OK;
    for (char *slash = part[0] != '\0' ? part + 1 : NULL; status == CLI_OK && slash != NULL;) {
        slash = strchr(slash, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            status = cli_error(args, "%s: cannot be made: %s", part, strerror(errno));
        }
        if (slash != NULL) {
            *slash++ = '/';
        }
    }
    free(part);
    return status;
}

static int say_errno;

void cli_say(const cli_args *args, const char *format, ...)
{
    if (args->json != NULL && strcmp(args->json, "-") == 0) {
        return;
    }
    va_list list;
    va_start(list, format);
    if (vprintf(format, list) < 0 || fflush(stdout) != 0) {
        say_errno = errno;
    }
    va_end(list);
}

int cli_say_errno(void)
{
    return say_errno;
}

int cli_json_save(const cli_args *args, const char *path, const json_t *value)
{
    char *text = value == NULL ? NULL : json_dumps(value, JSON_STYLE);
    char *lines = NULL;
    int status = CLI_OK;
    if (text == NULL || asprintf(&lines, "%s\n", text) < 0) {
        lines = NULL;
        status = cli_error(args, "%s: out of memory, or a result that JSON cannot hold", path);
    } else if (strcmp(path, "-") == 0) {
        if (fputs(lines, stdout) == EOF || fflush(stdout) == EOF) {
            status = cli_error(args, "cannot write to standard output: %s", strerror(errno));
        }
    } else if (cli_failed(args, modeconn_text_save(path, lines))) {
        status = CLI_FAILED;
    }
    free(lines);
    free(text);
    return status;
}

int cli_json(const cli_args *args, const json_t *value)
{
    return args->json == NULL ? CLI_OK : cli_json_save(args, args->json, value);
}

json_t *cli_json_load(const cli_args *args, const char *path)
{
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    struct stat info;
    if (file == NULL) {
        cli_error(args, "cannot read %s: %s", path, strerror(errno));
        return NULL;
    }
    json_t *value = NULL;
    if (fstat(fileno(file), &info) == 0 && S_ISDIR(info.st_mode)) {
        cli_error(args, "cannot read %s: %s", path, strerror(EISDIR));
    } else {
        json_error_t error;
        value = json_loadf(file, JSON_REJECT_DUPLICATES, &error);
        if (value == NULL) {
            cli_error(args, "%s: not JSON: %s in line %d", path, error.text, error.line);
        }
    }
    if (!standard) {
        fclose(file);
    }
    return value;
}

int cli_stream_save(const cli_args *args, const char *path, FILE *stream, char **text)
{
    int status = CLI_OK;
    if (fclose(stream) != 0 || *text == NULL) {
        status = cli_error(args, "%s: out of memory", path);
    } else if (strcmp(path, "-") == 0) {
        if (fputs(*text, stdout) == EOF || fflush(stdout) == EOF) {
            status = cli_error(args, "cannot write to standard output: %s", strerror(errno));
        }
    } else if (cli_failed(args, modeconn_text_save(path, *text))) {
        status = CLI_FAILED;
    }
    free(*text);
    *text = NULL;
    return status;
}

int cli_writable(const cli_args *args, const char *path)
{
    if (path == NULL || strcmp(path, "-") == 0) {
        return CLI_OK;
    }
    struct stat info;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        return cli_error(args, "%s: is a folder", path);
    }
    /* Files are written under another name and renamed, so it is the folder that counts. */
    char *probe = NULL;
    if (asprintf(&probe, "%s.XXXXXX", path) < 0) {
        return cli_error(args, "out of memory");
    }
    int status = CLI_OK;
    int file = mkstemp(probe);
    if (file < 0) {
        status = cli_error(args, "%s: cannot be written: %s", path, strerror(errno));
    } else {
        close(file);
        unlink(probe);
    }
    free(probe);
    return status;
}

static int check_output(const cli_args *args, const char *option, const char *path)
{
    if (path != NULL && strcmp(path, "-") == 0) {
        return cli_usage(args, "--%s -: a file is wanted, standard output is not taken here",
                         option);
    }
    if (path != NULL && path[0] == '\0') {
        return cli_usage(args, "--%s: the name of a file is wanted", option);
    }
    return cli_writable(args, path);
}

/* Option i's file, NULL where it is no output or was not given; behind the last one --json's. */
static const char *output_at(const cli_args *args, int i)
{
    if (i == args->n_options) {
        return args->json != NULL && strcmp(args->json, "-") != 0 ? args->json : NULL;
    }
    return args->options[i].output ? *args->options[i].text : NULL;
}

static const char *output_name(const cli_args *args, int i)
{
    return i == args->n_options ? "json" : args->options[i].name;
}

int cli_outputs(const cli_args *args)
{
    int status = CLI_OK;
    for (int i = 0; i <= args->n_options && status == CLI_OK; i++) {
        const char *path = output_at(args, i);
        for (int k = 0; k < i && path != NULL; k++) {
            const char *other = output_at(args, k);
            if (other != NULL && strcmp(path, other) == 0) {
                return cli_usage(args, "--%s and --%s: both want %s", output_name(args, k),
                                 output_name(args, i), path);
            }
        }
        status = check_output(args, output_name(args, i), path);
    }
    return status;
}

int cli_picture_output(const cli_args *args, const char *path)
{
    if (strcmp(path, "-") != 0) {
        return check_output(args, "out", path);
    }
    return args->json != NULL && strcmp(args->json, "-") == 0
               ? cli_usage(args, "--out - and --json -: standard output takes one of them")
               : CLI_OK;
}

int cli_model_load(const cli_args *args, modeconn_context *context, const char *path,
                   const char *arch, const modeconn_dataset *like, modeconn_model **out)
{
    if (arch == NULL) {
        return cli_failed(args, modeconn_model_load(context, path, out)) ? CLI_FAILED : CLI_OK;
    }
    if (!cli_known_arch(args, arch)) {
        return CLI_USAGE;
    }
    return cli_failed(args, modeconn_model_load_as(context, path, arch, like, out)) ? CLI_FAILED
                                                                                    : CLI_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

json_t *cli_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

int cli_utf8(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    int n = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : 4;
    if (c[0] > 0xf4) {
        return 0;
    }
    for (int i = 1; i < n; i++) {
        if (c[i] < 0x80 || c[i] > 0xbf) {
            return 0;
        }
    }
    /* Overlong forms, surrogates, and what lies beyond the last code point. */
    bool wrong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
                 (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f);
    return wrong ? 0 : n;
}

json_t *cli_text(const char *text)
{
    char *clean = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&clean, &size);
    if (out == NULL) {
        return NULL;
    }
    while (*text != '\0') {
        int n = cli_utf8(text);
        if (n > 0) {
            fwrite(text, 1, (size_t)n, out);
            text += n;
        } else {
            fputs("\ufffd", out);
            text++;
        }
    }
    json_t *value = fclose(out) == 0 ? json_string(clean) : NULL;
    free(clean);
    return value;
}

static json_t *parse(char *text)
{
    json_t *value = text == NULL ? NULL : json_loads(text, 0, NULL);
    free(text);
    return value;
}

/* Defines `static char *name(const type *handle)`: the whole text of a getter that follows the
 * (buffer, capacity, needed) protocol, to be freed; NULL on failure. */
#define TEXT_OF(name, type, getter)                                                                \
    static char *name(const type *handle)                                                          \
    {                                                                                              \
        int64_t needed = 0;                                                                        \
        getter(handle, NULL, 0, &needed);                                                          \
        char *text = needed > 0 ? malloc((size_t)needed) : NULL;                                   \
        if (text != NULL && getter(handle, text, needed, NULL) != MODECONN_OK) {                   \
            free(text);                                                                            \
            text = NULL;                                                                           \
        }                                                                                          \
        return text;                                                                               \
    }

TEXT_OF(model_text, modeconn_model, modeconn_model_describe)
TEXT_OF(dataset_text, modeconn_dataset, modeconn_dataset_describe)
TEXT_OF(history_text, modeconn_history, modeconn_history_json)
TEXT_OF(evaluation_text, modeconn_evaluation, modeconn_evaluation_json)
TEXT_OF(probe_text, modeconn_probe, modeconn_probe_json)
TEXT_OF(curve_text, modeconn_curve, modeconn_curve_json)
TEXT_OF(curve_table, modeconn_curve, modeconn_curve_csv)
TEXT_OF(comparison_text, modeconn_comparison, modeconn_comparison_json)
TEXT_OF(connectivity_text, modeconn_connectivity, modeconn_connectivity_json)
TEXT_OF(patterns_text, modeconn_patterns, modeconn_patterns_json)
TEXT_OF(cka_text, modeconn_cka, modeconn_cka_json)

json_t *cli_build_json(const cli_args *args)
{
    const char *isa = "auto";
    int64_t needed = 0;
    modeconn_build_info(NULL, 0, &needed);
    char *text = needed > 0 ? malloc((size_t)needed) : NULL;
    if (text != NULL && modeconn_build_info(text, needed, NULL) != MODECONN_OK) {
        free(text);
        text = NULL;
    }
    json_t *build = parse(text);
    modeconn_options_get_str(args->context.options, "isa", &isa);
    if (strcmp(isa, "auto") != 0) {
        json_object_set_new(build, "isa", json_string(isa));
    }
    return build;
}

json_t *cli_model_json(const modeconn_model *model)
{
    return parse(model_text(model));
}

json_t *cli_dataset_json(const modeconn_dataset *dataset)
{
    return parse(dataset_text(dataset));
}

json_t *cli_history_json(const modeconn_model *model)
{
    modeconn_history *history = NULL;
    if (modeconn_model_history(model, &history) != MODECONN_OK) {
        return NULL;
    }
    json_t *value = parse(history_text(history));
    modeconn_history_destroy(history);
    return value;
}

json_t *cli_path_history_json(const modeconn_path *path)
{
    modeconn_history *history = NULL;
    if (modeconn_path_history(path, &history) != MODECONN_OK) {
        return NULL;
    }
    json_t *value = parse(history_text(history));
    modeconn_history_destroy(history);
    return value;
}

json_t *cli_evaluation_json(const modeconn_evaluation *evaluation)
{
    return parse(evaluation_text(evaluation));
}

json_t *cli_probe_json(const modeconn_probe *probe)
{
    return parse(probe_text(probe));
}

json_t *cli_curve_json(const modeconn_curve *curve)
{
    return parse(curve_text(curve));
}

json_t *cli_comparison_json(const modeconn_comparison *comparison)
{
    return parse(comparison_text(comparison));
}

json_t *cli_connectivity_json(const modeconn_connectivity *connectivity)
{
    return parse(connectivity_text(connectivity));
}

json_t *cli_patterns_json(const modeconn_patterns *patterns)
{
    return parse(patterns_text(patterns));
}

json_t *cli_cka_json(const modeconn_cka *cka)
{
    return parse(cka_text(cka));
}

char *cli_curve_csv(const modeconn_curve *curve)
{
    return curve_table(curve);
}

json_t *cli_options_json(const modeconn_options *options)
{
    int64_t n = 0;
    json_t *object = json_object();
    modeconn_options_count(options, &n);
    for (int64_t i = 0; i < n; i++) {
        const char *key = NULL, *text = "";
        int32_t type = 0;
        int64_t integer = 0;
        double real = 0.0;
        json_t *value = NULL;
        modeconn_options_describe(options, i, &key, &type, NULL, NULL, NULL);
        if (type == MODECONN_OPTION_I64 &&
            modeconn_options_get_i64(options, key, &integer) == MODECONN_OK) {
            value = json_integer(integer);
        } else if (type == MODECONN_OPTION_F64 &&
                   modeconn_options_get_f64(options, key, &real) == MODECONN_OK) {
            value = cli_real(real);
        } else if (modeconn_options_get_str(options, key, &text) == MODECONN_OK) {
            value = json_string(text);
        }
        if (json_object_set_new(object, key, value) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

int cli_note(const cli_args *args, modeconn_model *model, const char *key, const json_t *value)
{
    const char *text = json_string_value(value);
    char *made = NULL;
    if (text == NULL && value != NULL) {
        made = json_dumps(value, JSON_COMPACT | JSON_REAL_PRECISION(15));
        text = made;
    }
    if (text == NULL) {
        return cli_error(args, "out of memory");
    }
    int status =
        cli_failed(args, modeconn_model_set_metadata(model, key, text)) ? CLI_FAILED : CLI_OK;
    free(made);
    return status;
}

double cli_number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

double cli_two_decimals(double value)
{
    return fabs(value) < 0.005 ? 0.0 : value;
}

const char *cli_string(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

json_t *cli_at(const json_t *object, const char *const *keys)
{
    json_t *value = NULL;
    for (; *keys != NULL; keys++) {
        value = json_object_get(object, *keys);
        object = value;
    }
    return value;
}

double cli_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
