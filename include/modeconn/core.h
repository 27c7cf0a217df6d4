/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file core.h
 * @brief Status codes, error text, options and the context. Conventions: modeconn.h.
 */
#ifndef MODECONN_CORE_H
#define MODECONN_CORE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#    define MODECONN_API __attribute__((visibility("default")))
#else
#    define MODECONN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/** Version of the headers; modeconn_version() tells the library's. */
#define MODECONN_VERSION_MAJOR 0
#define MODECONN_VERSION_MINOR 1
#define MODECONN_VERSION_PATCH 0

/** Threads, allocator, seed; everything else belongs to one. */
typedef struct modeconn_context modeconn_context;
/** A typed, documented, ranged set of key-value settings. */
typedef struct modeconn_options modeconn_options;
/** Labelled images seen through a view (dataset.h). */
typedef struct modeconn_dataset modeconn_dataset;
/** A network with its parameters and statistics (model.h). */
typedef struct modeconn_model modeconn_model;

/* ---- status and error text ------------------------------------------------------------- */

/** What a call returns: pinned values, never renumbered. */
enum {
    MODECONN_OK = 0,
    MODECONN_ERROR_ARGUMENT = -1,    /**< NULL, or a value out of its range */
    MODECONN_ERROR_MEMORY = -2,      /**< the allocator returned NULL */
    MODECONN_ERROR_UNKNOWN = -3,     /**< no option, view, architecture, tensor ... of that name */
    MODECONN_ERROR_IO = -4,          /**< a file cannot be opened, read, written or renamed */
    MODECONN_ERROR_FORMAT = -5,      /**< a file is truncated, damaged or of another kind */
    MODECONN_ERROR_SHAPE = -6,       /**< shapes, counts or architectures do not go together */
    MODECONN_ERROR_NUMERIC = -7,     /**< a loss or parameter became NaN or infinite */
    MODECONN_ERROR_CANCELLED = -8,   /**< the progress callback asked to stop */
    MODECONN_ERROR_UNSUPPORTED = -9, /**< meaningful, but not for this object */
    MODECONN_ERROR_BUFFER = -10,     /**< the caller's buffer is too small */
    MODECONN_ERROR_SYSTEM = -11,     /**< the operating system refused (threads) */
    MODECONN_ERROR_CALLBACK = -12    /**< a function of the host's failed; the text has its code */
};

/** Name of a status code, e.g. "MODECONN_ERROR_SHAPE"; "unknown status" for any other value.
 *  A static string, never NULL. */
MODECONN_API const char *modeconn_status_name(int32_t status);

/** What went wrong in the last failed call of this thread, naming the culprit; "" if none has
 *  failed yet. Never NULL; valid until the next libmodeconn call on this thread. Also set when
 *  creating a context failed. */
MODECONN_API const char *modeconn_last_error(void);

/** The same text copied into `buffer` (see modeconn.h for capacity and needed). A failure of this
 *  call itself (_ARGUMENT, _BUFFER) leaves the text as it is. */
MODECONN_API int32_t modeconn_last_error_copy(char *buffer, int64_t capacity, int64_t *needed);

/** Version of the library: major * 1000000 + minor * 1000 + patch. */
MODECONN_API int32_t modeconn_version(void);

/** What this build is, as a JSON object: "version", "compiler", "blis" {"version", "kernel",
 *  "single_threaded"}, "isa" (instruction set that the kernels run on here). Two runs give the
 *  same bits only where this text is the same.
 *  @return MODECONN_OK, _ARGUMENT, _BUFFER or _MEMORY */
MODECONN_API int32_t modeconn_build_info(char *buffer, int64_t capacity, int64_t *needed);

/* ---- callbacks ------------------------------------------------------------------------- */

/**
 * Progress of a long call, on the thread that made the call: at least once a batch of samples, once
 * a round of weight matching, and now and then while intervals are drawn ("resamples"), which is no
 * step of its own.
 *
 * @param user          the pointer given with the callback
 * @param epoch         epochs (or points of a curve) finished, from 0
 * @param step          steps of the whole call finished, 0 .. total
 * @param total         steps of the whole call, at most: a curve with "refine_tolerance" and weight
 *                      matching may need fewer
 * @param loss          mean training loss of the running epoch, nats; NaN where there is none
 * @param accuracy      likewise, as a fraction
 * @param rate          learning rate of the step; NaN where there is none
 * @param seconds_left  estimate for the whole call; NaN while unknown
 * @return 0 to go on; anything else cancels: the call does nothing more, returns
 *         MODECONN_ERROR_CANCELLED and leaves every handle usable.
 *
 * The callback may use other handles, also for long calls, but not the handles that the running
 * call was given, except to read datasets.
 */
typedef int32_t (*modeconn_progress_fn)(void *user, int64_t epoch, int64_t step, int64_t total,
                                        double loss, double accuracy, double rate,
                                        double seconds_left);

/** A line of information for a person (UTF-8, no newline, cut at 1023 bytes), on the thread whose
 *  call it concerns; valid during the callback. */
typedef void (*modeconn_log_fn)(void *user, const char *message);

/** Returns `size` bytes aligned to `alignment` (a power of two, at least 64), or NULL. Must be
 *  safe to call from several threads. */
typedef void *(*modeconn_alloc_fn)(void *user, size_t size, size_t alignment);
/** Releases what the matching modeconn_alloc_fn returned; never called with NULL. */
typedef void (*modeconn_free_fn)(void *user, void *pointer);

/* ---- context --------------------------------------------------------------------------- */

/**
 * Creates a context: a thread pool, an allocator and a seed.
 *
 * @param options  kind "context", or NULL: "threads" (0 = every core this process may use: the
 *                 least of affinity mask and cgroup quota), "seed" (of everything made in this
 *                 context that has none of its own; default 0), "isa" (auto, baseline,
 *                 avx2, avx512)
 * @param out      receives the context; modeconn_context_destroy() it
 * @return MODECONN_OK, _ARGUMENT (also options of another kind), _MEMORY, _UNSUPPORTED (this
 *         processor lacks the instructions of "isa"), or _SYSTEM (threads cannot be started)
 *
 * Contexts are independent of each other. Handles keep their context alive. In a child made by
 * fork() while no call was running, the parent's handles work too, on the calling thread alone.
 */
MODECONN_API int32_t modeconn_context_create(const modeconn_options *options,
                                             modeconn_context **out);

/** Likewise, every allocation of the context and its handles through `alloc` and `release`
 *  (both given, or both NULL for the C library's). BLIS, zlib and jansson keep their own. */
MODECONN_API int32_t modeconn_context_create_with_allocator(const modeconn_options *options,
                                                            modeconn_alloc_fn alloc,
                                                            modeconn_free_fn release, void *user,
                                                            modeconn_context **out);

/** Releases the caller's reference; handles that are still alive keep working. NULL is ignored. */
MODECONN_API void modeconn_context_destroy(modeconn_context *context);

/** Number of threads that calls of this context compute on, the calling one included.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_context_threads(const modeconn_context *context, int32_t *threads);

/** Sends log lines to `log` (NULL: nowhere, the default): what a call that succeeds did beyond what
 *  it was asked, such as renaming tensors (modeconn_model_load_as()). Set it before other threads
 *  use the context.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_context_set_log(modeconn_context *context, modeconn_log_fn log,
                                              void *user);

/* ---- options --------------------------------------------------------------------------- */

/** Type of an option's value. Booleans are MODECONN_OPTION_I64 with range 0..1. */
enum { MODECONN_OPTION_I64 = 1, MODECONN_OPTION_F64 = 2, MODECONN_OPTION_STR = 3 };

/** Number of kinds of options; every kind is listed by modeconn_options_kind_name().
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_options_kind_count(int64_t *count);

/** Name of kind `index`, a static string: "context", "dataset", "model", "train", ...
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_options_kind_name(int64_t index, const char **name);

/**
 * Creates an options object of one kind, every key at its default.
 *
 * @param context  whose allocator to use; NULL: the C library's
 * @param kind     e.g. "train"
 * @param out      receives the object; modeconn_options_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (kind) or _MEMORY
 */
MODECONN_API int32_t modeconn_options_create(modeconn_context *context, const char *kind,
                                             modeconn_options **out);

/** Releases the object and the texts that its getters gave. NULL is ignored. */
MODECONN_API void modeconn_options_destroy(modeconn_options *options);

/** Set one key. Text is copied. On an error the key keeps its value.
 *  @return MODECONN_OK; _UNKNOWN: the kind has no such key (the nearest is suggested); _ARGUMENT:
 *          NULL, a value out of range, not among the choices, not finite, or of another type (an
 *          integer is accepted where an F64 is asked); _MEMORY (text) */
MODECONN_API int32_t modeconn_options_set_i64(modeconn_options *options, const char *key,
                                              int64_t value);
MODECONN_API int32_t modeconn_options_set_f64(modeconn_options *options, const char *key,
                                              double value);
MODECONN_API int32_t modeconn_options_set_str(modeconn_options *options, const char *key,
                                              const char *value);

/** Set one key of any type from text, e.g. ("learning_rate", "0.1"); '.' is the decimal point in
 *  every locale. Errors as above; a text that is not a number where one is asked is _ARGUMENT. */
MODECONN_API int32_t modeconn_options_set_text(modeconn_options *options, const char *key,
                                               const char *text);

/** Set several: "learning_rate=0.1,epochs=8". A value may hold commas ("hidden=64,32,classes=10"):
 *  one ends it only where "key=" follows. Empty text sets nothing. Errors as above; on one the keys
 *  before the bad one stay set. */
MODECONN_API int32_t modeconn_options_parse(modeconn_options *options, const char *settings);

/** Read one key back (its default where it was not set). The text stays valid until the key is
 *  set again or the object is destroyed.
 *  @return MODECONN_OK, _UNKNOWN (no such key) or _ARGUMENT (NULL, or a key of another type) */
MODECONN_API int32_t modeconn_options_get_i64(const modeconn_options *options, const char *key,
                                              int64_t *value);
MODECONN_API int32_t modeconn_options_get_f64(const modeconn_options *options, const char *key,
                                              double *value);
MODECONN_API int32_t modeconn_options_get_str(const modeconn_options *options, const char *key,
                                              const char **value);

/** Number of keys of this object's kind.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_options_count(const modeconn_options *options, int64_t *count);

/**
 * Describes key number `index`, for help texts and bindings. Every output is optional (NULL); a
 * static string, except that `range` stays valid until the object is destroyed.
 *
 * @param key            its name, the same in the API, the command line and every binding
 * @param type           MODECONN_OPTION_I64, _F64 or _STR
 * @param default_value  as modeconn_options_set_text() takes it
 * @param range          "[0, 1]", "(0, inf)", the choices "none|box", or "" for any text
 * @param help           one sentence, with the unit
 * @return MODECONN_OK or _ARGUMENT (also an index out of range)
 */
MODECONN_API int32_t modeconn_options_describe(const modeconn_options *options, int64_t index,
                                               const char **key, int32_t *type,
                                               const char **default_value, const char **range,
                                               const char **help);

/* ---- files ----------------------------------------------------------------------------- */

/** Writes `text` to `path` through a temporary file in the same folder and a rename, so that a
 *  reader sees the old content or the new, never a part. For the JSON and CSV of results. A
 *  symbolic link is followed, and has to lead to a file; a device or a pipe is written to as it is.
 *  @return MODECONN_OK, _ARGUMENT, _IO (names the path and the reason) or _MEMORY */
MODECONN_API int32_t modeconn_text_save(const char *path, const char *text);

#ifdef __cplusplus
}
#endif

#endif
