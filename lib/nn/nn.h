/* SPDX-License-Identifier: BSD-3-Clause
 *
 * nn: models. The first half is the small interface through which training, paths, fine-tuning
 * and measurement know a model: named blocks, and a session that evaluates, differentiates and
 * gathers statistics at any parameter vector. The graph engine (graph.h) is one implementation;
 * a model of host callbacks can be another without a change above.
 */
#ifndef MC_NN_H
#define MC_NN_H

#include "core/core.h"
#include <modeconn/model.h>

/* ---- batches --------------------------------------------------------------------------- */

typedef struct mc_batch {
    const float *x;   /* [n][C][H][W] */
    const int32_t *y; /* [n] */
    int64_t n;
} mc_batch;

/* How batch norm gets its mean and variance. */
typedef enum mc_norm_mode {
    MC_NORM_BATCH,  /* of the batch itself */
    MC_NORM_RUNNING /* the bound statistics */
} mc_norm_mode;

/* ---- sessions -------------------------------------------------------------------------- */

/* Working memory for one model's graph: activations, gradients, prepared weights. Independent of
 * the model's own parameters; used by one thread at a time. */
typedef struct mc_session mc_session;

/* What a pair objective (CBFT's L_CE + lambda/K L_I) gets of two batches and gives back:
 * cotangents of its value. `d_*` arrive zeroed. A nonzero return ends the call with it. */
typedef struct mc_pair {
    int64_t n[2];           /* samples of batch a and batch b */
    int64_t classes, width; /* logits per sample; width of the representation */
    const int32_t *y[2];
    const float *logits[2];         /* [n][classes] */
    const float *representation[2]; /* [n][width] */
    float *d_logits[2];
    float *d_representation[2];
} mc_pair;
typedef int32_t (*mc_pair_fn)(void *user, const mc_pair *pair);

/* A node's output [rows][channels] of the pass that runs, rows = n * h * w, sample by sample; valid
 * during the call only. Nodes are numbered as mc_model_node() knows them. */
typedef void (*mc_visit_fn)(void *user, int32_t node, const float *values, int64_t rows,
                            int64_t channels);

/* The interface. bind() borrows `theta`: it stays where and as it is until the next bind() or
 * the session's last use. Losses are cross-entropies in nats. Every function returns a status. */
typedef struct mc_model_ops {
    /* Memory for batches up to max_batch; `passes` = 2 where pair_gradient() is wanted;
     * `gradients` false leaves the backward memory out. */
    int32_t (*session_create)(const modeconn_model *model, int64_t max_batch, int passes,
                              bool gradients, mc_session **out);
    void (*session_destroy)(mc_session *session);

    /* Borrows theta [n_theta]; copies, unless NULL, statistics [n_stats] for MC_NORM_RUNNING. To be
     * called again whenever theta has changed. */
    int32_t (*bind)(mc_session *session, const float *theta, const float *statistics);

    /* Per-sample losses [n] and whether the arg max is the label [n]; each may be NULL. Ties of
     * the arg max go to the lowest class. */
    int32_t (*evaluate)(mc_session *session, mc_norm_mode mode, const mc_batch *batch, double *loss,
                        uint8_t *correct);

    /* Logits [n][classes] and representation [n][width]; each may be NULL; batch->y unused. */
    int32_t (*outputs)(mc_session *session, mc_norm_mode mode, const mc_batch *batch, float *logits,
                       float *representation);

    /* Evaluates a batch (batch->y unused) and hands the output of every layer, in their order, to
     * `visit`. NULL for a model whose layers are not known. */
    int32_t (*activations)(mc_session *session, mc_norm_mode mode, const mc_batch *batch,
                           mc_visit_fn visit, void *user);

    /* Training mode: grad [n_theta] = scale * d/dtheta mean_i s(loss_i) of the batch, overwritten;
     * loss and correct as for evaluate(). Where `running` is not NULL, running statistics are
     * updated in it with the model's momentum (biased for the batch, unbiased into the running
     * variance). MODECONN_ERROR_NUMERIC if the mean loss is not finite: grad is then undefined
     * and `running` unchanged. */
    int32_t (*gradient)(mc_session *session, const mc_batch *batch, double scale, double *loss,
                        uint8_t *correct, float *grad, float *running);

    /* The same at scale 1, added to what `to` [n_theta] holds once prepare(user) returns, which is
     * called when nothing can fail any more. */
    int32_t (*gradient_added)(mc_session *session, const mc_batch *batch, double *loss,
                              uint8_t *correct, void (*prepare)(void *user), void *user, float *to,
                              float *running);

    /* Training mode on two batches (each with its own batch statistics): calls fn, then grad
     * [n_theta] = pulled-back cotangents of both, overwritten. `running` sees a, then b. NULL for
     * a model without a representation. */
    int32_t (*pair_gradient)(mc_session *session, const mc_batch *a, const mc_batch *b,
                             mc_pair_fn fn, void *user, float *grad, float *running);

    /* Exact pooled statistics of any number of batches in training mode: begin, add each,
     * finish writes means and unbiased variances [n_stats]. */
    int32_t (*statistics_begin)(mc_session *session);
    int32_t (*statistics_add)(mc_session *session, const mc_batch *batch);
    int32_t (*statistics_finish)(mc_session *session, float *statistics);

    /* One pass in training mode that only updates `running` (policy ema). */
    int32_t (*statistics_ema)(mc_session *session, const mc_batch *batch, float *running);

    /* The smallest batch that training mode takes: 2 where some batch norm sees one value per
     * channel and sample (names that layer in `layer`, static or owned by the model), else 1. */
    int64_t (*smallest_batch)(const modeconn_model *model, const char **layer);
} mc_model_ops;

/* ---- models ---------------------------------------------------------------------------- */

/* Largest extent or channel count of a layer. */
enum { MC_EXTENT_MOST = 1 << 20 };

/* Fills theta by the layers' init rules from (seed, MC_STREAM_INIT, index), statistics with 0, 1.
 */
void mc_model_initialise(modeconn_model *model, uint64_t seed);

typedef struct mc_block {
    char *name;
    int64_t offset, size; /* in theta or statistics */
    int32_t rank;
    int64_t shape[4]; /* PyTorch's order, ones after rank */
} mc_block;

/* Table of a job's epochs: `columns` names, values [epochs][columns]. Immutable once it belongs
 * to a model; shared by reference. */
struct modeconn_history {
    mc_ref ref;
    modeconn_context *context;
    char **columns;
    int64_t n_columns, n_epochs, capacity;
    double *values;
};

/* The column that holds wall-clock speed: kept in memory, left out of files. */
#define MC_SPEED_COLUMN "samples_per_second"

int32_t mc_history_create(modeconn_context *context, const char *const *columns, int64_t n_columns,
                          modeconn_history **out);
int32_t mc_history_append(modeconn_history *history, const double *values);
int32_t mc_history_clone(const modeconn_history *history, modeconn_history **out);
/* A copy that leaves column `without` out, where there is one. */
int32_t mc_history_clone_without(const modeconn_history *history, const char *without,
                                 modeconn_history **out);
modeconn_history *mc_history_take(modeconn_history *history);
/* From the text of modeconn_history_json(); MODECONN_ERROR_FORMAT says what is wrong with it. */
int32_t mc_history_from_json(modeconn_context *context, const char *json, modeconn_history **out);

struct modeconn_model {
    modeconn_context *context;
    mc_ref ref;
    const mc_model_ops *ops;
    struct modeconn_graph *graph; /* the graph engine's; shared, immutable */
    char *architecture;           /* "vgg13", ..., "graph" */
    char *settings;               /* settings text that rebuilds it: "width=0.25,channels=1,..." */

    float *theta, *statistics;
    int64_t n_theta, n_stats;
    mc_block *blocks; /* parameters, then statistics */
    int64_t n_blocks_theta, n_blocks_stats;
    int64_t channels, height, width, classes;
    int64_t representation_width; /* 0: none */

    char **meta_keys, **meta_values;
    int64_t n_meta;
    int64_t *meta_slots; /* metadata.c finds keys by these; room for half as many */
    int64_t meta_slot_count;
    modeconn_history *history; /* never NULL */

    /* Kept by model_run.c from call to call: working memory for run_max images, bound to theta
     * and the statistics while run_bound. */
    struct mc_session *run_session;
    int64_t run_max;
    bool run_bound;
};

/* To be called wherever theta or the statistics of a model that others may hold have changed. */
void mc_model_changed(modeconn_model *model);

modeconn_model *mc_model_take(modeconn_model *model);

/* A copy that shares the structure but has parameters and statistics of its own, left
 * uninitialised; metadata and history empty. For scratch models and path points. */
int32_t mc_model_clone_empty(const modeconn_model *model, modeconn_model **out);

/* MODECONN_ERROR_SHAPE naming the first block or layer that differs, or the input shape. */
int32_t mc_model_same_shape(const modeconn_model *a, const modeconn_model *b);

/* Replaces the model's history (takes the caller's reference). */
void mc_model_set_history(modeconn_model *model, modeconn_history *history);

/* MODECONN_ERROR_NUMERIC naming the block and index of the first value that is not finite (or a
 * negative variance). */
int32_t mc_model_check_finite(const modeconn_model *model, const float *theta,
                              const float *statistics);

/* Builds a model of an architecture from "key=value" settings as stored in files ("graph": from its
 * layer list), without memory for its values: settings of a file may announce any number of them,
 * which the caller first compares with what there is, then mc_model_allocate() makes room. */
int32_t mc_model_from_settings(modeconn_context *context, const char *architecture,
                               const char *settings, modeconn_model **out);

/* Likewise, width, channels and classes inferred from the shape of named tensors, for files without
 * metadata. `find` gives rank and shape of a tensor, or false. */
typedef bool (*mc_find_shape_fn)(void *user, const char *name, int32_t *rank, int64_t shape[4]);
int32_t mc_model_from_shapes(modeconn_context *context, const char *architecture,
                             mc_find_shape_fn find, void *user, int64_t height, int64_t width,
                             modeconn_model **out);

/* Memory for the parameters and statistics of a model that has none yet, left uninitialised. */
int32_t mc_model_allocate(modeconn_model *model);

/* ---- nodes (model_nodes.c) --------------------------------------------------------------- */

/* What can be told of a node without the graph. */
typedef struct mc_node_info {
    const char *name; /* its own, or that of the nearest named node before it; owned by the model,
                       * "" where there is none */
    bool relu;        /* the output of a ReLU */
    bool activation;  /* of a ReLU or a GELU */
    bool representation;             /* the penultimate representation */
    int64_t channels, height, width; /* of the output */
} mc_node_info;

/* False for a number that no node has, as every number of a model whose layers are not known. */
bool mc_model_node(const modeconn_model *model, int32_t node, mc_node_info *info);

/* Where theta holds weight [classes][representation_width] and bias [classes] (-1: none) of the
 * last layer; MODECONN_ERROR_UNSUPPORTED where that is not a linear layer. */
int32_t mc_model_head(const modeconn_model *model, int64_t *weight, int64_t *bias);

/* ---- symmetries (symmetry.c) ---------------------------------------------------------------- */

/* A group's units along one axis of a block: its values are [outer][group size][inner], or where a
 * convolution in groups reads them [bundles][outer][group size / bundles][inner]: there units only
 * move within their bundle, for a whole bundle moves with the outputs that it belongs to. A block
 * can be a member of two groups, or of one twice. */
typedef struct mc_symmetry_member {
    int64_t block; /* in model->blocks */
    int64_t outer, inner;
    int64_t bundles; /* 1: no such convolution */
} mc_symmetry_member;

/* Units that can change places, wherever the same permutation must be applied. They stand in
 * `bundles` of equally many, one behind the other: units change places within theirs, and bundles
 * as a whole, those of all groups of the same order alike. */
typedef struct mc_symmetry_group {
    const char *name; /* of the first layer that makes these channels */
    int64_t size;
    int32_t node; /* whose output shows the units: the last but for pooling, so behind the ReLU, and
                   * of a residual stream behind its last sum */
    int64_t positions; /* values of a unit per sample there: height * width */
    int64_t bundles;   /* 1: all units can change places */
    int64_t order;     /* the first group of the same order; -1: bundles stay */
    int64_t n_members;
    mc_symmetry_member *members;
} mc_symmetry_group;

typedef struct mc_symmetry {
    modeconn_context *context;
    struct modeconn_graph *graph; /* keeps the names */
    int64_t n_groups;
    mc_symmetry_group *groups; /* in the order of the layers */
} mc_symmetry;

/* The groups of a model, from its graph; MODECONN_ERROR_UNSUPPORTED naming a layer without a rule,
 * or for a model whose layers are not known. */
int32_t mc_symmetry_create(const modeconn_model *model, mc_symmetry **out);
void mc_symmetry_free(mc_symmetry *symmetry); /* NULL is ignored */

/* Options kinds of this folder (lib/tables.c lists them; the layers' kinds are in graph.h). */
extern const mc_option_kind mc_kind_model;

#endif
