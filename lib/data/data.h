/* SPDX-License-Identifier: BSD-3-Clause
 *
 * data: samples in memory (store), their views, cues, readers and generators. Depends on core.
 */
#ifndef MC_DATA_H
#define MC_DATA_H

#include "core/core.h"
#include <modeconn/dataset.h>

/* ---- store: the pixels and labels of one source, shared by all views of it --------------- */

typedef struct mc_store {
    mc_ref ref;
    modeconn_context *context;
    char *source; /* "fashion-mnist", "cifar10", "shapes", "memory" ... for provenance */
    char *split;  /* "train", "test", "" */
    int64_t n, channels, height, width, classes;
    const uint8_t *u8; /* [n][C][H][W]; exactly one of u8 and f32 */
    const float *f32;
    const int32_t *labels; /* [n] */
    bool owned;            /* arrays are freed with the store; else `release` is called */
    modeconn_release_fn release;
    void *release_user;
} mc_store;

/* Makes a store that owns zeroed arrays of this shape (u8 or f32) for a reader to fill. */
int32_t mc_store_create(modeconn_context *context, const char *source, const char *split, int64_t n,
                        int64_t channels, int64_t height, int64_t width, int64_t classes, bool u8,
                        mc_store **out);
/* The same over arrays of a caller, u8 or f32 (the other NULL): nothing is copied or checked, and
 * nothing is released with the store until its `release` is set. */
int32_t mc_store_wrap(modeconn_context *context, const char *source, const char *split, int64_t n,
                      int64_t channels, int64_t height, int64_t width, int64_t classes,
                      const uint8_t *u8, const float *f32, const int32_t *labels, mc_store **out);
mc_store *mc_store_take(mc_store *store);
void mc_store_drop(mc_store *store);

/* A reader opens what follows the colon of "name:rest" ("" where there is no colon). One row of
 * mc_readers (readers.c). */
typedef struct mc_reader {
    const char *name; /* "fashion-mnist" */
    const char *help; /* of the part after the colon */
    int32_t (*open)(modeconn_context *context, const char *rest, const char *split, mc_store **out);
} mc_reader;
extern const mc_reader mc_readers[];
extern const int64_t mc_readers_count;

/* Opens a store by the spec and split of modeconn_dataset_open(). */
int32_t mc_reader_open(modeconn_context *context, const char *spec, const char *split,
                       mc_store **out);

/* Opens a regular file for reading and tells its size; errors name the path. */
int32_t mc_data_file(const char *path, int *descriptor, int64_t *size);

/* "DIR/NAME" in memory of the context. */
char *mc_data_path(const modeconn_context *context, const char *folder, const char *name);

int32_t mc_open_fashion_mnist(modeconn_context *context, const char *rest, const char *split,
                              mc_store **out);
int32_t mc_open_idx(modeconn_context *context, const char *rest, const char *split, mc_store **out);
int32_t mc_open_cifar10(modeconn_context *context, const char *rest, const char *split,
                        mc_store **out);
int32_t mc_open_shapes(modeconn_context *context, const char *rest, const char *split,
                       mc_store **out);

enum { MC_SHAPES_CHANNELS = 64 }; /* at most */

/* One image of the shapes set (figures.c): pixels [channels][size][size] and its class, a pure
 * function of the arguments. `stream` is MC_STREAM_SHAPES_TRAIN or _TEST. */
int32_t mc_shapes_image(uint64_t seed, uint32_t stream, int64_t index, int64_t size,
                        int64_t channels, double noise, uint8_t *pixels);

/* ---- cues -------------------------------------------------------------------------------- */

/* A cue: an attribute with values 0 .. range-1 that can be drawn into an image. One row of
 * mc_cues (cue.c). */
typedef struct mc_cue {
    const char *name;
    int64_t range; /* of the counterfactual draw, "no cue" included */
    /* MODECONN_ERROR_SHAPE where the images cannot carry it. */
    int32_t (*fits)(const mc_store *store);
    int64_t (*value_of_label)(int32_t label);
    /* Draws `value` into x [C][H][W]; false (nothing drawn) for the value that means none. */
    bool (*draw)(int64_t value, int64_t channels, int64_t height, int64_t width, float *x);
    bool (*visible)(int64_t value);
} mc_cue;
extern const mc_cue *const mc_cues[];
extern const int64_t mc_cues_count;

extern const mc_cue mc_cue_box; /* cue_box.c */

/* Cue by name, NULL for "none"; MODECONN_ERROR_UNKNOWN names what is neither. */
int32_t mc_cue_find(const char *name, const mc_cue **cue);

/* ---- views ------------------------------------------------------------------------------- */

typedef enum mc_view { MC_VIEW_NOCUE, MC_VIEW_CUE, MC_VIEW_RANDCUE, MC_VIEW_RANDIMG } mc_view;

struct modeconn_dataset {
    mc_ref ref;
    mc_store *store;
    const mc_cue *cue; /* NULL: none */
    mc_view view;
    double proportion; /* of view cue (and of the original view behind randimg) */
    uint64_t seed;     /* of the random views */
    int64_t n;
    int64_t *index;   /* [n] sample in the store */
    uint8_t *carries; /* [n] whether the original carries the cue under `proportion` */
};

/* A handle over samples `index` [n] of a store, or its first n where NULL; takes a reference of
 * its own. MODECONN_ERROR_SHAPE where the cue does not fit. */
int32_t mc_dataset_make(mc_store *store, const mc_cue *cue, mc_view view, double proportion,
                        uint64_t seed, const int64_t *index, int64_t n, modeconn_dataset **out);

/* Likewise over a whole store, as options of kind "dataset" (checked, or NULL) say. */
int32_t mc_dataset_from_store(mc_store *store, const modeconn_options *options,
                              modeconn_dataset **out);

/* The cue's value on sample i of the handle in its view, or -1 where nothing is drawn. */
int64_t mc_dataset_cue_value(const modeconn_dataset *dataset, int64_t i);

/* MODECONN_ERROR_ARGUMENT naming the first of indices [n] (NULL: 0 .. n-1) outside the handle. */
int32_t mc_dataset_check_indices(const modeconn_dataset *dataset, const int64_t *indices,
                                 int64_t n);

/* Takes a reference for a handle that keeps the dataset. */
modeconn_dataset *mc_dataset_take(const modeconn_dataset *dataset);

/* modeconn_dataset_read() without argument checks, spread over the context's threads; `first` is
 * used (first .. first+n-1) where indices is NULL. */
void mc_dataset_gather(const modeconn_dataset *dataset, const int64_t *indices, int64_t first,
                       int64_t n, float *images, int32_t *labels);

/* View by name; MODECONN_ERROR_UNKNOWN names it and what there is. */
int32_t mc_view_find(const modeconn_dataset *dataset, const char *name, mc_view *view);
const char *mc_view_name(mc_view view);

extern const mc_option_kind mc_kind_dataset;
extern const mc_option_kind mc_kind_shapes;

#endif
