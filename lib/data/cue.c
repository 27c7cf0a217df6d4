/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The table of cues. A cue is one file that fills an mc_cue, one row here, and one choice of the
 * option "cue" (dataset.c).
 */
#include "data.h"
#include <string.h>

const mc_cue *const mc_cues[] = {
    &mc_cue_box,
};
const int64_t mc_cues_count = (int64_t)(sizeof(mc_cues) / sizeof(mc_cues[0]));

int32_t mc_cue_find(const char *name, const mc_cue **cue)
{
    *cue = NULL;
    if (strcmp(name, "none") == 0) {
        return MODECONN_OK;
    }
    for (int64_t i = 0; i < mc_cues_count; i++) {
        if (strcmp(name, mc_cues[i]->name) == 0) {
            *cue = mc_cues[i];
            return MODECONN_OK;
        }
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no cue \"%s\"", name);
}
