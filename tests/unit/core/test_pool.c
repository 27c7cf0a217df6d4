/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The thread pool: every task and every piece of one once, real helpers, nesting, rivals, modes and
 * signals.
 */
#include "unit.h"
#include "core/core.h"
#include "failing.h"

#include <fenv.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1000, MOST_THREADS = 4 };

typedef struct counts {
    mc_pool *pool;
    atomic_int done[MOST];
    atomic_int in_use[MOST_THREADS];
    atomic_int shared; /* times that two tasks had one worker number */
} counts;

static void count_task(void *arg, int64_t task, int worker)
{
    counts *c = arg;

    if (atomic_fetch_add(&c->in_use[worker], 1) != 0) {
        atomic_fetch_add(&c->shared, 1);
    }
    atomic_fetch_add(&c->done[task], 1);
    atomic_fetch_sub(&c->in_use[worker], 1);
}

/* It has the pool's memory and none of its threads, whether they turn or sleep. */
START_TEST(a_child_runs_tasks_alone_and_destroys)
{
    mc_pool *pool = NULL;
    counts c = {.pool = NULL};
    OK(mc_pool_create(NULL, 3, &pool));
    mc_pool_run(pool, MOST, count_task, &c);
    for (int sleeping = 0; sleeping < 2; sleeping++) {
        nanosleep(&(struct timespec){0, sleeping * 100000000L}, NULL);
        pid_t child = fork();
        if (child == 0) {
            int64_t helped = mc_pool_helped(pool);
            alarm(20);
            mc_pool_run(pool, MOST, count_task, &c);
            bool all = mc_pool_helped(pool) == helped;
            for (int64_t task = 0; task < MOST; task++) {
                all = all && c.done[task] == 2;
            }
            mc_pool_destroy(NULL, pool);
            _exit(all ? 0 : 1);
        }
        int status = -1;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    mc_pool_run(pool, MOST, count_task, &c);
    ck_assert_int_eq(c.done[0], 2);
    mc_pool_destroy(NULL, pool);
}
END_TEST

START_TEST(every_task_runs_once)
{
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 64, MOST};

    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        mc_pool *pool = NULL;
        OK(mc_pool_create(NULL, threads, &pool));
        ck_assert_int_eq(mc_pool_size(pool), threads);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            counts c = {.pool = pool};
            mc_pool_run(pool, sizes[i], count_task, &c);
            for (int64_t task = 0; task < MOST; task++) {
                ck_assert_int_eq(c.done[task], task < sizes[i]);
            }
            ck_assert_int_eq(c.shared, 0);
        }
        mc_pool_destroy(NULL, pool);
    }
    mc_pool_destroy(NULL, NULL);
}
END_TEST

enum { HALF = MOST / 2 };

static void count_in_second_half(void *arg, int64_t task, int worker)
{
    count_task(arg, HALF + task, worker);
}

START_TEST(every_task_of_several_works_runs_once)
{
    static const int64_t sizes[] = {0, 1, 2, 5, 64, HALF};
    enum { SIZES = sizeof(sizes) / sizeof(sizes[0]) };

    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        mc_pool *pool = NULL;
        OK(mc_pool_create(NULL, threads, &pool));
        for (int i = 0; i < SIZES * SIZES; i++) {
            const int64_t first = sizes[i / SIZES], second = sizes[i % SIZES];
            counts c = {.pool = pool};
            const mc_work works[] = {{first, count_task, &c}, {second, count_in_second_half, &c}};
            mc_pool_run_all(pool, works, MC_WORKS);
            /* A job of fewer works does nothing of those before. */
            mc_pool_run_all(pool, works, 1);
            mc_pool_run(pool, first, count_task, &c);
            for (int64_t task = 0; task < HALF; task++) {
                ck_assert_int_eq(c.done[task], task < first ? 3 : 0);
                ck_assert_int_eq(c.done[HALF + task], task < second);
            }
            ck_assert_int_eq(c.shared, 0);
        }
        mc_pool_run_all(pool, NULL, 0);
        mc_pool_destroy(NULL, pool);
    }
}
END_TEST

/* Waits until `wanted` tasks have arrived, which takes as many threads; gives up after 20 s. */
typedef struct meeting {
    atomic_int arrived;
    int wanted;
    atomic_int met;
} meeting;

static void meet(void *arg, int64_t task, int worker)
{
    meeting *m = arg;
    const double begin = mc_seconds();

    (void)task;
    (void)worker;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < m->wanted && mc_seconds() - begin < 20) {
        usleep(100);
    }
    if (atomic_load(&m->arrived) >= m->wanted) {
        atomic_fetch_add(&m->met, 1);
    }
}

START_TEST(all_threads_help)
{
    for (int threads = 2; threads <= MOST_THREADS; threads++) {
        mc_pool *pool = NULL;
        OK(mc_pool_create(NULL, threads, &pool));
        /* At once, and again when the workers have gone to sleep. */
        for (int again = 0; again < 2; again++) {
            meeting m = {.wanted = threads};
            const int64_t before = mc_pool_helped(pool);
            mc_pool_run(pool, threads, meet, &m);
            ck_assert_int_eq(m.met, threads);
            ck_assert_int_eq(mc_pool_helped(pool) - before, threads - 1);
            usleep(20000);
        }
        mc_pool_destroy(NULL, pool);
    }
}
END_TEST

/* The first task of each share but one waits until all other tasks are done. */
typedef struct stall {
    int64_t per_share, free_share;
    int wanted;
    atomic_int done;
    atomic_int gave_up;
} stall;

static void stall_task(void *arg, int64_t task, int worker)
{
    stall *s = arg;
    const double begin = mc_seconds();

    (void)worker;
    if (task % s->per_share != 0 || task / s->per_share == s->free_share) {
        atomic_fetch_add(&s->done, 1);
        return;
    }
    while (atomic_load(&s->done) < s->wanted && mc_seconds() - begin < 20) {
        usleep(100);
    }
    if (atomic_load(&s->done) < s->wanted) {
        atomic_fetch_add(&s->gave_up, 1);
    }
}

static void add_done(void *arg, int64_t task, int worker)
{
    stall *s = arg;

    (void)task;
    (void)worker;
    atomic_fetch_add(&s->done, 1);
}

START_TEST(whoever_is_free_takes_over)
{
    enum { PER_SHARE = 50 };

    for (int threads = 2; threads <= MOST_THREADS; threads++) {
        mc_pool *pool = NULL;
        OK(mc_pool_create(NULL, threads, &pool));
        for (int64_t free_share = 0; free_share < threads; free_share++) {
            const int64_t n = threads * PER_SHARE;
            stall s = {.per_share = PER_SHARE, .free_share = free_share};
            s.wanted = (int)n - (threads - 1);
            mc_pool_run(pool, n, stall_task, &s);
            ck_assert_int_eq(s.done, s.wanted);
            ck_assert_int_eq(s.gave_up, 0);
        }
        mc_pool_destroy(NULL, pool);
    }
}
END_TEST

/* One thread is held by the first work's only task until the second work is done by the other. */
START_TEST(who_is_done_begins_the_next_work)
{
    enum { SECOND = 50 };
    mc_pool *pool = NULL;

    OK(mc_pool_create(NULL, 2, &pool));
    for (int again = 0; again < 3; again++) {
        stall s = {.per_share = SECOND, .free_share = 1, .wanted = SECOND};
        const mc_work works[] = {{1, stall_task, &s}, {SECOND, add_done, &s}};
        mc_pool_run_all(pool, works, MC_WORKS);
        ck_assert_int_eq(s.done, SECOND);
        ck_assert_int_eq(s.gave_up, 0);
        usleep(20000);
    }
    mc_pool_destroy(NULL, pool);
}
END_TEST

/* Who did which task, with both threads at work from the first to the last of their shares. */
typedef struct shares {
    int who[64];
    atomic_int started;
} shares;

static void note_task(void *arg, int64_t task, int worker)
{
    shares *s = arg;
    const double begin = mc_seconds();

    s->who[task] = worker;
    /* In step with the other, so that nobody finishes early and takes over. */
    atomic_fetch_add(&s->started, 1);
    while (atomic_load(&s->started) < 2 * (int)(task % 32 + 1) && mc_seconds() - begin < 20) {
        usleep(10);
    }
}

START_TEST(each_thread_keeps_its_share)
{
    mc_pool *pool = NULL;

    OK(mc_pool_create(NULL, 2, &pool));
    for (int again = 0; again < 3; again++) {
        shares s = {.started = 0};
        mc_pool_run(pool, 64, note_task, &s);
        for (int task = 0; task < 64; task++) {
            ck_assert_int_eq(s.who[task], task / 32);
        }
    }
    mc_pool_destroy(NULL, pool);
}
END_TEST

START_TEST(nobody_helps_a_pool_of_one)
{
    mc_pool *pool = NULL;
    counts c = {.pool = NULL};

    OK(mc_pool_create(NULL, 1, &pool));
    mc_pool_run(pool, MOST, count_task, &c);
    ck_assert_int_eq(mc_pool_helped(pool), 0);
    mc_pool_destroy(NULL, pool);
}
END_TEST

/* Many short jobs in a row: workers arrive late, early, asleep and awake. */
static void add_task(void *arg, int64_t task, int worker)
{
    _Atomic int64_t *sum = arg;

    (void)worker;
    atomic_fetch_add(sum, task + 1);
}

static int64_t sum_to(int64_t n)
{
    return n * (n + 1) / 2;
}

START_TEST(many_short_jobs)
{
    mc_pool *pool = NULL;

    OK(mc_pool_create(NULL, 3, &pool));
    for (int job = 0; job < 20000; job++) {
        const int64_t n = 2 + job % 5;
        _Atomic int64_t sum = 0;
        if (job % 3 == 0) {
            const mc_work works[] = {{n / 2, add_task, (void *)&sum},
                                     {n - n / 2, add_task, (void *)&sum}};
            mc_pool_run_all(pool, works, MC_WORKS);
            ck_assert_int_eq(sum, sum_to(n / 2) + sum_to(n - n / 2));
        } else {
            mc_pool_run(pool, n, add_task, (void *)&sum);
            ck_assert_int_eq(sum, sum_to(n));
        }
        if (job % 400 == 0) {
            usleep(1000);
        }
    }
    mc_pool_destroy(NULL, pool);
}
END_TEST

typedef struct nest {
    mc_pool *pool;
    _Atomic int64_t sum;
    atomic_int strangers; /* inner tasks on another thread than the outer one */
    pthread_t outer[8];
} nest;

typedef struct nested {
    nest *all;
    int64_t outer;
} nested;

static void inner_task(void *arg, int64_t task, int worker)
{
    nested *one = arg;

    if (worker != 0 || !pthread_equal(pthread_self(), one->all->outer[one->outer])) {
        atomic_fetch_add(&one->all->strangers, 1);
    }
    atomic_fetch_add(&one->all->sum, task);
}

static void outer_task(void *arg, int64_t task, int worker)
{
    nest *all = arg;
    nested one = {all, task};

    (void)worker;
    all->outer[task] = pthread_self();
    mc_pool_run(all->pool, 10, inner_task, &one);
}

START_TEST(nested_calls_run_on_the_caller)
{
    nest all = {.sum = 0};

    OK(mc_pool_create(NULL, 3, &all.pool));
    mc_pool_run(all.pool, 8, outer_task, &all);
    ck_assert_int_eq(all.sum, 8 * 45);
    ck_assert_int_eq(all.strangers, 0);
    mc_pool_destroy(NULL, all.pool);
}
END_TEST

static void *rival(void *arg)
{
    mc_pool *pool = arg;
    int64_t wrong = 0;

    for (int job = 0; job < 2000; job++) {
        _Atomic int64_t sum = 0;
        mc_pool_run(pool, 7, add_task, (void *)&sum);
        wrong += sum != 28;
    }
    return wrong == 0 ? arg : NULL;
}

/* Three threads of the program at one pool; each returns the pool if all went well. */
static void run_rivals(void *(*fn)(void *))
{
    mc_pool *pool = NULL;
    pthread_t threads[3];

    OK(mc_pool_create(NULL, 2, &pool));
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, pool), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(threads[i], &result);
        ck_assert_ptr_eq(result, pool);
    }
    mc_pool_destroy(NULL, pool);
}

START_TEST(rivals_share_without_deadlock)
{
    run_rivals(rival);
}
END_TEST

/* ---- pieces of tasks ---------------------------------------------------------------------------
 */

typedef struct splitting {
    mc_pool *pool;
    int tasks, pieces, busy; /* the task that splits; -1: all do */
    double pause;            /* s a piece */
    atomic_int done[16][64];
    atomic_int strangers, wrong_mode;
    int mode;
} splitting;

typedef struct split_task {
    splitting *all;
    int64_t task;
    int worker;
} split_task;

static void count_piece(void *arg, int64_t piece, int number)
{
    split_task *one = arg;
    splitting *all = one->all;

    atomic_fetch_add(&all->done[one->task][piece], 1);
    atomic_fetch_add(&all->strangers, number != one->worker);
    atomic_fetch_add(&all->wrong_mode, fegetround() != all->mode);
    const double begin = mc_seconds();
    while (mc_seconds() - begin < all->pause) {
    }
}

static void splitting_task(void *arg, int64_t task, int worker)
{
    splitting *all = arg;
    split_task one = {all, task, worker};

    if (all->busy < 0 || task == all->busy) {
        mc_pool_split(all->pool, worker, all->pieces, count_piece, &one);
    }
}

static bool all_pieces_once(const splitting *all)
{
    for (int task = 0; task < all->tasks; task++) {
        const bool splits = all->busy < 0 || task == all->busy;
        for (int piece = 0; piece < 64; piece++) {
            if (all->done[task][piece] != (splits && piece < all->pieces)) {
                return false;
            }
        }
    }
    return true;
}

START_TEST(every_piece_runs_once)
{
    for (int threads = 1; threads <= MOST_THREADS; threads++) {
        mc_pool *pool = NULL;
        OK(mc_pool_create(NULL, threads, &pool));
        for (int job = 0; job < 2000; job++) {
            splitting s = {.pool = pool, .tasks = job % 7, .pieces = job % 65, .busy = -1};
            s.mode = fegetround();
            mc_pool_run(pool, s.tasks, splitting_task, &s);
            ck_assert(all_pieces_once(&s));
            ck_assert(threads > 1 || s.strangers == 0);
        }
        mc_pool_destroy(NULL, pool);
    }
}
END_TEST

/* One of two tasks, the caller's or the worker's, has all the work; pieces are long enough to be
 * met, sooner or later, by who looks for work, in the caller's mode. Nobody looks where threads
 * share a core. */
START_TEST(idle_threads_take_pieces)
{
    const bool alone = mc_available_cores() == 1;
    mc_pool *pool = NULL;

    OK(mc_pool_create(NULL, 2, &pool));
    for (int again = 0; again < 4; again++) {
        const int mode = again / 2 ? FE_UPWARD : FE_TOWARDZERO;
        const int64_t before = mc_pool_helped(pool);
        const double begin = mc_seconds();
        int strangers = 0;
        while (strangers == 0 && !alone && mc_seconds() - begin < 20) {
            splitting s = {.pool = pool, .tasks = 2, .pieces = 64, .busy = again % 2};
            s.pause = 2e-5;
            s.mode = mode;
            fesetround(mode);
            mc_pool_run(pool, 2, splitting_task, &s);
            const int after = fegetround();
            fesetround(FE_TONEAREST);
            ck_assert_int_eq(after, mode);
            ck_assert(all_pieces_once(&s));
            ck_assert_int_eq(s.wrong_mode, 0);
            strangers = s.strangers;
        }
        ck_assert(alone || strangers > 0);
        ck_assert(alone || mc_pool_helped(pool) > before);
    }
    mc_pool_destroy(NULL, pool);
}
END_TEST

static void *splitting_rival(void *arg)
{
    mc_pool *pool = arg;
    int64_t wrong = 0;

    for (int job = 0; job < 1000; job++) {
        splitting s = {.pool = pool, .tasks = 1 + job % 3, .pieces = 40, .busy = -1};
        s.mode = FE_TONEAREST;
        mc_pool_run(pool, s.tasks, splitting_task, &s);
        wrong += !all_pieces_once(&s);
    }
    return wrong == 0 ? arg : NULL;
}

START_TEST(rivals_split_too)
{
    run_rivals(splitting_rival);
}
END_TEST

/* ---- modes and signals -------------------------------------------------------------------------
 */

/* Each of two threads takes one task (they meet) and notes what it sees. */
typedef struct view {
    meeting m;
    int rounding[2];
    sigset_t blocked[2];
} view;

static void look(void *arg, int64_t task, int worker)
{
    view *v = arg;

    v->rounding[worker] = fegetround();
    pthread_sigmask(SIG_BLOCK, NULL, &v->blocked[worker]);
    meet(&v->m, task, worker);
}

START_TEST(tasks_run_in_the_callers_mode)
{
    static const int modes[] = {FE_UPWARD, FE_TONEAREST, FE_TOWARDZERO};
    mc_pool *pool = NULL;

    OK(mc_pool_create(NULL, 2, &pool));
    for (int i = 0; i < 3; i++) {
        view v = {.m = {.wanted = 2}};
        fesetround(modes[i]);
        mc_pool_run(pool, 2, look, &v);
        const int after = fegetround();
        fesetround(FE_TONEAREST);
        ck_assert_int_eq(v.m.met, 2);
        ck_assert_int_eq(after, modes[i]);
        ck_assert_int_eq(v.rounding[0], modes[i]);
        ck_assert_int_eq(v.rounding[1], modes[i]);
    }
    mc_pool_destroy(NULL, pool);
}
END_TEST

START_TEST(workers_take_no_signals)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD};
    mc_pool *pool = NULL;
    view v = {.m = {.wanted = 2}};
    sigset_t before, after;

    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    OK(mc_pool_create(NULL, 2, &pool));
    mc_pool_run(pool, 2, look, &v);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    ck_assert_int_eq(v.m.met, 2);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        ck_assert_int_eq(sigismember(&v.blocked[1], signals[i]), 1);
        ck_assert_int_eq(sigismember(&v.blocked[0], signals[i]), 0);
        ck_assert_int_eq(sigismember(&after, signals[i]), 0);
    }
    ck_assert_int_eq(sigismember(&after, SIGUSR2), 1);
    mc_pool_destroy(NULL, pool);
}
END_TEST

START_TEST(running_allocates_nothing)
{
    failing state = {.fail_at = 0};
    const modeconn_context hooks = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &state};
    mc_pool *pool = NULL;
    counts c = {.pool = NULL};

    OK(mc_pool_create(&hooks, 3, &pool));
    const long calls = state.calls;
    mc_pool_run(pool, MOST, count_task, &c);
    ck_assert_int_eq(state.calls, calls);
    mc_pool_destroy(&hooks, pool);
    ck_assert_int_eq(state.live, 0);
}
END_TEST

/* No address space has room for stacks of this size, so no thread can start. */
START_TEST(refused_threads_are_reported)
{
    failing state = {.fail_at = 0};
    const modeconn_context hooks = {
        .alloc = failing_alloc, .release = failing_free, .alloc_user = &state};
    mc_pool *pool = NULL;
    pthread_attr_t before, huge;

    ck_assert_int_eq(pthread_getattr_default_np(&before), 0);
    ck_assert_int_eq(pthread_attr_init(&huge), 0);
    ck_assert_int_eq(pthread_attr_setstacksize(&huge, (size_t)1 << 60), 0);
    ck_assert_int_eq(pthread_setattr_default_np(&huge), 0);
    const int32_t status = mc_pool_create(&hooks, 4, &pool);
    pthread_setattr_default_np(&before);
    FAILS(status, MODECONN_ERROR_SYSTEM, "thread 2 of 4");
    ck_assert_ptr_null(pool);
    ck_assert_int_eq(state.live, 0);
    pthread_attr_destroy(&huge);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, every_task_runs_once);
    tcase_add_test(tests, every_task_of_several_works_runs_once);
    tcase_add_test(tests, all_threads_help);
    tcase_add_test(tests, whoever_is_free_takes_over);
    tcase_add_test(tests, who_is_done_begins_the_next_work);
    tcase_add_test(tests, each_thread_keeps_its_share);
    tcase_add_test(tests, nobody_helps_a_pool_of_one);
    tcase_add_test(tests, many_short_jobs);
    tcase_add_test(tests, nested_calls_run_on_the_caller);
    tcase_add_test(tests, rivals_share_without_deadlock);
    tcase_add_test(tests, every_piece_runs_once);
    tcase_add_test(tests, idle_threads_take_pieces);
    tcase_add_test(tests, rivals_split_too);
    tcase_add_test(tests, tasks_run_in_the_callers_mode);
    tcase_add_test(tests, workers_take_no_signals);
    tcase_add_test(tests, running_allocates_nothing);
    tcase_add_test(tests, a_child_runs_tasks_alone_and_destroys);
    tcase_add_test(tests, refused_threads_are_reported);
}

int main(void)
{
    return unit_run("core_pool", add);
}
