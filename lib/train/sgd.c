/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stochastic gradient descent with momentum, in the order and precision of PyTorch's SGD:
 *
 *     g += weight_decay * theta;  v = momentum * v + g;  theta -= rate * (nesterov ? g + momentum v
 *                                                                                  : v)
 *
 * everything in float. Vectors are [n]; work is cut into chunks of a fixed length. Without Nesterov
 * the gradient needs no memory of its own if it is added to a velocity that has been prepared:
 *
 *     v = momentum * v + weight_decay * theta;  v += g;  theta -= rate * v
 *
 * which differs by rounding only.
 */
#include "train/train.h"

#define CHUNK 16384

typedef struct sgd_job {
    float momentum, weight_decay, rate;
    bool nesterov, first;
    int64_t n;
    float *theta, *velocity;
    const float *grad;
} sgd_job;

static void sgd_chunk(void *arg, int64_t task, int worker)
{
    const sgd_job *job = arg;
    int64_t begin = task * CHUNK;
    int64_t end = begin + CHUNK < job->n ? begin + CHUNK : job->n;
    float *restrict theta = job->theta;
    float *restrict velocity = job->velocity;
    const float *restrict grad = job->grad;
    float momentum = job->momentum, weight_decay = job->weight_decay, rate = job->rate;

    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        float g = grad[i] + weight_decay * theta[i];
        float v = job->first ? g : momentum * velocity[i] + g;
        velocity[i] = v;
        theta[i] -= rate * (job->nesterov ? g + momentum * v : v);
    }
}

typedef struct prepare_job {
    float momentum, weight_decay;
    bool first;
    int64_t n;
    const float *theta;
    float *velocity;
} prepare_job;

static void prepare_chunk(void *arg, int64_t task, int worker)
{
    const prepare_job *job = arg;
    int64_t begin = task * CHUNK;
    int64_t end = begin + CHUNK < job->n ? begin + CHUNK : job->n;
    const float *restrict theta = job->theta;
    float *restrict velocity = job->velocity;
    float momentum = job->momentum, weight_decay = job->weight_decay;

    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        float decay = weight_decay * theta[i];
        velocity[i] = job->first ? decay : momentum * velocity[i] + decay;
    }
}

void mc_sgd_prepare(modeconn_context *context, const mc_sgd *sgd, bool first, int64_t n,
                    const float *theta, float *velocity)
{
    prepare_job job = {.momentum = (float)sgd->momentum,
                       .weight_decay = (float)sgd->weight_decay,
                       .first = first,
                       .n = n,
                       .theta = theta,
                       .velocity = velocity};
    mc_pool_run(context->pool, (n + CHUNK - 1) / CHUNK, prepare_chunk, &job);
}

typedef struct move_job {
    float rate;
    int64_t n;
    float *theta;
    const float *velocity;
} move_job;

static void move_chunk(void *arg, int64_t task, int worker)
{
    const move_job *job = arg;
    int64_t begin = task * CHUNK;
    int64_t end = begin + CHUNK < job->n ? begin + CHUNK : job->n;
    float *restrict theta = job->theta;
    const float *restrict velocity = job->velocity;
    float rate = job->rate;

    (void)worker;
    for (int64_t i = begin; i < end; i++) {
        theta[i] -= rate * velocity[i];
    }
}

void mc_sgd_move(modeconn_context *context, double rate, int64_t n, float *theta,
                 const float *velocity)
{
    move_job job = {(float)rate, n, theta, velocity};
    mc_pool_run(context->pool, (n + CHUNK - 1) / CHUNK, move_chunk, &job);
}

void mc_sgd_step(modeconn_context *context, const mc_sgd *sgd, double rate, bool first, int64_t n,
                 float *theta, float *velocity, const float *grad)
{
    sgd_job job = {.momentum = (float)sgd->momentum,
                   .weight_decay = (float)sgd->weight_decay,
                   .rate = (float)rate,
                   .nesterov = sgd->nesterov,
                   .first = first,
                   .n = n,
                   .theta = theta,
                   .velocity = velocity,
                   .grad = grad};
    mc_pool_run(context->pool, (n + CHUNK - 1) / CHUNK, sgd_chunk, &job);
}
