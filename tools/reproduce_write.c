/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every experiment of `modeconn reproduce` writes: averages over seeds, the caption that
 * states the scale, and its files.
 */
#include "reproduce.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

repro_mean repro_average(const double *values, int n)
{
    repro_mean result = {.n = 0, .mean = (double)NAN, .deviation = (double)NAN};
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            sum += values[i];
            result.n++;
        }
    }
    if (result.n == 0) {
        return result;
    }
    result.mean = sum / result.n;
    for (int i = 0; i < n; i++) {
        if (isfinite(values[i])) {
            squares += (values[i] - result.mean) * (values[i] - result.mean);
        }
    }
    if (result.n > 1) {
        result.deviation = sqrt(squares / (result.n - 1));
    }
    return result;
}

json_t *repro_average_json(const double *values, int n)
{
    repro_mean average = repro_average(values, n);
    json_t *list = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(list, cli_real(values[i]));
    }
    return json_pack("{s:i, s:o, s:o, s:o}", "n", average.n, "mean", cli_real(average.mean), "sd",
                     cli_real(average.deviation), "values", list);
}

void repro_print_average(FILE *out, const json_t *average, double factor, int decimals)
{
    double mean = cli_number(average, "mean"), sd = cli_number(average, "sd");
    if (!isfinite(mean)) {
        fputs("-", out);
        return;
    }
    fprintf(out, "%.*f", decimals, cli_two_decimals(factor * mean));
    if (isfinite(sd)) {
        fprintf(out, " ± %.*f", decimals, factor * sd);
    }
}

/* ---- captions ------------------------------------------------------------------------------ */

/* Samples that pretrain, of the split at hand or as many as there would be. */
static int64_t pretraining(const repro_job *job)
{
    int64_t n = 0;
    modeconn_dataset_shape(job->all, &n, NULL, NULL, NULL, NULL);
    n -= job->scale->clean_samples;
    return job->scale->train_samples > 0 && job->scale->train_samples < n
               ? job->scale->train_samples
               : n;
}

char *repro_caption(const repro_job *job)
{
    const repro_scale *scale = job->scale;
    int64_t n_test = 0;
    char *text = NULL;
    modeconn_dataset_shape(job->test, &n_test, NULL, NULL, NULL, NULL);
    int done = asprintf(
        &text,
        "Scale %s: %s, box cue, %s at width %g, %lld images to pretrain, %lld clean ones of their "
        "own, %lld test images with the cue on all of them; seeds %lld to %lld. Training: %s. "
        "Fine-tuning: %s; %s; %s; %s. The paper: CIFAR-10, width 1, 47,500 images, 2,500 clean "
        "ones, 100 epochs, 3 seeds.",
        scale->name, job->data, scale->arch, scale->width, (long long)pretraining(job),
        (long long)scale->clean_samples, (long long)n_test, (long long)job->first_seed,
        (long long)(job->first_seed + job->seeds - 1), scale->training, scale->naive, scale->llrt,
        scale->lpft, scale->cbft);
    return done < 0 ? NULL : text;
}

void repro_short_caption(const repro_job *job, char *text, size_t size)
{
    /* "cifar10:/long/way/to/folder" is cifar10:folder. */
    const char *folder = strrchr(job->data, '/');
    int kind = folder != NULL ? (int)strcspn(job->data, ":") + 1 : 0;
    snprintf(text, size, "Scale %s: %.*s%.40s, %s x %g, %lld images, %lld clean", job->scale->name,
             kind, job->data, folder != NULL ? folder + 1 : job->data, job->scale->arch,
             job->scale->width, (long long)pretraining(job), (long long)job->scale->clean_samples);
}

/* ---- files --------------------------------------------------------------------------------- */

static int save(const repro_job *job, const char *name, const char *suffix, FILE *stream,
                char **text)
{
    char *path = repro_path(job, "", name, suffix);
    int status = CLI_FAILED;
    if (path != NULL) {
        status = cli_stream_save(job->args, path, stream, text);
    } else {
        fclose(stream);
        free(*text);
    }
    free(path);
    return status;
}

int repro_finish(repro_job *job, const char *name, json_t *results, FILE *markdown, char **text,
                 FILE *csv, char **table)
{
    char *path = repro_path(job, "", name, ".json");
    int status = CLI_FAILED;
    if (markdown != NULL && fflush(markdown) == 0) {
        cli_progress_clear(&job->bar);
        cli_say(job->args, "%s\n", *text);
    }
    if (markdown == NULL || csv == NULL || path == NULL || results == NULL) {
        status = cli_error(job->args, "%s: out of memory", name);
    } else {
        json_object_set(results, "builds", job->builds);
        json_decref(job->builds); /* the next experiment has a list of its own */
        job->builds = json_array();
        status = cli_json_save(job->args, path, results);
    }
    if (markdown != NULL && save(job, name, ".md", markdown, text) != CLI_OK) {
        status = CLI_FAILED;
    }
    if (csv != NULL && save(job, name, ".csv", csv, table) != CLI_OK) {
        status = CLI_FAILED;
    }
    json_object_set(job->results, name, results);
    json_decref(results);
    free(path);
    return status;
}

void repro_drop(FILE *stream, char **text)
{
    if (stream != NULL) {
        fclose(stream);
    }
    free(*text);
    *text = NULL;
}
