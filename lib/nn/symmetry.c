/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which channels of a graph can change places: every layer's rule (mc_symmetry_rule) joins the
 * channels of its output with those of its inputs, or makes new ones. What is joined is permuted
 * together, so a residual stream (stem, sums, shortcuts) is one group by itself. Channels joined
 * with the input image or with the logits have a meaning of their own and stay.
 *
 * A convolution in groups leaves less: its inputs and its outputs stand in bundles, one a group,
 * and bundle k of the outputs reads bundle k of the inputs. So units move within their bundle, and
 * whole bundles on both sides together. Where convolutions of several group counts meet at one
 * tree, or one side stays, bundles stay. Depthwise with one output a channel is no such case: it
 * keeps channels as they are.
 */
#include "nn/graph.h"

/* What convolutions in groups make of a tree. */
typedef struct bundling {
    int64_t groups; /* of the convolutions; 0: none reads or makes the tree */
    int64_t size;   /* channels that every one of them has in one group */
    bool stays;     /* of a family's root: its bundles stay */
    int32_t family; /* a forest again: trees whose bundles change places together */
    int64_t order;  /* of a family's root: its first group; -1: none yet */
} bundling;

/* Nodes as a forest: nodes of one tree share their channels' order. */
typedef struct forest {
    const modeconn_graph *graph;
    int32_t *parent;    /* [n_nodes] */
    int64_t *group;     /* [n_nodes]: of a root; -1: fixed */
    bundling *bundling; /* [n_nodes]: of a root */
} forest;

static mc_symmetry_rule rule_of(const mc_node *node)
{
    bool depthwise = node->groups > 1 && node->groups == node->in.c && node->groups == node->out.c;
    return depthwise ? MC_SYMMETRY_KEEPS : node->type->symmetry;
}

static int32_t root_of(const forest *f, int32_t node)
{
    while (f->parent[node] != node) {
        node = f->parent[node];
    }
    return node;
}

/* The earlier root stays one, so that a tree's root is its first node. */
static void join(forest *f, int32_t a, int32_t b)
{
    a = root_of(f, a);
    b = root_of(f, b);
    f->parent[a > b ? a : b] = a > b ? b : a;
}

static int32_t join_nodes(forest *f)
{
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        const mc_node *node = &f->graph->nodes[i];
        mc_symmetry_rule rule = rule_of(node);
        f->parent[i] = i;
        if (i > 0 && rule == MC_SYMMETRY_UNKNOWN) {
            return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                           "layer %s (%s): no rule says which of its channels can change places",
                           node->name != NULL ? node->name : "without a name", node->type->name);
        }
        bool keeps = rule == MC_SYMMETRY_KEEPS || rule == MC_SYMMETRY_POOLS;
        for (int32_t k = 0; k < node->n_inputs && (keeps || rule == MC_SYMMETRY_JOINS); k++) {
            join(f, i, node->inputs[k]);
        }
    }
    return MODECONN_OK;
}

static void mark_fixed(forest *f)
{
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        f->group[i] = 0;
    }
    f->group[root_of(f, 0)] = -1;
    f->group[root_of(f, f->graph->output)] = -1;
    for (int32_t i = 1; i < f->graph->n_nodes; i++) {
        if (f->graph->nodes[i].type->symmetry == MC_SYMMETRY_SUMS) {
            f->group[root_of(f, i)] = -1;
        }
    }
}

static int32_t family_of(const forest *f, int32_t root)
{
    while (f->bundling[root].family != root) {
        root = f->bundling[root].family;
    }
    return root;
}

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b == 0 ? a : common_divisor(b, a % b);
}

/* One side of a convolution in groups: a tree in bundles of `size` channels. */
static void bundle(forest *f, int32_t root, int64_t groups, int64_t size)
{
    bundling *b = &f->bundling[root];
    b->stays = b->stays || f->group[root] < 0 || (b->groups != 0 && b->groups != groups);
    b->size = common_divisor(size, b->size);
    b->groups = groups;
}

static void bundle_trees(forest *f)
{
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        f->bundling[i] = (bundling){.family = i, .order = -1};
    }
    for (int32_t i = 1; i < f->graph->n_nodes; i++) {
        const mc_node *node = &f->graph->nodes[i];
        if (node->groups > 1 && rule_of(node) == MC_SYMMETRY_MIXES) {
            int32_t in = root_of(f, node->inputs[0]), out = root_of(f, i);
            bundle(f, in, node->groups, node->in.c / node->groups);
            bundle(f, out, node->groups, node->out.c / node->groups);
            in = family_of(f, in);
            out = family_of(f, out);
            f->bundling[in > out ? in : out].family = in > out ? out : in;
        }
    }
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        bundling *family = &f->bundling[family_of(f, i)];
        family->stays = family->stays || f->bundling[i].stays;
    }
}

/* Numbers the trees that are free, in the order of their first nodes. */
static int64_t number_groups(forest *f)
{
    int64_t count = 0;
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        if (f->parent[i] == i && f->group[i] == 0) {
            f->group[i] = count++;
        }
    }
    return count;
}

/* Appends a member, or only counts it while there is no room yet. */
static void add_member(mc_symmetry *s, int64_t group, int64_t block, int64_t outer, int64_t inner,
                       int64_t bundles)
{
    if (group < 0) {
        return;
    }
    mc_symmetry_group *g = &s->groups[group];
    if (g->members != NULL) {
        g->members[g->n_members] = (mc_symmetry_member){block, outer, inner, bundles};
    }
    g->n_members++;
}

/* Members of all groups in the order of the blocks; blocks of statistics follow the parameters'. */
static void add_members(mc_symmetry *s, const forest *f, int64_t first_statistic)
{
    int64_t param = 0, stat = first_statistic;
    for (int64_t g = 0; g < s->n_groups; g++) {
        s->groups[g].n_members = 0;
    }
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        const mc_node *node = &f->graph->nodes[i];
        int64_t c = node->out.c, out = f->group[root_of(f, i)];
        bool mixes = rule_of(node) == MC_SYMMETRY_MIXES;
        for (int32_t k = 0; k < node->n_params; k++, param++) {
            add_member(s, out, param, 1, node->params[k].size / c, 1);
            if (mixes && k == 0) {
                int64_t in = f->group[root_of(f, node->inputs[0])], groups = node->groups;
                add_member(s, in, param, c / groups,
                           node->params[k].size / c / (node->in.c / groups), groups);
            }
        }
        for (int32_t k = 0; k < node->n_stats; k++, stat++) {
            add_member(s, out, stat, 1, node->stats[k].size / c, 1);
        }
    }
}

static void describe_groups(mc_symmetry *s, const forest *f)
{
    for (int32_t i = 1; i < f->graph->n_nodes; i++) {
        const mc_node *node = &f->graph->nodes[i];
        int64_t index = f->group[root_of(f, i)];
        if (index < 0) {
            continue;
        }
        mc_symmetry_group *g = &s->groups[index];
        g->size = node->out.c;
        if (g->name == NULL) {
            g->name = node->name;
        }
        if (node->type->symmetry != MC_SYMMETRY_POOLS) {
            g->node = i;
            g->positions = node->out.h * node->out.w;
        }
    }
}

static void describe_bundles(mc_symmetry *s, forest *f)
{
    for (int32_t i = 0; i < f->graph->n_nodes; i++) {
        if (f->parent[i] != i || f->group[i] < 0) {
            continue;
        }
        mc_symmetry_group *g = &s->groups[f->group[i]];
        bundling *family = &f->bundling[family_of(f, i)];
        int64_t size = f->bundling[i].size;
        if (family->order < 0) {
            family->order = f->group[i];
        }
        g->bundles = size > 0 ? g->size / size : 1;
        g->order = size > 0 && !family->stays ? family->order : -1;
    }
}

static int32_t fill(mc_symmetry *s, const modeconn_model *model, forest *f)
{
    int32_t status = join_nodes(f);
    if (status < 0) {
        return status;
    }
    mark_fixed(f);
    bundle_trees(f);
    s->n_groups = number_groups(f);
    s->groups = mc_calloc(s->context, s->n_groups, sizeof *s->groups);
    if (s->groups == NULL) {
        s->n_groups = 0;
        return MODECONN_ERROR_MEMORY;
    }
    describe_groups(s, f);
    describe_bundles(s, f);
    add_members(s, f, model->n_blocks_theta);
    for (int64_t g = 0; g < s->n_groups; g++) {
        int64_t count = s->groups[g].n_members;
        s->groups[g].members = mc_calloc(s->context, count, sizeof(mc_symmetry_member));
        if (s->groups[g].members == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
    }
    add_members(s, f, model->n_blocks_theta);
    return MODECONN_OK;
}

int32_t mc_symmetry_create(const modeconn_model *model, mc_symmetry **out)
{
    *out = NULL;
    if (model->graph == NULL) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "%s: the layers of the model are not known, so neither are its symmetries",
                       model->architecture);
    }
    modeconn_context *context = model->context;
    mc_symmetry *made = mc_calloc(context, 1, sizeof *made);
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    made->graph = mc_graph_take(model->graph);
    forest f = {.graph = model->graph};
    f.parent = mc_calloc(context, model->graph->n_nodes, sizeof *f.parent);
    f.group = mc_calloc(context, model->graph->n_nodes, sizeof *f.group);
    f.bundling = mc_calloc(context, model->graph->n_nodes, sizeof *f.bundling);
    int32_t status = f.parent == NULL || f.group == NULL || f.bundling == NULL
                         ? MODECONN_ERROR_MEMORY
                         : MODECONN_OK;
    if (status == MODECONN_OK) {
        status = fill(made, model, &f);
    }
    mc_free(context, f.parent);
    mc_free(context, f.group);
    mc_free(context, f.bundling);
    if (status < 0) {
        mc_symmetry_free(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

void mc_symmetry_free(mc_symmetry *symmetry)
{
    if (symmetry == NULL) {
        return;
    }
    modeconn_context *context = symmetry->context;
    for (int64_t g = 0; g < symmetry->n_groups; g++) {
        mc_free(context, symmetry->groups[g].members);
    }
    mc_free(context, symmetry->groups);
    modeconn_graph_destroy(symmetry->graph);
    mc_free(context, symmetry);
    mc_context_drop(context);
}
