/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Stochastic gradient descent with momentum, in the order and precision of PyTorch's SGD:
 *
 *     g += weight_decay * theta;  v = momentum * v + g;  theta -= rate * (nesterov ? g + momentum v
 *                                                                                  : v)
 *
 * everything in float. Vectors are [n]; work is cut into chunks of a fixed length.
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
