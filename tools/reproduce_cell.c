/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Cells: a result on disk, OUT/cells/NAME.json, with the settings that it was computed under. A
 * cell is finished when its file is there (it is written last, through a rename) and its settings
 * are the wanted ones; then it is read, never computed again. Beside the settings, and not asked
 * for, stands the build that computed it: another one may give other bits.
 */
#include "reproduce.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *repro_path(const repro_job *job, const char *prefix, const char *name, const char *suffix)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s%s%s", job->out, prefix, name, suffix) < 0) {
        cli_error(job->args, "out of memory");
        return NULL;
    }
    return path;
}

bool repro_failed(const repro_job *job, int32_t status)
{
    return status == MODECONN_ERROR_CANCELLED || cli_failed(job->args, status);
}

json_t *repro_common_settings(const repro_job *job)
{
    const repro_scale *scale = job->scale;
    json_t *build = cli_build_json(job->args), *settings = json_object();
    json_object_set(settings, "version", json_object_get(build, "version"));
    json_object_set_new(settings, "data", cli_text(job->data));
    json_object_set_new(settings, "cue", json_string("box"));
    json_object_set_new(settings, "arch", json_string(scale->arch));
    json_object_set_new(settings, "width", cli_real(scale->width));
    json_object_set_new(settings, "train_samples", json_integer(scale->train_samples));
    json_object_set_new(settings, "test_samples", json_integer(scale->test_samples));
    json_object_set_new(settings, "clean_samples", json_integer(scale->clean_samples));
    json_decref(build);
    return settings;
}

/* Gathers the builds behind an experiment's numbers, each once; null is that of a cell that does
 * not tell. */
static void note_build(repro_job *job, const json_t *cell)
{
    json_t *build = json_object_get(cell, "build"), *known;
    build = build != NULL ? build : json_null();
    size_t i;
    json_array_foreach(job->builds, i, known)
    {
        if (json_equal(known, build)) {
            return;
        }
    }
    json_array_append(job->builds, build);
}

json_t *repro_cell_read(repro_job *job, const char *name, const json_t *settings, bool model)
{
    char *file = repro_path(job, "cells/", name, ".json");
    char *weights = repro_path(job, "cells/", name, ".safetensors");
    json_t *cell = NULL;
    if (file != NULL && weights != NULL && (!model || access(weights, R_OK) == 0)) {
        cell = json_load_file(file, JSON_REJECT_DUPLICATES, NULL);
        if (cell != NULL && !json_equal(json_object_get(cell, "settings"), settings)) {
            json_decref(cell);
            cell = NULL;
        }
    }
    if (cell != NULL) {
        note_build(job, cell);
    }
    free(weights);
    free(file);
    return cell;
}

int repro_cell_begin(repro_job *job, const char *name)
{
    /* Without this, a run that stops between a model and its cell would leave a new model with an
     * old cell. */
    char *file = repro_path(job, "cells/", name, ".json");
    int status = file == NULL ? CLI_FAILED : CLI_OK;
    if (file != NULL && unlink(file) != 0 && errno != ENOENT) {
        status = cli_error(job->args, "%s: cannot be removed: %s", file, strerror(errno));
    }
    free(file);
    return status;
}

int repro_cell_write(repro_job *job, const char *name, json_t *cell)
{
    char *file = repro_path(job, "cells/", name, ".json");
    json_object_set_new(cell, "build", cli_build_json(job->args));
    note_build(job, cell);
    int status = file == NULL ? CLI_FAILED : cli_json_save(job->args, file, cell);
    if (status == CLI_OK) {
        job->made++;
        cli_progress_clear(&job->bar);
        fprintf(stderr, "%s (%.1f s)\n", name, cli_number(cell, "seconds"));
    }
    free(file);
    return status;
}
