/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn report: a self-contained page for the demo's results.json, or for one curve.
 */
#include "cli.h"

#include <stdlib.h>

int cli_verb_report(int argc, char **argv)
{
    const char *out = NULL;
    const cli_option options[] = {
        {.name = "out",
         .value = "FILE.html",
         .text = &out,
         .required = true,
         .help = "the page; - is standard output"},
    };
    cli_args args = {
        .verb = "report",
        .about = "Makes a page of results.json of reproduce demo, or of the JSON of barrier. It "
                 "opens in any browser and needs no other file.",
        .operands = "RESULTS.json",
        .min_operands = 1,
        .max_operands = 1,
        .options = options,
        .n_options = CLI_COUNT(options),
    };
    char *text = NULL;
    size_t size = 0;
    json_t *results = NULL;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK) {
        status = cli_picture_output(&args, out);
    }
    if (status == CLI_OK) {
        results = cli_json_load(&args, args.operand[0]);
        status = results == NULL ? CLI_FAILED : CLI_OK;
    }
    if (status == CLI_OK) {
        FILE *stream = open_memstream(&text, &size);
        if (stream == NULL) {
            status = cli_error(&args, "out of memory");
        } else if (!cli_html_report(stream, results)) {
            status = cli_error(&args, "%s: holds neither results of the demo nor a curve",
                               args.operand[0]);
            fclose(stream);
            free(text);
        } else {
            status = cli_stream_save(&args, out, stream, &text);
        }
    }
    if (status == CLI_OK && args.json != NULL) {
        status = cli_json(&args, results);
    }
    json_decref(results);
    cli_args_free(&args);
    return status;
}
