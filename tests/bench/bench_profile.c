/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the time of a training step goes. The step is the trainer's, done by hand so that its
 * parts can be timed: drawing the batch, taking the parameters, gradient, SGD. Within the gradient
 * each layer is timed by standing between the passes and its forward and backward functions: the
 * nodes of this model's graph get a copy of their type's row with functions that watch the clock
 * and call the original. Layers run one after the other on the calling thread and spread their
 * work themselves, so that is wall time.
 */
#include "bench.h"
#include "nn/graph.h"
#include "train/train.h"
#include <string.h>

enum { TYPES = 32, NODES = 512, WARM_UP = 2 };

/* The one profile that is being taken. */
static struct {
    mc_layer_type timed[TYPES];
    const mc_layer_type *original[NODES];
    double forward[NODES], backward[NODES];
} watch;

/* A layer may compare its type with a row's address: it sees the original. */
static void timed(mc_pass *pass, const mc_node *node, bool back)
{
    int32_t index = (int32_t)(node - pass->graph->nodes);
    mc_node *changed = &pass->graph->nodes[index];
    const mc_layer_type *shown = changed->type;
    double started = mc_seconds();
    changed->type = watch.original[index];
    if (back) {
        changed->type->backward(pass, node);
        watch.backward[index] += mc_seconds() - started;
    } else {
        changed->type->forward(pass, node);
        watch.forward[index] += mc_seconds() - started;
    }
    changed->type = shown;
}

static void timed_forward(mc_pass *pass, const mc_node *node)
{
    timed(pass, node, false);
}

static void timed_backward(mc_pass *pass, const mc_node *node)
{
    timed(pass, node, true);
}

static int32_t watch_graph(modeconn_graph *graph)
{
    if (graph->n_nodes > NODES || mc_layers_count > TYPES) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED, "%d nodes, %lld layers: too many to watch",
                       (int)graph->n_nodes, (long long)mc_layers_count);
    }
    memset(&watch, 0, sizeof watch);
    for (int64_t t = 0; t < mc_layers_count; t++) {
        watch.timed[t] = *mc_layers[t];
        watch.timed[t].forward = timed_forward;
        watch.timed[t].backward = timed_backward;
    }
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        watch.original[i] = graph->nodes[i].type;
        for (int64_t t = 0; t < mc_layers_count; t++) {
            if (graph->nodes[i].type == mc_layers[t]) {
                graph->nodes[i].type = &watch.timed[t];
                break;
            }
        }
    }
    return MODECONN_OK;
}

static void unwatch_graph(modeconn_graph *graph)
{
    for (int32_t i = 0; i < graph->n_nodes; i++) {
        graph->nodes[i].type = watch.original[i];
    }
}

/* ---- the step ----------------------------------------------------------------------------- */

enum { GATHER, BIND, GRADIENT, UPDATE, PARTS };
static const char *const parts[PARTS] = {"gather", "bind", "gradient", "update"};

static int32_t step(modeconn_trainer *trainer, double *spent)
{
    modeconn_model *model = trainer->model;
    mc_run *run = &trainer->run;
    mc_batch batch = {run->buffer.x, run->buffer.y, run->batch_size};
    double at[PARTS + 1];

    at[0] = mc_seconds();
    int32_t status =
        mc_dataset_gather(trainer->dataset, NULL, 0, batch.n, run->buffer.x, run->buffer.y);
    at[1] = mc_seconds();
    if (status == MODECONN_OK) {
        status = model->ops->bind(run->session, model->theta, NULL);
    }
    at[2] = mc_seconds();
    if (status == MODECONN_OK) {
        status = mc_trainer_gradient(trainer, &batch);
    }
    at[3] = mc_seconds();
    mc_trainer_update(trainer, run->schedule.rate);
    run->step = 1; /* only the first update of all does not read the velocity */
    at[4] = mc_seconds();
    for (int i = 0; i < PARTS; i++) {
        spent[i] += at[i + 1] - at[i];
    }
    return status;
}

static int32_t steps_of(modeconn_trainer *trainer, int64_t steps, double *spent)
{
    int32_t status = MODECONN_OK;
    for (int64_t i = 0; i < WARM_UP + steps && status == MODECONN_OK; i++) {
        if (i == WARM_UP) {
            memset(spent, 0, PARTS * sizeof *spent);
            memset(watch.forward, 0, sizeof watch.forward);
            memset(watch.backward, 0, sizeof watch.backward);
        }
        status = step(trainer, spent);
    }
    return status;
}

/* ---- the account -------------------------------------------------------------------------- */

/* Multiplications of a forward pass of one image, padding included as is customary. */
static int64_t multiplications(const mc_node *node)
{
    int64_t weights = node->params[0].size;
    if (node->n_params == 0 || node->params[0].rank == 1) {
        return 0;
    }
    return node->params[0].rank == 4 ? weights * node->out.h * node->out.w : weights;
}

static json_t *layer_json(const modeconn_graph *graph, int32_t i, int64_t batch, double steps)
{
    const mc_node *node = &graph->nodes[i];
    double work = 2.0 * (double)batch * (double)multiplications(node);
    /* Nobody asks for the gradient of the images. */
    double back = node->inputs[0] == 0 ? 1 : 2;
    return json_pack("{s:s, s:s, s:[I,I,I], s:[I,I,I], s:I, s:I, s:f, s:f, s:f, s:f}", "type",
                     watch.original[i]->name, "name", node->name != NULL ? node->name : "", "in",
                     (json_int_t)node->in.c, (json_int_t)node->in.h, (json_int_t)node->in.w, "out",
                     (json_int_t)node->out.c, (json_int_t)node->out.h, (json_int_t)node->out.w,
                     "kernel", (json_int_t)node->window.kernel, "stride",
                     (json_int_t)node->window.stride, "forward", watch.forward[i] / steps,
                     "backward", watch.backward[i] / steps, "forward_flop", work, "backward_flop",
                     back * work);
}

static json_t *account(const modeconn_graph *graph, const bench_job *job, int64_t steps,
                       const double *spent)
{
    json_t *layers = json_array(), *times = json_object();
    double total = 0, inside = 0;
    for (int i = 0; i < PARTS; i++) {
        total += spent[i] / (double)steps;
        json_object_set_new(times, parts[i], json_real(spent[i] / (double)steps));
    }
    for (int32_t i = 1; i < graph->n_nodes; i++) {
        inside += (watch.forward[i] + watch.backward[i]) / (double)steps;
        json_array_append_new(layers, layer_json(graph, i, job->batch, (double)steps));
    }
    /* Loss, layout of the images and of the gradient, running statistics. */
    json_object_set_new(times, "layers", json_real(inside));
    json_object_set_new(times, "beside_layers",
                        json_real(spent[GRADIENT] / (double)steps - inside));
    return json_pack("{s:I, s:f, s:o, s:o}", "steps", (json_int_t)steps, "seconds", total, "parts",
                     times, "layers", layers);
}

int32_t bench_profile(const json_t *settings, int64_t steps, json_t **out)
{
    bench_job job = {0};
    double spent[PARTS] = {0};
    int32_t status = bench_open(settings, &job);
    if (status == MODECONN_OK && job.trainer == NULL) {
        status = mc_fail(MODECONN_ERROR_ARGUMENT, "a profile is of a job \"train\"");
    }
    if (status == MODECONN_OK) {
        modeconn_graph *graph = job.model[0]->graph;
        status = watch_graph(graph);
        if (status == MODECONN_OK) {
            status = steps_of(job.trainer, steps < 1 ? 1 : steps, spent);
            unwatch_graph(graph);
        }
        if (status == MODECONN_OK) {
            *out = account(graph, &job, steps < 1 ? 1 : steps, spent);
        }
    }
    bench_close(&job);
    return status;
}
