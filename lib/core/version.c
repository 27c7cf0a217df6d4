/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What this build is: the facts on which bit-for-bit equal results depend.
 */
#include "core/core.h"

int32_t modeconn_version(void)
{
    return MODECONN_VERSION_MAJOR * 1000000 + MODECONN_VERSION_MINOR * 1000 +
           MODECONN_VERSION_PATCH;
}

int32_t modeconn_build_info(char *buffer, int64_t capacity, int64_t *needed)
{
    const mc_kernels *kernels = NULL;
    const char *blis_version = "", *blis_kernel = "";
    int single_threaded = 0;
    mc_text json;
    int32_t status = mc_kernels_select("auto", &kernels);

    if (status < 0) {
        return status;
    }
    mc_blis_info(&blis_version, &blis_kernel, &single_threaded);

    mc_text_init(&json, NULL);
    mc_text_add(&json, "{\"version\": \"%d.%d.%d\", \"compiler\": ", MODECONN_VERSION_MAJOR,
                MODECONN_VERSION_MINOR, MODECONN_VERSION_PATCH);
#if defined(__clang__)
    mc_text_add_json(&json, __VERSION__);
#else
    mc_text_add_json(&json, "GCC " __VERSION__);
#endif
    mc_text_add(&json, ", \"blis\": {\"version\": ");
    mc_text_add_json(&json, blis_version);
    mc_text_add(&json, ", \"kernel\": ");
    mc_text_add_json(&json, blis_kernel);
    mc_text_add(&json,
                ", \"single_threaded\": %s}, \"isa\": ", single_threaded != 0 ? "true" : "false");
    mc_text_add_json(&json, mc_kernels_isa(kernels));
    mc_text_add(&json, "}");

    status = json.failed ? MODECONN_ERROR_MEMORY : mc_text_out(json.data, buffer, capacity, needed);
    mc_text_free(&json);
    return status;
}
