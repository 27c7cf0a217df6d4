/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Alignments as safetensors files (an I64 tensor a group, metadata "modeconn.alignment": "1") and
 * as JSON.
 */
#include "align/align.h"
#include "io/io.h"
#include <string.h>

#define FORMAT_KEY "modeconn.alignment"

int32_t modeconn_alignment_save(const modeconn_alignment *alignment, const char *path)
{
    if (alignment == NULL || path == NULL) {
        return mc_null(alignment == NULL ? "alignment" : "path");
    }
    const mc_symmetry *symmetry = alignment->symmetry;
    const char *keys[] = {FORMAT_KEY, "modeconn.method", "modeconn.settings", "modeconn.data"};
    const char *values[] = {"1", alignment->method, alignment->settings, alignment->data};
    int64_t n_keys = alignment->data == NULL ? 3 : 4;
    mc_tensor *tensors = mc_calloc(alignment->context, symmetry->n_groups, sizeof *tensors);
    if (tensors == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        const mc_symmetry_group *group = &symmetry->groups[g];
        tensors[g] = (mc_tensor){.name = group->name,
                                 .rank = 1,
                                 .shape = {group->size},
                                 .dtype = "I64",
                                 .data = alignment->permutation + alignment->offset[g],
                                 .size = group->size};
    }
    int32_t status = mc_safetensors_write(alignment->context, path, tensors, symmetry->n_groups,
                                          keys, values, n_keys);
    mc_free(alignment->context, tensors);
    return status;
}

static int32_t take_groups(modeconn_alignment *made, const mc_safetensors *file)
{
    if (mc_safetensors_meta(file, FORMAT_KEY) == NULL) {
        return mc_fail(MODECONN_ERROR_FORMAT, "not an alignment: no metadata \"" FORMAT_KEY "\"");
    }
    for (int64_t g = 0; g < made->symmetry->n_groups; g++) {
        const mc_symmetry_group *group = &made->symmetry->groups[g];
        const mc_tensor *tensor = mc_safetensors_find(file, group->name);
        if (tensor == NULL) {
            return mc_fail(MODECONN_ERROR_UNKNOWN, "no group %s", group->name);
        }
        if (strcmp(tensor->dtype, "I64") != 0) {
            return mc_fail(MODECONN_ERROR_FORMAT, "group %s is %s, not I64", group->name,
                           tensor->dtype);
        }
        if (tensor->rank != 1 || tensor->size != group->size) {
            return mc_fail(MODECONN_ERROR_SHAPE, "group %s has %lld values for %lld units",
                           group->name, (long long)tensor->size, (long long)group->size);
        }
        memcpy(made->permutation + made->offset[g], tensor->data,
               (size_t)group->size * sizeof *made->permutation);
    }
    if (mc_safetensors_count(file) != made->symmetry->n_groups) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%lld groups for a model of %lld",
                       (long long)mc_safetensors_count(file), (long long)made->symmetry->n_groups);
    }
    return MODECONN_OK;
}

int32_t modeconn_alignment_load(const modeconn_model *model, const char *path,
                                modeconn_alignment **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL || path == NULL) {
        return mc_null(model == NULL ? "model" : "path");
    }
    mc_safetensors *file = NULL;
    modeconn_alignment *read = NULL;
    int32_t status = mc_safetensors_read(model->context, path, &file);
    if (status < 0) {
        return status;
    }
    status = mc_alignment_create(model, "given", &read);
    if (status == MODECONN_OK) {
        status = take_groups(read, file);
        if (status == MODECONN_OK) {
            status =
                modeconn_alignment_from_permutations(model, read->permutation, read->units, out);
        }
        status = status < 0 ? mc_fail_prefix(status, "%s", path) : status;
    }
    modeconn_alignment_destroy(read);
    mc_safetensors_free(file);
    return status;
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *group_json(const modeconn_alignment *alignment, int64_t index)
{
    const char *name = NULL;
    int64_t size = 0, moved = 0;
    double similarity = 0.0;
    modeconn_alignment_group(alignment, index, &name, &size, &moved, &similarity);
    json_t *permutation = json_array();
    for (int64_t i = 0; i < size; i++) {
        int64_t unit = alignment->permutation[alignment->offset[index] + i];
        if (json_array_append_new(permutation, json_integer((json_int_t)unit)) != 0) {
            json_decref(permutation);
            return NULL;
        }
    }
    return json_pack("{s:s, s:I, s:I, s:o, s:o}", "name", name, "size", (json_int_t)size, "moved",
                     (json_int_t)moved, "similarity", mc_json_real(similarity), "permutation",
                     permutation);
}

int32_t modeconn_alignment_json(const modeconn_alignment *alignment, char *buffer, int64_t capacity,
                                int64_t *needed)
{
    if (alignment == NULL) {
        return mc_null("alignment");
    }
    json_t *groups = json_array();
    bool failed = groups == NULL;
    for (int64_t g = 0; g < alignment->symmetry->n_groups; g++) {
        failed = json_array_append_new(groups, group_json(alignment, g)) != 0 || failed;
    }
    json_t *data = alignment->data == NULL ? json_null() : json_loads(alignment->data, 0, NULL);
    failed = failed || data == NULL;
    json_t *out = json_pack("{s:s, s:s, s:I, s:o, s:o}", "method", alignment->method, "settings",
                            alignment->settings, "samples", (json_int_t)alignment->samples, "data",
                            data, "groups", groups);
    if (failed) {
        json_decref(out);
        out = NULL;
    }
    return mc_json_out(out, buffer, capacity, needed);
}
