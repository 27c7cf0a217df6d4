/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file align.h
 * @brief Symmetries of a model, and permuting its units to match another's (paper, "up to
 *        architectural symmetries"). Conventions: modeconn.h.
 *
 * Exchanging two hidden units together with everything that reads them changes the parameters but
 * not the function. Which units can be exchanged is derived from the layers: units joined by a sum
 * (a residual stream) share one permutation. Batch-norm statistics are permuted with their units.
 * A group's permutation p says: unit p[i] of the old model becomes unit i of the new one.
 *
 * A convolution in G groups leaves less freedom. Its input and its output units stand in G bundles
 * of equally many, one behind the other: units change places within their bundle, and bundles
 * change places as a whole, those of its inputs and of its outputs alike. So do the bundles of all
 * groups of units that such convolutions of the same G connect. Bundles stay where they are if one
 * of these groups holds the channels of the image or the logits, or meets convolutions of different
 * G; with different G, bundles are as small as units need to stay with either convolution. A
 * depthwise convolution with one output a channel keeps channels apart as batch norm does: its
 * inputs and outputs are the same units.
 */
#ifndef MODECONN_ALIGN_H
#define MODECONN_ALIGN_H

#include <modeconn/model.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The groups of units of a model that can change places. */
typedef struct modeconn_symmetry modeconn_symmetry;
/** One permutation a group. */
typedef struct modeconn_alignment modeconn_alignment;

/* ---- groups ---------------------------------------------------------------------------- */

/** Derives the groups of a model.
 *  @param out  receives the groups; modeconn_symmetry_destroy() it
 *  @return MODECONN_OK, _ARGUMENT, _UNSUPPORTED (a layer without a rule: named), _MEMORY */
MODECONN_API int32_t modeconn_symmetry_create(const modeconn_model *model, modeconn_symmetry **out);
MODECONN_API void modeconn_symmetry_destroy(modeconn_symmetry *symmetry);
/** Number of groups; 0 for a model without hidden units. */
MODECONN_API int32_t modeconn_symmetry_size(const modeconn_symmetry *symmetry, int64_t *groups);
/** Group `index`, in the order of the layers; every output may be NULL.
 *  @param name     of the first layer that makes its units ("layers.0.conv1", "conv1"), valid while
 *                  the handle lives
 *  @param size     number of units
 *  @param members  number of places in the model's blocks that are permuted with it
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_symmetry_group(const modeconn_symmetry *symmetry, int64_t index,
                                             const char **name, int64_t *size, int64_t *members);
/** Bundles of group `index`; both outputs may be NULL.
 *  @param bundles  how many of equal size its units stand in; 1: every unit can take every place
 *  @param order    the first group whose bundles change places as those of this one do (itself,
 *                  where it is the first); -1: they stay, as where there is one bundle
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_symmetry_bundles(const modeconn_symmetry *symmetry, int64_t index,
                                               int64_t *bundles, int64_t *order);
/** Member `member` of group `index`; every output may be NULL.
 *  @param block  number of the block (modeconn_model_block())
 *  @param outer  the block's values are [outer][units][inner]: outer is 1 for the channels that a
 *                layer makes, their number for those that it reads. Where a convolution in groups
 *                reads them (modeconn_symmetry_member_bundles() is not 1) they are
 *                [bundles][outer][units / bundles][inner], and units change places within their
 *                bundle only: where bundles move, those of the outputs move the whole bundle
 *  @param inner  taps of a kernel, or pixels of a flattened image
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_symmetry_member(const modeconn_symmetry *symmetry, int64_t index,
                                              int64_t member, int64_t *block, int64_t *outer,
                                              int64_t *inner);

/** Bundles in which member `member` of group `index` is read: the groups of a convolution that
 * reads it, else 1.
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_symmetry_member_bundles(const modeconn_symmetry *symmetry,
                                                      int64_t index, int64_t member,
                                                      int64_t *bundles);

/* ---- making alignments ------------------------------------------------------------------- */

/**
 * Finds permutations of `model` that match its units to those of `target`, and checks that the
 * permuted model gives the same logits (relative 1e-5) before it hands them out.
 *
 * Method "activations": both models see the same samples once, in eval mode. With x_i the values of
 * unit i of `target` and y_j those of unit j of `model` over all samples and pixels, behind the
 * ReLU (of a residual stream behind its last sum), the permutation of each group maximises the sum
 * of the matched units' "similarity":
 *  - correlation  sum (x_i - mean)(y_j - mean) / (|x_i - mean| |y_j - mean|), the centred cosine;
 *                 0 for a unit that does not vary
 *  - covariance   the same sum divided by the number of values
 *  - cosine       sum x_i y_j / (|x_i| |y_j|), not centred; 0 for a unit that is always zero
 * Where several matchings are as good (sums that differ by less than 1e-5 of the group's largest
 * similarity a pair: units that these samples never excite, or that say the same on all of them)
 * the weights decide among these: the inner product of the two parameter vectors, first by the
 * weights that make the units, then by all, group after group until none gains. So a permuted copy
 * is matched unit by unit, dead ones included. In the mean "similarity" a dead unit counts as 0.
 * Bundles that move are matched so that the sum over all groups that move alike is largest.
 *
 * Method "weights" (Ainsworth et al. 2023, algorithm 1) needs no data: it maximises the inner
 * product of the two parameter vectors by permuting one group after the other in a drawn order,
 * until none gains; the best of "restarts" orders. Bundles that move alike are one step more: the
 * best units for every pair of bundles, then the best pairs, kept where the product gains.
 *
 * Both methods give one answer: of permutations of a group that are equal still, the first in the
 * order of the units (of "weights", in the order that they have so far) is taken, on any number of
 * threads.
 *
 * @param target   stays as it is
 * @param model    of the same shape; is not changed
 * @param data     samples for "activations", in its current view; may be NULL for "weights"
 * @param options  kind "align", or NULL: "method" (default activations), "similarity", "samples"
 *                 (the first ones; 0 = all), "batch_size", "reference" (1: as the paper's code,
 *                 only the last batch of batch_size decides: that code matches anew on every
 *                 batch), "restarts", "sweeps" (most rounds over the groups), "seed" (of the
 *                 orders; -1 = the context's)
 * @param progress may be NULL
 * @param out      receives the alignment; modeconn_alignment_destroy() it
 * @return MODECONN_OK, _ARGUMENT, _SHAPE (the models differ, or the data do not fit), _UNSUPPORTED
 *         (as modeconn_symmetry_create()), _NUMERIC (an activation is not finite, or the permuted
 *         model's logits on noise are off by more than the rounding of logits of their size: also
 *         where large terms cancel in them), _CANCELLED, _MEMORY
 */
MODECONN_API int32_t modeconn_align(const modeconn_model *target, const modeconn_model *model,
                                    const modeconn_dataset *data, const modeconn_options *options,
                                    modeconn_progress_fn progress, void *user,
                                    modeconn_alignment **out);

/** An alignment of permutations given: those of all groups one after the other.
 *  @param count  sum of the groups' sizes (_SHAPE otherwise)
 *  @return MODECONN_OK, _ARGUMENT (a value out of range, twice in its group, or of another bundle
 *          than the others of its own or of the groups that move alike: group and place named),
 *          _SHAPE, _UNSUPPORTED, _NUMERIC (as modeconn_align()), _MEMORY */
MODECONN_API int32_t modeconn_alignment_from_permutations(const modeconn_model *model,
                                                          const int64_t *permutations,
                                                          int64_t count, modeconn_alignment **out);

MODECONN_API void modeconn_alignment_destroy(modeconn_alignment *alignment);

/* ---- using them -------------------------------------------------------------------------- */

/** The model with its units permuted: a copy with its metadata and history, the same function up to
 *  rounding, which is checked.
 *  @param model  of the shape that the alignment was made for (_SHAPE otherwise)
 *  @param out    receives the permuted model; modeconn_model_destroy() it
 *  @return MODECONN_OK, _ARGUMENT, _SHAPE, _NUMERIC (as modeconn_align()), _MEMORY */
MODECONN_API int32_t modeconn_alignment_apply(const modeconn_alignment *alignment,
                                              const modeconn_model *model, modeconn_model **out);

/** Number of groups, and sum of their sizes; either output may be NULL. */
MODECONN_API int32_t modeconn_alignment_size(const modeconn_alignment *alignment, int64_t *groups,
                                             int64_t *units);
/** One group; every output may be NULL.
 *  @param name        valid while the alignment lives
 *  @param moved       units that change places
 *  @param similarity  mean of the matched units, by the "similarity" of modeconn_align(); NaN
 *                     where none was taken
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_alignment_group(const modeconn_alignment *alignment, int64_t index,
                                              const char **name, int64_t *size, int64_t *moved,
                                              double *similarity);
/** The permutation of one group, [size].
 *  @return MODECONN_OK, _ARGUMENT (index out of range), _BUFFER (`capacity` below size) */
MODECONN_API int32_t modeconn_alignment_permutation(const modeconn_alignment *alignment,
                                                    int64_t index, int64_t *permutation,
                                                    int64_t capacity);

/** {"method", "settings", "samples", "data", "groups": [{"name", "size", "moved", "similarity",
 *  "permutation": [...]}, ...]}; "data", whose samples were seen, and "similarity" are null where
 *  none were. */
MODECONN_API int32_t modeconn_alignment_json(const modeconn_alignment *alignment, char *buffer,
                                             int64_t capacity, int64_t *needed);

/** Writes the permutations to a safetensors file, an int64 tensor a group under its name.
 *  @return MODECONN_OK, _IO (names the path), _MEMORY */
MODECONN_API int32_t modeconn_alignment_save(const modeconn_alignment *alignment, const char *path);
/** Reads what modeconn_alignment_save() wrote, for models shaped like `model`; checked as by
 *  modeconn_alignment_from_permutations().
 *  @return MODECONN_OK, _IO, _FORMAT (not such a file), _UNKNOWN (a group is missing: named),
 *          _SHAPE (a group of another size: named), _ARGUMENT (not a permutation), _UNSUPPORTED,
 *          _NUMERIC, _MEMORY */
MODECONN_API int32_t modeconn_alignment_load(const modeconn_model *model, const char *path,
                                             modeconn_alignment **out);

#ifdef __cplusplus
}
#endif

#endif
