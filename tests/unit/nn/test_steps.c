/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What a step costs beside arithmetic, seen from outside: no allocation once two steps have run,
 * counted for the whole process and not only through the context's hooks, and every thread takes
 * part in every kind of pass.
 *
 * The program brings its own malloc() and friends, which count while a step runs and pass on to
 * the C library's; under AddressSanitizer, which has malloc() for itself, only the context's hooks
 * count. What BLIS asks for is counted apart and
 * printed: its pool of packing buffers grows whenever more threads multiply at once than ever
 * before, and with Debian's libblis4-openmp every product, serial ones too, lets libgomp make a
 * team (1568 bytes).
 *
 * mc_pool_run() is wrapped by the linker (--wrap, see meson.build): the wrapper notes which worker
 * ran how many tasks.
 */
#include "failing.h"
#include "train/train.h"
#include "twin.h"
#include <dlfcn.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { STEPS = 6, WARM_UP = 2, BATCH = 24, MOST_THREADS = 8 };

/* True where products go through bli_sgemm(), which asks for memory as above. */
static const bool blis_may_allocate = false;

/* ---- counting allocations -------------------------------------------------------------------- */

static atomic_bool counting;
static atomic_long by_blis, by_others;
static char culprit[160]; /* who asked, the last time that it was not BLIS */

#if !defined(__SANITIZE_ADDRESS__)
enum { SEES_MALLOC = 1 };
static void count(size_t size, const void *caller)
{
    Dl_info info;
    if (!atomic_load(&counting)) {
        return;
    }
    atomic_store(&counting, false); /* dladdr() may ask for memory itself */
    int found = dladdr(caller, &info);
    if (found != 0 && info.dli_fname != NULL &&
        (strstr(info.dli_fname, "libblis") != NULL || strstr(info.dli_fname, "libgomp") != NULL)) {
        atomic_fetch_add(&by_blis, 1);
    } else {
        atomic_fetch_add(&by_others, 1);
        snprintf(culprit, sizeof culprit, "%zu bytes for %s of %s", size,
                 found != 0 && info.dli_sname != NULL ? info.dli_sname : "a function",
                 found != 0 && info.dli_fname != NULL ? info.dli_fname : "?");
    }
    atomic_store(&counting, true);
}

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    count(size, __builtin_return_address(0));
    return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
    count(n * size, __builtin_return_address(0));
    return __libc_calloc(n, size);
}

void *realloc(void *memory, size_t size)
{
    count(size, __builtin_return_address(0));
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    count(size, __builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    count(size, __builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    count(size, __builtin_return_address(0));
    *memory = __libc_memalign(alignment, size);
    return *memory != NULL ? 0 : 12; /* ENOMEM */
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset)
{
    count(size, __builtin_return_address(0));
    /* The kernel gives the address as a number. */
    return (void *)(uintptr_t)syscall(SYS_mmap, address, size, protection, flags, file, offset);
}

#else
enum { SEES_MALLOC = 0 };
#endif

static void count_from_now(void)
{
    atomic_store(&by_blis, 0);
    atomic_store(&by_others, 0);
    atomic_store(&counting, true);
}

/* ---- noting workers -------------------------------------------------------------------------- */

static atomic_long tasks_of[MOST_THREADS], jobs, lone_jobs;

typedef struct noted {
    mc_task_fn fn;
    void *arg;
} noted;

static void noted_task(void *arg, int64_t task, int worker)
{
    const noted *job = arg;
    atomic_fetch_add(&tasks_of[worker], 1);
    job->fn(job->arg, task, worker);
}

void __real_mc_pool_run(mc_pool *pool, int64_t n, mc_task_fn fn, void *arg);
void __wrap_mc_pool_run(mc_pool *pool, int64_t n, mc_task_fn fn, void *arg);
void __wrap_mc_pool_run(mc_pool *pool, int64_t n, mc_task_fn fn, void *arg)
{
    noted job = {fn, arg};
    atomic_fetch_add(n > 1 ? &jobs : &lone_jobs, 1);
    __real_mc_pool_run(pool, n, noted_task, &job);
}

/* ---- the jobs -------------------------------------------------------------------------------- */

/* A model with batches a and b, a session of two passes, and the caller's buffers. */
typedef struct bench {
    twin t;
    mc_session *session;
    mc_batch a, b;
    double loss[2 * BATCH];
    uint8_t correct[2 * BATCH];
    float *velocity;
} bench;

typedef struct shipped {
    const char *arch, *settings;
} shipped;

static const shipped models[] = {
    {"vgg13", "width=0.25,channels=1,height=28,width_pixels=28,classes=10"},
    {"resnet18", "width=0.125,channels=3,height=19,width_pixels=23,classes=10"},
    {"mlp", "hidden=300,200,channels=1,height=28,width_pixels=28,classes=10"},
    {NULL, NULL}, /* grouped_model() */
};
enum { MODELS = 4 };

/* Convolutions in groups, and depthwise. */
static modeconn_model *grouped_model(modeconn_context *context)
{
    static const char *const settings[] = {"out_channels=16,padding=1",
                                           "out_channels=24,padding=1,groups=4",
                                           "out_channels=24,stride=2,groups=24"};
    modeconn_graph *graph;
    modeconn_model *model;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 3, 19, 23, &graph));
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"a", "b", "c"};
        OK(modeconn_graph_add(graph, "conv2d", names[i], settings[i], &node, 1, &node));
        OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
    }
    OK(modeconn_graph_add(graph, "global_avg_pool", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "head", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    modeconn_graph_destroy(graph);
    return model;
}

static bench *bench_of(modeconn_context *context, int which)
{
    bench *b = twin_alloc(1, sizeof *b);
    const shipped *m = &models[which];
    twin_init(&b->t,
              m->arch != NULL ? model_with(context, m->arch, m->settings) : grouped_model(context),
              2 * BATCH, 3);
    b->a = (mc_batch){b->t.x, b->t.y, BATCH};
    b->b = (mc_batch){b->t.x + BATCH * b->t.pixels, b->t.y + BATCH, BATCH};
    b->velocity = twin_alloc(b->t.model->n_theta, sizeof(float));
    OK(b->t.model->ops->session_create(b->t.model, BATCH, 2, true, &b->session));
    return b;
}

static void bench_free(bench *b)
{
    b->t.model->ops->session_destroy(b->session);
    free(b->velocity);
    twin_free(&b->t);
    free(b);
}

static int32_t training_step(bench *b)
{
    static const mc_sgd sgd = {.momentum = 0.9, .weight_decay = 1e-4};
    modeconn_model *model = b->t.model;
    int32_t status = model->ops->bind(b->session, model->theta, NULL);
    if (status == MODECONN_OK) {
        status = model->ops->gradient(b->session, &b->a, 1.0, b->loss, b->correct, b->t.grad,
                                      model->statistics);
        mc_sgd_step(model->context, &sgd, 1e-3, false, model->n_theta, model->theta, b->velocity,
                    b->t.grad);
    }
    return status;
}

static int32_t evaluation(bench *b)
{
    const modeconn_model *model = b->t.model;
    int32_t status = model->ops->bind(b->session, model->theta, model->statistics);
    return status < 0
               ? status
               : model->ops->evaluate(b->session, MC_NORM_RUNNING, &b->a, b->loss, b->correct);
}

/* A whole pooled pass over a batch of BATCH and a short one. */
static int32_t statistics_pass(bench *b)
{
    const mc_model_ops *ops = b->t.model->ops;
    mc_batch rest = {b->b.x, b->b.y, 5};
    int32_t status = ops->statistics_begin(b->session);
    status = status < 0 ? status : ops->statistics_add(b->session, &b->a);
    status = status < 0 ? status : ops->statistics_add(b->session, &rest);
    return status < 0 ? status : ops->statistics_finish(b->session, b->t.model->statistics);
}

static int32_t cotangents(void *user, const mc_pair *pair)
{
    (void)user;
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < pair->n[k] * pair->classes; i++) {
            pair->d_logits[k][i] = (float)(i % 7) * 1e-3f;
        }
        for (int64_t i = 0; i < pair->n[k] * pair->width; i++) {
            pair->d_representation[k][i] = (float)(i % 5) * 1e-3f;
        }
    }
    return MODECONN_OK;
}

static int32_t pair_gradient(bench *b)
{
    return b->t.model->ops->pair_gradient(b->session, &b->a, &b->b, cotangents, NULL, b->t.grad,
                                          b->t.model->statistics);
}

static const struct job {
    const char *name;
    int32_t (*run)(bench *b);
} step_jobs[] = {{"training step", training_step},
                 {"evaluation", evaluation},
                 {"statistics pass", statistics_pass},
                 {"pair gradient", pair_gradient}};
enum { JOBS = 4 };

/* ---- no allocation --------------------------------------------------------------------------- */

static modeconn_context *counted_context(failing *state, int threads)
{
    char settings[32];
    modeconn_context *context = NULL;
    snprintf(settings, sizeof settings, "threads=%d", threads);
    modeconn_options *options = options_of("context", settings);
    memset(state, 0, sizeof *state);
    OK(modeconn_context_create_with_allocator(options, failing_alloc, failing_free, state,
                                              &context));
    modeconn_options_destroy(options);
    return context;
}

/* One kind of step, threads already warm.  */
static void check_steps(bench *b, const failing *state, const struct job *job, int threads)
{
    long blis_calls = 0;
    for (int step = 0; step < WARM_UP; step++) {
        OK(job->run(b));
    }
    const long hooks = atomic_load(&state->calls);
    for (int step = 0; step < STEPS; step++) {
        count_from_now();
        const int32_t status = job->run(b);
        atomic_store(&counting, false);
        OK(status);
        ck_assert_msg(atomic_load(&by_others) == 0, "%s on %d threads allocates %ld times: %s",
                      job->name, threads, atomic_load(&by_others), culprit);
        blis_calls += atomic_load(&by_blis);
    }
    ck_assert_int_eq(atomic_load(&state->calls), hooks);
    if (blis_calls > 0) {
        printf("%s on %d threads: %ld allocations of BLIS in %d steps\n", job->name, threads,
               blis_calls, STEPS);
    }
    if (!blis_may_allocate) {
        ck_assert_int_le(blis_calls, threads);
    }
}

START_TEST(test_no_allocation)
{
    for (int threads = 1; threads <= 3; threads++) {
        failing state;
        modeconn_context *context = counted_context(&state, threads);
        bench *b = bench_of(context, _i);
        for (int k = 0; k < JOBS; k++) {
            check_steps(b, &state, &step_jobs[k], threads);
        }
        bench_free(b);
        modeconn_context_destroy(context);
    }
}
END_TEST

/* The counter itself: an allocation of any kind is seen, and none after it stopped. */
START_TEST(test_the_counter_counts)
{
    void *volatile memory[3] = {NULL, NULL, NULL};
    void *aligned = NULL;
    if (!SEES_MALLOC) {
        return;
    }
    count_from_now();
    memory[0] = malloc(10);
    memory[1] = calloc(3, 4);
    memory[2] = realloc(NULL, 20);
    const int status = posix_memalign(&aligned, 64, 100);
    atomic_store(&counting, false);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(atomic_load(&by_others), 4);
    free(memory[0]);
    free(memory[1]);
    free(memory[2]);
    free(malloc(1));
    ck_assert_int_eq(atomic_load(&by_others), 4);
    free(aligned);
}
END_TEST

/* The whole of modeconn_train(): from the third step to the last but one nothing is allocated
 * between two calls of the progress function (the last makes the epoch's record). */
typedef struct watch {
    long seen;
    int64_t steps;
} watch;

static int32_t watch_step(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                          double accuracy, double rate, double seconds_left)
{
    watch *w = user;
    (void)epoch, (void)loss, (void)accuracy, (void)rate;
    (void)seconds_left;
    atomic_store(&counting, false);
    if (w->steps++ >= WARM_UP && step < total) {
        w->seen += atomic_load(&by_others);
    }
    count_from_now();
    return 0;
}

START_TEST(test_no_allocation_in_training)
{
    modeconn_context *context = context_of("threads=2");
    modeconn_options *options = options_of("train", "epochs=1,batch_size=32,learning_rate=0.01");
    modeconn_dataset *data;
    watch w = {0, 0};
    OK(modeconn_dataset_open(context, "shapes:size=16,train=320,test=10", "train", NULL, &data));
    modeconn_model *model = model_with(context, "vgg13",
                                       "width=0.0625,channels=1,height=16,width_pixels=16,"
                                       "classes=10");
    const int32_t status = modeconn_train(model, data, options, watch_step, &w);
    atomic_store(&counting, false);
    OK(status);
    ck_assert_int_eq(w.steps, 10);
    ck_assert_msg(w.seen == 0, "training allocates %ld times: %s", w.seen, culprit);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_options_destroy(options);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- every worker works ---------------------------------------------------------------------- */

static bool all_worked(int threads)
{
    for (int i = 0; i < threads; i++) {
        if (atomic_load(&tasks_of[i]) == 0) {
            return false;
        }
    }
    return true;
}

/* A worker can come late on a busy machine: steps are run until each has had a task. */
static void check_workers(bench *b, const struct job *job, int threads)
{
    int step = 0;
    for (int i = 0; i < MOST_THREADS; i++) {
        atomic_store(&tasks_of[i], 0);
    }
    atomic_store(&jobs, 0);
    atomic_store(&lone_jobs, 0);
    for (; step < 200 && !all_worked(threads); step++) {
        OK(job->run(b));
    }
    for (int i = 0; i < threads; i++) {
        ck_assert_msg(atomic_load(&tasks_of[i]) > 0, "%s: worker %d of %d had no task in %d steps",
                      job->name, i, threads, step);
    }
    for (int i = threads; i < MOST_THREADS; i++) {
        ck_assert_int_eq(atomic_load(&tasks_of[i]), 0);
    }
    ck_assert_msg(atomic_load(&jobs) > 0, "%s gives the pool nothing to share", job->name);
}

START_TEST(test_every_worker_works)
{
    static const int counts[] = {1, 2, 3, 4};
    for (int k = 0; k < 4; k++) {
        failing state;
        modeconn_context *context = counted_context(&state, counts[k]);
        bench *b = bench_of(context, _i);
        for (int j = 0; j < JOBS; j++) {
            check_workers(b, &step_jobs[j], counts[k]);
        }
        bench_free(b);
        modeconn_context_destroy(context);
    }
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_the_counter_counts);
    tcase_add_loop_test(tests, test_no_allocation, 0, MODELS);
    tcase_add_test(tests, test_no_allocation_in_training);
    tcase_add_loop_test(tests, test_every_worker_works, 0, MODELS);
}

int main(void)
{
    return unit_run("nn steps", add);
}
