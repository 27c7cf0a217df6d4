/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The plan of a pass: which ReLUs and batch norms are done by their neighbours, which outputs are
 * made again instead of kept, and one arena in which activations and gradients share memory once
 * their lifetimes do not overlap. Nothing is allocated inside a step.
 *
 * Time runs over 2N steps for N nodes: node i computes forward at i and backward at 2N - 1 - i.
 * An activation lives from its own forward to its last reader; a gradient from the first
 * consumer that writes it (the last in order) to its own node's backward. What is made again
 * (mark_again()) has two lives: up to its last reader forward, and from its first reader backward.
 * Small outputs are not: they cost less memory than time.
 */
#include "nn/graph.h"
#include <stdlib.h>
#include <string.h>

/* Whether node `reader` applies a batch norm that it reads by itself. */
static bool reads_lazily(const modeconn_graph *graph, int32_t reader)
{
    const mc_node *node = &graph->nodes[reader];
    return node->type == &mc_layer_add || mc_conv_reads_maps(node);
}

/* Batch norm i is lazy if all readers of it, or of the ReLU that it does, are such, and if nobody
 * else reads its own input, which stays as it is. */
static void mark_lazy(modeconn_graph *graph, int32_t i)
{
    mc_node *norm = &graph->nodes[i];
    int32_t seen = norm->rectify ? norm->last_reader : i;
    const mc_node *read = &graph->nodes[seen];
    bool two = read->n_readers == 2 && read->reader_before > 0;
    norm->lazy = norm->type == &mc_layer_batch_norm && seen != mc_representation_node(graph) &&
                 (read->n_readers == 1 || two) && reads_lazily(graph, read->last_reader) &&
                 (!two || reads_lazily(graph, read->reader_before)) &&
                 graph->nodes[norm->inputs[0]].n_readers == 1 && norm->inputs[0] > 0;
}

/* The node whose output node i's slot holds: a ReLU that was done before it, a lazy batch norm. */
static int32_t holder(const modeconn_graph *graph, int32_t i)
{
    while (graph->nodes[i].forwarded || graph->nodes[i].lazy) {
        i = graph->nodes[i].inputs[0];
    }
    return i;
}

/* Inputs of later nodes that node i's output is, counted behind the ReLU that it does. */
static int32_t readers_behind(const modeconn_graph *graph, int32_t i)
{
    const mc_node *node = &graph->nodes[i];
    bool passed_on = node->n_readers == 1 && graph->nodes[node->last_reader].forwarded;
    return passed_on ? graph->nodes[node->last_reader].n_readers : node->n_readers;
}

/* Sums that follow each other are made again in one go, all in memory at once: not too many. */
enum { AGAIN_MOST = 3 };

/* Sum or batch norm i is made again if several nodes read it and the loss does not. */
static void mark_again(modeconn_graph *graph, int32_t i)
{
    mc_node *node = &graph->nodes[i];
    int32_t seen = mc_representation_node(graph);
    bool passed_on = graph->nodes[node->last_reader].forwarded;
    bool makes = node->type == &mc_layer_add || (node->type == &mc_layer_batch_norm && !node->lazy);
    if (!makes || readers_behind(graph, i) < 2 || i == seen ||
        (passed_on && node->last_reader == seen)) {
        return;
    }
    int32_t deepest = 0;
    for (int32_t k = 0; k < node->n_inputs; k++) {
        int32_t depth = graph->nodes[holder(graph, node->inputs[k])].again;
        deepest = depth > deepest ? depth : deepest;
    }
    node->again = deepest < AGAIN_MOST ? deepest + 1 : 0;
}

/* Convolution i is the last to add to its input's gradient if it reads it first. */
static void mark_completion(modeconn_graph *graph, int32_t i)
{
    mc_node *node = &graph->nodes[i];
    int32_t input = node->inputs[0];
    node->completes = node->type == &mc_layer_conv2d && graph->nodes[input].first_reader == i;
    input = graph->nodes[input].forwarded ? graph->nodes[input].inputs[0] : input;
    if (node->completes && graph->nodes[input].type == &mc_layer_add) {
        node->sum = input;
    }
}

void mc_graph_fuse(modeconn_graph *graph)
{
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        mc_node *node = &graph->nodes[i], *reader = &graph->nodes[node->last_reader];
        if (node->type->can_rectify && i != mc_representation_node(graph) && node->n_readers == 1 &&
            reader->type == &mc_layer_relu) {
            node->rectify = true;
            reader->forwarded = true;
        }
    }
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        mc_node *node = &graph->nodes[i], *reader = &graph->nodes[node->last_reader];
        if (node->type == &mc_layer_conv2d && node->n_params == 1 &&
            i != mc_representation_node(graph) && node->n_readers == 1 &&
            reader->type == &mc_layer_batch_norm) {
            node->norm = node->last_reader;
            reader->follows = true;
        }
        mark_lazy(graph, i);
    }
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        mc_node *node = &graph->nodes[i];
        node->summed =
            node->n_readers == 1 && graph->nodes[node->last_reader].type == &mc_layer_batch_norm;
        node->pulls = node->summed && mc_conv_can_pull(node);
        mark_completion(graph, i);
        mark_again(graph, i);
    }
}

/* ---- lifetimes ------------------------------------------------------------------------------ */

/* A piece of the arena: `size` floats in use during [first, last]. */
typedef struct piece {
    int64_t size, offset;
    int32_t first, last;
} piece;

/* What the plan of one pass works on; pieces PIECES * i and on are activation, gradient and
 * activation made again of node i (size 0: none, or the same as `owner`'s). */
enum { OUT, GRADIENT, AGAIN, PIECES };
typedef struct plan {
    const modeconn_graph *graph;
    bool gradients;
    int64_t kept_most; /* floats up to which outputs are not made again */
    piece *pieces;
    int32_t *out_owner, *grad_owner; /* per node: node whose piece it uses */
    bool *held;                      /* per node: others read its gradient after it: a sum's */
} plan;

static void extend(piece *p, int32_t time)
{
    p->first = time < p->first ? time : p->first;
    p->last = time > p->last ? time : p->last;
}

static int32_t backward_time(const modeconn_graph *graph, int32_t node)
{
    return 2 * graph->n_nodes - 1 - node;
}

static piece *piece_of(const plan *p, int32_t node, int which)
{
    return &p->pieces[PIECES * node + which];
}

/* The activation of `node` is read at a time of the backward pass. */
static void read_back(plan *p, int32_t node, int32_t time)
{
    int32_t owner = p->out_owner[node];
    piece *own = piece_of(p, owner, OUT), *again = piece_of(p, owner, AGAIN);
    if (!p->graph->nodes[owner].again || own->size <= p->kept_most) {
        extend(own, time);
    } else if (again->size == 0) {
        *again = (piece){own->size, 0, time, time};
    } else {
        extend(again, time);
    }
}

static void plan_activations(plan *p, int64_t max)
{
    const modeconn_graph *graph = p->graph;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        bool in_place = node->forwarded || (p->gradients ? node->lazy : node->follows);
        p->out_owner[i] = in_place ? p->out_owner[node->inputs[0]] : i;
        piece *own = piece_of(p, p->out_owner[i], OUT);
        if (p->out_owner[i] == i) {
            *own = (piece){max * mc_shape_size(node->out), 0, i, i};
        }
        if (p->gradients && (mc_reads_output_back(node) || node->pulls)) {
            read_back(p, i, backward_time(graph, i));
        }
        for (int32_t k = 0; k < node->n_inputs; k++) {
            extend(piece_of(p, p->out_owner[node->inputs[k]], OUT), i);
            if (p->gradients && mc_reads_inputs_back(node)) {
                read_back(p, node->inputs[k], backward_time(graph, i));
            }
        }
    }
    /* What is made again needs its inputs then, which may have to be made again before. */
    for (int32_t i = graph->n_nodes - 1; i > 0 && p->gradients; i--) {
        const piece *again = piece_of(p, i, AGAIN);
        for (int32_t k = 0; again->size > 0 && k < graph->nodes[i].n_inputs; k++) {
            read_back(p, graph->nodes[i].inputs[k], again->first);
        }
    }
    /* The loss reads logits and representation after the last node. */
    extend(piece_of(p, p->out_owner[graph->output], OUT), graph->n_nodes);
    extend(piece_of(p, p->out_owner[mc_representation_node(graph)], OUT), graph->n_nodes);
}

static bool gets_cotangent(const modeconn_graph *graph, int32_t node)
{
    return node == graph->output || node == mc_representation_node(graph);
}

/* The convolution that may read the gradient of batch norm i's output, 0: none. */
static int32_t pulled_back_by(const modeconn_graph *graph, int32_t i)
{
    int32_t input = graph->nodes[i].inputs[0];
    return graph->nodes[i].type == &mc_layer_batch_norm && graph->nodes[input].pulls ? input : 0;
}

/* Who reads the gradient of lazy batch norm i's output last. */
static int32_t last_to_read(const modeconn_graph *graph, int32_t i)
{
    int32_t convolution = pulled_back_by(graph, i);
    return convolution > 0 ? convolution : i;
}

/* Whether node i can have the very gradient of the sum that reads it last. A lazy batch norm only
 * reads it; others change it, when the reader before the sum adds to it or when they mask it
 * themselves, so the sum's other input must be a batch norm that has read it by then. */
static bool shares_with_sum(const modeconn_graph *graph, int32_t i)
{
    const mc_node *node = &graph->nodes[i], *sum = &graph->nodes[node->last_reader];
    if (node->n_readers == 0 || sum->type != &mc_layer_add || sum->inputs[0] == sum->inputs[1] ||
        gets_cotangent(graph, i)) {
        return false;
    }
    int32_t other = sum->inputs[sum->inputs[0] == i ? 1 : 0];
    bool reads_it = graph->nodes[other].lazy && graph->nodes[other].n_readers == 1;
    int32_t changed = node->n_readers > 1 ? node->reader_before : i;
    return (node->lazy && node->n_readers == 1) ||
           (reads_it && last_to_read(graph, other) > changed);
}

static void plan_gradients(plan *p, int64_t max)
{
    const modeconn_graph *graph = p->graph;
    for (int32_t i = graph->n_nodes - 1; i > 0 && p->gradients; i--) {
        const mc_node *node = &graph->nodes[i];
        int32_t reader = node->last_reader, readers = node->n_readers;
        bool with_sum = shares_with_sum(graph, i);
        /* A node that one in-place layer reads shares that layer's gradient. */
        bool shares = with_sum || (readers == 1 && !gets_cotangent(graph, i) && !p->held[reader] &&
                                   graph->nodes[reader].type->in_place);
        p->held[i] = with_sum && node->lazy && node->n_readers == 1;
        p->grad_owner[i] = shares ? p->grad_owner[reader] : i;
        piece *own = piece_of(p, p->grad_owner[i], GRADIENT);
        if (!shares) {
            *own = (piece){max * mc_shape_size(node->out), 0, graph->n_nodes, graph->n_nodes};
            own->first = readers > 0 ? backward_time(graph, reader) : graph->n_nodes;
            own->last = own->first;
        }
        extend(own, backward_time(graph, i));
        if (pulled_back_by(graph, i) > 0) {
            extend(own, backward_time(graph, pulled_back_by(graph, i)));
        }
        /* Cotangents of the loss arrive between forward and backward. */
        if (gets_cotangent(graph, i)) {
            extend(own, graph->n_nodes);
        }
    }
}

/* ---- placing ------------------------------------------------------------------------------- */

/* Sizes are rounded to 64 bytes; buffers that are read together should not lie at equal
 * addresses modulo a page, so each gets one more line, which is MC_ROW_SLACK too. */
static int64_t padded(int64_t size)
{
    return (size + 15) / 16 * 16 + 16;
}

static int by_size(const void *a, const void *b)
{
    const piece *p = *(piece *const *)a, *q = *(piece *const *)b;
    if (p->size != q->size) {
        return p->size < q->size ? 1 : -1;
    }
    return p < q ? -1 : p > q;
}

static int by_life(const void *a, const void *b)
{
    const piece *p = *(piece *const *)a, *q = *(piece *const *)b;
    int32_t life = p->last - p->first, other = q->last - q->first;
    return life != other ? (life < other ? 1 : -1) : by_size(a, b);
}

/* Lowest offset at which `p` fits beside the `n` placed pieces that live at the same time. */
static int64_t find_offset(const piece *p, piece *const *placed, int64_t n)
{
    int64_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int64_t i = 0; i < n; i++) {
            const piece *q = placed[i];
            bool together = q->first <= p->last && p->first <= q->last;
            if (together && offset < q->offset + q->size && q->offset < offset + p->size) {
                offset = q->offset + q->size;
                moved = true;
            }
        }
    }
    return offset;
}

/* In this order, each at the lowest free offset; returns the size of the arena. */
static int64_t place(piece **order, int64_t n, int (*before)(const void *, const void *))
{
    int64_t total = 0;
    qsort(order, (size_t)n, sizeof *order, before);
    for (int64_t i = 0; i < n; i++) {
        order[i]->offset = find_offset(order[i], order, i);
        int64_t end = order[i]->offset + order[i]->size;
        total = end > total ? end : total;
    }
    return total;
}

/* What lives longest first, which leaves few holes in training, or what is largest first. */
static int64_t place_all(plan *p, piece **order)
{
    int64_t n = 0;
    for (int64_t i = 0; i < PIECES * p->graph->n_nodes; i++) {
        if (p->pieces[i].size > 0) {
            p->pieces[i].size = padded(p->pieces[i].size);
            order[n++] = &p->pieces[i];
        }
    }
    int64_t by_sizes = place(order, n, by_size), total = place(order, n, by_life);
    return total <= by_sizes ? total : place(order, n, by_size);
}

/* ---- the pass ------------------------------------------------------------------------------ */

/* Backward visits consumers from the last to the first: all but the last in order accumulate. */
static void mark_accumulation(mc_pass *pass)
{
    const modeconn_graph *graph = pass->graph;
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        for (int32_t k = 0; k < graph->nodes[i].n_inputs; k++) {
            int32_t input = graph->nodes[i].inputs[k];
            bool last = graph->nodes[input].last_reader == i;
            /* A layer that reads one node twice writes it first as its input 0. */
            bool again = k > 0 && graph->nodes[i].inputs[0] == input;
            pass->slots[i].accumulate[k] = !last || again;
        }
    }
}

static void set_slots(mc_pass *pass, const plan *p, float *saved)
{
    const modeconn_graph *graph = pass->graph;
    double *moments = pass->moments;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        mc_slot *slot = &pass->slots[i];
        int32_t owner = p->out_owner[i];
        slot->out = pass->arena + piece_of(p, owner, OUT)->offset;
        slot->forward_out = slot->out;
        if (piece_of(p, owner, AGAIN)->size > 0) {
            slot->again_out = pass->arena + piece_of(p, owner, AGAIN)->offset;
        }
        if (p->gradients && i > 0) {
            slot->d_out = pass->arena + piece_of(p, p->grad_owner[i], GRADIENT)->offset;
        }
        if (node->type->saved != NULL) {
            slot->saved = saved;
            saved += padded(node->type->saved(node, pass->max));
        }
        if (node->n_stats > 0) {
            slot->moment = moments;
            moments += 2 * node->out.c;
        }
    }
    float *prepared = pass->prepared_memory;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const mc_layer_type *type = graph->nodes[i].type;
        pass->prepared[i].data = pass->keeps_prepared ? prepared : pass->shared;
        if (pass->keeps_prepared && type->prepared != NULL) {
            prepared += padded(type->prepared(&graph->nodes[i]));
        }
    }
    mark_accumulation(pass);
}

void mc_pass_rebound(mc_pass *pass)
{
    for (int32_t i = 0; i < pass->graph->n_nodes; i++) {
        pass->prepared[i].by = NULL;
    }
}

typedef struct sizes {
    int64_t saved, scratch, shared, moments;
    int64_t parts;    /* doubles */
    int64_t prepared; /* of all nodes, where it is kept */
} sizes;

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static sizes measure(const modeconn_graph *graph, int64_t max, bool gradients)
{
    sizes s = {0};
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        const mc_layer_type *type = node->type;
        s.saved += type->saved != NULL ? padded(type->saved(node, max)) : 0;
        s.moments += node->n_stats > 0 ? 2 * node->out.c : 0;
        s.scratch = larger(s.scratch, type->scratch ? type->scratch(node, max, gradients) : 0);
        if (node->summed) {
            int64_t count = max * node->out.h * node->out.w / MC_PART_ROWS + 1;
            s.parts = larger(s.parts, count * (2 * node->out.c + 1));
        }
        s.prepared += type->prepared != NULL ? padded(type->prepared(node)) : 0;
        s.shared = larger(s.shared, type->shared ? type->shared(node, max, gradients) : 0);
    }
    return s;
}

static int32_t allocate(mc_pass *pass, int64_t arena, const sizes *s)
{
    int workers = mc_pool_size(pass->pool);
    pass->arena = mc_alloc(pass->context, arena + s->saved, sizeof(float));
    pass->moments = mc_alloc(pass->context, s->moments, sizeof(double));
    pass->parts.data = mc_alloc(pass->context, s->parts, sizeof(double));
    pass->parts.capacity = s->parts;
    pass->shared = mc_alloc(pass->context, s->shared, sizeof(float));
    int64_t prepared = pass->keeps_prepared ? s->prepared : 0;
    pass->prepared_memory = mc_alloc(pass->context, prepared, sizeof(float));
    pass->prepared = mc_calloc(pass->context, pass->graph->n_nodes, sizeof *pass->prepared);
    pass->slots = mc_calloc(pass->context, pass->graph->n_nodes, sizeof *pass->slots);
    pass->scratch = mc_calloc(pass->context, workers, sizeof *pass->scratch);
    if (pass->prepared_memory == NULL || pass->prepared == NULL || pass->arena == NULL ||
        pass->moments == NULL || pass->parts.data == NULL || pass->shared == NULL ||
        pass->slots == NULL || pass->scratch == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    for (int i = 0; i < workers; i++) {
        pass->scratch[i] = mc_alloc(pass->context, s->scratch, sizeof(float));
        if (pass->scratch[i] == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
    }
    return MODECONN_OK;
}

int32_t mc_pass_create(modeconn_context *context, const modeconn_graph *graph, int64_t max,
                       bool gradients, mc_pass *pass)
{
    int64_t n = graph->n_nodes;
    plan p = {.graph = graph, .gradients = gradients, .kept_most = context->kept_most};
    piece **order = mc_alloc(context, PIECES * n, sizeof *order);
    int32_t status = MODECONN_ERROR_MEMORY;

    *pass = (mc_pass){.graph = graph,
                      .context = context,
                      .kernels = context->kernels,
                      .pool = context->pool,
                      .max = max,
                      .keeps_prepared = !gradients};
    p.pieces = mc_calloc(context, PIECES * n, sizeof *p.pieces);
    p.out_owner = mc_calloc(context, n, sizeof *p.out_owner);
    p.grad_owner = mc_calloc(context, n, sizeof *p.grad_owner);
    p.held = mc_calloc(context, n, sizeof *p.held);
    if (p.held != NULL && order != NULL && p.pieces != NULL && p.out_owner != NULL &&
        p.grad_owner != NULL) {
        plan_activations(&p, max);
        plan_gradients(&p, max);
        int64_t arena = place_all(&p, order);
        sizes s = measure(graph, max, gradients);
        status = allocate(pass, arena, &s);
        if (status == MODECONN_OK) {
            set_slots(pass, &p, pass->arena + arena);
        }
    }
    mc_free(context, order);
    mc_free(context, p.pieces);
    mc_free(context, p.out_owner);
    mc_free(context, p.grad_owner);
    mc_free(context, p.held);
    if (status < 0) {
        mc_pass_free(pass);
    }
    return status;
}

void mc_pass_free(mc_pass *pass)
{
    if (pass->context == NULL) {
        return;
    }
    if (pass->scratch != NULL) {
        for (int i = 0; i < mc_pool_size(pass->pool); i++) {
            mc_free(pass->context, pass->scratch[i]);
        }
    }
    mc_free(pass->context, pass->scratch);
    mc_free(pass->context, pass->prepared);
    mc_free(pass->context, pass->prepared_memory);
    mc_free(pass->context, pass->slots);
    mc_free(pass->context, pass->shared);
    mc_free(pass->context, pass->parts.data);
    mc_free(pass->context, pass->moments);
    mc_free(pass->context, pass->arena);
    *pass = (mc_pass){0};
}
