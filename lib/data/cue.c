/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of cues. A cue is one file that fills an mc_cue, one row here, and one choice of the
 * option "cue" (dataset.c). A name may have variants for different data: the first that fits.
 */
#include "data.h"
#include <string.h>

const mc_cue *const mc_cues[] = {
    &mc_cue_box,
    &mc_cue_coloured_box,
    &mc_cue_domino,
};
const int64_t mc_cues_count = (int64_t)(sizeof(mc_cues) / sizeof(mc_cues[0]));

int32_t mc_cue_find(const char *name, const mc_store *store, const mc_cue **cue)
{
    *cue = NULL;
    if (strcmp(name, "none") == 0) {
        return MODECONN_OK;
    }
    int32_t status = MODECONN_OK;
    for (int64_t i = 0; i < mc_cues_count; i++) {
        if (strcmp(name, mc_cues[i]->name) != 0) {
            continue;
        }
        status = mc_cues[i]->fits(mc_cues[i], store);
        if (status == MODECONN_OK) {
            *cue = mc_cues[i];
            return MODECONN_OK;
        }
    }
    return status < 0 ? status : mc_fail(MODECONN_ERROR_UNKNOWN, "no cue \"%s\"", name);
}

int64_t mc_cue_value_is_label(const mc_store *store, int64_t sample)
{
    return store->labels[sample];
}

bool mc_cue_always_visible(int64_t value)
{
    return value >= 0;
}
