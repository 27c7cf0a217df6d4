/* SPDX-License-Identifier: BSD-3-Clause
 *
 * data: samples in memory (store), their views, cues, readers and generators. Depends on core.
 */
#ifndef MC_DATA_H
#define MC_DATA_H

#include "core/core.h"
#include <modeconn/dataset.h>

/* ---- store: the pixels and labels of one source, shared by all views of it --------------- */

/* Images that the cue "domino" draws above a store's own, a partner for each sample (dominoes.c).
 * They are uint8, of the height and width of the store's lower half. */
typedef struct mc_partners {
    int64_t n, channels; /* 1 or the store's */
    uint8_t *images;     /* [n][channels][h][w] */
    int64_t *partner;    /* [store n] in 0 .. n-1 */
} mc_partners;

typedef struct mc_attribute mc_attribute;

typedef struct mc_store {
    mc_ref ref;
    modeconn_context *context;
    char *source; /* "fashion-mnist", "cifar10", "shapes", "memory" ... for provenance */
    char *split;  /* "train", "test", "" */
    int64_t n, channels, height, width, classes;
    const uint8_t *u8; /* [n][C][H][W]; exactly one of u8 and f32 */
    const float *f32;
    const int32_t *labels;    /* [n] */
    bool unit_levels;         /* uint8 pixels become x / 255, not (x / 255 - 0.5) / 0.5 */
    int64_t content_top;      /* image content begins at this row; above is room for a cue */
    mc_partners partners;     /* n = 0: none */
    mc_attribute *attributes; /* that the generator can set apart, beside cue and image; or NULL */
    bool owned;               /* arrays are freed with the store; else `release` is called */
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
    /* `options` are of kind "dataset", checked, or NULL. */
    int32_t (*open)(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out);
} mc_reader;
extern const mc_reader mc_readers[];
extern const int64_t mc_readers_count;

/* Opens a store by the spec and split of modeconn_dataset_open(). */
int32_t mc_reader_open(modeconn_context *context, const char *spec, const char *split,
                       const modeconn_options *options, mc_store **out);

/* Opens a regular file for reading and tells its size; errors name the path. */
int32_t mc_data_file(const char *path, int *descriptor, int64_t *size);

/* "DIR/NAME" in memory of the context. */
char *mc_data_path(const modeconn_context *context, const char *folder, const char *name);

int32_t mc_open_fashion_mnist(modeconn_context *context, const char *rest, const char *split,
                              const modeconn_options *options, mc_store **out);
int32_t mc_open_idx(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out);
int32_t mc_open_cifar10(modeconn_context *context, const char *rest, const char *split,
                        const modeconn_options *options, mc_store **out);
int32_t mc_open_cifar100(modeconn_context *context, const char *rest, const char *split,
                         const modeconn_options *options, mc_store **out);
int32_t mc_open_dominoes(modeconn_context *context, const char *rest, const char *split,
                         const modeconn_options *options, mc_store **out);
int32_t mc_open_npy(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out);
int32_t mc_open_npz(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out);
int32_t mc_open_shapes(modeconn_context *context, const char *rest, const char *split,
                       const modeconn_options *options, mc_store **out);
int32_t mc_open_slabs(modeconn_context *context, const char *rest, const char *split,
                      const modeconn_options *options, mc_store **out);

/* Splits "FIRST,SECOND" into two names in one allocation, first to be freed; anything else is
 * MODECONN_ERROR_ARGUMENT showing `expected`. */
int32_t mc_data_two_names(const modeconn_context *context, const char *reader, const char *rest,
                          const char *expected, char **first, const char **second);

/* "name:key=value,..." with every key of the generator's kind and the seed resolved, so that
 * results say what the data were. */
void mc_settings_text(mc_text *text, const char *name, const modeconn_options *options,
                      const mc_option_kind *kind, uint64_t seed);

enum { MC_SHAPES_CHANNELS = 64 }; /* at most */

/* One image of the shapes set (figures.c): pixels [channels][size][size] and its class, a pure
 * function of the arguments. `stream` is MC_STREAM_SHAPES_TRAIN or _TEST. */
int32_t mc_shapes_image(uint64_t seed, uint32_t stream, int64_t index, int64_t size,
                        int64_t channels, double noise, uint8_t *pixels);

/* One plane [height][width] to [to_height][to_width] as PIL's 8-bit bilinear resize does
 * (resample.c). */
int32_t mc_resize_bilinear(const modeconn_context *context, const uint8_t *plane, int64_t height,
                           int64_t width, uint8_t *to, int64_t to_height, int64_t to_width);

/* The arrays of NumPy's files (npy.c): header and values of one array in memory. */
typedef struct mc_npy {
    const char *name; /* file and array, for errors */
    char kind;        /* 'u', 'i', 'f' or 'b' */
    int64_t width;    /* bytes a value */
    bool big_endian, fortran;
    int rank;
    int64_t shape[4], count;
    const uint8_t *values; /* [count * width], unaligned */
} mc_npy;

/* Reads the array of a whole .npy file in memory; MODECONN_ERROR_FORMAT names what is wrong. */
int32_t mc_npy_parse(const char *name, const uint8_t *bytes, int64_t size, mc_npy *out);
/* A store of images and labels, checked value by value. */
int32_t mc_npy_store(modeconn_context *context, const char *source, const char *split,
                     const mc_npy *images, const mc_npy *labels, mc_store **out);

/* ---- cues -------------------------------------------------------------------------------- */

/* What a view sets the cue of one sample to. */
typedef struct mc_cue_setting {
    int64_t sample; /* of the store */
    int32_t label;
    int64_t value;   /* 0 .. range-1; -1: the sample carries no cue */
    bool randomised; /* value is a draw, not the sample's own */
    uint64_t random; /* bits of this sample's own, for what `value` leaves open */
} mc_cue_setting;

/* A cue: an attribute with values 0 .. range-1 that can be drawn into an image. One row of
 * mc_cues (cue.c); rows of one name are variants for different stores. */
typedef struct mc_cue mc_cue;
struct mc_cue {
    const char *name;
    /* MODECONN_ERROR_SHAPE where the images cannot carry it. */
    int32_t (*fits)(const mc_cue *cue, const mc_store *store);
    /* Values of the counterfactual draw, "no cue" included. */
    int64_t (*range)(const mc_cue *cue, const mc_store *store);
    /* The value that sample `sample` of the store carries. */
    int64_t (*value_of)(const mc_store *store, int64_t sample);
    /* Whether drawing a value changes anything. */
    bool (*visible)(int64_t value);
    /* Draws a visible setting into x [C][H][W]. */
    int32_t (*draw)(const mc_cue *cue, const mc_store *store, const mc_cue_setting *setting,
                    float *x);
    bool host; /* runs the host's code: on the caller's thread, and its pixels are checked */
};
extern const mc_cue *const mc_cues[];
extern const int64_t mc_cues_count;

extern const mc_cue mc_cue_box;          /* cue_box.c: up to ten classes */
extern const mc_cue mc_cue_coloured_box; /* cue_box.c: up to a hundred */
extern const mc_cue mc_cue_domino;       /* dominoes.c */

/* Cue by name, NULL for "none", in the first variant that fits the store; MODECONN_ERROR_UNKNOWN
 * names what is neither. */
int32_t mc_cue_find(const char *name, const mc_store *store, const mc_cue **cue);

/* value_of() of cues whose value is the label; visible() of cues that always draw. */
int64_t mc_cue_value_is_label(const mc_store *store, int64_t sample);
bool mc_cue_always_visible(int64_t value);

/* ---- attributes beside cue and image (attribute.c) ------------------------------------------ */

/* A list that only grows at its end, which a handle points to; immutable and shared. Index 0 is
 * the attribute added first. */
struct mc_attribute {
    mc_ref ref;
    modeconn_context *context;
    mc_attribute *before; /* owned reference */
    int64_t count;        /* of the list that ends here */
    char *name, *view;    /* "slab1", "randslab1" */
    bool host;            /* `randomise` is the host's: on the caller's thread, pixels checked */
    modeconn_intervention_fn randomise;
    modeconn_release_fn release;
    void *user;
};

/* Appends to `before` (NULL: none; a reference of its own is taken). `release` is called with the
 * attribute's end, but not when this fails. */
int32_t mc_attribute_append(modeconn_context *context, mc_attribute *before, const char *name,
                            bool host, modeconn_intervention_fn randomise,
                            modeconn_release_fn release, void *user, mc_attribute **out);
mc_attribute *mc_attribute_take(mc_attribute *attributes);  /* NULL is fine here, */
void mc_attribute_drop(mc_attribute *attributes);           /* here */
int64_t mc_attribute_count(const mc_attribute *attributes); /* and here */
const mc_attribute *mc_attribute_at(const mc_attribute *attributes, int64_t index);

/* A cue of the host's (host.c), kept by the handles that draw it. */
typedef struct mc_host_cue mc_host_cue;
mc_host_cue *mc_host_cue_take(mc_host_cue *cue);
void mc_host_cue_drop(mc_host_cue *cue);

/* ---- views ------------------------------------------------------------------------------- */

/* From MC_VIEW_ATTRIBUTE on: that and an index into the handle's own attributes. Such a view
 * shows the cue as MC_VIEW_CUE does. */
typedef enum mc_view {
    MC_VIEW_NOCUE,
    MC_VIEW_CUE,
    MC_VIEW_RANDCUE,
    MC_VIEW_RANDIMG,
    MC_VIEW_ATTRIBUTE
} mc_view;

struct modeconn_dataset {
    mc_ref ref;
    mc_store *store;
    const mc_cue *cue;        /* NULL: none */
    mc_host_cue *host_cue;    /* what `cue` belongs to where it is the host's */
    mc_attribute *attributes; /* NULL: none beside cue and image */
    mc_view view;
    double proportion; /* of view cue (and of the original view behind randimg) */
    uint64_t seed;     /* of the random views */
    int64_t crop;      /* training passes: padding of the random crop, pixels */
    bool flip;         /* training passes: random horizontal flip */
    int64_t n;
    int64_t *index;   /* [n] sample in the store */
    uint8_t *carries; /* [n] whether the original carries the cue under `proportion` */
};

/* A handle over samples `index` [n] of a store, or its first n where NULL, with everything else
 * as in `like` (whose index and carries are not looked at); takes references of its own.
 * MODECONN_ERROR_SHAPE where the cue does not fit. */
int32_t mc_dataset_make(const modeconn_dataset *like, mc_view view, double proportion,
                        const int64_t *index, int64_t n, modeconn_dataset **out);

/* A handle over a whole store, as options of kind "dataset" (checked, or NULL) say. */
int32_t mc_dataset_from_store(mc_store *store, const modeconn_options *options,
                              modeconn_dataset **out);

/* What sample i of the handle carries in its view; value -1 where nothing is drawn. */
mc_cue_setting mc_dataset_cue_setting(const modeconn_dataset *dataset, int64_t i);

/* The sample of the store whose pixels sample i shows. */
int64_t mc_dataset_image_of(const modeconn_dataset *dataset, int64_t i);

/* The attribute that the handle's view randomises, NULL where that is the cue, the image or
 * nothing. */
const mc_attribute *mc_dataset_randomised(const modeconn_dataset *dataset);

/* MODECONN_ERROR_ARGUMENT naming the first of indices [n] (NULL: 0 .. n-1) outside the handle. */
int32_t mc_dataset_check_indices(const modeconn_dataset *dataset, const int64_t *indices,
                                 int64_t n);

/* What modeconn_dataset_describe() gives, in memory of `context`. */
int32_t mc_dataset_describe(const modeconn_dataset *dataset, const modeconn_context *context,
                            char **out);

/* Takes a reference for a handle that keeps the dataset. */
modeconn_dataset *mc_dataset_take(const modeconn_dataset *dataset);
/* Its first n samples, 1 .. dataset->n. */
int32_t mc_dataset_first(const modeconn_dataset *dataset, int64_t n, modeconn_dataset **out);

/* ---- reading (gather.c) -------------------------------------------------------------------- */

/* modeconn_dataset_read() without argument checks, spread over the context's threads; `first` is
 * used (first .. first+n-1) where indices is NULL. Fails only by the host's code. */
int32_t mc_dataset_gather(const modeconn_dataset *dataset, const int64_t *indices, int64_t first,
                          int64_t n, float *images, int32_t *labels)
    __attribute__((warn_unused_result));

/* Likewise for a training pass: with the crop and flip that (seed, epoch, sample) draw, under the
 * cue. */
int32_t mc_dataset_gather_training(const modeconn_dataset *dataset, const int64_t *indices,
                                   int64_t n, uint64_t seed, int64_t epoch, float *images,
                                   int32_t *labels) __attribute__((warn_unused_result));

/* View by name; MODECONN_ERROR_UNKNOWN names it and what there is. A name lives as long as the
 * handle. */
int32_t mc_view_find(const modeconn_dataset *dataset, const char *name, mc_view *view);
const char *mc_view_name(const modeconn_dataset *dataset, mc_view view);
/* The views of a handle in order: 0 .. count-1. */
int64_t mc_view_count(const modeconn_dataset *dataset);
mc_view mc_view_at(const modeconn_dataset *dataset, int64_t index);
/* The handle through each view of a comma list ("nocue,cue"; "" = all there are), the cue on all
 * samples: an array of `count` to be freed by mc_views_close(). MODECONN_ERROR_ARGUMENT names a
 * view that stands twice. */
int32_t mc_views_open(const modeconn_dataset *dataset, const char *list, int64_t *count,
                      modeconn_dataset ***views);
void mc_views_close(int64_t count, modeconn_dataset **views);

extern const mc_option_kind mc_kind_dataset;
extern const mc_option_kind mc_kind_shapes;
extern const mc_option_kind mc_kind_slabs;

#endif
