/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Model handles: creation from graphs, parameters and statistics, blocks. Metadata are in
 * metadata.c, running a model in model_run.c, files in model_file.c, architectures in arch.c.
 */
#include "nn/graph.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- life ----------------------------------------------------------------------------------- */

static void free_blocks(modeconn_model *model)
{
    for (int64_t i = 0; model->blocks != NULL && i < model->n_blocks_theta + model->n_blocks_stats;
         i++) {
        mc_free(model->context, model->blocks[i].name);
    }
    mc_free(model->context, model->blocks);
}

static void free_metadata(modeconn_model *model)
{
    for (int64_t i = 0; i < model->n_meta; i++) {
        mc_free(model->context, model->meta_keys[i]);
        mc_free(model->context, model->meta_values[i]);
    }
    mc_free(model->context, model->meta_keys);
    mc_free(model->context, model->meta_values);
    mc_free(model->context, model->meta_slots);
}

void modeconn_model_destroy(modeconn_model *model)
{
    if (model == NULL || !mc_ref_drop(&model->ref)) {
        return;
    }
    modeconn_context *context = model->context;
    if (model->ops != NULL) {
        model->ops->session_destroy(model->run_session);
    }
    free_blocks(model);
    free_metadata(model);
    modeconn_history_destroy(model->history);
    modeconn_graph_destroy(model->graph);
    mc_free(context, model->architecture);
    mc_free(context, model->settings);
    mc_free(context, model->theta);
    mc_free(context, model->statistics);
    mc_free(context, model);
    mc_context_drop(context);
}

modeconn_model *mc_model_take(modeconn_model *model)
{
    mc_ref_take(&model->ref);
    return model;
}

static int32_t fill_block(modeconn_model *model, mc_block *block, const mc_node *node,
                          const mc_tensor_spec *spec)
{
    size_t length = strlen(node->name) + strlen(spec->suffix) + 2;
    *block = (mc_block){.offset = spec->offset, .size = spec->size, .rank = spec->rank};
    memcpy(block->shape, spec->shape, sizeof block->shape);
    block->name = mc_alloc(model->context, (int64_t)length, 1);
    if (block->name == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    snprintf(block->name, length, "%s.%s", node->name, spec->suffix);
    return MODECONN_OK;
}

static int32_t make_blocks(modeconn_model *model)
{
    const modeconn_graph *graph = model->graph;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        model->n_blocks_theta += graph->nodes[i].n_params;
        model->n_blocks_stats += graph->nodes[i].n_stats;
    }
    model->blocks = mc_calloc(model->context, model->n_blocks_theta + model->n_blocks_stats,
                              sizeof *model->blocks);
    if (model->blocks == NULL) {
        model->n_blocks_theta = 0;
        model->n_blocks_stats = 0;
        return MODECONN_ERROR_MEMORY;
    }
    mc_block *params = model->blocks, *stats = params + model->n_blocks_theta;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        for (int32_t k = 0; k < node->n_params; k++) {
            if (fill_block(model, params++, node, &node->params[k]) < 0) {
                return MODECONN_ERROR_MEMORY;
            }
        }
        for (int32_t k = 0; k < node->n_stats; k++) {
            if (fill_block(model, stats++, node, &node->stats[k]) < 0) {
                return MODECONN_ERROR_MEMORY;
            }
        }
    }
    return MODECONN_OK;
}

int32_t mc_model_of_graph(modeconn_graph *graph, const char *architecture, const char *settings,
                          modeconn_model **out)
{
    *out = NULL;
    modeconn_model *model = mc_calloc(graph->context, 1, sizeof *model);
    if (model == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_shape input = graph->nodes[0].out, output = graph->nodes[graph->output].out;
    mc_ref_init(&model->ref);
    model->context = mc_context_take(graph->context);
    model->graph = mc_graph_take(graph);
    model->ops = &mc_graph_ops;
    model->n_theta = graph->n_theta;
    model->n_stats = graph->n_stats;
    model->channels = input.c;
    model->height = input.h;
    model->width = input.w;
    model->classes = output.c;
    model->representation_width = mc_shape_size(graph->nodes[mc_representation_node(graph)].out);
    model->architecture = mc_strdup(model->context, architecture);
    model->settings = mc_strdup(model->context, settings);
    if (model->architecture == NULL || model->settings == NULL || make_blocks(model) < 0 ||
        mc_history_create(model->context, NULL, 0, &model->history) < 0) {
        modeconn_model_destroy(model);
        return MODECONN_ERROR_MEMORY;
    }
    *out = model;
    return MODECONN_OK;
}

int32_t mc_model_allocate(modeconn_model *model)
{
    model->theta = mc_alloc(model->context, model->n_theta, sizeof(float));
    model->statistics = mc_alloc(model->context, model->n_stats, sizeof(float));
    return model->theta == NULL || model->statistics == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

int32_t mc_model_clone_empty(const modeconn_model *model, modeconn_model **out)
{
    modeconn_model *copy = NULL;
    *out = NULL;
    int32_t status = mc_model_of_graph(model->graph, model->architecture, model->settings, &copy);
    if (status == MODECONN_OK) {
        status = mc_model_allocate(copy);
    }
    if (status < 0) {
        modeconn_model_destroy(copy);
        return status;
    }
    *out = copy;
    return MODECONN_OK;
}

int32_t modeconn_model_clone(const modeconn_model *model, modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL) {
        return mc_null("model");
    }
    modeconn_model *copy;
    int32_t status = mc_model_clone_empty(model, &copy);
    if (status < 0) {
        return status;
    }
    memcpy(copy->theta, model->theta, (size_t)model->n_theta * sizeof(float));
    memcpy(copy->statistics, model->statistics, (size_t)model->n_stats * sizeof(float));
    mc_model_set_history(copy, mc_history_take(model->history));
    for (int64_t i = 0; i < model->n_meta && status == MODECONN_OK; i++) {
        status = modeconn_model_set_metadata(copy, model->meta_keys[i], model->meta_values[i]);
    }
    if (status < 0) {
        modeconn_model_destroy(copy);
        return status;
    }
    *out = copy;
    return MODECONN_OK;
}

void mc_model_set_history(modeconn_model *model, modeconn_history *history)
{
    modeconn_history_destroy(model->history);
    model->history = history;
}

/* ---- initialisation ------------------------------------------------------------------------- */

enum { INIT_CHUNK = 16384 };

typedef struct init_job {
    const mc_kernels *kernels;
    const mc_tensor_spec *spec;
    uint64_t seed;
    float *values;
} init_job;

/* A value is a function of (seed, its place in theta) alone. */
static void init_task(void *arg, int64_t task, int worker)
{
    (void)worker;
    const init_job *job = arg;
    const mc_tensor_spec *spec = job->spec;
    int64_t begin = task * INIT_CHUNK, left = spec->size - begin;
    int64_t first = spec->offset + begin, count = left < INIT_CHUNK ? left : INIT_CHUNK;
    if (spec->init == MC_INIT_FAN_IN) {
        job->kernels->uniform(job->seed, MC_STREAM_INIT, (uint64_t)first, count,
                              1.0 / sqrt((double)spec->fan_in), job->values + first);
        return;
    }
    for (int64_t at = first; at < first + count; at++) {
        job->values[at] = spec->init == MC_INIT_ONE ? 1.0f : 0.0f;
    }
}

static void initialise(const modeconn_context *context, const mc_tensor_spec *spec, uint64_t seed,
                       float *values)
{
    init_job job = {context->kernels, spec, seed, values};
    mc_pool_run(context->pool, (spec->size + INIT_CHUNK - 1) / INIT_CHUNK, init_task, &job);
}

void mc_model_initialise(modeconn_model *model, uint64_t seed)
{
    const modeconn_graph *graph = model->graph;
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        const mc_node *node = &graph->nodes[i];
        for (int32_t k = 0; k < node->n_params; k++) {
            initialise(graph->context, &node->params[k], seed, model->theta);
        }
        for (int32_t k = 0; k < node->n_stats; k++) {
            initialise(graph->context, &node->stats[k], seed, model->statistics);
        }
    }
}

int32_t modeconn_model_from_graph(const modeconn_graph *graph, int32_t output, int64_t seed,
                                  modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (graph == NULL) {
        return mc_null("graph");
    }
    int32_t status = mc_check_seed(seed);
    if (status == MODECONN_OK) {
        status = mc_graph_check_output(graph, output);
    }
    if (status < 0) {
        return status;
    }
    /* The model gets a graph of its own through the text that files hold: the caller may go on
     * adding to this one. */
    modeconn_model *model = NULL;
    char *settings = NULL;
    status = mc_graph_describe(graph, &settings);
    if (status == MODECONN_OK) {
        status = mc_model_from_settings(graph->context, "graph", settings, &model);
    }
    mc_free(graph->context, settings);
    if (status == MODECONN_OK) {
        status = mc_model_allocate(model);
    }
    if (status < 0) {
        modeconn_model_destroy(model);
        return status;
    }
    mc_model_initialise(model, mc_seed(model->context, seed));
    *out = model;
    return MODECONN_OK;
}

/* ---- what it is ----------------------------------------------------------------------------- */

int32_t modeconn_model_architecture(const modeconn_model *model, const char **arch)
{
    if (model == NULL || arch == NULL) {
        return mc_null(model == NULL ? "model" : "arch");
    }
    *arch = model->architecture;
    return MODECONN_OK;
}

static void put(int64_t *to, int64_t value)
{
    if (to != NULL) {
        *to = value;
    }
}

int32_t modeconn_model_shape(const modeconn_model *model, int64_t *channels, int64_t *height,
                             int64_t *width, int64_t *classes)
{
    if (model == NULL) {
        return mc_null("model");
    }
    put(channels, model->channels);
    put(height, model->height);
    put(width, model->width);
    put(classes, model->classes);
    return MODECONN_OK;
}

int32_t mc_model_same_shape(const modeconn_model *a, const modeconn_model *b)
{
    if (a->channels != b->channels || a->height != b->height || a->width != b->width) {
        return mc_fail(MODECONN_ERROR_SHAPE, "inputs differ: %lldx%lldx%lld and %lldx%lldx%lld",
                       (long long)a->channels, (long long)a->height, (long long)a->width,
                       (long long)b->channels, (long long)b->height, (long long)b->width);
    }
    int64_t count = a->n_blocks_theta + a->n_blocks_stats;
    int64_t other = b->n_blocks_theta + b->n_blocks_stats;
    for (int64_t i = 0; i < count && i < other; i++) {
        const mc_block *p = &a->blocks[i], *q = &b->blocks[i];
        if (strcmp(p->name, q->name) != 0 || memcmp(p->shape, q->shape, sizeof p->shape) != 0) {
            return mc_fail(MODECONN_ERROR_SHAPE,
                           "the models differ: %s [%lld, %lld, %lld, %lld] and "
                           "%s [%lld, %lld, %lld, %lld]",
                           p->name, (long long)p->shape[0], (long long)p->shape[1],
                           (long long)p->shape[2], (long long)p->shape[3], q->name,
                           (long long)q->shape[0], (long long)q->shape[1], (long long)q->shape[2],
                           (long long)q->shape[3]);
        }
    }
    if (count != other) {
        const mc_block *extra = count > other ? &a->blocks[other] : &b->blocks[count];
        return mc_fail(MODECONN_ERROR_SHAPE, "the models differ: only one has %s", extra->name);
    }
    return a->graph == b->graph ? MODECONN_OK : mc_graph_same_layers(a->graph, b->graph);
}

/* ---- parameters and statistics -------------------------------------------------------------- */

int32_t modeconn_model_parameter_count(const modeconn_model *model, int64_t *count)
{
    if (model == NULL || count == NULL) {
        return mc_null(model == NULL ? "model" : "count");
    }
    *count = model->n_theta;
    return MODECONN_OK;
}

int32_t modeconn_model_statistics_count(const modeconn_model *model, int64_t *count)
{
    if (model == NULL || count == NULL) {
        return mc_null(model == NULL ? "model" : "count");
    }
    *count = model->n_stats;
    return MODECONN_OK;
}

/* A whole vector of the caller's, "theta" or "statistics". */
static int32_t check_vector(const modeconn_model *model, const char *name, const float *values,
                            int64_t count)
{
    if (model == NULL) {
        return mc_null("model");
    }
    int64_t expected = strcmp(name, "theta") == 0 ? model->n_theta : model->n_stats;
    if (values == NULL && (count > 0 || expected > 0)) {
        return mc_null(name);
    }
    if (count != expected) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: %lld values for a vector of %lld", name,
                       (long long)count, (long long)expected);
    }
    return MODECONN_OK;
}

int32_t modeconn_model_get_parameters(const modeconn_model *model, float *theta, int64_t count)
{
    int32_t status = check_vector(model, "theta", theta, count);
    if (status == MODECONN_OK) {
        memcpy(theta, model->theta, (size_t)count * sizeof *theta);
    }
    return status;
}

int32_t modeconn_model_get_statistics(const modeconn_model *model, float *statistics, int64_t count)
{
    int32_t status = check_vector(model, "statistics", statistics, count);
    if (status == MODECONN_OK && count > 0) {
        memcpy(statistics, model->statistics, (size_t)count * sizeof *statistics);
    }
    return status;
}

static bool is_variance(const mc_block *block)
{
    size_t length = strlen(block->name), suffix = strlen("running_var");
    return length >= suffix && strcmp(block->name + length - suffix, "running_var") == 0;
}

static int32_t check_block(const mc_block *block, const float *values)
{
    bool variances = is_variance(block);
    for (int64_t i = 0; i < block->size; i++) {
        double value = (double)values[block->offset + i];
        if (!isfinite(value)) {
            return mc_fail(MODECONN_ERROR_NUMERIC, "value %lld of %s is %s", (long long)i,
                           block->name, mc_not_finite(value));
        }
        if (variances && value < 0.0) {
            return mc_fail(MODECONN_ERROR_NUMERIC, "variance %lld of %s is %g, less than zero",
                           (long long)i, block->name, value);
        }
    }
    return MODECONN_OK;
}

int32_t mc_model_check_finite(const modeconn_model *model, const float *theta,
                              const float *statistics)
{
    int32_t status = MODECONN_OK;
    for (int64_t i = 0; theta != NULL && i < model->n_blocks_theta && status == MODECONN_OK; i++) {
        status = check_block(&model->blocks[i], theta);
    }
    const mc_block *stats = model->blocks + model->n_blocks_theta;
    for (int64_t i = 0; statistics != NULL && i < model->n_blocks_stats && status == MODECONN_OK;
         i++) {
        status = check_block(&stats[i], statistics);
    }
    return status;
}

int32_t modeconn_model_set_parameters(modeconn_model *model, const float *theta, int64_t count)
{
    int32_t status = check_vector(model, "theta", theta, count);
    if (status == MODECONN_OK) {
        status = mc_model_check_finite(model, theta, NULL);
    }
    if (status == MODECONN_OK) {
        memcpy(model->theta, theta, (size_t)count * sizeof *theta);
        mc_model_changed(model);
    }
    return status;
}

int32_t modeconn_model_set_statistics(modeconn_model *model, const float *statistics, int64_t count)
{
    int32_t status = check_vector(model, "statistics", statistics, count);
    if (status == MODECONN_OK) {
        status = mc_model_check_finite(model, NULL, statistics);
    }
    if (status == MODECONN_OK && count > 0) {
        memcpy(model->statistics, statistics, (size_t)count * sizeof *statistics);
        mc_model_changed(model);
    }
    return status;
}

int32_t modeconn_model_block_count(const modeconn_model *model, int64_t *parameters,
                                   int64_t *statistics)
{
    if (model == NULL) {
        return mc_null("model");
    }
    put(parameters, model->n_blocks_theta);
    put(statistics, model->n_blocks_stats);
    return MODECONN_OK;
}

int32_t modeconn_model_block(const modeconn_model *model, int64_t index, const char **name,
                             int64_t *offset, int64_t *size, int32_t *rank, int64_t *shape)
{
    if (model == NULL) {
        return mc_null("model");
    }
    int64_t count = model->n_blocks_theta + model->n_blocks_stats;
    if (index < 0 || index >= count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "block %lld: the model has blocks 0 to %lld",
                       (long long)index, (long long)count - 1);
    }
    const mc_block *block = &model->blocks[index];
    if (name != NULL) {
        *name = block->name;
    }
    put(offset, block->offset);
    put(size, block->size);
    if (rank != NULL) {
        *rank = block->rank;
    }
    if (shape != NULL) {
        memcpy(shape, block->shape, sizeof block->shape);
    }
    return MODECONN_OK;
}
