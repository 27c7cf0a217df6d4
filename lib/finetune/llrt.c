/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Last-layer retraining (Lubana et al. 2023, after Kirichenko et al. 2022): the representations
 * z [n][width] of the clean data, in eval mode, are computed once; a freshly drawn linear layer on
 * them is trained as any model is, and takes the place of the last layer. The layers below and
 * batch norm's statistics stay as they are.
 */
#include "finetune/finetune.h"
#include <string.h>

typedef struct retraining {
    modeconn_context *context;
    int64_t n, width, weight, bias; /* offsets of the layer in theta; bias -1: none */
    float *z;                       /* [n][width] */
    int32_t *y;                     /* [n] */
    modeconn_dataset *data;         /* z and y as images [width][1][1] */
    modeconn_model *head;           /* one linear layer: theta is its weight, then its bias */
} retraining;

static int64_t batch_of(const mc_finetune_job *job)
{
    int64_t size = mc_finetune_i64(job, "batch_size");
    return size < job->clean->n ? size : job->clean->n;
}

int32_t mc_llrt_steps(const mc_finetune_job *job, int64_t epochs, int64_t *steps)
{
    int32_t status = mc_finetune_steps(job, epochs, steps);
    if (status == MODECONN_OK) {
        *steps += (job->clean->n + batch_of(job) - 1) / batch_of(job); /* of the representations */
    }
    return status;
}

static int32_t represent(retraining *run, mc_finetune_job *job)
{
    const modeconn_model *model = job->tuned;
    int64_t max = batch_of(job);
    mc_batch_buffer buffer = {0};
    mc_session *session = NULL;
    int32_t status = mc_batch_buffer_init(&buffer, job->clean, max);
    if (status < 0) {
        return status;
    }
    status = model->ops->session_create(model, max, 1, false, &session);
    if (status == MODECONN_OK) {
        status = model->ops->bind(session, model->theta, model->statistics);
    }
    for (int64_t done = 0; status == MODECONN_OK && done < run->n; done += max) {
        int64_t n = run->n - done < max ? run->n - done : max;
        mc_batch batch = {buffer.x, run->y + done, n};
        status = mc_dataset_gather(job->clean, NULL, done, n, buffer.x, run->y + done);
        if (status == MODECONN_OK) {
            status = model->ops->outputs(session, MC_NORM_RUNNING, &batch, NULL,
                                         run->z + done * run->width);
        }
        if (status == MODECONN_OK && !mc_all_finite(run->z + done * run->width, n * run->width)) {
            status = mc_fail(MODECONN_ERROR_NUMERIC,
                             "last-layer retraining: the representation is not finite");
        }
        if (status == MODECONN_OK) {
            status = mc_relay_count(&job->relay);
        }
    }
    if (session != NULL) {
        model->ops->session_destroy(session);
    }
    mc_batch_buffer_free(&buffer);
    return status;
}

/* A linear layer of its own with values drawn as any fresh layer's, from a seed apart. */
static int32_t make_head(retraining *run, const mc_finetune_job *job)
{
    modeconn_graph *graph = NULL;
    char settings[64];
    int32_t node = 0;
    uint64_t seed = mc_seed(run->context, mc_finetune_i64(job, "seed"));
    int64_t own = (int64_t)(mc_random_u64(seed, MC_STREAM_LLRT, 0, 0) >> 11);
    mc_format(settings, sizeof(settings), "out_features=%lld,bias=%d",
              (long long)job->tuned->classes, run->bias >= 0);
    int32_t status = modeconn_graph_create(run->context, run->width, 1, 1, &graph);
    if (status == MODECONN_OK) {
        status = modeconn_graph_add(graph, "linear", "head", settings, &node, 1, &node);
    }
    if (status == MODECONN_OK) {
        status = modeconn_model_from_graph(graph, node, own, &run->head);
    }
    modeconn_graph_destroy(graph);
    return status;
}

static int32_t prepare(retraining *run, mc_finetune_job *job)
{
    const modeconn_model *model = job->tuned;
    int64_t values = 0;
    int32_t status = mc_model_head(model, &run->weight, &run->bias);
    if (status < 0) {
        return mc_fail_prefix(status, "last-layer retraining");
    }
    run->n = job->clean->n;
    run->width = model->representation_width;
    if (run->width > MC_EXTENT_MOST) {
        return mc_fail(MODECONN_ERROR_UNSUPPORTED,
                       "last-layer retraining: representations of %lld values, at most %d",
                       (long long)run->width, (int)MC_EXTENT_MOST);
    }
    if (!mc_mul(run->n, run->width, &values)) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %lld representations of %lld values",
                       (long long)run->n, (long long)run->width);
    }
    run->z = mc_alloc(run->context, values, sizeof(float));
    run->y = mc_alloc(run->context, run->n, sizeof(int32_t));
    status = run->z == NULL || run->y == NULL ? MODECONN_ERROR_MEMORY : represent(run, job);
    if (status == MODECONN_OK) {
        status = make_head(run, job);
    }
    if (status == MODECONN_OK) {
        status = modeconn_dataset_borrow_f32(run->context, run->z, run->y, run->n, run->width, 1, 1,
                                             model->classes, NULL, NULL, NULL, &run->data);
    }
    return status;
}

static void publish(void *user, mc_finetune_job *job)
{
    const retraining *run = user;
    float *theta = job->tuned->theta;
    int64_t classes = job->tuned->classes, weights = classes * run->width;
    memcpy(theta + run->weight, run->head->theta, (size_t)weights * sizeof(float));
    if (run->bias >= 0) {
        memcpy(theta + run->bias, run->head->theta + weights, (size_t)classes * sizeof(float));
    }
    mc_model_changed(job->tuned);
}

int32_t mc_llrt_train(mc_finetune_job *job, const mc_training *training)
{
    retraining run = {.context = job->tuned->context};
    int32_t status = prepare(&run, job);
    if (status == MODECONN_OK) {
        mc_training of_head = *training;
        of_head.model = run.head;
        of_head.data = run.data;
        of_head.publish = publish;
        of_head.user = &run;
        status = mc_finetune_train(job, &of_head);
    }
    modeconn_dataset_destroy(run.data);
    modeconn_model_destroy(run.head);
    mc_free(run.context, run.z);
    mc_free(run.context, run.y);
    return status;
}

int32_t mc_finetune_llrt(mc_finetune_job *job)
{
    const mc_training training = {.epochs = mc_finetune_i64(job, "epochs"),
                                  .learning_rate = mc_finetune_f64(job, "learning_rate"),
                                  .weight_decay = mc_finetune_f64(job, "weight_decay")};
    int32_t status = mc_llrt_steps(job, training.epochs, &job->relay.total);
    if (status < 0) {
        return status;
    }
    job->relay.last_part = true;
    return mc_llrt_train(job, &training);
}
