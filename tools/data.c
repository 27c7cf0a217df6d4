/* SPDX-License-Identifier: BSD-3-Clause
 *
 * --data, --cue, --cue-proportion, --view and --limit: which samples a verb works on. A verb that
 * uses this offers the library's option kind "dataset".
 */
#include "cli.h"

#include <string.h>

/* A wrong name is wrong usage; a file that is missing or damaged is a failure. */
static int open_split(const cli_args *args, modeconn_context *context, const char *spec,
                      const char *split, modeconn_dataset **out)
{
    int32_t status = modeconn_dataset_open(context, spec, split, cli_options(args, "dataset"), out);
    if (status == MODECONN_ERROR_UNKNOWN || status == MODECONN_ERROR_ARGUMENT) {
        return cli_usage(args, "--data %s: %s", spec, modeconn_last_error());
    }
    return cli_failed(args, status) ? CLI_FAILED : CLI_OK;
}

int cli_data_train(const cli_args *args, modeconn_context *context, const char *spec,
                   modeconn_dataset **out)
{
    modeconn_options *options = cli_options(args, "dataset");
    const char *cue = "none";
    if (!cli_given(args, "view")) {
        if (cli_failed(args, modeconn_options_get_str(options, "cue", &cue))) {
            return CLI_FAILED;
        }
        if (cli_given(args, "cue-proportion") && strcmp(cue, "none") == 0) {
            return cli_usage(args, "--cue-proportion is of a --cue, and there is none");
        }
        const char *view = strcmp(cue, "none") == 0 ? "nocue" : "cue";
        if (cli_failed(args, modeconn_options_set_str(options, "view", view))) {
            return CLI_FAILED;
        }
    }
    return open_split(args, context, spec, "train", out);
}

int cli_data_test(const cli_args *args, modeconn_context *context, const char *spec,
                  modeconn_dataset **out)
{
    if (cli_given(args, "cue-proportion")) {
        fprintf(stderr,
                "modeconn %s: note: --cue-proportion is of training sets; what is measured "
                "carries the cue on every sample\n",
                args->verb);
    }
    if (cli_failed(args, modeconn_options_set_str(cli_options(args, "dataset"), "view", "nocue"))) {
        return CLI_FAILED;
    }
    return open_split(args, context, spec, "test", out);
}

int cli_data_statistics(const cli_args *args, modeconn_context *context, const char *spec,
                        modeconn_dataset **out)
{
    modeconn_options *options = cli_options(args, "dataset");
    if (cli_failed(args, modeconn_options_set_i64(options, "limit", 0)) ||
        cli_failed(args, modeconn_options_set_str(options, "view", "nocue"))) {
        return CLI_FAILED;
    }
    return open_split(args, context, spec, "train", out);
}
