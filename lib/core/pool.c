/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A pool of persistent threads. The caller of mc_pool_run() publishes a job and works on it too;
 * workers that arrive late find nothing left and harm nothing, so nobody waits for a thread that
 * the system does not schedule.
 *
 * Each thread has a share of the job's tasks, a run of them, and takes over tasks of the others'
 * when it has finished: layer after layer, the same images stay with the same core and its caches.
 * A job can be several works, one after the other for each thread, with shares of each.
 *
 * The last tasks of a job would leave those without one idle: a task that sees that somebody looks
 * for work offers what it has left to do in pieces (mc_pool_split()). Such an offer is a share too,
 * of a thread of its own.
 *
 * A share's ticket, one 64-bit atomic, holds the job's number (high half) and the next task to
 * claim (low half). A task is claimed by adding one with compare-and-swap: success proves that the
 * job is still the one whose `end` was read, because a new job changes the high half first. The
 * job's other fields are read only after a claim, when they cannot change until that task is done.
 */
#include "core/core.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

/* Turns of waiting before a thread sleeps: about a millisecond, the usual gap between two layers or
 * the last task of one, where being woken would cost more than it saves. With more threads than
 * cores, turning only takes time from those that have work. */
enum { SPIN_TURNS = 20000 };

/* Tasks of one job; more are run as several jobs. Below the ticket's low half of 2^32. */
static const int64_t most_tasks = INT32_MAX;

/* What one thread begins a work with; a cache line of its own. */
typedef struct share {
    _Alignas(64) _Atomic uint64_t ticket;
    _Atomic int64_t end;
} share;

/* What a task has offered of itself. */
typedef struct offer {
    share pieces;
    _Atomic int64_t done; /* pieces */
    mc_task_fn fn;
    void *arg;
    fenv_t mode;
    atomic_bool taken; /* rivals that run alone are all number 0 */
} offer;

typedef struct worker {
    mc_pool *pool;
    pthread_t thread;
    int number; /* 1 .. size-1; the caller is 0 */
} worker;

struct mc_pool {
    pid_t process;   /* that has the threads: a child made by fork() has not */
    int size;        /* threads, the caller included */
    int started;     /* workers, while creating */
    int spin;        /* turns before sleeping */
    worker *workers; /* [size - 1] */

    atomic_bool busy;     /* somebody runs a job */
    share *shares;        /* [MC_WORKS][size] */
    offer *offers;        /* [size] */
    _Atomic int64_t left; /* tasks of the job that are not yet done */
    mc_work works[MC_WORKS];
    int64_t first; /* number of their task 0 */
    fenv_t mode;   /* the caller's floating-point mode */
    _Atomic int64_t helped;

    pthread_mutex_t mutex; /* only for sleeping and waking */
    pthread_cond_t work;   /* a new job, or stop */
    pthread_cond_t done;   /* left == 0 */
    atomic_int sleepers;
    atomic_int looking; /* threads that wait and would help meanwhile */
    atomic_bool caller_sleeps;
    atomic_bool stop;
};

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static uint32_t job_of(uint64_t ticket)
{
    return (uint32_t)(ticket >> 32);
}

/* The next task of a share of whatever job is open, or -1. */
static int64_t claim(share *from)
{
    uint64_t ticket = atomic_load(&from->ticket);

    while (true) {
        const int64_t task = (int64_t)(ticket & UINT32_MAX);
        if (task >= atomic_load(&from->end)) {
            return -1;
        }
        if (atomic_compare_exchange_weak(&from->ticket, &ticket, ticket + 1)) {
            return task;
        }
    }
}

/* Claims and runs tasks until none is left, those of its own shares first; returns how many. */
static int64_t work_on(mc_pool *pool, int number, bool set_mode)
{
    int64_t count = 0;

    for (int i = 0; i < MC_WORKS * pool->size; i++) {
        int which = i / pool->size;
        share *from = &pool->shares[which * pool->size + (number + i) % pool->size];
        for (int64_t task = claim(from); task >= 0; task = claim(from)) {
            if (set_mode && count == 0) {
                fesetenv(&pool->mode);
            }
            pool->works[which].fn(pool->works[which].arg, pool->first + task, number);
            count++;
        }
    }
    return count;
}

/* ---- pieces of tasks ------------------------------------------------------------------- */

/* Claims and runs pieces of an offer; how many. */
static int64_t run_pieces(offer *from, int number, bool set_mode)
{
    int64_t count = 0;

    for (int64_t piece = claim(&from->pieces); piece >= 0; piece = claim(&from->pieces)) {
        if (set_mode && count == 0) {
            fesetenv(&from->mode);
        }
        from->fn(from->arg, piece, number);
        count++;
    }
    return count;
}

/* Does what others offer; whether there was something. */
static bool help(mc_pool *pool, int number)
{
    bool any = false;

    for (int i = 1; i < pool->size; i++) {
        offer *from = &pool->offers[(number + i) % pool->size];
        const int64_t count = run_pieces(from, number, number != 0); /* a caller has the mode */
        if (count > 0) {
            atomic_fetch_add(&pool->helped, number != 0 ? count : 0);
            atomic_fetch_add(&from->done, count);
            any = true;
        }
    }
    return any;
}

void mc_wait_for(const _Atomic int64_t *count, int64_t least)
{
    for (int turn = 0; atomic_load(count) < least; turn++) {
        if (turn < SPIN_TURNS) {
            relax();
        } else {
            sched_yield();
            turn--; /* the count must not run over */
        }
    }
}

/* Offers pieces first .. n - 1, does them with who comes, and waits for the last. */
static void give(offer *own, int number, int64_t first, int64_t n, mc_task_fn fn, void *arg)
{
    const uint64_t offered = (uint64_t)(job_of(atomic_load(&own->pieces.ticket)) + 1) << 32;

    atomic_store(&own->pieces.ticket, offered | UINT32_MAX);
    own->fn = fn;
    own->arg = arg;
    fegetenv(&own->mode);
    atomic_store(&own->done, 0);
    atomic_store(&own->pieces.end, n);
    atomic_store(&own->pieces.ticket, offered | (uint64_t)first);
    const int64_t mine = run_pieces(own, number, false);
    atomic_fetch_add(&own->done, mine);
    mc_wait_for(&own->done, n - first);
}

void mc_pool_split(mc_pool *pool, int number, int64_t n, mc_task_fn fn, void *arg)
{
    offer *own = &pool->offers[number];

    for (int64_t i = 0; i < n; i++) {
        bool wanted = n - i > 1 && n <= most_tasks && atomic_load(&pool->looking) > 0;
        if (wanted && !atomic_exchange(&own->taken, true)) {
            give(own, number, i, n, fn, arg);
            atomic_store(&own->taken, false);
            return;
        }
        fn(arg, i, number);
    }
}

/* ---- workers --------------------------------------------------------------------------- */

/* Whether a job other than `seen` is open, and which. */
static bool has_job(const share *own, uint32_t seen, uint32_t *job)
{
    const uint64_t ticket = atomic_load(&own->ticket);

    *job = job_of(ticket);
    return *job != seen && (ticket & UINT32_MAX) != UINT32_MAX;
}

/* Looks for a job other than `seen`, or the stop, for a while, and helps meanwhile. */
static bool look_for_job(mc_pool *pool, int number, uint32_t seen, uint32_t *job)
{
    bool found = false;

    atomic_fetch_add(&pool->looking, 1);
    for (int turn = 0; turn < pool->spin && !found; turn++) {
        found = has_job(&pool->shares[number], seen, job) || atomic_load(&pool->stop);
        if (!found && help(pool, number)) {
            turn = 0;
        }
        relax();
    }
    atomic_fetch_sub(&pool->looking, 1);
    return found;
}

/* Waits for a job other than `seen`; false on stop. Counting oneself among the sleepers before
 * looking again, and the publisher's order (ticket, then sleepers), loses no wake-up. */
static bool wait_for_job(mc_pool *pool, int number, uint32_t seen, uint32_t *job)
{
    const share *own = &pool->shares[number];

    if (look_for_job(pool, number, seen, job)) {
        return !atomic_load(&pool->stop);
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_job(own, seen, job) && !atomic_load(&pool->stop)) {
        pthread_cond_wait(&pool->work, &pool->mutex);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->mutex);
    return !atomic_load(&pool->stop);
}

static void *worker_main(void *arg)
{
    const worker *self = arg;
    mc_pool *pool = self->pool;
    uint32_t job = 0;

    while (wait_for_job(pool, self->number, job, &job)) {
        const int64_t count = work_on(pool, self->number, true);
        if (count == 0) {
            continue;
        }
        atomic_fetch_add(&pool->helped, count);
        if (atomic_fetch_sub(&pool->left, count) == count && atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->mutex);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->mutex);
        }
    }
    return NULL;
}

/* Workers take no signals: a handler of the program runs on a thread of the program. */
static int32_t start_workers(mc_pool *pool)
{
    sigset_t all, before;
    int error = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->started < pool->size - 1 && error == 0) {
        worker *next = &pool->workers[pool->started];
        next->pool = pool;
        next->number = pool->started + 1;
        error = pthread_create(&next->thread, NULL, worker_main, next);
        if (error == 0) {
            pool->started++;
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        return mc_fail(MODECONN_ERROR_SYSTEM, "cannot start thread %d of %d: %s", pool->started + 2,
                       pool->size, mc_errno_text(error));
    }
    return MODECONN_OK;
}

int32_t mc_pool_create(const modeconn_context *context, int threads, mc_pool **out)
{
    int32_t status;
    mc_pool *pool = mc_calloc(context, 1, sizeof(*pool));

    *out = NULL;
    if (pool == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    pool->process = getpid();
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->size = threads;
    pool->spin = threads <= mc_available_cores() ? SPIN_TURNS : 0;
    pool->shares = mc_calloc(context, MC_WORKS * threads, sizeof(*pool->shares));
    pool->offers = mc_calloc(context, threads, sizeof(*pool->offers));
    pool->workers = mc_calloc(context, threads - 1, sizeof(*pool->workers));
    bool all = pool->shares != NULL && pool->offers != NULL && pool->workers != NULL;
    status = all ? start_workers(pool) : MODECONN_ERROR_MEMORY;
    if (status < 0) {
        mc_pool_destroy(context, pool);
    } else {
        *out = pool;
    }
    return status;
}

/* Ends the workers. */
static void stop_workers(mc_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 0; i < pool->started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
}

void mc_pool_destroy(const modeconn_context *context, mc_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    if (pool->process == getpid()) {
        stop_workers(pool);
    }
    mc_free(context, pool->workers);
    mc_free(context, pool->shares);
    mc_free(context, pool->offers);
    mc_free(context, pool);
}

int mc_pool_size(const mc_pool *pool)
{
    return pool->size;
}

int64_t mc_pool_helped(const mc_pool *pool)
{
    return atomic_load(&pool->helped);
}

/* ---- callers --------------------------------------------------------------------------- */

/* Whether the caller has to do n tasks alone; takes the pool if not. */
static bool is_alone(mc_pool *pool, int64_t n)
{
    return pool->size == 1 || n <= 1 || pool->process != getpid() ||
           atomic_exchange(&pool->busy, true);
}

static void run_alone(const mc_work *works, int count)
{
    for (int i = 0; i < count; i++) {
        for (int64_t task = 0; task < works[i].n; task++) {
            works[i].fn(works[i].arg, task, 0);
        }
    }
}

/* Shares out a work; none, if it is NULL. */
static void open_work(mc_pool *pool, int which, uint64_t job, const mc_work *work)
{
    const int64_t n = work != NULL ? work->n : 0;

    for (int i = 0; i < pool->size; i++) {
        share *of = &pool->shares[which * pool->size + i];
        atomic_store(&of->end, (i + 1) * n / pool->size);
        atomic_store(&of->ticket, job | (uint64_t)(i * n / pool->size));
    }
}

/* Closes the tickets under the new job's number, writes the job, opens them: those of the first
 * work, which workers wait for, at last. */
static void publish(mc_pool *pool, int64_t first, const mc_work *works, int count)
{
    const uint32_t before = job_of(atomic_load(&pool->shares[0].ticket));
    const uint64_t job = (uint64_t)(before + 1) << 32;
    int64_t n = 0;
    int sleepers;

    for (int i = 0; i < MC_WORKS * pool->size; i++) {
        atomic_store(&pool->shares[i].ticket, job | UINT32_MAX);
    }
    for (int i = 0; i < count; i++) {
        pool->works[i] = works[i];
        n += works[i].n;
    }
    pool->first = first;
    fegetenv(&pool->mode);
    atomic_store(&pool->left, n);
    for (int which = MC_WORKS - 1; which >= 0; which--) {
        open_work(pool, which, job, which < count ? &works[which] : NULL);
    }

    sleepers = atomic_load(&pool->sleepers);
    if (sleepers == 0) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    if (n - 1 >= sleepers) {
        pthread_cond_broadcast(&pool->work);
    } else {
        for (int64_t i = 0; i < n - 1; i++) {
            pthread_cond_signal(&pool->work);
        }
    }
    pthread_mutex_unlock(&pool->mutex);
}

static void wait_until_done(mc_pool *pool)
{
    bool done = false;

    atomic_fetch_add(&pool->looking, 1);
    for (int turn = 0; turn < pool->spin && !done; turn++) {
        done = atomic_load(&pool->left) == 0;
        if (!done && help(pool, 0)) {
            turn = 0;
        }
        relax();
    }
    atomic_fetch_sub(&pool->looking, 1);
    if (done) {
        return;
    }
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->left) != 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->mutex);
}

/* With the pool taken: works whose tasks are numbered from `first` on. */
static void run_together(mc_pool *pool, int64_t first, const mc_work *works, int count)
{
    publish(pool, first, works, count);
    const int64_t mine = work_on(pool, 0, false);
    if (atomic_fetch_sub(&pool->left, mine) != mine) {
        wait_until_done(pool);
    }
}

void mc_pool_run(mc_pool *pool, int64_t n, mc_task_fn fn, void *arg)
{
    mc_work work = {n, fn, arg};

    if (is_alone(pool, n)) {
        run_alone(&work, 1);
        return;
    }
    for (int64_t first = 0; first < n; first += most_tasks) {
        work.n = n - first < most_tasks ? n - first : most_tasks;
        run_together(pool, first, &work, 1);
    }
    atomic_store(&pool->busy, false);
}

void mc_pool_run_all(mc_pool *pool, const mc_work *works, int count)
{
    int64_t n = 0;

    for (int i = 0; i < count; i++) {
        n += works[i].n;
    }
    if (is_alone(pool, n)) {
        run_alone(works, count);
        return;
    }
    run_together(pool, 0, works, count);
    atomic_store(&pool->busy, false);
}
