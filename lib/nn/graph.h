/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The graph engine inside nn: layers, their table, the memory plan and the passes. Nothing above
 * lib/nn includes this file (lib/tables.c lists the layers' options).
 *
 * Activations are NHWC ([n][h][w][c]); parameters and gradients have PyTorch's layouts, and layers
 * bring them into the shape that their products want (mc_layer_type.prepared).
 */
#ifndef MC_GRAPH_H
#define MC_GRAPH_H

#include "kernels/kernels.h"
#include "nn/nn.h"

typedef struct mc_layer_type mc_layer_type;
typedef struct mc_pass mc_pass;
typedef struct mc_plain mc_plain;

typedef struct mc_shape {
    int64_t c, h, w;
} mc_shape;

static inline int64_t mc_shape_size(mc_shape s)
{
    return s.c * s.h * s.w;
}

/* ---- nodes --------------------------------------------------------------------------------- */

typedef enum mc_init { MC_INIT_ZERO, MC_INIT_ONE, MC_INIT_FAN_IN } mc_init;

/* A named tensor of a node, a block of theta or of the statistics. */
typedef struct mc_tensor_spec {
    const char *suffix; /* "weight" */
    int64_t offset, size;
    int32_t rank;
    int64_t shape[4]; /* PyTorch's order */
    mc_init init;     /* MC_INIT_FAN_IN: U(+-1/sqrt(fan_in)) */
    int64_t fan_in;
} mc_tensor_spec;

enum { MC_NODE_INPUTS = 2, MC_NODE_TENSORS = 2 };

typedef struct mc_node {
    const mc_layer_type *type;
    char *name; /* may be NULL */
    char *settings;
    int32_t inputs[MC_NODE_INPUTS];
    int32_t n_inputs;
    /* Inputs of later nodes that this one is; the last of those nodes, the one before it and the
     * first, or 0. */
    int32_t n_readers, last_reader, reader_before, first_reader;
    mc_shape in, out; /* `in` of the first input */
    mc_tensor_spec params[MC_NODE_TENSORS], stats[MC_NODE_TENSORS];
    int32_t n_params, n_stats;
    /* Geometry of convolution and pooling; batch norm's constants. */
    mc_window window;
    int64_t groups; /* of a convolution's channels; 1 elsewhere */
    double eps, momentum;
    /* What else the settings say, as numbers that the layer itself names. */
    double constants[2];
    /* A ReLU that is the only reader of this node is done by the node itself (plan.c): */
    bool rectify;   /* this node rectifies its output */
    bool forwarded; /* this ReLU's output is its input's */
    /* A batch norm that is the only reader of a convolution without bias can be folded into it. */
    int32_t norm;   /* the convolution's batch norm, 0: none */
    bool follows;   /* the batch norm is such a one */
    bool summed;    /* a batch norm alone reads this node: it takes sums of parts (mc_parts) */
    bool pulls;     /* a convolution that can pull back the gradient of the batch norm behind it */
    bool completes; /* a convolution that is the first to read its input */
    int32_t sum;    /* the sum that this input is, if it is one */
    bool lazy; /* a batch norm that one or two convolutions or sums read, and apply while reading */
    /* A sum or batch norm that several read: with gradients its output is given up after the
     * forward pass and made again when backward first reads it. How many in a row that takes, 0:
     * kept. */
    int32_t again;
} mc_node;

struct modeconn_graph {
    mc_ref ref;
    modeconn_context *context;
    mc_node *nodes; /* node 0 is the input */
    int32_t n_nodes, capacity;
    int32_t *named; /* [2 * capacity]: nodes with parameters by the hash of their name, 0: none */
    int64_t n_theta, n_stats;
    int32_t output;
};

modeconn_graph *mc_graph_take(modeconn_graph *graph);

/* The graph as JSON text (freed by the caller), the last node being the output; and back. */
int32_t mc_graph_describe(const modeconn_graph *graph, char **text);
int32_t mc_graph_parse(modeconn_context *context, const char *text, modeconn_graph **out);

/* For builders of architectures: as modeconn_graph_add() with one input, formatted name and
 * settings; does nothing once *status is an error. */
int32_t mc_graph_chain(modeconn_graph *graph, int32_t *status, const char *type, const char *name,
                       const char *settings, int32_t input);

/* ---- layers -------------------------------------------------------------------------------- */

/* What a layer does to an exchange of its input's channels; symmetry.c derives from it which
 * channels of a graph can change places without changing what the graph computes. */
typedef enum mc_symmetry_rule {
    MC_SYMMETRY_UNKNOWN, /* nobody has said: alignment refuses the graph */
    MC_SYMMETRY_KEEPS,   /* channel by channel; parameters and statistics [channels][...] */
    MC_SYMMETRY_POOLS,   /* likewise, over pixels: nothing new to see behind it */
    MC_SYMMETRY_JOINS,   /* channel by channel over all its inputs */
    MC_SYMMETRY_MIXES,   /* new channels; params[0] [out][in / groups][...], params[1] [out] */
    MC_SYMMETRY_SUMS     /* the same for any order of its input's channels; output fixed */
} mc_symmetry_rule;

/* One row of mc_layers (layers.c). Functions that a layer does not need are NULL. */
struct mc_layer_type {
    const char *name;
    const mc_option_kind *options;
    int32_t n_inputs;
    bool can_rectify;    /* forward and backward honour node->rectify */
    bool keeps_input;    /* backward reads the first input ... */
    bool masks_by_input; /* when it rectifies, backward finds what was positive from the input */
    bool keeps_output;   /* ... or the output (always when it rectifies) */
    bool in_place;       /* d_in may share memory with d_out */
    mc_symmetry_rule symmetry;

    /* Checks the settings and sets out, params, stats (offsets are filled in by the caller). */
    int32_t (*configure)(mc_node *node, const modeconn_options *options);
    /* Floats per worker, and shared by the workers, that a pass over n samples needs; with
     * gradients, what is prepared has to find room in the shared ones. */
    int64_t (*scratch)(const mc_node *node, int64_t n, bool gradients);
    int64_t (*shared)(const mc_node *node, int64_t n, bool gradients);
    /* Floats of parameters as forward wants them, made from theta. */
    int64_t (*prepared)(const mc_node *node);
    /* Floats that forward leaves for backward beside activations. */
    int64_t (*saved)(const mc_node *node, int64_t n);

    void (*forward)(mc_pass *pass, const mc_node *node);
    void (*backward)(mc_pass *pass, const mc_node *node);
    /* The double-precision twins (plain.c). */
    void (*plain_forward)(mc_plain *plain, const mc_node *node);
    void (*plain_backward)(mc_plain *plain, const mc_node *node);
};
extern const mc_layer_type *const mc_layers[];
extern const int64_t mc_layers_count;
extern const mc_layer_type mc_layer_input, mc_layer_conv2d, mc_layer_batch_norm, mc_layer_relu,
    mc_layer_add, mc_layer_avg_pool, mc_layer_max_pool, mc_layer_global_avg_pool, mc_layer_linear,
    mc_layer_layer_norm, mc_layer_gelu, mc_layer_mean_margin;

extern const mc_option_kind mc_kind_conv2d, mc_kind_batch_norm, mc_kind_relu, mc_kind_add,
    mc_kind_avg_pool, mc_kind_max_pool, mc_kind_global_avg_pool, mc_kind_linear, mc_kind_layer_norm,
    mc_kind_gelu, mc_kind_mean_margin;

/* Output extent of a window, or 0 where it does not fit. */
int64_t mc_window_extent(int64_t extent, int64_t kernel, int64_t stride, int64_t padding);
/* Fills node->window and the output's height and width from kernel, stride, padding. */
int32_t mc_window_configure(mc_node *node, int64_t kernel, int64_t stride, int64_t padding);

/* ---- passes -------------------------------------------------------------------------------- */

/* What node i of a pass works on. Two nodes may share memory (plan.c). */
typedef struct mc_slot {
    float *out;                     /* [n][h][w][c] */
    float *forward_out, *again_out; /* `out` before and after it is made again; NULL: it is not */
    bool lost;                      /* it has to be made again before it is read */
    float *d_out;   /* gradient of the loss with respect to out; NULL without gradients */
    float *saved;   /* mc_layer_type.saved floats */
    double *moment; /* batch norm: batch mean [c], biased variance [c] */
    /* Whether an earlier-run consumer has already written the gradient of input j. */
    bool accumulate[MC_NODE_INPUTS];
} mc_slot;

/* A node's parameters prepared for forward. */
typedef struct mc_prepared {
    float *data;
    const void *by; /* who made what is there, NULL: nothing is */
    bool folded;    /* scaled by the batch norm behind */
} mc_prepared;

/* Sums over the channels of a batch norm's input or of its gradient that a convolution took part by
 * part, while it wrote them: parts of rows, in order, which a batch norm adds up in place of a pass
 * of its own. */
typedef struct mc_parts {
    int32_t of;     /* the node whose output or gradient it is; 0: nothing is there */
    int32_t masked; /* of a gradient: the sum whose gradient was also masked; 0: none */
    int64_t count, capacity, stride; /* stride: doubles of a part */
    double *data;                    /* of each part: its rows, then two numbers a channel */
} mc_parts;

/* One forward pass and the memory to pull cotangents back through it. */
struct mc_pass {
    const modeconn_graph *graph;
    modeconn_context *context;
    const mc_kernels *kernels;
    mc_pool *pool;
    int64_t n, max;
    mc_norm_mode mode;
    bool making_again;       /* a forward function runs for backward, its moments are known */
    const float *theta;      /* parameters */
    const float *statistics; /* MC_NORM_RUNNING */
    float *grad;             /* [n_theta], set by backward ... */
    bool add_grad;           /* ... or added to */
    mc_slot *slots;
    /* Per node. A pass without gradients keeps what it prepared until bind(); one with gradients
     * sees new parameters each time, and prepares them in `shared`. */
    mc_prepared *prepared;
    bool keeps_prepared;
    float *prepared_memory;
    float **scratch; /* per worker */
    float *shared;
    float *arena;
    double *moments;
    mc_parts parts;
    /* Called after each node's forward with its output; NULL: nobody looks. */
    void (*visit)(void *user, int32_t node, const float *values, int64_t rows, int64_t channels);
    void *visit_user;
};

static inline mc_slot *mc_slot_of(mc_pass *pass, const mc_node *node)
{
    return &pass->slots[node - pass->graph->nodes];
}

static inline mc_slot *mc_input_slot(mc_pass *pass, const mc_node *node, int which)
{
    return &pass->slots[node->inputs[which]];
}

/* Whether convolution `node` computes what its batch norm would: with running statistics, without
 * gradients, and nobody looking at what lies between. */
static inline bool mc_is_folded(const mc_pass *pass, const mc_node *node)
{
    return node->norm > 0 && pass->keeps_prepared && pass->mode == MC_NORM_RUNNING &&
           pass->visit == NULL;
}

/* Whether batch norm `node` leaves its output to what reads it: its slot then holds its input, and
 * slot->saved the map. A pass without gradients plans that only behind a convolution that could be
 * folded. */
static inline bool mc_is_lazy(const mc_pass *pass, const mc_node *node)
{
    bool unfolded = node->follows && pass->mode == MC_NORM_BATCH && pass->visit == NULL;
    return node->lazy && (!pass->keeps_prepared || unfolded);
}

/* batch_norm.c: input `which` of a node, as a map where that is a batch norm that leaves its output
 * to the node; that batch norm, or NULL. */
const mc_node *mc_lazy_input(const mc_pass *pass, const mc_node *node, int which, mc_map *map);
/* Whether convolution `node` itself pulls the gradient of the batch norm behind it back as it reads
 * it, and how it then does. */
bool mc_conv_pulls_back(mc_pass *pass, const mc_node *node);
mc_pull mc_norm_pull(mc_pass *pass, const mc_node *norm);
/* Mean and squared deviations, summed, of each channel of x [rows][c], at least one row, `step`
 * floats apart. Taken about the mean of a few rows spread over all: about any one of them, which
 * may be far off, they would lose digits. */
void mc_row_moments(const mc_kernels *kernels, const float *x, int64_t rows, int64_t c,
                    int64_t step, double *mean, double *square);
/* The running statistics as scale [c] and offset [c] of the node's slot->saved. */
void mc_norm_running(mc_pass *pass, const mc_node *node);

/* What a node's backward reads of activations: its inputs, its own output. */
static inline bool mc_reads_inputs_back(const mc_node *node)
{
    return node->type->keeps_input;
}

static inline bool mc_reads_output_back(const mc_node *node)
{
    return node->type->keeps_output || (node->rectify && !node->type->masks_by_input);
}

static inline void mc_add_grad(const mc_pass *pass, float *grad, double value)
{
    *grad = (pass->add_grad ? *grad : 0.0f) + (float)value;
}

/* Rows [n * h * w] of a node's output. */
static inline int64_t mc_rows(const mc_pass *pass, mc_shape shape)
{
    return pass->n * shape.h * shape.w;
}

/* Rows of a part, most of the time more: what their memory is planned by. */
enum { MC_PART_ROWS = 96 };

/* Whether a convolution's best algorithm for large batches can read through a batch norm; whether
 * for some number of images it can pull back the gradient of the one behind it. */
bool mc_conv_reads_maps(const mc_node *node);
bool mc_conv_can_pull(const mc_node *node);

/* plan.c: marks, in a graph that is complete, what nodes do for each other: ReLUs that their
 * input's node does, batch norms that are folded, left to their readers or given sums, outputs that
 * are made again. */
void mc_graph_fuse(modeconn_graph *graph);
/* Allocates a pass for up to max samples, activations and gradients placed by lifetime. */
int32_t mc_pass_create(modeconn_context *context, const modeconn_graph *graph, int64_t max,
                       bool gradients, mc_pass *pass);
void mc_pass_free(mc_pass *pass);
/* theta has changed. */
void mc_pass_rebound(mc_pass *pass);

/* pass.c: NCHW input in, every node forward; the logits are in the output's slot. */
void mc_pass_forward(mc_pass *pass, const float *x, int64_t n, mc_norm_mode mode);
/* Cotangents of logits and representation (either may be NULL) pulled back, added to grad. */
void mc_pass_backward(mc_pass *pass, const float *d_logits, const float *d_representation);

/* session.c: the graph engine as mc_model_ops. */
extern const mc_model_ops mc_graph_ops;

/* Whether node `output` can give logits and every other node leads to it. */
int32_t mc_graph_check_output(const modeconn_graph *graph, int32_t output);
/* MODECONN_ERROR_SHAPE naming the first node whose layer, inputs or geometry differ: equal blocks
 * alone do not make two graphs compute the same. */
int32_t mc_graph_same_layers(const modeconn_graph *a, const modeconn_graph *b);
/* Makes a model of a finished graph (takes its own reference), without memory for its values:
 * mc_model_allocate(). */
int32_t mc_model_of_graph(modeconn_graph *graph, const char *architecture, const char *settings,
                          modeconn_model **out);

/* ---- architectures (arch.c) ---------------------------------------------------------------- */

typedef struct mc_architecture mc_architecture;
struct mc_architecture {
    const char *name, *description;
    /* Builds the layers behind node 0 from settings of kind "model"; gives the output node. */
    int32_t (*build)(const mc_architecture *arch, modeconn_graph *graph,
                     const modeconn_options *options, int32_t *output);
    /* Sets "widths" or "hidden", "channels" and "classes" from a file's shapes. */
    int32_t (*infer)(const mc_architecture *arch, mc_find_shape_fn find, void *user,
                     modeconn_options *options);
    const void *plan; /* what sets members of one family apart, its file's own business */
};
extern const mc_architecture *const mc_architectures[];
extern const int64_t mc_architectures_count;
/* Channel counts of an architecture: the list under `key` ("widths") where it is set, else base
 * times "width", rounded, at least 1. */
int32_t mc_arch_widths(const modeconn_options *options, const char *key, const int64_t *base,
                       int64_t count, int64_t *widths);
enum { MC_LIST_MAX = 64 }; /* numbers in "widths" or "hidden" */
/* "16,32,64" to numbers of 1 to 2^20; "" has none. Errors name `key` and the text. */
int32_t mc_parse_list(const char *list, const char *key, int64_t *values, int64_t capacity,
                      int64_t *count);
/* For infer(): the shape of a tensor that must be there with this rank. */
int32_t mc_arch_find(mc_find_shape_fn find, void *user, const char *name, int32_t rank,
                     int64_t shape[4]);
/* Sets key to "a,b,c". */
int32_t mc_arch_set_list(modeconn_options *options, const char *key, const int64_t *values,
                         int64_t count);
/* For infer(): "channels" of an image whose channels * height * width values are `inputs` features
 * of the first layer; height and width are known. */
int32_t mc_arch_infer_channels(int64_t inputs, modeconn_options *options);
extern const mc_architecture mc_arch_vgg13, mc_arch_resnet18, mc_arch_mlp, mc_arch_resnet34,
    mc_arch_resnet50, mc_arch_resnet56, mc_arch_resnet18_bottleneck, mc_arch_resnet56_bottleneck,
    mc_arch_theory;

/* ---- the reference in double (plain.c) ----------------------------------------------------- */

/* The whole graph in double, NCHW, from the layers' plain twins: slow, obviously right, and what
 * tests differentiate. Parameters and statistics in theta's own layout. */
struct mc_plain {
    const modeconn_graph *graph;
    int64_t n;
    mc_norm_mode mode;
    const double *theta, *statistics;
    double *grad;          /* [n_theta], added to by backward; NULL: forward only */
    double **out, **d_out; /* per node [n][c][h][w] */
    double **moment;       /* per node: batch mean [c], biased variance [c] */
    /* Called after each node's forward with its output, to be moved as rounding would; NULL: no. */
    void (*visit)(void *user, int32_t node, double *values, int64_t count);
    void *visit_user;
};
int32_t mc_plain_create(const modeconn_graph *graph, int64_t n, mc_plain **out);
void mc_plain_free(mc_plain *plain);
void mc_plain_forward(mc_plain *plain, const double *theta, const double *statistics,
                      mc_norm_mode mode, const double *x);
/* Cotangents of logits [n][classes] and representation (either may be NULL); grad is zeroed
 * first. */
void mc_plain_backward(mc_plain *plain, const double *d_logits, const double *d_representation,
                       double *grad);
const double *mc_plain_logits(const mc_plain *plain);
const double *mc_plain_representation(const mc_plain *plain);

/* Node whose output is the penultimate representation: the input of the output node. */
static inline int32_t mc_representation_node(const modeconn_graph *graph)
{
    return graph->nodes[graph->output].inputs[0];
}

#endif
