/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Random graphs for test_sweep.c: a function of (seed, case), built anew in each context. Small
 * enough for the double twin, and drawn so that extents, channels, batches and windows meet the
 * edges of every algorithm: 1x1 to 64x32 pixels, 1 to 128 channels in 1 to 128 groups, kernels 1
 * to 7, strides 1 to 3, padding 0 to 3.
 */
#ifndef MC_SWEEP_H
#define MC_SWEEP_H

#include "twin.h"
#include <stdio.h>

/* Multiplications of the forward pass that a case may take, of one image and of all. */
#define SWEEP_IMAGE_WORK 1500000.0
#define SWEEP_BATCH_WORK 3000000.0

enum { SWEEP_STREAM = 1004, SWEEP_TEXT = 900, SWEEP_FAMILIES = 9 };

typedef struct sweep_draw {
    uint64_t seed, index;
    uint32_t next;
} sweep_draw;

/* A graph under construction; `text` lists its layers for messages. */
typedef struct sweep {
    sweep_draw draw;
    modeconn_graph *graph;
    int names;
    bool exact; /* no rectifier, no normalisation: rounding is not amplified */
    int64_t n;  /* samples of the batch */
    char text[SWEEP_TEXT];
} sweep;

static inline int64_t sweep_below(sweep *s, int64_t n)
{
    return mc_random_below(s->draw.seed, SWEEP_STREAM, s->draw.index, s->draw.next++, n);
}

#define SWEEP_PICK(s, table) (table)[sweep_below(s, (int64_t)(sizeof(table) / sizeof(*(table))))]

static inline mc_shape sweep_shape(const sweep *s, int32_t node)
{
    mc_shape shape;
    OK(modeconn_graph_shape(s->graph, node, &shape.c, &shape.h, &shape.w));
    return shape;
}

/* Adds a layer; the settings go into the text as well. */
static inline int32_t sweep_add(sweep *s, const char *type, const char *settings, int32_t a,
                                int32_t b)
{
    char name[16];
    int32_t inputs[2] = {a, b}, node;
    size_t used = strlen(s->text);
    snprintf(name, sizeof name, "n%d", s->names++);
    OK(modeconn_graph_add(s->graph, type, name, settings, inputs, strcmp(type, "add") == 0 ? 2 : 1,
                          &node));
    snprintf(s->text + used, sizeof s->text - used, " | %d: %s %s of %d", node, type, settings, a);
    return node;
}

/* One of the channel counts whose convolution from `c` channels to `pixels` outputs with so many
 * taps is affordable. */
static inline int64_t sweep_channels(sweep *s, int64_t c, int64_t pixels, int64_t taps)
{
    static const int64_t table[] = {1, 3, 17, 8, 16, 33, 64, 8, 16, 32, 5, 24};
    int64_t channels = SWEEP_PICK(s, table);
    while (channels > 1 && (double)(channels * c * pixels * taps) > SWEEP_IMAGE_WORK / 3) {
        channels = (channels + 1) / 2;
    }
    return channels;
}

static inline int32_t sweep_conv_of(sweep *s, int32_t from, int64_t o, int64_t kernel,
                                    int64_t stride, int64_t padding, bool bias)
{
    char settings[96];
    snprintf(settings, sizeof settings, "out_channels=%d,kernel=%d,stride=%d,padding=%d,bias=%d",
             (int)o, (int)kernel, (int)stride, (int)padding, (int)bias);
    return sweep_add(s, "conv2d", settings, from, 0);
}

static inline int64_t sweep_padding(sweep *s, mc_shape in, int64_t kernel)
{
    int64_t padding = sweep_below(s, 4), side = in.h < in.w ? in.h : in.w;
    if (s->draw.index % SWEEP_FAMILIES > 1 && padding >= kernel) {
        /* A window of padding alone gives a constant, which a norm behind it blows up. */
        padding = kernel - 1;
    }
    while (side + 2 * padding < kernel) {
        padding++;
    }
    return padding;
}

/* Any convolution; half of them the 3x3 at padding 1 that has algorithms of its own. */
static inline int32_t sweep_conv(sweep *s, int32_t from)
{
    static const int64_t kernels[] = {1, 2, 3, 3, 5, 7}, strides[] = {1, 1, 2, 2, 3};
    mc_shape in = sweep_shape(s, from);
    bool usual = sweep_below(s, 2) == 0;
    int64_t kernel = usual ? 3 : SWEEP_PICK(s, kernels);
    int64_t stride = usual ? 1 + (sweep_below(s, 3) == 0) : SWEEP_PICK(s, strides);
    int64_t padding = usual ? 1 : sweep_padding(s, in, kernel);
    int64_t pixels = mc_window_extent(in.h, kernel, stride, padding) *
                     mc_window_extent(in.w, kernel, stride, padding);
    int64_t o = sweep_channels(s, in.c, pixels, kernel * kernel);
    return sweep_conv_of(s, from, o, kernel, stride, padding, sweep_below(s, 2) == 1);
}

static inline int32_t sweep_pool(sweep *s, int32_t from)
{
    static const int64_t kernels[] = {2, 3, 2, 1, 4, 5}, strides[] = {1, 2, 2, 3};
    mc_shape in = sweep_shape(s, from);
    int64_t kernel = SWEEP_PICK(s, kernels), side = in.h < in.w ? in.h : in.w;
    int64_t padding = sweep_below(s, kernel / 2 + 1);
    char settings[64];
    if (side + 2 * padding < kernel) {
        kernel = side;
        padding = 0;
    }
    snprintf(settings, sizeof settings, "kernel=%d,stride=%d,padding=%d", (int)kernel,
             (int)SWEEP_PICK(s, strides), (int)padding);
    return sweep_add(s, sweep_below(s, 2) == 0 ? "max_pool" : "avg_pool", settings, from, 0);
}

static inline int32_t sweep_norm(sweep *s, int32_t from)
{
    s->exact = false;
    return sweep_add(s, "batch_norm", sweep_below(s, 3) == 0 ? "eps=1e-3,momentum=0.3" : "", from,
                     0);
}

static inline int32_t sweep_relu(sweep *s, int32_t from)
{
    s->exact = false;
    return sweep_add(s, "relu", "", from, 0);
}

static inline int32_t sweep_linear(sweep *s, int32_t from, int64_t outputs)
{
    char settings[48];
    snprintf(settings, sizeof settings, "out_features=%d,bias=%d", (int)outputs,
             (int)sweep_below(s, 2));
    return sweep_add(s, "linear", settings, from, 0);
}

/* ---- families -------------------------------------------------------------------------------- */

/* A cheap first layer, so that the layer behind it has an input gradient that something shows. */
static inline int32_t sweep_stem(sweep *s)
{
    static const int64_t channels[] = {1, 3, 17, 8, 16, 33, 64};
    mc_shape in = sweep_shape(s, 0);
    int64_t o = SWEEP_PICK(s, channels);
    while (o > 3 && o * in.c * in.h * in.w > (int64_t)(SWEEP_IMAGE_WORK / 4)) {
        o /= 2;
    }
    return sweep_conv_of(s, 0, o, 1, 1, 0, sweep_below(s, 2) == 1);
}

static inline int32_t sweep_one_conv(sweep *s)
{
    return sweep_conv(s, sweep_stem(s));
}

static inline int32_t sweep_conv_pool_conv(sweep *s)
{
    int32_t node = sweep_pool(s, sweep_conv(s, 0));
    return sweep_below(s, 2) == 0 ? sweep_conv(s, node) : node;
}

/* Convolution, norm, rectifier, twice: VGG's unit. */
static inline int32_t sweep_vgg(sweep *s)
{
    int32_t node = 0;
    for (int i = 0; i < 2; i++) {
        node = sweep_relu(s, sweep_norm(s, sweep_conv(s, node)));
    }
    return sweep_add(s, "global_avg_pool", "", node, 0);
}

/* A residual block behind a stem, its shortcut the identity or a projection. */
static inline int32_t sweep_residual(sweep *s)
{
    int32_t in = sweep_relu(s, sweep_norm(s, sweep_stem(s)));
    mc_shape shape = sweep_shape(s, in);
    int64_t stride = 1 + sweep_below(s, 2), pixels = shape.h * shape.w / (stride * stride);
    int64_t o = stride == 1 ? shape.c : sweep_channels(s, shape.c, pixels + 1, 9);
    int32_t branch = sweep_relu(s, sweep_norm(s, sweep_conv_of(s, in, o, 3, stride, 1, false)));
    branch = sweep_norm(s, sweep_conv_of(s, branch, o, 3, 1, 1, false));
    int32_t shortcut =
        stride == 1 ? in : sweep_norm(s, sweep_conv_of(s, in, o, 1, stride, 0, false));
    int32_t sum = sweep_relu(s, sweep_add(s, "add", "", branch, shortcut));
    return sweep_add(s, "global_avg_pool", "", sum, 0);
}

static inline int32_t sweep_mlp(sweep *s)
{
    static const int64_t hidden[] = {1, 7, 16, 33, 64, 200, 300};
    int32_t node = 0;
    for (int64_t i = 0, layers = 1 + sweep_below(s, 3); i < layers; i++) {
        mc_shape in = sweep_shape(s, node);
        int64_t outputs = SWEEP_PICK(s, hidden);
        while (outputs > 1 && (double)(outputs * mc_shape_size(in)) > SWEEP_IMAGE_WORK / 3) {
            outputs /= 2;
        }
        node = sweep_linear(s, node, outputs);
        node = sweep_below(s, 2) == 0 ? node : sweep_norm(s, node);
        node = sweep_relu(s, node);
    }
    return node;
}

/* Three to six layers of any kind; sums of a node with itself and of two branches. */
static inline int32_t sweep_mixture(sweep *s)
{
    int32_t node = 0;
    for (int64_t i = 0, layers = 3 + sweep_below(s, 4); i < layers; i++) {
        switch (sweep_below(s, 6)) {
        case 0:
            node = sweep_norm(s, node);
            break;
        case 1:
            node = sweep_relu(s, node);
            break;
        case 2:
            node = sweep_pool(s, node);
            break;
        case 3: {
            int64_t c = sweep_shape(s, node).c;
            int32_t left = sweep_conv_of(s, node, c, 1, 1, 0, sweep_below(s, 2) == 1);
            int32_t right = sweep_below(s, 2) == 0 ? node : sweep_relu(s, node);
            node = sweep_add(s, "add", "", left, right);
            break;
        }
        default:
            node = sweep_conv(s, node);
        }
    }
    return node;
}

/* A convolution in `groups` groups of `in` and `out` channels each, its window any. */
static inline int32_t sweep_groups(sweep *s, int32_t from, int64_t groups, int64_t out)
{
    static const int64_t kernels[] = {1, 2, 3, 3, 5, 7}, strides[] = {1, 1, 2, 3};
    int64_t kernel = SWEEP_PICK(s, kernels);
    char settings[96];
    snprintf(settings, sizeof settings,
             "out_channels=%d,kernel=%d,stride=%d,padding=%d,bias=%d,groups=%d",
             (int)(groups * out), (int)kernel, (int)SWEEP_PICK(s, strides),
             (int)sweep_padding(s, sweep_shape(s, from), kernel), (int)sweep_below(s, 2),
             (int)groups);
    return sweep_add(s, "conv2d", settings, from, 0);
}

/* Groups of any width and depthwise, one behind the other; read through a norm, or not. */
static inline int32_t sweep_grouped(sweep *s)
{
    static const int64_t groups[] = {2, 3, 5, 8, 16}, widths[] = {1, 2, 3, 4, 8};
    int64_t count = SWEEP_PICK(s, groups), in = SWEEP_PICK(s, widths), out = SWEEP_PICK(s, widths);
    int32_t node = sweep_conv_of(s, 0, count * in, 1, 1, 0, sweep_below(s, 2) == 1);
    bool norm = sweep_below(s, 2) == 0;
    node = norm ? sweep_relu(s, sweep_norm(s, node)) : node;
    node = sweep_groups(s, node, count, out);
    node = norm ? sweep_norm(s, node) : node;
    return sweep_groups(s, node, count * out, 1);
}

/* A web: layers and sums that keep the shape, each reading any node before it, so that outputs and
 * gradients are shared, read by several and made again in any order; what nobody has read is summed
 * up in the end. */
enum { SWEEP_WEB = 9 };
static inline int32_t sweep_layer_of_web(sweep *s, int32_t from, int32_t other)
{
    int64_t c = sweep_shape(s, from).c;
    switch (sweep_below(s, 7)) {
    case 0:
        return sweep_norm(s, from);
    case 1: {
        /* A branch that a norm ends and one that a rectifier of its own does. */
        int32_t norm = sweep_norm(s, sweep_conv_of(s, other, c, 1, 1, 0, false));
        int32_t relu = sweep_relu(s, sweep_conv_of(s, from, c, 1, 1, 0, true));
        bool turned = sweep_below(s, 2) == 1;
        return sweep_add(s, "add", "", turned ? relu : norm, turned ? norm : relu);
    }
    case 2:
        return sweep_relu(s, from);
    case 3:
    case 4:
        return sweep_add(s, "add", "", from, other);
    case 5:
        return sweep_conv_of(s, from, c, 3, 1, 1, sweep_below(s, 2) == 1);
    default:
        return sweep_conv_of(s, from, c, 1, 1, 0, sweep_below(s, 2) == 1);
    }
}

static inline int32_t sweep_web(sweep *s)
{
    static const int64_t channels[] = {1, 3, 8, 16, 17};
    int32_t nodes[SWEEP_WEB + 1] = {sweep_conv_of(s, 0, SWEEP_PICK(s, channels), 1, 1, 0, false)};
    int read[SWEEP_WEB + 1] = {0}, n = 1;
    for (int64_t layers = 4 + sweep_below(s, SWEEP_WEB - 3); n <= layers; n++) {
        /* Mostly the last ones, so that the web is deep. */
        int64_t a = sweep_below(s, 2) == 0 ? n - 1 : sweep_below(s, n), b = sweep_below(s, n);
        nodes[n] = sweep_layer_of_web(s, nodes[a], nodes[b]);
        bool sum = s->graph->nodes[nodes[n]].n_inputs == 2;
        read[a]++;
        read[b] += sum ? 1 : 0;
    }
    int32_t node = nodes[n - 1];
    for (int i = n - 2; i >= 0; i--) {
        node = read[i] > 0 ? node : sweep_add(s, "add", "", node, nodes[i]);
    }
    return node;
}

/* Stride 2 on maps and channels that are just enough for few products: after a norm that it reads
 * through, or not, and before one whose sums it takes, or not. */
enum { SWEEP_STRIDED = 8 };
static inline int32_t sweep_strided(sweep *s)
{
    static const int64_t channels[] = {16, 32, 48, 64};
    int32_t node = sweep_conv_of(s, 0, SWEEP_PICK(s, channels), 1, 1, 0, sweep_below(s, 2) == 1);
    if (sweep_below(s, 3) > 0) {
        node = sweep_norm(s, node);
        node = sweep_below(s, 2) == 0 ? node : sweep_relu(s, node);
    }
    mc_shape in = sweep_shape(s, node);
    int64_t tiles = ((in.h + 1) / 2 + 3) / 4 * (((in.w + 1) / 2 + 3) / 4);
    int64_t o = 4096 / (tiles * in.c) + 1 + sweep_below(s, 8);
    node = sweep_conv_of(s, node, o < 8 ? 8 : o, 3, 2, 1, sweep_below(s, 2) == 1);
    return sweep_below(s, 2) == 0 ? node : sweep_relu(s, sweep_norm(s, node));
}

/* 512 channels, where sums are longest: cases from SWEEP_WIDE on, one for each of the windows and
 * maps that algorithms tell apart. */
enum { SWEEP_WIDE = 1 << 30, SWEEP_WIDES = 7 };
static const struct sweep_wide {
    int64_t h, w, n, kernel, stride, padding;
} sweep_wides[SWEEP_WIDES] = {{4, 4, 24, 3, 1, 1}, {2, 2, 32, 3, 1, 1}, {4, 2, 24, 3, 1, 1},
                              {4, 4, 16, 3, 2, 1}, {4, 4, 16, 1, 1, 0}, {4, 4, 16, 1, 2, 0},
                              {5, 5, 8, 5, 1, 2}};

static inline int32_t sweep_wide(sweep *s)
{
    const struct sweep_wide *wide = &sweep_wides[s->draw.index - SWEEP_WIDE];
    int32_t node = sweep_conv_of(s, 0, 512, 1, 1, 0, false);
    return sweep_conv_of(s, node, 32, wide->kernel, wide->stride, wide->padding, true);
}

/* ---- a case ---------------------------------------------------------------------------------- */

static inline double sweep_work(const modeconn_graph *graph)
{
    double work = 0.0;
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        double reads = 1.0;
        if (node->window.kernel > 0) {
            reads = (double)(node->window.kernel * node->window.kernel);
        }
        if (strcmp(node->type->name, "conv2d") == 0) {
            reads *= (double)(node->in.c / node->groups);
        } else if (strcmp(node->type->name, "linear") == 0) {
            reads = (double)mc_shape_size(node->in);
        }
        work += 4.0 * (double)mc_shape_size(node->out) + reads * (double)mc_shape_size(node->out);
    }
    return work;
}

/* Batch norm over a few values has hardly a gradient: what there is, is the difference of terms
 * that cancel. It gets eight at least; test_twins.c looks at fewer, with a tolerance for them. */
static inline int64_t sweep_least(const modeconn_graph *graph)
{
    int64_t least = 1;
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        int64_t pixels = node->out.h * node->out.w, wanted = (8 + pixels - 1) / pixels;
        least = node->n_stats > 0 && wanted > least ? wanted : least;
    }
    return least;
}

/* Model of case `index`; s->n says how many images it is to be run on. */
static inline modeconn_model *sweep_model(modeconn_context *context, uint64_t seed, uint64_t index,
                                          sweep *s)
{
    static int32_t (*const families[SWEEP_FAMILIES])(sweep * s) = {
        sweep_one_conv, sweep_conv_pool_conv, sweep_vgg, sweep_residual, sweep_mlp,
        sweep_mixture,  sweep_grouped,        sweep_web, sweep_strided};
    static const mc_shape extents[] = {{0, 1, 1},   {0, 2, 2},   {0, 4, 2},   {0, 2, 4},
                                       {0, 3, 3},   {0, 5, 7},   {0, 9, 4},   {0, 8, 8},
                                       {0, 13, 11}, {0, 28, 28}, {0, 64, 32}, {0, 16, 16},
                                       {0, 4, 4},   {0, 1, 6},   {0, 7, 1},   {0, 17, 2}};
    static const mc_shape strided[] = {{0, 16, 16}, {0, 15, 16}, {0, 64, 32},
                                       {0, 31, 33}, {0, 16, 47}, {0, 31, 16}};
    static const int64_t channels[] = {1, 3, 17, 8, 16, 33, 64, 2};
    static const int64_t batches[] = {1, 2, 3, 5, 8, 15, 16, 17, 24, 31, 32, 33, 40};
    modeconn_model *model;

    const bool is_wide = index >= SWEEP_WIDE;
    *s = (sweep){.draw = {seed, index, 0}, .exact = true};
    mc_shape in =
        index % SWEEP_FAMILIES == SWEEP_STRIDED ? SWEEP_PICK(s, strided) : SWEEP_PICK(s, extents);
    in.c = SWEEP_PICK(s, channels);
    while (in.c > 3 && in.c * in.h * in.w > 16384) {
        in.c /= 2;
    }
    s->n = SWEEP_PICK(s, batches);
    if (is_wide) {
        const struct sweep_wide *wide = &sweep_wides[index - SWEEP_WIDE];
        in = (mc_shape){16, wide->h, wide->w};
        s->n = wide->n;
    }
    snprintf(s->text, sizeof s->text, "seed %llu, case %llu: %dx%dx%d", (unsigned long long)seed,
             (unsigned long long)index, (int)in.c, (int)in.h, (int)in.w);
    OK(modeconn_graph_create(context, in.c, in.h, in.w, &s->graph));
    int32_t node = sweep_linear(s, is_wide ? sweep_wide(s) : families[index % SWEEP_FAMILIES](s),
                                2 + sweep_below(s, 9));
    OK(modeconn_model_from_graph(s->graph, node, seed & INT32_MAX, &model));
    modeconn_graph_destroy(s->graph);

    int64_t least = sweep_least(model->graph);
    int64_t most = (int64_t)(SWEEP_BATCH_WORK / sweep_work(model->graph));
    s->n = s->n > most && !is_wide ? most : s->n;
    s->n = s->n < least ? least : s->n;
    size_t used = strlen(s->text);
    snprintf(s->text + used, sizeof s->text - used, ", batch of %d", (int)s->n);
    return model;
}

#endif
