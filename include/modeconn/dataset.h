/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file dataset.h
 * @brief Labelled images, and the cues and counterfactual views of the paper. Conventions:
 *        modeconn.h.
 *
 * A dataset handle is an immutable list of samples seen through one *view*. The cue is an
 * attribute that the data-generating process can set apart from the image content; views differ
 * in what they do with it:
 *
 *  | view    | paper | image          | cue                                                     |
 *  |---------|-------|----------------|---------------------------------------------------------|
 *  | nocue   | NC    | the sample's   | none                                                    |
 *  | cue     | C     | the sample's   | the label's, on the first trunc(n_c * p) samples of     |
 *  |         |       |                | each class c (dataset order, n_c * p in double)         |
 *  | randcue | RC    | the sample's   | uniform over the cue's whole range, the true value and  |
 *  |         |       |                | "no cue" included, independent of the label             |
 *  | randimg | RI    | another one,   | the sample's own, label too                             |
 *  |         |       | uniform, with  |                                                         |
 *  |         |       | replacement    |                                                         |
 *
 * Random views are functions of (seed, view, sample) alone: the same in any order of access, for
 * any number of threads, at every point of a curve. A dataset without a cue has the view nocue
 * only.
 *
 * Pixels: uint8 data become float (x / 255 - 0.5) / 0.5 before the cue is drawn; float data are
 * taken as they are.
 *
 * The cue "box" is a square of 3x3 pixels at row 0, floor((H-3)/2) or H-3 and column 0,
 * floor((W-3)/2) or W-3: classes 0 .. 8 from top left to bottom right, row by row; class 9 has no
 * box. Its value is 1 on images of one channel, (0, 1, 0) on three; with any other number channel
 * 1 is 1 and the others are 0. It needs images of 5x5 or more and at most ten classes.
 */
#ifndef MODECONN_DATASET_H
#define MODECONN_DATASET_H

#include <modeconn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Opens a dataset by name.
 *
 * @param context  its owner
 * @param spec     "fashion-mnist[:DIR]" (IDX files, also .gz; DIR defaults to
 *                 /usr/share/datasets/fashion-mnist, Debian's dataset-fashion-mnist),
 *                 "cifar10:DIR" (binary version: the data_batch_*.bin that are there, in numeric
 *                 order, or test_batch.bin), "idx:IMAGES,LABELS" (one pair of files, also .gz;
 *                 either split), "shapes[:settings]" (built in, drawn from the seed: ten classes
 *                 of simple figures, each block of ten holds one of each; settings are
 *                 options of kind "shapes", e.g. "shapes:size=32,channels=3,train=4000"; their
 *                 seed is 0 by default, whatever the context's, so that the data stay the same)
 * @param split    "train" or "test"
 * @param options  kind "dataset", or NULL: "cue" (none, box), "view", "cue_proportion" (p of the
 *                 views cue and randimg), "limit" (at most the first n samples, 0 = all), "seed"
 *                 (of the random views; -1 = the context's)
 * @param out      receives the dataset; modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (spec, split, key of "shapes", view with a cue of a
 *         dataset without one), _IO, _FORMAT (both name the file), _SHAPE (images and labels differ
 *         in number; cue does not fit the images), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_open(modeconn_context *context, const char *spec,
                                           const char *split, const modeconn_options *options,
                                           modeconn_dataset **out);

/**
 * Makes a dataset of arrays in memory, copied.
 *
 * @param images   [n][channels][height][width]; f32: finite, taken as they are; u8: 0..255
 * @param labels   [n], each 0 .. classes-1
 * @param n, channels, height, width, classes  all at least 1
 * @param options  as for modeconn_dataset_open()
 * @param out      receives the dataset; modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT (a label out of range or a pixel that is not finite: names the
 *         sample), _UNKNOWN (view), _SHAPE (cue), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_from_f32(modeconn_context *context, const float *images,
                                               const int32_t *labels, int64_t n, int64_t channels,
                                               int64_t height, int64_t width, int64_t classes,
                                               const modeconn_options *options,
                                               modeconn_dataset **out);
MODECONN_API int32_t modeconn_dataset_from_u8(modeconn_context *context, const uint8_t *images,
                                              const int32_t *labels, int64_t n, int64_t channels,
                                              int64_t height, int64_t width, int64_t classes,
                                              const modeconn_options *options,
                                              modeconn_dataset **out);

/** Called once when the last user of lent arrays is gone, on the thread that let go of it. */
typedef void (*modeconn_release_fn)(void *user);

/** Likewise, the arrays lent, not copied: they stay valid and unchanged until `release` (may be
 *  NULL) is called with `user`, which is when the last handle over them is gone: views and subsets
 *  too, and whatever keeps a dataset. It is not called when the creation fails. */
MODECONN_API int32_t modeconn_dataset_borrow_f32(modeconn_context *context, const float *images,
                                                 const int32_t *labels, int64_t n, int64_t channels,
                                                 int64_t height, int64_t width, int64_t classes,
                                                 const modeconn_options *options,
                                                 modeconn_release_fn release, void *user,
                                                 modeconn_dataset **out);
MODECONN_API int32_t modeconn_dataset_borrow_u8(modeconn_context *context, const uint8_t *images,
                                                const int32_t *labels, int64_t n, int64_t channels,
                                                int64_t height, int64_t width, int64_t classes,
                                                const modeconn_options *options,
                                                modeconn_release_fn release, void *user,
                                                modeconn_dataset **out);

/** Releases the caller's reference; views, subsets and results made of it live on. NULL is
 *  ignored. */
MODECONN_API void modeconn_dataset_destroy(modeconn_dataset *dataset);

/**
 * The same samples through another view; pixels are shared, not copied.
 *
 * @param view        "nocue", "cue", "randcue" or "randimg"
 * @param proportion  p in [0, 1] for "cue": the share of each class that carries it, counted over
 *                    the samples of this handle in their order. In "randimg" it is the p of the
 *                    original view. Ignored by the others.
 * @param out         receives a dataset of its own; modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (no such view; views with a cue of a dataset without
 *         one), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_view(const modeconn_dataset *dataset, const char *view,
                                           double proportion, modeconn_dataset **out);

/** The samples `indices` [n] of this handle, in that order, repeats allowed, as a dataset of its
 *  own. Views of the subset are taken anew over it, except that a sample keeps its random draws.
 *  @return MODECONN_OK, _ARGUMENT (n below 1; index out of range: named), _MEMORY */
MODECONN_API int32_t modeconn_dataset_subset(const modeconn_dataset *dataset,
                                             const int64_t *indices, int64_t n,
                                             modeconn_dataset **out);

/**
 * Draws `n` samples without replacement and leaves the others: two disjoint datasets, each in the
 * order of this one (in the paper's fine-tuning experiments the 2,500 clean samples and the 47,500
 * that pretrain).
 *
 * @param n      1 .. number of samples; with `rest` asked for, fewer than all
 * @param seed   of the draw; -1: the context's
 * @param drawn  receives the n samples
 * @param rest   receives the others; may be NULL
 * @return MODECONN_OK, _ARGUMENT, _MEMORY; on an error both outputs are NULL
 */
MODECONN_API int32_t modeconn_dataset_split(const modeconn_dataset *dataset, int64_t n,
                                            int64_t seed, modeconn_dataset **drawn,
                                            modeconn_dataset **rest);

/** Number of samples and shape; every output may be NULL.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_dataset_shape(const modeconn_dataset *dataset, int64_t *n,
                                            int64_t *channels, int64_t *height, int64_t *width,
                                            int64_t *classes);

/** Number of views that this dataset can be seen through: 4 with a cue, 1 without.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_dataset_view_count(const modeconn_dataset *dataset, int64_t *count);

/** Name of view `index` (0 .. count-1: nocue, cue, randcue, randimg), a static string.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_dataset_view_name(const modeconn_dataset *dataset, int64_t index,
                                                const char **name);

/** Samples as a model sees them through this handle's view.
 *  @param indices  [n], each 0 .. number of samples - 1; NULL: samples 0 .. n-1
 *  @param images   receives [n][channels][height][width]; may be NULL
 *  @param labels   receives [n]; may be NULL
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range, which is named) */
MODECONN_API int32_t modeconn_dataset_read(const modeconn_dataset *dataset, const int64_t *indices,
                                           int64_t n, float *images, int32_t *labels);

/** The value of the cue that each sample carries in this view: 0 .. range-1, or -1 for none (box:
 *  the place 0 top-left .. 8 bottom-right, row by row; its tenth value draws nothing and is -1).
 *  `indices` and errors as above; `values` receives [n]. */
MODECONN_API int32_t modeconn_dataset_cue_values(const modeconn_dataset *dataset,
                                                 const int64_t *indices, int64_t n,
                                                 int32_t *values);

/** What this handle is, as a JSON object: "source", "split", "n", "shape" [C, H, W], "classes",
 *  "cue" ("none" or its name), "view", "cue_proportion" (null in views that it does not touch),
 *  "seed". The source of shapes spells out every setting. Results carry it.
 *  @return MODECONN_OK, _ARGUMENT, _BUFFER or _MEMORY */
MODECONN_API int32_t modeconn_dataset_describe(const modeconn_dataset *dataset, char *buffer,
                                               int64_t capacity, int64_t *needed);

#ifdef __cplusplus
}
#endif

#endif
