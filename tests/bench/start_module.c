/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The objects of libmodeconn with an entry of their own: creating a model without drawing its
 * weights is an internal step of loading one, which no exported call does alone.
 */
#include "nn/nn.h"
#include "start.h"

int32_t mc_bench_uninitialised(void)
{
    modeconn_context *context = NULL;
    modeconn_model *model = NULL;
    int32_t status = modeconn_context_create(NULL, &context);
    if (status == MODECONN_OK) {
        status = mc_model_from_settings(context, "vgg13",
                                        "channels=3,height=32,width_pixels=32,classes=10", &model);
    }
    /* A process that has just started: what it holds goes with it. */
    return status;
}
