/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn info: what a model file is, or what this build is.
 */
#include "cli.h"

#include <stdlib.h>

typedef struct info_job {
    const cli_args *args;
    const char *arch, *data;
    modeconn_context *context;
    modeconn_dataset *like;
    modeconn_model *model;
} info_job;

static json_t *blocks_json(const modeconn_model *model)
{
    int64_t parameters = 0, statistics = 0;
    json_t *blocks = json_array();
    modeconn_model_block_count(model, &parameters, &statistics);
    for (int64_t i = 0; i < parameters + statistics; i++) {
        const char *name = "";
        int32_t rank = 0;
        int64_t shape[4] = {1, 1, 1, 1};
        modeconn_model_block(model, i, &name, NULL, NULL, &rank, shape);
        json_t *dimensions = json_array();
        for (int32_t d = 0; d < rank; d++) {
            json_array_append_new(dimensions, json_integer(shape[d]));
        }
        json_array_append_new(blocks,
                              json_pack("{s:s, s:o, s:s}", "name", name, "shape", dimensions,
                                        "kind", i < parameters ? "parameters" : "statistics"));
    }
    return blocks;
}

static void say_model(const cli_args *args, json_t *object)
{
    json_t *blocks = json_incref(json_object_get(object, "blocks")), *block;
    size_t i;
    /* The blocks as a table, everything else as the library says it. */
    json_object_del(object, "blocks");
    char *text = json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    cli_say(args, "%s\n", text == NULL ? "" : text);
    free(text);
    json_array_foreach(blocks, i, block)
    {
        char *shape = json_dumps(json_object_get(block, "shape"), JSON_COMPACT);
        cli_say(args, "%-10s %-36s %s\n", cli_string(block, "kind"), cli_string(block, "name"),
                shape == NULL ? "" : shape);
        free(shape);
    }
    json_object_set_new(object, "blocks", blocks);
}

static int describe_model(info_job *job)
{
    const cli_args *args = job->args;
    int status = cli_context(args, &job->context);
    if (status == CLI_OK && job->data != NULL) {
        int32_t done = modeconn_dataset_open(job->context, job->data, "test", NULL, &job->like);
        status = cli_failed(args, done) ? CLI_FAILED : CLI_OK;
    }
    if (status == CLI_OK) {
        status =
            cli_model_load(args, job->context, args->operand[0], job->arch, job->like, &job->model);
    }
    if (status == CLI_OK) {
        json_t *object = cli_model_json(job->model);
        json_object_set_new(object, "blocks", blocks_json(job->model));
        say_model(args, object);
        status = cli_json(args, object);
        json_decref(object);
    }
    modeconn_model_destroy(job->model);
    modeconn_dataset_destroy(job->like);
    modeconn_context_destroy(job->context);
    return status;
}

static int describe_build(const cli_args *args)
{
    json_t *build = cli_build_json(args);
    char *text = build == NULL ? NULL : json_dumps(build, JSON_INDENT(2));
    int status = CLI_FAILED;
    if (text == NULL) {
        cli_error(args, "%s", modeconn_last_error());
    } else {
        cli_say(args, "%s\n", text);
        status = cli_json(args, build);
    }
    free(text);
    json_decref(build);
    return status;
}

int cli_verb_info(int argc, char **argv)
{
    info_job job = {.arch = NULL};
    bool build = false;
    const cli_option options[] = {
        {.name = "build", .flag = &build, .help = "tell what this build is instead"},
        {.name = "arch",
         .value = "ARCH",
         .text = &job.arch,
         .help = "architecture of a file that does not say it; needs --data"},
        {.name = "data",
         .value = "DATA",
         .text = &job.data,
         .help = "dataset that such a model takes"},
    };
    cli_args args = {
        .verb = "info",
        .about = "Tells what a model file holds: architecture, input, parameters, metadata and "
                 "named blocks; or, with --build, what this build of the library is.",
        .operands = "[MODEL]",
        .max_operands = 1,
        .options = options,
        .n_options = CLI_COUNT(options),
    };
    job.args = &args;
    int status = cli_parse(&args, argc, argv);
    if (status == CLI_OK && build == (args.n_operands == 1)) {
        status = cli_usage(&args, "either a model file or --build is wanted");
    }
    if (status == CLI_OK && (job.arch == NULL) != (job.data == NULL)) {
        status = cli_usage(&args, "--arch and --data go together");
    }
    if (status == CLI_OK) {
        status = build ? describe_build(&args) : describe_model(&job);
    }
    cli_args_free(&args);
    return status;
}
