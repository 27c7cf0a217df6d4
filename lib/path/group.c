/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Paths that move one group of layers at a time. A group is a prefix of block names that ends where
 * a part of the name does: "layers.0" has layers.0.conv1.weight and layers.0.bn1.bias.
 */
#include "path/path.h"
#include <string.h>

/* Length of a block's name without its last part. */
static size_t layer_length(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL ? (size_t)(dot - name) : strlen(name);
}

static bool same_layer(const char *a, const char *b)
{
    size_t length = layer_length(a);
    return length == layer_length(b) && memcmp(a, b, length) == 0;
}

/* Whether parameter block `index` is the first of its layer; a layer's blocks follow each other. */
static bool opens_group(const modeconn_model *model, int64_t index)
{
    return index == 0 || !same_layer(model->blocks[index].name, model->blocks[index - 1].name);
}

int32_t modeconn_path_group_count(const modeconn_path *path, int64_t *count)
{
    if (path == NULL || count == NULL) {
        return mc_null(path == NULL ? "path" : "count");
    }
    const modeconn_model *model = path->points[0];
    *count = 0;
    for (int64_t i = 0; i < model->n_blocks_theta; i++) {
        *count += opens_group(model, i);
    }
    return MODECONN_OK;
}

int32_t modeconn_path_group_name(const modeconn_path *path, int64_t index, char *buffer,
                                 int64_t capacity, int64_t *needed)
{
    if (path == NULL) {
        return mc_null("path");
    }
    const modeconn_model *model = path->points[0];
    int64_t at = -1;
    for (int64_t i = 0; i < model->n_blocks_theta; i++) {
        at += opens_group(model, i);
        if (at == index) {
            mc_text text;
            const char *name = model->blocks[i].name;
            mc_text_init(&text, path->context);
            mc_text_add(&text, "%.*s", (int)layer_length(name), name);
            return mc_text_finish(&text, buffer, capacity, needed);
        }
    }
    return mc_fail(MODECONN_ERROR_ARGUMENT, "index %lld, but the path has %lld groups",
                   (long long)index, (long long)at + 1);
}

static bool in_group(const char *name, const char *group)
{
    size_t length = strlen(group);
    return strncmp(name, group, length) == 0 && (name[length] == '\0' || name[length] == '.');
}

/* Blocks outside the group as in the first end. */
static void hold(const modeconn_model *first, modeconn_model *point, const char *group)
{
    int64_t blocks = first->n_blocks_theta + first->n_blocks_stats;
    for (int64_t i = 0; i < blocks; i++) {
        const mc_block *block = &first->blocks[i];
        bool theta = i < first->n_blocks_theta;
        if (!in_group(block->name, group)) {
            memcpy((theta ? point->theta : point->statistics) + block->offset,
                   (theta ? first->theta : first->statistics) + block->offset,
                   (size_t)block->size * sizeof(float));
        }
    }
    mc_model_changed(point);
}

int32_t modeconn_path_group(const modeconn_path *path, const char *group, modeconn_path **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (path == NULL || group == NULL) {
        return mc_null(path == NULL ? "path" : "group");
    }
    const modeconn_model *first = path->points[0];
    bool found = false;
    for (int64_t i = 0; i < first->n_blocks_theta; i++) {
        found = found || in_group(first->blocks[i].name, group);
    }
    if (!found) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "no parameters of %s are in a group \"%s\"",
                       first->architecture, group);
    }
    const modeconn_model *points[MC_PATH_POINTS_MAX];
    for (int64_t k = 0; k < path->n_points; k++) {
        points[k] = path->points[k];
    }
    int32_t status = mc_path_create(path->family, points, path->n_points, MC_NAMES_FIRST, out);
    for (int64_t k = 1; status == MODECONN_OK && k < path->n_points; k++) {
        hold(first, (*out)->points[k], group);
    }
    return status;
}
