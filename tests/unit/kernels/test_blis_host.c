/* SPDX-License-Identifier: BSD-3-Clause
 *
 * BLIS and its host. The library leaves the host's settings of BLIS and OpenMP, the environment and
 * the floating-point mode as they were. And what BLIS does to a process when it cannot go on: the
 * table `ends` is that of docs/architecture.md (Known limits), each row run in processes of its
 * own: one that trains, which never calls BLIS, and one that matches units.
 */
#include "unit.h"
#include <dlfcn.h>
#include <fenv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* A small network of products of every kind. */
static int32_t make_model(int threads, modeconn_context **context, modeconn_model **model)
{
    char settings[32];
    modeconn_options *options = NULL, *size = NULL;
    snprintf(settings, sizeof settings, "threads=%d", threads);
    int32_t status = modeconn_options_create(NULL, "context", &options);
    status = status < 0 ? status : modeconn_options_parse(options, settings);
    status = status < 0 ? status : modeconn_context_create(options, context);
    status = status < 0 ? status : modeconn_options_create(*context, "model", &size);
    status = status < 0 ? status
                        : modeconn_options_parse(size, "width=0.25,channels=1,height=16,"
                                                       "width_pixels=16,classes=10");
    status = status < 0 ? status : modeconn_model_create(*context, "vgg13", NULL, size, model);
    modeconn_options_destroy(size);
    modeconn_options_destroy(options);
    return status;
}

enum { IMAGES = 32, PIXELS = 256 };

static void fill(float *x, int32_t *y)
{
    for (int i = 0; i < IMAGES * PIXELS; i++) {
        x[i] = (float)(i * 37 % 101) / 50.0f - 1.0f;
    }
    for (int i = 0; i < IMAGES; i++) {
        y[i] = i % 10;
    }
}

/* A gradient: the engine multiplies without BLIS. */
static int32_t train(int threads)
{
    static float x[IMAGES * PIXELS];
    int32_t y[IMAGES];
    modeconn_context *context = NULL;
    modeconn_model *model = NULL;
    float *grad = NULL;
    int64_t n = 0;
    double loss = -1.0;
    fill(x, y);
    int32_t status = make_model(threads, &context, &model);
    status = status < 0 ? status : modeconn_model_parameter_count(model, &n);
    grad = malloc((size_t)(n + 1) * sizeof(float));
    status = status < 0 || grad == NULL ? status
                                        : modeconn_model_gradient(model, x, y, IMAGES, &loss, grad);
    free(grad);
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
    return status < 0 ? status : loss > 0.0 ? MODECONN_OK : MODECONN_ERROR_NUMERIC;
}

/* Both matchings, which are what BLIS multiplies for. */
static int32_t match(int threads)
{
    static const char *const methods[] = {"activations", "weights"};
    static float x[IMAGES * PIXELS];
    int32_t y[IMAGES];
    modeconn_context *context = NULL;
    modeconn_model *model = NULL;
    modeconn_dataset *data = NULL;
    fill(x, y);
    int32_t status = make_model(threads, &context, &model);
    status = status < 0
                 ? status
                 : modeconn_dataset_from_f32(context, x, y, IMAGES, 1, 16, 16, 10, NULL, &data);
    for (int i = 0; i < 2 && status == MODECONN_OK; i++) {
        modeconn_options *options = NULL;
        modeconn_alignment *found = NULL;
        status = modeconn_options_create(context, "align", &options);
        status = status < 0 ? status : modeconn_options_set_str(options, "method", methods[i]);
        status =
            status < 0 ? status : modeconn_align(model, model, data, options, NULL, NULL, &found);
        modeconn_alignment_destroy(found);
        modeconn_options_destroy(options);
    }
    modeconn_dataset_destroy(data);
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
    return status;
}

/* ---- memory ---------------------------------------------------------------------------------- */

#if !defined(__SANITIZE_ADDRESS__)
enum { CAN_STARVE = 1 };
void *__libc_malloc(size_t size);

static bool starving; /* malloc() gives BLIS nothing */

void *malloc(size_t size)
{
    Dl_info info;
    if (starving && dladdr(__builtin_return_address(0), &info) != 0 && info.dli_fname != NULL &&
        strstr(info.dli_fname, "libblis") != NULL) {
        return NULL;
    }
    return __libc_malloc(size);
}
#else
enum { CAN_STARVE = 0 };
static bool starving;
#endif

/* ---- settings -------------------------------------------------------------------------------- */

typedef struct host {
    long blis_threads, blis_ic, blis_jc; /* -1: no such function */
    int omp_threads, omp_dynamic, rounding;
    unsigned long environment; /* a hash of all of it */
} host;

/* A function of the process's BLIS, which need not be in the program's own scope. */
static uintptr_t blis_function(const char *name)
{
    void *blis = dlopen("libblis.so.4", RTLD_NOW | RTLD_GLOBAL);
    ck_assert_msg(blis != NULL, "%s", dlerror());
    return (uintptr_t)dlsym(blis, name);
}

static long blis_number(const char *name)
{
    long (*get)(void) = (long (*)(void))blis_function(name);
    return get != NULL ? get() : -1;
}

static int omp_number(const char *name)
{
    int (*get)(void) = (int (*)(void))(uintptr_t)dlsym(RTLD_DEFAULT, name);
    return get != NULL ? get() : -1;
}

static host host_now(void)
{
    host h = {.blis_threads = blis_number("bli_thread_get_num_threads"),
              .blis_ic = blis_number("bli_thread_get_ic_nt"),
              .blis_jc = blis_number("bli_thread_get_jc_nt"),
              .omp_threads = omp_number("omp_get_max_threads"),
              .omp_dynamic = omp_number("omp_get_dynamic"),
              .rounding = fegetround(),
              .environment = 5381};
    for (char **entry = environ; *entry != NULL; entry++) {
        for (const char *c = *entry; *c != '\0'; c++) {
            h.environment = h.environment * 33 + (unsigned char)*c;
        }
    }
    return h;
}

static void check_untouched(void)
{
    const host before = host_now();
    OK(train(2));
    OK(match(2));
    const host after = host_now();
    ck_assert_int_eq(after.blis_threads, before.blis_threads);
    ck_assert_int_eq(after.blis_ic, before.blis_ic);
    ck_assert_int_eq(after.blis_jc, before.blis_jc);
    ck_assert_int_eq(after.omp_threads, before.omp_threads);
    ck_assert_int_eq(after.omp_dynamic, before.omp_dynamic);
    ck_assert_int_eq(after.rounding, before.rounding);
    ck_assert(after.environment == before.environment);
}

START_TEST(test_host_settings_stay)
{
    void (*set)(long) = (void (*)(long))blis_function("bli_thread_set_num_threads");
    void (*omp)(int) = (void (*)(int))(uintptr_t)dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    ck_assert_msg(set != NULL, "BLIS has no bli_thread_set_num_threads");
    check_untouched();
    set(3);
    ck_assert_int_eq(blis_number("bli_thread_get_num_threads"), 3);
    if (omp != NULL) {
        omp(5);
        ck_assert_int_eq(omp_number("omp_get_max_threads"), 5);
    }
    fesetround(FE_UPWARD);
    check_untouched();
    fesetround(FE_TONEAREST);
}
END_TEST

/* ---- ends ------------------------------------------------------------------------------------ */

typedef struct end {
    const char *situation, *variable, *value;
    bool starved; /* BLIS gets no memory */
    int signal;   /* that ends a process which matches; 0: the work is done */
    const char *says;
} end;

static const end ends[] = {
    {"usual", "BLIS_NUM_THREADS", "1", false, 0, ""},
    {"BLIS_NUM_THREADS=4", "BLIS_NUM_THREADS", "4", false, 0, ""},
    {"BLIS_NUM_THREADS is no number", "BLIS_NUM_THREADS", "many", false, 0, ""},
    {"BLIS_ARCH_TYPE is no configuration", "BLIS_ARCH_TYPE", "99", false, SIGABRT, "nvalid"},
    {"malloc() gives BLIS nothing", "BLIS_NUM_THREADS", "1", true, SIGABRT, ""},
};
enum { ENDS = sizeof ends / sizeof *ends };

/* The wait status of a child that works in the row's environment, which BLIS reads in its first
 * product: nothing before may have multiplied. */
static int run_row(const end *row, int32_t (*work)(int threads), char *output, size_t size)
{
    int pipes[2], status = 0;
    size_t used = 0;
    ck_assert_int_eq(pipe(pipes), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        const struct rlimit no_core = {0, 0};
        setrlimit(RLIMIT_CORE, &no_core);
        setenv(row->variable, row->value, 1);
        dup2(pipes[1], 2);
        dup2(pipes[1], 1);
        starving = row->starved;
        _exit(work(2) == MODECONN_OK ? 0 : 1);
    }
    close(pipes[1]);
    for (ssize_t got = 1; got > 0 && used + 1 < size; used += (size_t)(got > 0 ? got : 0)) {
        got = read(pipes[0], output + used, size - 1 - used);
    }
    output[used] = '\0';
    close(pipes[0]);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    return status;
}

static void check_row(const end *row, const char *what, int32_t (*work)(int threads), int signal)
{
    char output[2000];
    int status = run_row(row, work, output, sizeof output);
    bool ended = signal == 0 ? WIFEXITED(status) && WEXITSTATUS(status) == 0
                             : WIFSIGNALED(status) && WTERMSIG(status) == signal;
    ck_assert_msg(ended, "%s, %s: status %d: %s", row->situation, what, status, output);
    ck_assert_msg(signal == 0 || strstr(output, row->says) != NULL, "%s, %s, says: %s",
                  row->situation, what, output);
    printf("%s, %s: %s %.60s\n", row->situation, what, signal == 0 ? "works" : strsignal(signal),
           output);
}

START_TEST(test_ends)
{
    const end *row = &ends[_i];
    if (row->starved && !CAN_STARVE) {
        return; /* the sanitizer has malloc() */
    }
    check_row(row, "training", train, 0);
    check_row(row, "matching", match, row->signal);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, test_ends, 0, ENDS);
    tcase_add_test(tests, test_host_settings_stay);
}

int main(void)
{
    return unit_run("kernels blis_host", add);
}
