/* SPDX-License-Identifier: BSD-3-Clause
 *
 * 30 training steps against PyTorch: small batches in a given order with a stepped rate, and whole
 * runs of the trainer where one batch is all data, so that no order matters. What is compared is
 * the way that the parameters went, not only where they are.
 */
#include "golden.h"
#include "train/train.h"

enum { STEPS = 30 };

static modeconn_context *context;

static void setup(void)
{
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
}

static void teardown(void)
{
    modeconn_context_destroy(context);
}

static mc_schedule stepped(void)
{
    mc_schedule schedule = {.rate = 0.02,
                            .total = STEPS,
                            .per_epoch = 3,
                            .milestones = {12, 24},
                            .n_milestones = 2,
                            .factor = 0.1};
    OK(mc_schedule_find("step", &schedule));
    return schedule;
}

/* Step k of the epochs of 16, 16 and 5 samples that `order` [10][37] lists. */
static void gather(const modeconn_dataset *data, const int32_t *order, int64_t k, mc_batch *batch,
                   float *x, int32_t *y)
{
    int64_t rows[16], first = k % 3 * 16;
    batch->n = first < 32 ? 16 : 5;
    for (int64_t i = 0; i < batch->n; i++) {
        rows[i] = order[k / 3 * 37 + first + i];
    }
    OK(modeconn_dataset_read(data, rows, batch->n, x, y));
    batch->x = x;
    batch->y = y;
}

START_TEST(test_steps)
{
    golden g;
    golden_open(&g, context, "steps.expected");
    modeconn_dataset *data = golden_dataset(&g, "", 10, NULL);
    modeconn_model *model = golden_model(context, "steps", "vgg13", data);
    float *start = golden_copy(model->theta, model->n_theta);
    float *velocity = calloc((size_t)model->n_theta, sizeof(float));
    float *grad = malloc((size_t)model->n_theta * sizeof(float));
    float *x =
        malloc((size_t)(16 * model->channels * model->height * model->width) * sizeof(float));
    int32_t *order = golden_i32(golden_tensor(&g, "order")), y[16];
    double loss[16], mean[STEPS], rate[STEPS];
    mc_sgd sgd = {.momentum = 0.9, .weight_decay = 1e-4};
    mc_schedule schedule = stepped();
    mc_session *session = NULL;
    mc_batch batch;

    ck_assert(velocity != NULL && grad != NULL && x != NULL);
    OK(model->ops->session_create(model, 16, 1, true, &session));
    for (int64_t k = 0; k < STEPS; k++) {
        gather(data, order, k, &batch, x, y);
        OK(model->ops->bind(session, model->theta, NULL));
        OK(model->ops->gradient(session, &batch, 1.0, loss, NULL, grad, model->statistics));
        mean[k] = mc_mean(loss, batch.n);
        rate[k] = mc_schedule_rate(&schedule, k);
        mc_sgd_step(context, &sgd, rate[k], k == 0, model->n_theta, model->theta, velocity, grad);
    }
    golden_near_f64(&g, golden_tensor(&g, "rate"), rate, STEPS, 1e-12);
    golden_near_f64(&g, golden_tensor(&g, "loss"), mean, STEPS, TOLERANCE_STEPS);
    golden_theta_near(&g, "after", model, model->theta, start, TOLERANCE_STEPS);
    golden_statistics_near(&g, "after", model, model->statistics, TOLERANCE_STEPS);

    model->ops->session_destroy(session);
    free(x);
    free(order);
    free(grad);
    free(velocity);
    free(start);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    golden_close(&g);
}
END_TEST

START_TEST(test_whole_batches)
{
    golden g;
    golden_open(&g, context, "whole.expected");
    modeconn_dataset *data = golden_dataset(&g, "", 6, NULL);
    modeconn_model *model = golden_model(context, "whole", "resnet18", data);
    float *start = golden_copy(model->theta, model->n_theta);
    modeconn_options *options = NULL;
    modeconn_history *history = NULL;
    double loss[STEPS];

    OK(modeconn_options_create(context, "train", &options));
    OK(modeconn_options_parse(options, "epochs=30,batch_size=12,learning_rate=0.01,momentum=0.9,"
                                       "nesterov=1,weight_decay=5e-3,schedule=cosine"));
    OK(modeconn_train(model, data, options, NULL, NULL));
    OK(modeconn_model_history(model, &history));
    for (int64_t k = 0; k < STEPS; k++) {
        OK(modeconn_history_value(history, "loss", k, &loss[k]));
    }
    golden_near_f64(&g, golden_tensor(&g, "loss"), loss, STEPS, TOLERANCE_STEPS);
    golden_theta_near(&g, "after", model, model->theta, start, TOLERANCE_STEPS);
    golden_statistics_near(&g, "after", model, model->statistics, TOLERANCE_STEPS);

    modeconn_history_destroy(history);
    modeconn_options_destroy(options);
    free(start);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    golden_close(&g);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_steps);
    tcase_add_test(tests, test_whole_batches);
}

int main(void)
{
    return unit_run("golden training", add);
}
