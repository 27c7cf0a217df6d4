/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What eval, probe, compare, connectivity, barrier and align share (measure.h).
 */
#include "measure.h"

#include <string.h>

/* --view narrows a measurement to that view. */
static int narrow_views(const cli_args *args, modeconn_options *options)
{
    const char *view = "";
    if (!cli_given(args, "view")) {
        return CLI_OK;
    }
    if (cli_given(args, "views")) {
        return cli_usage(args, "give either --view or --views");
    }
    if (cli_failed(args, modeconn_options_get_str(cli_options(args, "dataset"), "view", &view)) ||
        cli_failed(args, modeconn_options_set_str(options, "views", view))) {
        return CLI_FAILED;
    }
    return CLI_OK;
}

/* A view that the data have not is wrong usage. */
static int check_view(const cli_args *args, const modeconn_options *options,
                      const modeconn_dataset *test)
{
    const char *view = "";
    modeconn_dataset *seen = NULL;
    if (!cli_given(args, "view")) {
        return CLI_OK;
    }
    if (cli_failed(args, modeconn_options_get_str(options, "views", &view))) {
        return CLI_FAILED;
    }
    int32_t status = modeconn_dataset_view(test, view, 1.0, &seen);
    modeconn_dataset_destroy(seen);
    if (status == MODECONN_ERROR_UNKNOWN) {
        return cli_usage(args, "--view %s: %s", view, modeconn_last_error());
    }
    return cli_failed(args, status) ? CLI_FAILED : CLI_OK;
}

static int open_data(cli_measure *measure, const cli_args *args, modeconn_options *options)
{
    const char *policy = "keep";
    if (options != NULL) {
        int status = narrow_views(args, options);
        if (status != CLI_OK) {
            return status;
        }
        if (cli_failed(args, modeconn_options_get_str(options, "statistics", &policy))) {
            return CLI_FAILED;
        }
    }
    int status = cli_data_test(args, measure->context, measure->data, &measure->test);
    if (status == CLI_OK && options != NULL) {
        status = check_view(args, options, measure->test);
    }
    if (status == CLI_OK && (strcmp(policy, "reset") == 0 || strcmp(policy, "ema") == 0)) {
        status = cli_data_statistics(args, measure->context, measure->data, &measure->train);
    }
    return status;
}

/* Without an attribute there is nothing to intervene on. */
static int need_attribute(const cli_args *args, const cli_measure *measure)
{
    int64_t count = 0;
    if (cli_failed(args, modeconn_dataset_attribute_count(measure->test, &count))) {
        return CLI_FAILED;
    }
    return count > 0
               ? CLI_OK
               : cli_usage(args, "a --cue is needed: %s has no other attribute", measure->data);
}

int cli_measure_open(cli_measure *measure, const cli_args *args, const char *kind)
{
    int status = cli_outputs(args);
    if (status == CLI_OK) {
        status = cli_context(args, &measure->context);
    }
    if (status == CLI_OK) {
        status = open_data(measure, args, kind != NULL ? cli_options(args, kind) : NULL);
    }
    if (status == CLI_OK && kind == NULL) {
        status = need_attribute(args, measure);
    }
    for (int i = 0; i < 2 && status == CLI_OK; i++) {
        if (measure->models[i] != NULL) {
            status = cli_model_load(args, measure->context, measure->models[i], measure->arch,
                                    measure->test, &measure->model[i]);
        }
    }
    return status;
}

void cli_measure_close(cli_measure *measure)
{
    modeconn_model_destroy(measure->model[1]);
    modeconn_model_destroy(measure->model[0]);
    modeconn_dataset_destroy(measure->test);
    modeconn_dataset_destroy(measure->train);
    modeconn_context_destroy(measure->context);
}

int cli_path_given(const cli_measure *measure, const cli_args *args)
{
    bool from = measure->models[0] != NULL, to = measure->models[1] != NULL;
    bool one = measure->path_file != NULL ? !from && !to : from && to;
    return one ? CLI_OK : cli_usage(args, "give either --from and --to, or --path");
}

int cli_path_open(const cli_measure *measure, const cli_args *args, modeconn_path **out)
{
    int32_t done = measure->path_file != NULL
                       ? modeconn_path_load(measure->context, measure->path_file, out)
                       : modeconn_path_linear(measure->model[0], measure->model[1], out);
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
}

void cli_path_name(const cli_measure *measure, json_t *result)
{
    if (measure->path_file != NULL) {
        json_object_set_new(result, "path_file", cli_text(measure->path_file));
    } else {
        json_object_set_new(result, "from", cli_text(measure->models[0]));
        json_object_set_new(result, "to", cli_text(measure->models[1]));
    }
}

void cli_say_probe(const cli_args *args, const modeconn_probe *probe)
{
    int64_t n = 0;
    modeconn_probe_size(probe, &n);
    for (int64_t i = 0; i < n; i++) {
        const char *name = "";
        int32_t verdict = 0;
        double effect = 0.0, low = 0.0, high = 0.0;
        if (modeconn_probe_attribute(probe, i, &name) == MODECONN_OK &&
            modeconn_probe_get(probe, name, &verdict, &effect, &low, &high) == MODECONN_OK) {
            cli_say(args, "%-8s %-10s %+.3f [%.3f, %.3f] nats when randomised\n", name,
                    modeconn_verdict_name(verdict), effect, low, high);
        }
    }
}
