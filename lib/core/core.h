/* SPDX-License-Identifier: BSD-3-Clause
 *
 * core: status and error text, allocator, options, counter-based random numbers, thread pool,
 * context, text building. Everything else stands on this folder; it depends on none.
 */
#ifndef MC_CORE_H
#define MC_CORE_H

#include <modeconn/core.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>

/* ---- errors (error.c) ------------------------------------------------------------------ */

/* Sets this thread's error text and returns `status`, for `return mc_fail(...)`. */
int32_t mc_fail(int32_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before this thread's error text; returns `status`. */
int32_t mc_fail_prefix(int32_t status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* `return mc_null("model")` for a required pointer that is NULL. */
int32_t mc_null(const char *argument);

/* ---- memory (alloc.c) ------------------------------------------------------------------ */

/* Allocator of a context; the C library's where context is NULL. 64-byte aligned. On failure
 * NULL with the error text set ("out of memory: N bytes"): callers return MODECONN_ERROR_MEMORY.
 * A request of 0 bytes gives a valid pointer. count * size is checked for overflow. */
void *mc_alloc(const modeconn_context *context, int64_t count, size_t size);
void *mc_calloc(const modeconn_context *context, int64_t count, size_t size);
void mc_free(const modeconn_context *context, void *pointer);
char *mc_strdup(const modeconn_context *context, const char *text);

/* a * b in int64; false on overflow or a negative factor. */
bool mc_mul(int64_t a, int64_t b, int64_t *product);

/* ---- reference counts ------------------------------------------------------------------ */

typedef struct mc_ref {
    atomic_int count;
} mc_ref;

static inline void mc_ref_init(mc_ref *ref)
{
    atomic_init(&ref->count, 1);
}

static inline void mc_ref_take(mc_ref *ref)
{
    atomic_fetch_add_explicit(&ref->count, 1, memory_order_relaxed);
}

/* True when the caller let go of the last reference. */
static inline bool mc_ref_drop(mc_ref *ref)
{
    return atomic_fetch_sub_explicit(&ref->count, 1, memory_order_acq_rel) == 1;
}

/* ---- context (context.c) --------------------------------------------------------------- */

typedef struct mc_pool mc_pool;
typedef struct mc_kernels mc_kernels; /* lib/kernels: the table of one instruction set */

struct modeconn_context {
    mc_ref ref;
    modeconn_alloc_fn alloc; /* NULL: the C library's */
    modeconn_free_fn release;
    void *alloc_user;
    modeconn_log_fn log;
    void *log_user;
    uint64_t seed;
    mc_pool *pool;
    const mc_kernels *kernels;
    /* Floats up to which memory is cheaper than what would save it: outputs made again (nn/plan.c),
     * gradients added to the velocity (train/run.c). */
    int64_t kept_most;
};
enum { MC_KEPT_MOST = 2097152 };

modeconn_context *mc_context_take(modeconn_context *context);
void mc_context_drop(modeconn_context *context);
void mc_log(const modeconn_context *context, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* A "seed" option: -1 stands for the context's. */
uint64_t mc_seed(const modeconn_context *context, int64_t option);
/* MODECONN_ERROR_ARGUMENT for a seed argument below -1. */
int32_t mc_check_seed(int64_t seed);

/* Finds the kernels for an "isa" option; lib/kernels/dispatch.c defines it (core only links to
 * it). MODECONN_ERROR_UNSUPPORTED where this processor lacks the instructions. */
int32_t mc_kernels_select(const char *isa, const mc_kernels **kernels);
/* Name of the instruction set of a table, as the "isa" option takes it. Also lib/kernels. */
const char *mc_kernels_isa(const mc_kernels *kernels);
/* What modeconn_build_info() tells of BLIS; lib/kernels/gemm.c defines it. Static strings. */
void mc_blis_info(const char **version, const char **kernel, int *single_threaded);

/* ---- options (options.c) --------------------------------------------------------------- */

/* One key of a kind. Bounds are inclusive unless the flag says otherwise; for F64 they may be
 * infinite. For STR, `choices` ("a|b|c") restricts the value; NULL allows any text. */
typedef struct mc_option_spec {
    const char *key;
    int32_t type; /* MODECONN_OPTION_* */
    double min, max;
    bool min_open;          /* (min, max] */
    const char *choices;    /* STR only */
    const char *by_default; /* as text */
    const char *help;       /* one sentence, with the unit */
} mc_option_spec;

typedef struct mc_option_kind {
    const char *name;
    const mc_option_spec *specs;
    int64_t n_specs;
} mc_option_kind;

/* Shorthands for the rows of a kind's table. */
#define MC_OPT_I64(k, lo, hi, def, text)                                                           \
    {                                                                                              \
        k, MODECONN_OPTION_I64, lo, hi, false, NULL, def, text                                     \
    }
#define MC_OPT_BOOL(k, def, text) MC_OPT_I64(k, 0, 1, def, text)
#define MC_OPT_F64(k, lo, hi, def, text)                                                           \
    {                                                                                              \
        k, MODECONN_OPTION_F64, lo, hi, false, NULL, def, text                                     \
    }
#define MC_OPT_POSITIVE(k, def, text)                                                              \
    {                                                                                              \
        k, MODECONN_OPTION_F64, 0, HUGE_VAL, true, NULL, def, text                                 \
    }
#define MC_OPT_STR(k, choice, def, text)                                                           \
    {                                                                                              \
        k, MODECONN_OPTION_STR, 0, 0, false, choice, def, text                                     \
    }
#define MC_OPTION_KIND(n, table)                                                                   \
    {                                                                                              \
        n, table, (int64_t)(sizeof(table) / sizeof((table)[0]))                                    \
    }

/* Every kind of the library; lib/tables.c defines it. */
extern const mc_option_kind *const mc_option_kinds[];
extern const int64_t mc_option_kinds_count;
extern const mc_option_kind mc_kind_context;

/* Value of one key, the member of its spec's type. */
typedef struct mc_option_value {
    bool is_set; /* by the caller; the members below are unused otherwise */
    int64_t i64;
    double f64;
    char *str;
    char range[80]; /* as modeconn_options_describe() gives it; numbers only */
} mc_option_value;

struct modeconn_options {
    modeconn_context *context; /* NULL: the C library's allocator */
    const mc_option_kind *kind;
    mc_option_value *values; /* [kind->n_specs] */
};

/* Row of `key` in a kind's table, or -1. */
int64_t mc_option_find(const mc_option_kind *kind, const char *key);

/* NULL is fine; anything but an object of this kind is MODECONN_ERROR_ARGUMENT naming both. */
int32_t mc_options_check(const modeconn_options *options, const mc_option_kind *kind);

/* Values for the library's own use: `options` was checked (or is NULL: defaults), `key` belongs
 * to `kind` (asserted). */
int64_t mc_option_i64(const modeconn_options *options, const mc_option_kind *kind, const char *key);
double mc_option_f64(const modeconn_options *options, const mc_option_kind *kind, const char *key);
const char *mc_option_str(const modeconn_options *options, const mc_option_kind *kind,
                          const char *key);
/* Whether the caller set the key. */
bool mc_option_is_set(const modeconn_options *options, const char *key);

/* Parse all of `text` as a decimal number, '.' as decimal point in every locale; false on anything
 * else (empty, white space, trailing characters, out of range, "nan"). "inf" and "-inf" are read
 * by mc_parse_f64(). parse.c. */
bool mc_parse_i64(const char *text, int64_t *value);
bool mc_parse_f64(const char *text, double *value);

/* ---- random numbers (random.c) --------------------------------------------------------- */

/* Philox4x32-10: a pure function of (seed, stream, index, draw), so draws do not depend on order
 * or thread. Streams are pinned: a number names one use and is never reused. */
enum mc_stream {
    MC_STREAM_INIT = 1,          /* index: parameter, draw 0 */
    MC_STREAM_SHUFFLE = 2,       /* index: epoch, draw: position */
    MC_STREAM_RANDCUE = 3,       /* index: sample */
    MC_STREAM_RANDIMG = 4,       /* index: sample */
    MC_STREAM_SPLIT = 5,         /* draw: position */
    MC_STREAM_SHAPES_TRAIN = 6,  /* index: sample */
    MC_STREAM_SHAPES_TEST = 7,   /* index: sample */
    MC_STREAM_CBFT_T = 8,        /* index: step, draw: attempt */
    MC_STREAM_CBFT_SHUFFLE = 9,  /* index: epoch, draw: position; of the cue data */
    MC_STREAM_BOOTSTRAP = 10,    /* index: resample, draw: pair of positions */
    MC_STREAM_EMA = 11,          /* draw: position */
    MC_STREAM_LLRT = 20,         /* seed of the fresh last layer */
    MC_STREAM_ALIGN_ORDER = 30,  /* index: restart and sweep, draw: position */
    MC_STREAM_ALIGN_CHECK = 31,  /* index: value of an image of the check */
    MC_STREAM_SLABS_TRAIN = 40,  /* index: sample, draw: 4 * dimension and on */
    MC_STREAM_SLABS_TEST = 41,   /* index: sample, draw: 4 * dimension and on */
    MC_STREAM_ATTRIBUTE = 42,    /* index: sample, draw: attribute */
    MC_STREAM_CUE_BITS = 43,     /* index: sample, draw: 1 in view randcue, else 0 */
    MC_STREAM_AUGMENT = 44,      /* index: sample, draw: 4 * epoch and on */
    MC_STREAM_SLAB_PLACE = 45,   /* index: the bits of a slab's intervention */
    MC_STREAM_PATH_T = 50,       /* index: update of a path's fit */
    MC_STREAM_PATH_SHUFFLE = 51, /* index: epoch, draw: position */
    MC_STREAM_PATH_START = 52    /* index: control point; gives the seed of its initial weights */
};

/* The generator itself: ten rounds on a counter of four words under a key of two. */
void mc_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* Hash of a text under a key. With a key that the text's author cannot know, such as an address, a
 * file cannot be written to collide. */
uint64_t mc_hash_keyed(uint64_t key, const char *text);

uint64_t mc_random_u64(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw);
/* Uniform in [0, 1) with 53 bits. */
double mc_random_f64(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw);
/* Uniform in 0 .. n-1 (multiply-shift; bias below n / 2^64). */
int64_t mc_random_below(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw, int64_t n);
/* Standard normal (Box-Muller on draws 2*draw and 2*draw + 1). */
double mc_random_normal(uint64_t seed, uint32_t stream, uint64_t index, uint32_t draw);
/* Fisher-Yates permutation of 0 .. n-1 into `order`. */
void mc_random_permutation(uint64_t seed, uint32_t stream, uint64_t index, int64_t n,
                           int64_t *order);

/* ---- thread pool (pool.c) -------------------------------------------------------------- */

/* One task; `worker` is in 0 .. mc_pool_size() - 1 and no two tasks running at once in the same
 * mc_pool_run() share it. */
typedef void (*mc_task_fn)(void *arg, int64_t task, int worker);

int32_t mc_pool_create(const modeconn_context *context, int threads, mc_pool **out);
void mc_pool_destroy(const modeconn_context *context, mc_pool *pool);
int mc_pool_size(const mc_pool *pool);

/* Runs tasks 0 .. n-1, the caller taking part, and returns when all are done. Tasks run in the
 * caller's floating-point mode on every thread, and leave the mode as they found it. A task must
 * compute the same whoever runs it: how work is cut depends on shapes, never on the thread count.
 * Called from inside a task, while another thread has the pool, or in a child of the process that
 * made it, it runs all tasks on the caller. */
void mc_pool_run(mc_pool *pool, int64_t n, mc_task_fn fn, void *arg);

/* Jobs, of up to INT32_MAX tasks each, that need not wait for each other: runs them as one, so that
 * who has finished with one begins the next. A thread begins those of an earlier job first; one
 * thread alone runs all of it before the next. */
typedef struct mc_work {
    int64_t n;
    mc_task_fn fn;
    void *arg;
} mc_work;
enum { MC_WORKS = 2 };
void mc_pool_run_all(mc_pool *pool, const mc_work *works, int count);

/* From inside a task that got `number` as its worker: pieces 0 .. n-1 of it, in any order, by this
 * thread and by those that have no task left meanwhile; returns when all are done. A piece gets the
 * number of who runs it, for no memory but to tell whether that is the task itself, and must not
 * call the pool. */
void mc_pool_split(mc_pool *pool, int number, int64_t n, mc_task_fn fn, void *arg);

/* Waits until other threads have brought `count` to at least that. */
void mc_wait_for(const _Atomic int64_t *count, int64_t least);

/* Tasks, and pieces of them, done so far by threads other than a caller (for tests). */
int64_t mc_pool_helped(const mc_pool *pool);

/* Cores that this process may use: the least of affinity mask and cgroup quota (v1 or v2), at
 * least 1. */
int mc_available_cores(void);

/* Cores that the cgroup quotas allow, rounded down but at least 1; 0 where there is no quota.
 * `membership` is a file like /proc/self/cgroup, `mount` a folder like /sys/fs/cgroup. */
int mc_cgroup_cores(const char *membership, const char *mount);

/* ---- text (text.c) --------------------------------------------------------------------- */

/* The capacity / needed protocol of modeconn.h for a text that the library holds. */
int32_t mc_text_out(const char *text, char *buffer, int64_t capacity, int64_t *needed);

/* vsnprintf() and snprintf() with '.' as decimal point in every locale. */
int mc_vformat(char *buffer, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));
int mc_format(char *buffer, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Shortest decimal that reads back as the same double, '.' in every locale; "nan", "inf". */
enum { MC_F64_TEXT = 32 };
void mc_format_f64(char buffer[MC_F64_TEXT], double value);
/* "nan", "inf" or "-inf", for errors about a value that is not finite: printf() would show a NaN's
 * sign, which says nothing. */
const char *mc_not_finite(double value);
/* Whether n values are all finite. */
bool mc_all_finite(const float *values, int64_t n);

/* Length of the well-formed UTF-8 sequence that `text` begins with, 0 where there is none. */
int mc_utf8_length(const char *text);
/* Whether `text` is UTF-8, which is all that a JSON string can hold. */
bool mc_utf8_valid(const char *text);

/* What an errno value means, in English whatever the locale; a static string. */
const char *mc_errno_text(int error);

/* Edits (insert, delete, replace one character) between two texts, for "did you mean"; texts
 * are compared up to 63 characters. */
int mc_text_distance(const char *a, const char *b);

/* A growing text for CSV and the like. After a failed allocation further appends do nothing and
 * `failed` stays set. */
typedef struct mc_text {
    const modeconn_context *context;
    char *data; /* NUL-terminated; NULL while empty */
    int64_t size, capacity;
    bool failed;
} mc_text;

void mc_text_init(mc_text *text, const modeconn_context *context);
void mc_text_free(mc_text *text);
void mc_text_add(mc_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* As mc_format_f64(). */
void mc_text_add_f64(mc_text *text, double value);
/* As a JSON string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void mc_text_add_json(mc_text *text, const char *value);
/* A field of a CSV line: quoted where it holds a comma, a quote or a line break (RFC 4180), as
 * names of a file may. */
void mc_text_add_csv(mc_text *text, const char *field);
/* "key=value" of row i of a kind's table; of the key "seed", which may say the context's, `seed`
 * (options.c). */
void mc_text_add_option(mc_text *text, const modeconn_options *options, const mc_option_kind *kind,
                        int64_t i, uint64_t seed);
/* Hands the text out as mc_text_out() does and frees it; MODECONN_ERROR_MEMORY where an append
 * failed. */
int32_t mc_text_finish(mc_text *text, char *buffer, int64_t capacity, int64_t *needed);
/* The text itself, to be freed; NULL where an append failed. `text` is empty afterwards. */
char *mc_text_take(mc_text *text);

/* Seconds of a monotonic clock. */
double mc_seconds(void);

#endif
