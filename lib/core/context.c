/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The context: allocator, seed, kernel table and thread pool that everything else belongs to.
 * Handles hold a reference, so the caller may destroy it first.
 */
#include "core/core.h"

#include <math.h>
#include <stdio.h>

enum { LOG_SIZE = 1024 };

static const mc_option_spec context_specs[] = {
    MC_OPT_I64("threads", 0, 1024, "0",
               "threads to compute on, the calling one included; 0: every core this process may "
               "use"),
    MC_OPT_I64("seed", 0, 9007199254740992.0, "0",
               "default seed of everything made in the context"),
    MC_OPT_STR("isa", "auto|baseline|avx2|avx512", "auto",
               "instruction set of the kernels; auto: the best that this processor has"),
};
const mc_option_kind mc_kind_context = MC_OPTION_KIND("context", context_specs);

int32_t modeconn_context_create(const modeconn_options *options, modeconn_context **out)
{
    return modeconn_context_create_with_allocator(options, NULL, NULL, NULL, out);
}

int32_t modeconn_context_create_with_allocator(const modeconn_options *options,
                                               modeconn_alloc_fn alloc, modeconn_free_fn release,
                                               void *user, modeconn_context **out)
{
    int32_t status;
    modeconn_context *context;
    const modeconn_context hooks = {.alloc = alloc, .release = release, .alloc_user = user};

    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if ((alloc == NULL) != (release == NULL)) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "%s is NULL but the other hook is not",
                       alloc == NULL ? "alloc" : "release");
    }
    status = mc_options_check(options, &mc_kind_context);
    if (status < 0) {
        return status;
    }

    context = mc_calloc(&hooks, 1, sizeof(*context));
    if (context == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&context->ref);
    context->alloc = alloc;
    context->release = release;
    context->alloc_user = user;
    context->seed = (uint64_t)mc_option_i64(options, &mc_kind_context, "seed");
    context->kept_most = MC_KEPT_MOST;
    status = mc_kernels_select(mc_option_str(options, &mc_kind_context, "isa"), &context->kernels);
    if (status == MODECONN_OK) {
        int threads = (int)mc_option_i64(options, &mc_kind_context, "threads");
        if (threads == 0) {
            threads = mc_available_cores();
        }
        status = mc_pool_create(context, threads, &context->pool);
    }
    if (status < 0) {
        mc_context_drop(context);
    } else {
        *out = context;
    }
    return status;
}

void modeconn_context_destroy(modeconn_context *context)
{
    mc_context_drop(context);
}

int32_t modeconn_context_threads(const modeconn_context *context, int32_t *threads)
{
    if (context == NULL) {
        return mc_null("context");
    }
    if (threads == NULL) {
        return mc_null("threads");
    }
    *threads = mc_pool_size(context->pool);
    return MODECONN_OK;
}

int32_t modeconn_context_set_log(modeconn_context *context, modeconn_log_fn log, void *user)
{
    if (context == NULL) {
        return mc_null("context");
    }
    context->log = log;
    context->log_user = user;
    return MODECONN_OK;
}

modeconn_context *mc_context_take(modeconn_context *context)
{
    if (context != NULL) {
        mc_ref_take(&context->ref);
    }
    return context;
}

void mc_context_drop(modeconn_context *context)
{
    if (context == NULL || !mc_ref_drop(&context->ref)) {
        return;
    }
    const modeconn_context hooks = {
        .alloc = context->alloc, .release = context->release, .alloc_user = context->alloc_user};
    mc_pool_destroy(&hooks, context->pool);
    mc_free(&hooks, context);
}

void mc_log(const modeconn_context *context, const char *format, ...)
{
    char message[LOG_SIZE];
    va_list arguments;

    if (context == NULL || context->log == NULL) {
        return;
    }
    va_start(arguments, format);
    const int length = mc_vformat(message, sizeof(message), format, arguments);
    va_end(arguments);
    if (length >= 0) {
        context->log(context->log_user, message);
    }
}

uint64_t mc_seed(const modeconn_context *context, int64_t option)
{
    return option < 0 ? context->seed : (uint64_t)option;
}

int32_t mc_check_seed(int64_t seed)
{
    return seed >= -1 ? MODECONN_OK
                      : mc_fail(MODECONN_ERROR_ARGUMENT, "seed is %lld, expected -1 or more",
                                (long long)seed);
}
