/* SPDX-License-Identifier: BSD-3-Clause
 *
 * modeconn align: permutes the units of one model to match another's, and measures the straight
 * line between them before and after.
 */
#include "measure.h"

#include <stdlib.h>

typedef struct align_job {
    cli_measure measure;
    const char *out, *save;
    modeconn_alignment *alignment;
    modeconn_model *permuted;
    modeconn_curve *curve[2]; /* before, after */
} align_job;

static const char *const when[2] = {"before", "after"};

/* The line from the target to the model as it came, or permuted. */
static int32_t measure_line(align_job *job, const cli_args *args, int which, cli_progress *bar)
{
    modeconn_path *path = NULL;
    modeconn_model *second = which == 0 ? job->measure.model[1] : job->permuted;
    cli_progress_phase(bar, 1.0, "the line %s matching", when[which]);
    int32_t status = modeconn_path_linear(job->measure.model[0], second, &path);
    if (status == MODECONN_OK) {
        status = modeconn_curve_measure(path, job->measure.train, job->measure.test,
                                        cli_options(args, "curve"), cli_progress_step, bar,
                                        &job->curve[which]);
    }
    modeconn_path_destroy(path);
    return status;
}

static int run(align_job *job, const cli_args *args)
{
    cli_progress bar;
    cli_measure *m = &job->measure;
    cli_progress_begin(&bar, 3.0);
    cli_progress_phase(&bar, 1.0, "matching");
    int32_t done = modeconn_align(m->model[0], m->model[1], m->test, cli_options(args, "align"),
                                  cli_progress_step, &bar, &job->alignment);
    if (done == MODECONN_OK) {
        done = modeconn_alignment_apply(job->alignment, m->model[1], &job->permuted);
    }
    for (int which = 0; which < 2 && done == MODECONN_OK; which++) {
        done = measure_line(job, args, which, &bar);
    }
    cli_progress_end(&bar);
    return cli_failed(args, done) ? CLI_FAILED : CLI_OK;
}

static json_t *alignment_json(const modeconn_alignment *alignment)
{
    int64_t size = 0;
    json_t *value = NULL;
    if (modeconn_alignment_json(alignment, NULL, 0, &size) != MODECONN_OK) {
        return NULL;
    }
    char *text = malloc((size_t)size);
    if (text != NULL && modeconn_alignment_json(alignment, text, size, NULL) == MODECONN_OK) {
        value = json_loads(text, 0, NULL);
    }
    free(text);
    return value;
}

static void say(const cli_args *args, const json_t *result)
{
    size_t index;
    const char *name;
    json_t *group, *view;
    cli_say(args, "units that change places (similarity of the matched)\n");
    json_array_foreach(cli_at(result, (const char *const[]){"alignment", "groups", NULL}), index,
                       group)
    {
        cli_say(args, "%-24s %5.0f of %5.0f", cli_string(group, "name"), cli_number(group, "moved"),
                cli_number(group, "size"));
        double similarity = cli_number(group, "similarity");
        if (similarity == similarity) { /* null where none was taken */
            cli_say(args, "  (%.3f)", similarity);
        }
        cli_say(args, "\n");
    }
    cli_say(args, "barrier of the loss over the line, nats\nview         before     after\n");
    json_object_foreach(cli_at(result, (const char *const[]){"before", "views", NULL}), name, view)
    {
        const json_t *after =
            cli_at(result, (const char *const[]){"after", "views", name, "barrier", "loss", NULL});
        const json_t *before = cli_at(view, (const char *const[]){"barrier", "loss", NULL});
        cli_say(args, "%-10s %8.3f  %8.3f\n", name, cli_number(before, "linear"),
                cli_number(after, "linear"));
    }
}

static int write_files(const align_job *job, const cli_args *args)
{
    if (job->out != NULL && cli_failed(args, modeconn_model_save(job->permuted, job->out))) {
        return CLI_FAILED;
    }
    if (job->save != NULL && cli_failed(args, modeconn_alignment_save(job->alignment, job->save))) {
        return CLI_FAILED;
    }
    return CLI_OK;
}

static int report(const align_job *job, const cli_args *args)
{
    json_t *result = json_object();
    json_object_set_new(result, "target", cli_text(job->measure.models[0]));
    json_object_set_new(result, "model", cli_text(job->measure.models[1]));
    json_object_set_new(result, "alignment", alignment_json(job->alignment));
    for (int which = 0; which < 2; which++) {
        json_object_set_new(result, when[which], cli_curve_json(job->curve[which]));
    }
    say(args, result);
    int status = write_files(job, args);
    if (status == CLI_OK) {
        status = cli_json(args, result);
    }
    json_decref(result);
    return status;
}

int cli_verb_align(int argc, char **argv)
{
    align_job job = {.out = NULL};
    const cli_option options[] = {
        CLI_DATA_OPTION(&job.measure.data),
        CLI_ARCH_OPTION(&job.measure.arch),
        {.name = "out",
         .value = "FILE",
         .text = &job.out,
         .output = true,
         .help = "write the permuted MODEL"},
        {.name = "save",
         .value = "FILE",
         .text = &job.save,
         .output = true,
         .help = "write the permutations"},
    };
    static const char *const data_words[] = CLI_TEST_WORDS;
    static const char *const curve_words[] = CLI_STATISTICS_WORDS("reset");
    static const char *const except[] = {CLI_TRAINING_KEYS, NULL};
    static const char *const match_batch[] = {"batch_size", "match-batch-size", NULL};
    static const char *const match_words[] = {
        "batch_size", "samples per batch of matching; default 128, which --reference 1 decides by",
        NULL};
    cli_kind kinds[] = {
        {.kind = "dataset",
         .title = "Data (--limit is of the test set):",
         .except = except,
         .reword = data_words},
        {.kind = "align",
         .title = "Matching (on the test set):",
         .rename = match_batch,
         .reword = match_words},
        {.kind = "curve", .title = "Curves:", .reword = curve_words},
    };
    cli_args args = {
        .verb = "align",
        .about = "Permutes the hidden units of MODEL, which leaves what it computes as it is, so "
                 "that they match those of TARGET, and measures the barriers of the straight line "
                 "between the two before and after.",
        .operands = "TARGET MODEL",
        .min_operands = 2,
        .max_operands = 2,
        .options = options,
        .n_options = CLI_COUNT(options),
        .kinds = kinds,
        .n_kinds = CLI_COUNT(kinds),
    };
    int status = cli_parse(&args, argc, argv);
    job.measure.models[0] = args.operand[0];
    job.measure.models[1] = args.operand[1];
    if (status == CLI_OK) {
        status = cli_measure_open(&job.measure, &args, "curve");
    }
    if (status == CLI_OK) {
        status = run(&job, &args);
    }
    if (status == CLI_OK) {
        status = report(&job, &args);
    }
    modeconn_curve_destroy(job.curve[0]);
    modeconn_curve_destroy(job.curve[1]);
    modeconn_model_destroy(job.permuted);
    modeconn_alignment_destroy(job.alignment);
    cli_measure_close(&job.measure);
    cli_args_free(&args);
    return status;
}
