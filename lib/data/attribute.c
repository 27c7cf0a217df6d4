/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Attributes that data have beside cue and image, each with an intervention that randomises it.
 * A handle points at the end of a list that never changes, so handles share what they have in
 * common and adding one is a new handle.
 */
#include "data.h"
#include <stdio.h>
#include <string.h>

int32_t mc_attribute_append(modeconn_context *context, mc_attribute *before, const char *name,
                            bool host, modeconn_intervention_fn randomise,
                            modeconn_release_fn release, void *user, mc_attribute **out)
{
    *out = NULL;
    size_t size = strlen(name) + sizeof("rand");
    mc_attribute *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&made->ref);
    made->context = mc_context_take(context);
    made->name = mc_strdup(context, name);
    made->view = mc_alloc(context, (int64_t)size, 1);
    if (made->name == NULL || made->view == NULL) {
        mc_attribute_drop(made);
        return MODECONN_ERROR_MEMORY;
    }
    snprintf(made->view, size, "rand%s", name);
    made->before = mc_attribute_take(before);
    made->count = mc_attribute_count(before) + 1;
    made->host = host;
    made->randomise = randomise;
    made->release = release;
    made->user = user;
    *out = made;
    return MODECONN_OK;
}

mc_attribute *mc_attribute_take(mc_attribute *attributes)
{
    if (attributes != NULL) {
        mc_ref_take(&attributes->ref);
    }
    return attributes;
}

void mc_attribute_drop(mc_attribute *attributes)
{
    while (attributes != NULL && mc_ref_drop(&attributes->ref)) {
        mc_attribute *before = attributes->before;
        modeconn_context *context = attributes->context;
        if (attributes->release != NULL) {
            attributes->release(attributes->user);
        }
        mc_free(context, attributes->name);
        mc_free(context, attributes->view);
        mc_free(context, attributes);
        mc_context_drop(context);
        attributes = before;
    }
}

int64_t mc_attribute_count(const mc_attribute *attributes)
{
    return attributes == NULL ? 0 : attributes->count;
}

const mc_attribute *mc_attribute_at(const mc_attribute *attributes, int64_t index)
{
    while (attributes->count > index + 1) {
        attributes = attributes->before;
    }
    return attributes;
}
