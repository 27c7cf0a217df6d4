/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_start: seconds from dlopen() to a context and a VGG-13, in a process that has loaded
 * nothing yet.
 *
 *     bench_start with LIBMODECONN        through the exported calls, weights drawn
 *     bench_start without BENCH_START_MODULE     through start_module.c, weights left alone
 */
#include "start.h"
#include <dlfcn.h>
#include <modeconn/modeconn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Into a pointer to function, which ISO C has no cast to. */
static int find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL ? 0 : -1;
}

static int without(void *library)
{
    int32_t (*start)(void);
    return find(library, "mc_bench_uninitialised", &start) < 0 ? -1 : start();
}

static int with(void *library)
{
    int32_t (*context_create)(const modeconn_options *, modeconn_context **);
    int32_t (*options_create)(modeconn_context *, const char *, modeconn_options **);
    int32_t (*parse)(modeconn_options *, const char *);
    int32_t (*model_create)(modeconn_context *, const char *, const modeconn_dataset *,
                            const modeconn_options *, modeconn_model **);
    modeconn_context *context = NULL;
    modeconn_options *options = NULL;
    modeconn_model *model = NULL;

    if (find(library, "modeconn_context_create", &context_create) < 0 ||
        find(library, "modeconn_options_create", &options_create) < 0 ||
        find(library, "modeconn_options_parse", &parse) < 0 ||
        find(library, "modeconn_model_create", &model_create) < 0) {
        return -1;
    }
    if (context_create(NULL, &context) < 0 || options_create(context, "model", &options) < 0 ||
        parse(options, "channels=3,height=32,width_pixels=32,classes=10") < 0) {
        return -1;
    }
    return model_create(context, "vgg13", NULL, options, &model);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bench_start with|without LIBRARY\n");
        return 2;
    }
    double started = seconds();
    void *library = dlopen(argv[2], RTLD_NOW | RTLD_LOCAL);
    double loaded = seconds();
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return EXIT_FAILURE;
    }
    if ((strcmp(argv[1], "with") == 0 ? with(library) : without(library)) < 0) {
        fprintf(stderr, "%s: no VGG-13 from it\n", argv[2]);
        return EXIT_FAILURE;
    }
    printf("{\"load\": %.6f, \"seconds\": %.6f}\n", loaded - started, seconds() - started);
    return EXIT_SUCCESS;
}
