/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * @file model.h
 * @brief Networks: built-in architectures, graphs of your own, parameters, files. Conventions:
 *        modeconn.h.
 *
 * A model is a graph of layers over one flat parameter vector theta (float) and one flat vector
 * of batch-norm statistics (running means and unbiased running variances). Both are divided into
 * named blocks with the names, shapes and order of a PyTorch state dict ("layers.0.conv1.weight",
 * [64, 3, 3, 3], ...), so that weights can be exchanged with PyTorch as they are.
 */
#ifndef MODECONN_MODEL_H
#define MODECONN_MODEL_H

#include <modeconn/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Per-epoch record of the training or fine-tuning that made a model. */
typedef struct modeconn_history modeconn_history;
/** A network under construction. */
typedef struct modeconn_graph modeconn_graph;

/* ---- built-in architectures ------------------------------------------------------------ */

/** Number of built-in architectures. */
MODECONN_API int32_t modeconn_architecture_count(int64_t *count);
/** Name ("vgg13", "resnet18", "mlp", ...) and one-line description of architecture `index`; static
 *  strings, either output may be NULL.
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_architecture_describe(int64_t index, const char **name,
                                                    const char **description);

/**
 * Creates a model of a built-in architecture, initialised as PyTorch does (weights and linear
 * biases U(+-1/sqrt(fan_in)), batch norm gamma 1, beta 0, eps 1e-5, momentum 0.1).
 *
 * @param context  its owner
 * @param arch     "vgg13" (ten 3x3 convolutions with batch norm; paper, appendix); ResNets with the
 *                 CIFAR stem: "resnet18", "resnet34" of basic blocks at 64 to 512 channels,
 *                 "resnet56" at 16 to 64, "resnet50", "resnet18_bottleneck", "resnet56_bottleneck"
 *                 of bottlenecks; "mlp" (ReLU layers "hidden", without batch norm); "theory" (the
 *                 network of appendix F.3, below)
 * @param like     dataset that gives channels, height, width and classes; NULL: from options
 * @param options  kind "model", or NULL: "width" (multiplier of the channel counts, rounded to at
 *                 least 1), "widths" (the channel counts themselves, "16,32,...": ten for vgg13;
 *                 one a stage for a ResNet, of a bottleneck's narrow convolutions; one for
 *                 theory), "channels", "height", "width_pixels", "classes" (0 = from `like`),
 *                 "hidden" (mlp: "512,512"), "logit_scale" (theory: 10), "seed" (of the
 *                 initialisation; -1 = the context's). What the architecture does not read
 *                 changes nothing, so that one object serves several: "width" and "widths" are
 *                 read by all but mlp, "hidden" by mlp alone, "logit_scale" by theory alone
 * @param out      receives the model; modeconn_model_destroy() it
 * @return MODECONN_OK, _ARGUMENT (an option; a size that neither `like` nor the options give),
 *         _UNKNOWN (arch), _SHAPE (a layer's output is too large: named), _MEMORY
 *
 * "theory" is f(x; W) = (1/N) 1^T max(0, W^T x) with N = 512 times "width" units, no biases and
 * fixed output weights, for two classes. In the theory a minimizer interpolates labels 0 and 1,
 * f(x) = y; here the logits are (-m/2, m/2) with m = logit_scale (f - 1/2), so that a sample is
 * classified rightly exactly if f is on its label's side of 1/2. At f = y its cross-entropy is
 * log(1 + exp(-logit_scale/2)), 0.0067 nats; minimizers have f = 0 on class 0, but f of 1 and more
 * on class 1. Without biases f scales with x: classes that change along a coordinate need another
 * one that is constant. With positive output weights f is convex in x, so class 0 has a convex
 * region: classes 1, 0, 1 along a coordinate can be told apart, 0, 1, 0 cannot.
 */
MODECONN_API int32_t modeconn_model_create(modeconn_context *context, const char *arch,
                                           const modeconn_dataset *like,
                                           const modeconn_options *options, modeconn_model **out);

/** An independent copy: parameters, statistics, metadata and history.
 *  @return MODECONN_OK or _MEMORY */
MODECONN_API int32_t modeconn_model_clone(const modeconn_model *model, modeconn_model **out);

/** Releases the caller's reference. NULL is ignored. */
MODECONN_API void modeconn_model_destroy(modeconn_model *model);

/* ---- your own graph -------------------------------------------------------------------- */

/** Starts a graph whose node 0 is the input [channels][height][width].
 *  @param out receives the graph; modeconn_graph_destroy() it (models made of it live on)
 *  @return MODECONN_OK, _ARGUMENT (an extent outside 1 .. 2^20, or 2^31 values or more), _MEMORY */
MODECONN_API int32_t modeconn_graph_create(modeconn_context *context, int64_t channels,
                                           int64_t height, int64_t width, modeconn_graph **out);
/** Releases the graph. NULL is ignored. */
MODECONN_API void modeconn_graph_destroy(modeconn_graph *graph);

/**
 * Adds a layer.
 *
 * @param type      "conv2d" (its "groups" divide the channels on both sides; an output sees the
 *                  inputs of its own group, weight [out][in / groups][kernel][kernel]),
 *                  "batch_norm", "layer_norm" (over an image or the channels of a
 *                  pixel), "relu", "gelu" (exact or by tanh), "add", "avg_pool", "max_pool",
 *                  "global_avg_pool", "linear" (flattens [C][H][W] first), "mean_margin" (two
 *                  logits (-m/2, m/2), m = scale (mean of all inputs - threshold))
 * @param name      prefix of its parameter blocks ("conv1" gives "conv1.weight"), UTF-8; unique
 *                  among layers with parameters, not "__metadata__"; may be NULL for a layer
 *                  without
 * @param settings  options of kind `type` as text, e.g. "out_channels=64,kernel=3,padding=1";
 *                  NULL or "": defaults. modeconn_options_create(ctx, type, ...) lists the keys
 * @param inputs    [n_inputs] nodes that feed it (one; two of equal shape for "add")
 * @param node      receives the new node's number
 * @return MODECONN_OK; _ARGUMENT: name, value of a setting, number of inputs or a node that is
 *         not there, more than 2^16 nodes; _UNKNOWN: type or key; _SHAPE: the inputs do not fit the
 *         layer or each other, or the output is too large; _MEMORY. Errors name the layer; a failed
 *         call leaves the graph as it was
 */
MODECONN_API int32_t modeconn_graph_add(modeconn_graph *graph, const char *type, const char *name,
                                        const char *settings, const int32_t *inputs,
                                        int64_t n_inputs, int32_t *node);

/** Shape [channels][height][width] of a node's output; every output may be NULL.
 *  @return MODECONN_OK or _ARGUMENT (no such node) */
MODECONN_API int32_t modeconn_graph_shape(const modeconn_graph *graph, int32_t node,
                                          int64_t *channels, int64_t *height, int64_t *width);

/** Makes an initialised model of the graph as it stands; node `output` gives the logits (height
 *  and width 1, as a linear layer does) and its input is the penultimate representation. The graph
 *  may be added to afterwards.
 *  @param seed  of the initialisation; -1: the context's
 *  @param out   receives the model; modeconn_model_destroy() it
 *  @return MODECONN_OK, _ARGUMENT (no such node, a node that does not lead to the output, no
 *          parameters, seed below -1), _SHAPE (the output is not one value a class), _MEMORY */
MODECONN_API int32_t modeconn_model_from_graph(const modeconn_graph *graph, int32_t output,
                                               int64_t seed, modeconn_model **out);

/* ---- files ----------------------------------------------------------------------------- */

/** Writes parameters, statistics, architecture, metadata and history to a safetensors file, through
 *  a temporary file and a rename: an existing file survives any failure. Graphs of your own are
 *  saved with their layers. The history's column "samples_per_second", which no two runs have in
 *  common, is left out: equal runs give equal files, byte for byte.
 *  @return MODECONN_OK, _ARGUMENT (names and metadata beyond the format's 100 MB), _NUMERIC (a
 *          value is not finite, as after training that was cancelled while it diverged: it could
 *          not be read back), _IO (names the path), _MEMORY */
MODECONN_API int32_t modeconn_model_save(const modeconn_model *model, const char *path);

/** Reads a file that modeconn_model_save() wrote. Nothing in it is trusted: memory is taken only
 *  for values that the file holds.
 *  @return MODECONN_OK, _IO, _FORMAT (not safetensors, truncated, or without our
 *          metadata: see modeconn_model_load_as()), _UNKNOWN (a tensor that is missing or not
 *          expected: named; an architecture), _SHAPE (a tensor's: named), _NUMERIC (a value that
 *          is not finite or that float32 cannot hold, a negative variance: tensor named), _MEMORY;
 *          every error but the last names the path */
MODECONN_API int32_t modeconn_model_load(modeconn_context *context, const char *path,
                                         modeconn_model **out);

/** Reads a safetensors file without our metadata, such as a PyTorch export, as architecture
 *  `arch`; width, channels and classes are inferred from the shapes, height and width come from
 *  `like` (the dataset that it will see). "num_batches_tracked" tensors are ignored. Where every
 *  name begins with "module." (DataParallel) or "_orig_mod." (torch.compile), or several of them,
 *  they are taken off; the model's metadata "removed_prefix" and a log line say so. "theory" gets
 *  the default "logit_scale". Metadata are kept, but for an empty key. Errors as for
 *  modeconn_model_load(). */
MODECONN_API int32_t modeconn_model_load_as(modeconn_context *context, const char *path,
                                            const char *arch, const modeconn_dataset *like,
                                            modeconn_model **out);

/* ---- what it is ------------------------------------------------------------------------ */

/** Architecture name ("graph" for one of your own), valid while the model lives. */
MODECONN_API int32_t modeconn_model_architecture(const modeconn_model *model, const char **arch);

/** Input shape and number of classes; every output may be NULL. */
MODECONN_API int32_t modeconn_model_shape(const modeconn_model *model, int64_t *channels,
                                          int64_t *height, int64_t *width, int64_t *classes);

/** What it is, as a JSON object: "architecture", "settings", "input", "classes", "parameters",
 *  "statistics" (numbers of values), "metadata".
 *  @return MODECONN_OK, _ARGUMENT, _BUFFER or _MEMORY */
MODECONN_API int32_t modeconn_model_describe(const modeconn_model *model, char *buffer,
                                             int64_t capacity, int64_t *needed);

/** Provenance: text under a key of your own, both UTF-8 and copied; NULL value removes it. Saved
 *  with the model. Keys starting with "modeconn." are the library's. Setting and getting take a
 *  time that does not grow with the number of keys, removing one that does. The `value` read stays
 *  valid until the key is set again or the model is destroyed.
 *  @return MODECONN_OK; setting: _ARGUMENT (an empty key, the library's, not UTF-8), _MEMORY;
 *          getting: _UNKNOWN (the key is not set) */
MODECONN_API int32_t modeconn_model_set_metadata(modeconn_model *model, const char *key,
                                                 const char *value);
MODECONN_API int32_t modeconn_model_get_metadata(const modeconn_model *model, const char *key,
                                                 const char **value);

/* ---- parameters and statistics --------------------------------------------------------- */

/** Length of theta, and of the statistics vector. */
MODECONN_API int32_t modeconn_model_parameter_count(const modeconn_model *model, int64_t *count);
MODECONN_API int32_t modeconn_model_statistics_count(const modeconn_model *model, int64_t *count);

/** Copies theta out, or in; `count` must be exactly its length (_SHAPE otherwise). Setting a
 *  value that is not finite is _NUMERIC, names block and place, and changes nothing. */
MODECONN_API int32_t modeconn_model_get_parameters(const modeconn_model *model, float *theta,
                                                   int64_t count);
MODECONN_API int32_t modeconn_model_set_parameters(modeconn_model *model, const float *theta,
                                                   int64_t count);

/** Likewise for the statistics; running variances must not be negative. `statistics` may be NULL
 *  where there are none. */
MODECONN_API int32_t modeconn_model_get_statistics(const modeconn_model *model, float *statistics,
                                                   int64_t count);
MODECONN_API int32_t modeconn_model_set_statistics(modeconn_model *model, const float *statistics,
                                                   int64_t count);

/** Number of named blocks: parameters first, then statistics; either output may be NULL. */
MODECONN_API int32_t modeconn_model_block_count(const modeconn_model *model, int64_t *parameters,
                                                int64_t *statistics);

/**
 * Describes block `index` (0 .. parameters + statistics - 1); every output may be NULL.
 *
 * @param name    "layers.0.conv1.weight", valid while the model lives
 * @param offset  of its first value in theta, or in the statistics vector
 * @param size    number of values
 * @param rank    number of dimensions, at most 4
 * @param shape   receives 4 values, ones after the first `rank`; PyTorch's order (out, in, kh, kw)
 * @return MODECONN_OK or _ARGUMENT (index out of range)
 */
MODECONN_API int32_t modeconn_model_block(const modeconn_model *model, int64_t index,
                                          const char **name, int64_t *offset, int64_t *size,
                                          int32_t *rank, int64_t *shape);

/* ---- running it ------------------------------------------------------------------------ */

/** Logits of `n` images with the model's running statistics (eval mode). The model keeps the
 *  working memory for further calls, here and in modeconn_model_representation().
 *  @param images  [n][channels][height][width]
 *  @param logits  receives [n][classes]; infinite or NaN where the images are
 *  @return MODECONN_OK, _ARGUMENT (n below 0), _MEMORY */
MODECONN_API int32_t modeconn_model_logits(const modeconn_model *model, const float *images,
                                           int64_t n, float *logits);

/** Penultimate representation, [n][width], in eval mode; `width` may be asked for with
 *  images = NULL, n = 0, representation = NULL.
 *  @return MODECONN_OK, _ARGUMENT (n below 0), _UNSUPPORTED (the model has none), _MEMORY */
MODECONN_API int32_t modeconn_model_representation(const modeconn_model *model, const float *images,
                                                   int64_t n, float *representation,
                                                   int64_t *width);

/** Mean cross-entropy of one batch in training mode (batch statistics; the model's running
 *  statistics stay as they are) and its gradient.
 *  @param images    [n][channels][height][width]
 *  @param labels    [n], each 0 .. classes-1
 *  @param loss      receives the mean loss; may be NULL
 *  @param gradient  receives d loss / d theta, [parameter_count]
 *  @return MODECONN_OK, _ARGUMENT (n below 1; a label: sample named), _UNSUPPORTED (batch norm over
 *          a single value per channel: names the layer), _NUMERIC (the loss is not finite:
 *          `gradient` may have been written), _MEMORY */
MODECONN_API int32_t modeconn_model_gradient(const modeconn_model *model, const float *images,
                                             const int32_t *labels, int64_t n, double *loss,
                                             float *gradient);

/* ---- history --------------------------------------------------------------------------- */

/** The record of the call that made or last changed this model; an empty one after creation. A
 *  snapshot that later calls do not change; modeconn_history_destroy() it. */
MODECONN_API int32_t modeconn_model_history(const modeconn_model *model, modeconn_history **out);
/** Releases the snapshot; models that share it keep it. NULL is ignored. */
MODECONN_API void modeconn_history_destroy(modeconn_history *history);

/** Number of epochs, and of columns; either output may be NULL. */
MODECONN_API int32_t modeconn_history_size(const modeconn_history *history, int64_t *epochs,
                                           int64_t *columns);
/** Name of column `index`: "loss", "accuracy", "learning_rate", "samples_per_second" (not in a
 *  model that was loaded); fine-tuning adds what finetune.h lists. Valid while the history lives.
 *  @return MODECONN_OK or _ARGUMENT (index out of range) */
MODECONN_API int32_t modeconn_history_column(const modeconn_history *history, int64_t index,
                                             const char **name);
/** One value; NaN where that epoch has none.
 *  @return MODECONN_OK, _UNKNOWN (no such column) or _ARGUMENT (epoch out of range) */
MODECONN_API int32_t modeconn_history_value(const modeconn_history *history, const char *column,
                                            int64_t epoch, double *value);
/** {"columns": [...], "epochs": [{"loss": ..., ...}, ...]} with null for NaN, and a table with the
 *  header line "epoch,loss,..." and a line per epoch, numbered from 0, with "nan" for NaN.
 *  @return MODECONN_OK, _ARGUMENT, _BUFFER or _MEMORY */
MODECONN_API int32_t modeconn_history_json(const modeconn_history *history, char *buffer,
                                           int64_t capacity, int64_t *needed);
MODECONN_API int32_t modeconn_history_csv(const modeconn_history *history, char *buffer,
                                          int64_t capacity, int64_t *needed);

#ifdef __cplusplus
}
#endif

#endif
