/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Convolution, x [n][h][w][c] to y [n][oh][ow][o], weight [o][c / groups][kernel][kernel], with an
 * optional bias per output channel: settings, the choice of the algorithm, and the double twin.
 * Channels come in groups, those of x and those of y in equally many; an output sees the inputs of
 * its own group.
 */
#include "nn/layers/conv.h"
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_I64("out_channels", 1, MC_EXTENT_MOST, "64", "output channels"),
    MC_OPT_I64("kernel", 1, 64, "3", "height and width of the kernel, pixels"),
    MC_OPT_I64("stride", 1, 64, "1", "step of the kernel, pixels"),
    MC_OPT_I64("padding", 0, 64, "0", "zeros around the image, pixels"),
    MC_OPT_BOOL("bias", "0", "1: with a bias per output channel"),
    MC_OPT_I64("groups", 1, MC_EXTENT_MOST, "1", "groups of channels that see only each other"),
};
const mc_option_kind mc_kind_conv2d = MC_OPTION_KIND("conv2d", specs);

static int32_t check_groups(int64_t groups, int64_t in, int64_t out)
{
    if (in % groups != 0) {
        return mc_fail(MODECONN_ERROR_SHAPE, "groups %lld do not divide the input's %lld channels",
                       (long long)groups, (long long)in);
    }
    if (out % groups != 0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "groups %lld do not divide out_channels %lld",
                       (long long)groups, (long long)out);
    }
    return MODECONN_OK;
}

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    int64_t o = mc_option_i64(options, &mc_kind_conv2d, "out_channels");
    int64_t groups = mc_option_i64(options, &mc_kind_conv2d, "groups");
    int64_t kernel = mc_option_i64(options, &mc_kind_conv2d, "kernel");
    int32_t status =
        mc_window_configure(node, kernel, mc_option_i64(options, &mc_kind_conv2d, "stride"),
                            mc_option_i64(options, &mc_kind_conv2d, "padding"));
    if (status == MODECONN_OK) {
        status = check_groups(groups, node->in.c, o);
    }
    if (status < 0) {
        return status;
    }
    int64_t c = node->in.c / groups, fan_in = c * kernel * kernel;
    node->out.c = o;
    node->groups = groups;
    node->params[0] = (mc_tensor_spec){.suffix = "weight",
                                       .size = o * fan_in,
                                       .rank = 4,
                                       .shape = {o, c, kernel, kernel},
                                       .init = MC_INIT_FAN_IN,
                                       .fan_in = fan_in};
    node->n_params = 1;
    if (mc_option_i64(options, &mc_kind_conv2d, "bias")) {
        node->params[1] = (mc_tensor_spec){.suffix = "bias",
                                           .size = o,
                                           .rank = 1,
                                           .shape = {o, 1, 1, 1},
                                           .init = MC_INIT_FAN_IN,
                                           .fan_in = fan_in};
        node->n_params = 2;
    }
    return MODECONN_OK;
}

/* ---- the algorithms: the first that suits ---------------------------------------------------- */

static const mc_conv_algorithm *const algorithms[] = {&mc_conv_winograd, &mc_conv_direct,
                                                      &mc_conv_grouped};
enum { ALGORITHMS = sizeof algorithms / sizeof algorithms[0] };

/* Images from which on a choice no longer changes, and what few count as behind a map. */
enum { MANY_IMAGES = 1048576, SOME_IMAGES = 24 };

static bool can_take(int i, const mc_node *node)
{
    return algorithms[i]->grouped == (node->groups > 1);
}

/* The first that suits; the last of each kind always does. */
static const mc_conv_algorithm *choose(const mc_node *node, int64_t n)
{
    int i = 0;
    while (!can_take(i, node) || !algorithms[i]->suits(node, n)) {
        i++;
    }
    return algorithms[i];
}

/* The same to read through a map, which the algorithm of large batches can; few images get that of
 * some, which trains them faster too. */
static const mc_conv_algorithm *choose_for_map(const mc_node *node, int64_t n)
{
    const mc_conv_algorithm *chosen = choose(node, mc_at_least(n, SOME_IMAGES));
    return chosen->reads_maps(node) ? chosen : choose(node, MANY_IMAGES);
}

bool mc_conv_reads_maps(const mc_node *node)
{
    return node->type == &mc_layer_conv2d && choose(node, MANY_IMAGES)->reads_maps(node);
}

/* A batch shorter than n may call for another algorithm: room for the neediest. */
static int64_t scratch(const mc_node *node, int64_t n, bool gradients)
{
    int64_t need = 0;
    for (int i = 0; i < ALGORITHMS; i++) {
        need = can_take(i, node) ? mc_at_least(algorithms[i]->scratch(node, n, gradients), need)
                                 : need;
    }
    return need;
}

static int64_t shared(const mc_node *node, int64_t n, bool gradients)
{
    int64_t need = gradients ? 2 * node->out.c : 0; /* the bias gradient's doubles */
    for (int i = 0; i < ALGORITHMS; i++) {
        need =
            can_take(i, node) ? mc_at_least(algorithms[i]->shared(node, n, gradients), need) : need;
    }
    return need;
}

static int64_t prepared(const mc_node *node)
{
    int64_t need = 0;
    for (int i = 0; i < ALGORITHMS; i++) {
        need = can_take(i, node) ? mc_at_least(algorithms[i]->prepared(node), need) : need;
    }
    return need;
}

float *mc_conv_prepared(const mc_conv_job *job, bool *ready)
{
    mc_prepared *prepared = &job->pass->prepared[job->node - job->pass->graph->nodes];
    *ready = prepared->by == job->algorithm && prepared->folded == (job->scale != NULL);
    prepared->folded = job->scale != NULL;
    prepared->by = job->pass->keeps_prepared ? job->algorithm : NULL;
    return prepared->data;
}

/* ---- sums of what is written ----------------------------------------------------------------- */

bool mc_conv_parts(const mc_conv_job *job, int64_t count, int64_t channels)
{
    mc_parts *parts = &job->pass->parts;
    if (!job->in_parts || count * (2 * channels + 1) > parts->capacity) {
        return false;
    }
    parts->count = count;
    parts->stride = 2 * channels + 1;
    return true;
}

void mc_conv_sum_y(const mc_conv_job *job, int64_t part, int64_t first, int64_t rows,
                   int64_t column, int64_t columns)
{
    const mc_parts *parts = &job->pass->parts;
    int64_t o = job->node->out.c;
    const float *y = job->y + first * o + column;
    double *of = parts->data + part * parts->stride, *mean = of + 1 + column, *square = mean + o;
    mc_row_moments(job->pass->kernels, y, rows, columns, o, mean, square);
    if (column == 0) {
        of[0] = (double)rows;
    }
}

void mc_conv_sum_dx(const mc_conv_job *job, int64_t part, int64_t first, int64_t rows,
                    int64_t column, int64_t columns)
{
    const mc_parts *parts = &job->pass->parts;
    int64_t c = job->node->in.c, at = first * c + column;
    double *of = parts->data + part * parts->stride, *sum = of + 1 + column, *product = sum + c;
    mc_map map = {.x = job->summed.x + at,
                  .scale = job->summed.scale + column,
                  .offset = job->summed.offset + column,
                  .mean = job->summed.mean + column,
                  .relu = job->summed.relu,
                  .c = c};
    memset(sum, 0, (size_t)columns * sizeof *sum);
    memset(product, 0, (size_t)columns * sizeof *product);
    if (job->positive != NULL) {
        job->pass->kernels->mask_reduce(&map, job->positive + at, job->dx + at, rows, columns, sum,
                                        product);
    } else {
        job->pass->kernels->norm_reduce(&map, job->dx + at, rows, columns, sum, product);
    }
    if (column == 0) {
        of[0] = (double)rows;
    }
}

/* ---- passes ---------------------------------------------------------------------------------- */

static mc_conv_job job_of(mc_pass *pass, const mc_node *node)
{
    const mc_slot *slot = mc_slot_of(pass, node), *input = mc_input_slot(pass, node, 0);
    mc_conv_job job = {.pass = pass, .node = node};
    const mc_node *norm = mc_lazy_input(pass, node, 0, &job.input);
    job.algorithm = norm == NULL ? choose(node, pass->n) : choose_for_map(node, pass->n);
    job.x = input->out;
    job.dx = input->d_out;
    job.y = slot->out;
    job.dy = slot->d_out;
    job.w = pass->theta + node->params[0].offset;
    job.bias = node->n_params == 2 ? pass->theta + node->params[1].offset : NULL;
    job.dw = pass->grad != NULL ? pass->grad + node->params[0].offset : NULL;
    job.rows = mc_rows(pass, node->out);
    job.accumulate = slot->accumulate[0];
    return job;
}

static void forward(mc_pass *pass, const mc_node *node)
{
    mc_conv_job job = job_of(pass, node);
    if (mc_is_folded(pass, node)) {
        const mc_node *norm = &pass->graph->nodes[node->norm];
        mc_norm_running(pass, norm);
        job.scale = mc_slot_of(pass, norm)->saved;
        job.bias = job.scale + node->out.c;
        job.relu = norm->rectify;
    }
    job.in_parts = pass->mode == MC_NORM_BATCH && node->summed;
    pass->parts.count = 0;
    job.algorithm->forward(&job);
    pass->parts.of = pass->parts.count > 0 ? (int32_t)(node - pass->graph->nodes) : 0;
}

static void backward_bias(const mc_conv_job *job)
{
    int64_t o = job->node->out.c;
    float *grad = job->pass->grad + job->node->params[1].offset;
    double *sum = (double *)(void *)job->pass->shared;
    memset(sum, 0, (size_t)o * sizeof *sum);
    job->pass->kernels->sum_rows(job->dy, job->rows, o, sum);
    for (int64_t j = 0; j < o; j++) {
        mc_add_grad(job->pass, grad + j, sum[j]);
    }
}

bool mc_conv_can_pull(const mc_node *node)
{
    bool can = false;
    for (int i = 0; i < ALGORITHMS && node->type == &mc_layer_conv2d && node->n_params == 1; i++) {
        can |= can_take(i, node) && algorithms[i]->joins != NULL && algorithms[i]->joins(node, 0);
    }
    return can;
}

/* Whether both gradients are taken together. */
static bool is_joint(const mc_conv_job *job)
{
    return job->dx != NULL && job->algorithm->joins != NULL &&
           job->algorithm->joins(job->node, job->pass->n);
}

bool mc_conv_pulls_back(mc_pass *pass, const mc_node *node)
{
    if (!node->pulls) {
        return false;
    }
    mc_conv_job job = job_of(pass, node);
    return is_joint(&job);
}

/* The last lazy batch norm before a sum, whose gradient is the sum's and of nobody else; or NULL.
 * Whatever else comes before the sum goes back first. */
static const mc_node *norm_before(const mc_pass *pass, const mc_node *sum, mc_map *map)
{
    const mc_node *last = NULL;
    for (int which = 0; which < sum->n_inputs; which++) {
        mc_map of;
        const mc_node *norm = mc_lazy_input(pass, sum, which, &of);
        const float *gradient = pass->slots[sum - pass->graph->nodes].d_out;
        if (norm != NULL && !of.relu && norm->n_readers == 1 && norm > last &&
            pass->slots[norm - pass->graph->nodes].d_out == gradient) {
            last = norm;
            *map = of;
        }
    }
    return last;
}

/* A convolution that completes its input's gradient can do with it what comes next: take the sums
 * of the batch norm that the input is, or of one before the sum that it is, masking the sum's
 * gradient before. That batch norm, or NULL. */
static const mc_node *norm_to_sum(const mc_pass *pass, mc_conv_job *job)
{
    const mc_node *node = job->node, *sum = &pass->graph->nodes[node->sum];
    if (job->dx == NULL || !node->completes) {
        return NULL;
    }
    if (node->sum == 0 || pass->slots[node->sum].d_out != job->dx) {
        return mc_lazy_input(pass, node, 0, &job->summed);
    }
    const mc_node *norm = norm_before(pass, sum, &job->summed);
    job->positive = norm != NULL && sum->rectify ? job->x : NULL;
    return norm;
}

static void backward(mc_pass *pass, const mc_node *node)
{
    mc_conv_job job = job_of(pass, node);
    const mc_node *norm = norm_to_sum(pass, &job);
    job.in_parts = norm != NULL;
    mc_pull pull;
    if (node->pulls && is_joint(&job)) {
        const mc_node *norm_behind = &pass->graph->nodes[node->last_reader];
        pull = mc_norm_pull(pass, norm_behind);
        job.pull = &pull;
        job.dy = mc_slot_of(pass, norm_behind)->d_out;
    }
    pass->parts.count = 0;
    job.algorithm->backward(&job);
    if (job.bias != NULL) {
        backward_bias(&job);
    }
    pass->parts.of = pass->parts.count > 0 ? (int32_t)(norm - pass->graph->nodes) : 0;
    pass->parts.masked = pass->parts.count > 0 && job.positive != NULL ? node->sum : 0;
}

/* ---- in double, straight from the definition ------------------------------------------------- */

/* Calls visit for every product y[y_index] += x[x_index] * w[w_index] of the convolution. */
typedef void (*product_fn)(void *arg, int64_t y, int64_t x, int64_t w);

static void each_product(const mc_node *node, int64_t n, product_fn visit, void *arg)
{
    const mc_window *p = &node->window;
    int64_t o = node->out.c, k = p->kernel, c = p->c / node->groups;
    for (int64_t row = 0; row < n * o * p->oh * p->ow; row++) {
        int64_t ox = row % p->ow, oy = row / p->ow % p->oh, j = row / (p->ow * p->oh) % o;
        int64_t image = row / (p->ow * p->oh * o), first = j / (o / node->groups) * c;
        for (int64_t i = 0; i < c; i++) {
            for (int64_t t = 0; t < k * k; t++) {
                int64_t y = oy * p->stride - p->padding + t / k;
                int64_t x = ox * p->stride - p->padding + t % k;
                if (y >= 0 && y < p->h && x >= 0 && x < p->w) {
                    visit(arg, row, ((image * p->c + first + i) * p->h + y) * p->w + x,
                          (j * c + i) * k * k + t);
                }
            }
        }
    }
}

typedef struct plain_conv {
    const double *x, *w, *dy;
    double *y, *dx, *dw;
} plain_conv;

static void product_forward(void *arg, int64_t y, int64_t x, int64_t w)
{
    const plain_conv *p = arg;
    p->y[y] += p->x[x] * p->w[w];
}

static void product_backward(void *arg, int64_t y, int64_t x, int64_t w)
{
    const plain_conv *p = arg;
    p->dw[w] += p->dy[y] * p->x[x];
    if (p->dx != NULL) {
        p->dx[x] += p->dy[y] * p->w[w];
    }
}

static plain_conv plain_job(mc_plain *plain, const mc_node *node)
{
    int64_t self = node - plain->graph->nodes, input = node->inputs[0];
    plain_conv p = {
        plain->out[input],   plain->theta + node->params[0].offset,
        plain->d_out[self],  plain->out[self],
        plain->d_out[input], plain->grad != NULL ? plain->grad + node->params[0].offset : NULL};
    return p;
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    plain_conv p = plain_job(plain, node);
    int64_t pixels = node->out.h * node->out.w, o = node->out.c;
    for (int64_t i = 0; i < plain->n * o * pixels; i++) {
        p.y[i] = node->n_params == 2 ? plain->theta[node->params[1].offset + i / pixels % o] : 0.0;
    }
    each_product(node, plain->n, product_forward, &p);
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    plain_conv p = plain_job(plain, node);
    int64_t pixels = node->out.h * node->out.w, o = node->out.c;
    for (int64_t i = 0; i < plain->n * o * pixels && node->n_params == 2; i++) {
        plain->grad[node->params[1].offset + i / pixels % o] += p.dy[i];
    }
    each_product(node, plain->n, product_backward, &p);
}

const mc_layer_type mc_layer_conv2d = {
    .name = "conv2d",
    .options = &mc_kind_conv2d,
    .n_inputs = 1,
    .keeps_input = true,
    .symmetry = MC_SYMMETRY_MIXES,
    .configure = configure,
    .scratch = scratch,
    .shared = shared,
    .prepared = prepared,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
