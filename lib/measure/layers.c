/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which layers of a model are looked at, and the samples that they are looked at on: what
 * activation patterns and CKA share.
 */
#include "measure/measure.h"
#include <string.h>

static bool chosen(const mc_node_info *info, mc_layer_choice choice)
{
    switch (choice) {
    case MC_LAYERS_RELU:
        return info->relu;
    case MC_LAYERS_REPRESENTATION:
        return info->representation;
    default:
        return info->activation || info->representation;
    }
}

static int32_t fill(mc_layer_list *list, const modeconn_model *model, mc_layer_choice choice)
{
    mc_node_info info;
    int64_t at = 0;
    list->node = mc_calloc(list->context, list->n, sizeof(*list->node));
    list->places = mc_calloc(list->context, list->n, sizeof(*list->places));
    list->channels = mc_calloc(list->context, list->n, sizeof(*list->channels));
    list->offset = mc_calloc(list->context, list->n + 1, sizeof(*list->offset));
    list->name = mc_calloc(list->context, list->n, sizeof(*list->name));
    if (list->node == NULL || list->places == NULL || list->channels == NULL ||
        list->offset == NULL || list->name == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int32_t i = 0; mc_model_node(model, i, &info); i++) {
        if (!chosen(&info, choice)) {
            continue;
        }
        list->node[at] = i;
        list->places[at] = info.height * info.width;
        list->channels[at] = info.channels;
        list->offset[at + 1] = list->offset[at] + list->places[at] * info.channels;
        /* A pooling layer would otherwise go by the name of the layer before it. */
        bool own = info.activation || !info.representation;
        list->name[at] = mc_strdup(list->context, own ? info.name : "representation");
        if (list->name[at] == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        at++;
    }
    return MODECONN_OK;
}

int32_t mc_layer_list_open(mc_layer_list *list, const modeconn_model *model, mc_layer_choice choice)
{
    mc_node_info info;
    *list = (mc_layer_list){.context = model->context};
    for (int32_t i = 0; mc_model_node(model, i, &info); i++) {
        list->n += chosen(&info, choice);
    }
    if (list->n == 0 || model->ops->activations == NULL) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "%s has no %s that can be looked at",
                       model->architecture, choice == MC_LAYERS_RELU ? "ReLU" : "layer");
    }
    int32_t status = fill(list, model, choice);
    if (status < 0) {
        mc_layer_list_free(list);
    }
    return status;
}

void mc_layer_list_free(mc_layer_list *list)
{
    for (int64_t i = 0; list->name != NULL && i < list->n; i++) {
        mc_free(list->context, list->name[i]);
    }
    mc_free(list->context, list->node);
    mc_free(list->context, list->places);
    mc_free(list->context, list->channels);
    mc_free(list->context, list->offset);
    mc_free(list->context, list->name);
    *list = (mc_layer_list){.context = list->context};
}

int64_t mc_layer_list_find(const mc_layer_list *list, int32_t node, int64_t from)
{
    for (int64_t i = from; i < list->n && list->node[i] <= node; i++) {
        if (list->node[i] == node) {
            return i;
        }
    }
    return -1;
}

int32_t mc_layer_view(const modeconn_dataset *test, const char *view, modeconn_dataset **out)
{
    if (view[0] == '\0') {
        *out = mc_dataset_take(test);
        return MODECONN_OK;
    }
    return modeconn_dataset_view(test, view, 1.0, out);
}
