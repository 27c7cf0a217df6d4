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
 *  | randA   |       | the sample's,  | as in cue (none in a dataset without a cue)             |
 *  |         |       | attribute A    |                                                         |
 *  |         |       | randomised     |                                                         |
 *
 * A dataset has *attributes*, each with a view that randomises it and nothing else: with a cue
 * "cue" (view randcue) and "image" (randimg); then those of its generator ("slab1", "slab2", ... of
 * slabs, views randslab1, ...) and the host's own (modeconn_dataset_with_attribute()). A probe asks
 * for each of them. A dataset with neither cue nor attributes has the view nocue only.
 *
 * Random views are functions of (seed, view, sample) alone: the same in any order of access, for
 * any number of threads, at every point of a curve.
 *
 * Pixels: uint8 data become float (x / 255 - 0.5) / 0.5 before the cue is drawn (dominoes: x /
 * 255); float data are taken as they are.
 *
 * The cue "box" (the paper's, on CIFAR) is a square of 3x3 pixels at row 0, floor((H-3)/2) or H-3
 * and column 0, floor((W-3)/2) or W-3, from top left (place 0) to bottom right (place 8), row by
 * row; it needs images of 5x5 or more.
 *  - Up to ten classes: class c has place c, class 9 no box. Its value is 1 on images of one
 *    channel, (0, 1, 0) on three; with any other number channel 1 is 1 and the others are 0.
 *  - Eleven to a hundred classes, three channels (CIFAR-100): class c has place c mod 10 and the
 *    colour of hue floor(c/10)/10 at full saturation and value, written as (B, R, G). Place 9 has
 *    its corner at row floor((H-3)/2) - floor(H/4), likewise the column. In randcue the hue is
 *    uniform in [0, 1) beside the place.
 *
 * The cue "domino" is the upper half of dominoes (modeconn_dataset_dominoes()): an image of the
 * same class of another dataset; in randcue any image of it; zeros where there is no cue.
 *
 * The built-in "slabs" (paper, Appendix F.3) are vectors whose first coordinates are attributes, of
 * the complexities K in "slabs" ("0+4": two of them), independent given the label. [-width, width]
 * is cut into K + 1 slabs of equal thickness, at least two, with gaps of twice "margin" between
 * them; from the lowest on they belong to classes 0, 1, 0, ... (K = 0 and 1: two halves; K = 4:
 * five slabs). A sample lies in a slab of its class, each alike, or in the centre slab, if its
 * class has it, with the probability "centre"; its place there is uniform. Randomised, an attribute
 * has any slab, each alike. "noise" coordinates follow, uniform in [-noise_scale, noise_scale] or,
 * by "law", normal of that deviation. The built-in "shapes" are images of "size" x "size" pixels
 * in "channels", with noise of deviation "noise" times the range of grey. Both have "train"
 * and "test" samples, by "seed".
 *
 * Training passes (train.h, finetune.h) may see images through a random crop and flip, options
 * "crop" and "flip": drawn per sample and epoch from the pass's seed, the cue drawn afterwards, so
 * that it stays in its place. Nothing else is ever augmented: not modeconn_dataset_read(), no
 * evaluation, no statistics.
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
 *                 order, or test_batch.bin), "cifar100:DIR" (binary version: train.bin or
 *                 test.bin), "dominoes:CIFAR,FMNIST" (folders as of cifar10 and fashion-mnist),
 *                 "idx:IMAGES,LABELS" (one pair of files, also .gz; either split),
 *                 "npy:IMAGES,LABELS" (a pair of NumPy's .npy files, either split), "npz:FILE"
 *                 (arrays x_train and y_train, or x_test and y_test, by the split; else x or
 *                 images and y or labels, either split; images [n][C][H][W], [n][H][W] or [n][d],
 *                 integers 0 .. 255 taken as uint8 data, floats as they are; labels [n] of whole
 *                 numbers; any byte order, C or Fortran order), "shapes[:settings]" (built in,
 *                 drawn from the seed: ten classes of simple figures, each block of ten holds one
 *                 of each; settings are options of kind "shapes", e.g.
 *                 "shapes:size=32,channels=3,train=4000"; their seed is 0 by default, whatever the
 *                 context's, so that the data stay the same), "slabs[:settings]" (built in, two
 *                 classes: vectors [d][1][1] of attributes of chosen complexity and noise, paper,
 *                 Appendix F.3; options of kind "slabs", e.g.
 *                 "slabs:slabs=0+4,noise=18,margin=0.1"; seed likewise)
 * @param split    "train" or "test"
 * @param options  kind "dataset", or NULL: "cue" (none, box, domino), "view", "cue_proportion" (p
 *                 of the views cue and randimg), "limit" (at most the first n samples, 0 = all),
 *                 "seed" (of the random views; -1 = the context's), "labels" (of cifar100: fine,
 *                 coarse), "crop" (padding of the random crop of training passes, pixels of value 0
 *                 before the normalisation), "flip" (1: they flip left to right half of the time)
 * @param out      receives the dataset; modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _UNKNOWN (spec, split, key of "shapes" or "slabs", array of an
 *         npz, view that the dataset has not), _IO, _FORMAT (both name the file), _SHAPE (images
 *         and labels differ in number; cue does not fit the images), _MEMORY
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

/**
 * Dominoes (as in the paper): images of `top` above those of `bottom`, [C][2H][W] for a bottom
 * of [C][H][W]. The i-th sample of class c of `bottom` is paired with the i-th of class c of `top`
 * (from the first again where they run out). Top images are resized to HxW as PIL's 8-bit
 * Image.resize(..., BILINEAR) does, byte for byte, always rows first (newer versions of Pillow take
 * columns first where images get lower and wider); grey ones go to every channel. Pixels are x /
 * 255. The cue "domino" is the top half; without it the half is zeros.
 *
 * @param top, bottom  uint8 data of equal class count, seen through the view nocue; `top` of one
 *                     channel or as many as `bottom`. Copied.
 * @param options      as for modeconn_dataset_open(); "cue" = "domino" for the paper's views
 * @param out          receives the dataset, of the bottom's context, samples and split;
 *                     modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _SHAPE (class counts, channels; no top sample of a class),
 *         _UNSUPPORTED (float data; another view), _UNKNOWN (view), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_dominoes(const modeconn_dataset *top,
                                               const modeconn_dataset *bottom,
                                               const modeconn_options *options,
                                               modeconn_dataset **out);

/**
 * Draws a cue of the host's into one image.
 *
 * @param user    the pointer given with the function
 * @param sample  the sample's place in its source, the same in every view and subset
 * @param label   its label
 * @param value   what to draw: the label in the views cue and randimg, a draw from 0 .. range-1 in
 *                randcue
 * @param random  64 random bits, a function of (seed, view, sample), for what the value leaves open
 * @param image   [channels][height][width], normalised, in and out
 * @return 0, or a code of the host's that ends the call
 *
 * Called on the thread that made the library's call, one sample at a time in each call, as often
 * and in any order as the library likes: what it does must be a function of its arguments alone, or
 * results do not repeat. Where threads share a dataset, it runs in several of them at once. It may
 * not use the handles that the running call was given, except to read other datasets. A code other
 * than 0, or a value left that is not finite, makes the call fail with MODECONN_ERROR_CALLBACK; its
 * text names the cue, the sample and the code.
 */
typedef int32_t (*modeconn_cue_fn)(void *user, int64_t sample, int32_t label, int64_t value,
                                   uint64_t random, float *image, int64_t channels, int64_t height,
                                   int64_t width);

/** Randomises an attribute of the host's in one image, independently of the label: its value is to
 *  be made of `random`. Everything else as for modeconn_cue_fn. */
typedef int32_t (*modeconn_intervention_fn)(void *user, int64_t sample, int32_t label,
                                            uint64_t random, float *image, int64_t channels,
                                            int64_t height, int64_t width);

/**
 * The same samples with a cue of the host's in place of any other: every view, probe and
 * fine-tuning method takes it as it takes the box.
 *
 * @param name     1 to 40 letters, digits and underscores, not "none"; results carry it, so let it
 *                 differ from the built-in cues' ("box", "domino")
 * @param range    values of the cue, from the number of classes to 2^31 - 1: label c has value c,
 *                 randcue draws from all
 * @param draw     the function; `user` is handed to it
 * @param release  called with `user` when the last handle that draws the cue is gone; may be NULL.
 *                 Not called when this fails.
 * @param out      receives a dataset of its own, of this one's view and proportion;
 *                 modeconn_dataset_destroy() it
 * @return MODECONN_OK, _ARGUMENT (also name and range), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_with_cue(const modeconn_dataset *dataset, const char *name,
                                               int64_t range, modeconn_cue_fn draw,
                                               modeconn_release_fn release, void *user,
                                               modeconn_dataset **out);

/**
 * The same samples with one more attribute: the view "rand" + name shows them (with the cue, if
 * there is one) with that attribute randomised, and probes ask for it too.
 *
 * @param name       as above; neither taken yet nor "cue", "image" or "img"
 * @param randomise  the intervention; `user` is handed to it
 * @param release, out  as above
 * @return MODECONN_OK, _ARGUMENT (also the name), _MEMORY
 */
MODECONN_API int32_t modeconn_dataset_with_attribute(const modeconn_dataset *dataset,
                                                     const char *name,
                                                     modeconn_intervention_fn randomise,
                                                     modeconn_release_fn release, void *user,
                                                     modeconn_dataset **out);

/** Releases the caller's reference; views, subsets and results made of it live on. NULL is
 *  ignored. */
MODECONN_API void modeconn_dataset_destroy(modeconn_dataset *dataset);

/**
 * The same samples through another view; pixels are shared, not copied.
 *
 * @param view        "nocue", "cue", "randcue", "randimg" or the view of another attribute
 * @param proportion  p in [0, 1] for "cue": the share of each class that carries it, counted over
 *                    the samples of this handle in their order. In "randimg" and the views of other
 *                    attributes it is the p of the original view. Ignored by nocue and randcue.
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

/** Number of views that this dataset can be seen through: 4 with a cue, 1 without, and one for each
 *  attribute beside cue and image.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_dataset_view_count(const modeconn_dataset *dataset, int64_t *count);

/** Name of view `index` (0 .. count-1: nocue, with a cue also cue, randcue, randimg, then those of
 *  the other attributes), valid as long as the dataset.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_dataset_view_name(const modeconn_dataset *dataset, int64_t index,
                                                const char **name);

/** Number of attributes that this dataset can randomise, see above.
 *  @return MODECONN_OK or _ARGUMENT */
MODECONN_API int32_t modeconn_dataset_attribute_count(const modeconn_dataset *dataset,
                                                      int64_t *count);

/** Attribute `index` (0 .. count-1): its name and the view that randomises it, either may be NULL;
 *  valid as long as the dataset.
 *  @return MODECONN_OK or _ARGUMENT (also an index out of range) */
MODECONN_API int32_t modeconn_dataset_attribute(const modeconn_dataset *dataset, int64_t index,
                                                const char **name, const char **view);

/** Samples as a model sees them through this handle's view.
 *  @param indices  [n], each 0 .. number of samples - 1; NULL: samples 0 .. n-1
 *  @param images   receives [n][channels][height][width]; may be NULL
 *  @param labels   receives [n]; may be NULL
 *  @return MODECONN_OK, _ARGUMENT (also an index out of range, which is named) or _CALLBACK (a
 *          function of the host's: outputs may have been written in part) */
MODECONN_API int32_t modeconn_dataset_read(const modeconn_dataset *dataset, const int64_t *indices,
                                           int64_t n, float *images, int32_t *labels);

/** The value of the cue that each sample carries in this view: 0 .. range-1, or -1 for none. Box:
 *  the place 0 top-left .. 8 bottom-right, row by row; the tenth is 9 where it is drawn (over ten
 *  classes), else -1. Domino: the upper image's number in its dataset.
 *  `indices` and errors as above; `values` receives [n]. */
MODECONN_API int32_t modeconn_dataset_cue_values(const modeconn_dataset *dataset,
                                                 const int64_t *indices, int64_t n,
                                                 int32_t *values);

/** What this handle is, as a JSON object: "source", "split", "n", "shape" [C, H, W], "classes",
 *  "cue" ("none" or its name), "view", "cue_proportion" (null in views that it does not touch),
 *  "seed", "attributes" (names), "crop", "flip". The sources of shapes and slabs spell out every
 *  setting. Results carry it.
 *  @return MODECONN_OK, _ARGUMENT, _BUFFER or _MEMORY */
MODECONN_API int32_t modeconn_dataset_describe(const modeconn_dataset *dataset, char *buffer,
                                               int64_t capacity, int64_t *needed);

#ifdef __cplusplus
}
#endif

#endif
