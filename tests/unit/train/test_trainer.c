/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The training loop: learning, the order and rates of its updates against a loop of single steps,
 * the same bits for any number of threads and after any interruption, non-finite losses, errors,
 * and every allocation failed in turn.
 */
#include "train/train.h"
#include "train/small.h"

static const char settings[] = "epochs=3,batch_size=16,learning_rate=0.05,schedule=cosine,seed=11";

/* Whether trainers add gradients to the velocity, as they do for large models. */
static bool added;

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *data;
    modeconn_model *model;
} setting;

static setting make(int64_t threads, const char *arch, const char *size, int64_t n)
{
    setting s = {.context = small_context(threads)};
    s.context->kept_most = added ? 0 : MC_KEPT_MOST;
    s.data = small_shapes(s.context, n, "cue");
    s.model = small_model(s.context, arch, size, s.data);
    return s;
}

static void destroy(setting *s)
{
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->data);
    modeconn_context_destroy(s->context);
}

static double value(const modeconn_model *model, const char *column, int64_t epoch)
{
    modeconn_history *history = NULL;
    double result = 0;
    OK(modeconn_model_history(model, &history));
    OK(modeconn_history_value(history, column, epoch, &result));
    modeconn_history_destroy(history);
    return result;
}

static void train(modeconn_model *model, const modeconn_dataset *data, const char *text)
{
    modeconn_options *options = options_of("train", text);
    OK(modeconn_train(model, data, options, NULL, NULL));
    modeconn_options_destroy(options);
}

START_TEST(learns)
{
    added = _i == 1;
    setting s = make(2, "mlp", "32", 200);
    train(s.model, s.data, "epochs=12,batch_size=20,learning_rate=0.05,schedule=cosine");
    ck_assert_double_lt(value(s.model, "loss", 11), 0.5 * value(s.model, "loss", 0));
    ck_assert_double_gt(value(s.model, "accuracy", 11), 0.8);
    ck_assert_double_eq(value(s.model, "learning_rate", 0),
                        0.025 * (1 + cos(acos(-1.0) * 9 / 120)));
    ck_assert_double_gt(value(s.model, "samples_per_second", 3), 0);
    destroy(&s);
}
END_TEST

/* A velocity that is prepared once the loss is known. */
typedef struct prepared {
    modeconn_context *context;
    mc_sgd sgd;
    bool first;
    const modeconn_model *model;
    float *velocity;
} prepared;

static void prepare(void *user)
{
    const prepared *p = user;
    mc_sgd_prepare(p->context, &p->sgd, p->first, p->model->n_theta, p->model->theta, p->velocity);
}

/* The same updates by hand: order, last short batch, rates, running statistics. */
START_TEST(by_hand)
{
    added = _i == 1;
    setting s = make(1, "vgg13", "0.05", 40);
    modeconn_model *twin = NULL;
    mc_session *session = NULL;
    mc_batch_buffer buffer;
    double loss[16];
    int64_t order[40];
    mc_sgd sgd = {0.9, 1e-4, false};
    mc_schedule schedule = {.rate = 0.05, .total = 9};

    OK(mc_schedule_find("cosine", &schedule));
    OK(modeconn_model_clone(s.model, &twin));
    float *velocity = calloc((size_t)twin->n_theta, sizeof(float));
    float *grad = calloc((size_t)twin->n_theta, sizeof(float));
    OK(mc_batch_buffer_init(&buffer, s.data, 16));
    OK(twin->ops->session_create(twin, 16, 1, true, &session));
    for (int64_t k = 0; k < 9; k++) {
        mc_batch batch = {buffer.x, buffer.y, k % 3 == 2 ? 8 : 16};
        mc_random_permutation(11, MC_STREAM_SHUFFLE, (uint64_t)(k / 3), 40, order);
        OK(modeconn_dataset_read(s.data, order + 16 * (k % 3), batch.n, buffer.x, buffer.y));
        OK(twin->ops->bind(session, twin->theta, NULL));
        double rate = mc_schedule_rate(&schedule, k);
        if (added) {
            prepared p = {s.context, sgd, k == 0, twin, velocity};
            OK(twin->ops->gradient_added(session, &batch, loss, NULL, prepare, &p, velocity,
                                         twin->statistics));
            mc_sgd_move(s.context, rate, twin->n_theta, twin->theta, velocity);
        } else {
            OK(twin->ops->gradient(session, &batch, 1, loss, NULL, grad, twin->statistics));
            mc_sgd_step(s.context, &sgd, rate, k == 0, twin->n_theta, twin->theta, velocity, grad);
        }
    }
    train(s.model, s.data, settings);
    ck_assert(small_equal(s.model, twin));
    twin->ops->session_destroy(session);
    mc_batch_buffer_free(&buffer);
    free(velocity);
    free(grad);
    modeconn_model_destroy(twin);
    destroy(&s);
}
END_TEST

/* Both ways of taking the gradient lead to the same weights, but for rounding. */
START_TEST(either_way)
{
    setting s[2];
    double difference = 0, size = 0;
    for (int i = 0; i < 2; i++) {
        added = i == 1;
        s[i] = make(2, "mlp", "32", 60);
        train(s[i].model, s[i].data, _i == 0 ? settings : "epochs=2,nesterov=1,seed=11");
    }
    const float *a = s[0].model->theta, *b = s[1].model->theta;
    for (int64_t i = 0; i < s[0].model->n_theta; i++) {
        difference += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        size += (double)a[i] * a[i];
    }
    ck_assert_double_lt(sqrt(difference / size), 1e-5);
    ck_assert(_i == 0 ? difference > 0 : difference == 0); /* Nesterov's form has one way */
    destroy(&s[0]);
    destroy(&s[1]);
}
END_TEST

START_TEST(threads)
{
    added = _i == 1;
    setting one = make(1, "vgg13", "0.05", 40);
    train(one.model, one.data, settings);
    static const int64_t counts[] = {2, 3, 8};
    for (int i = 0; i < 3; i++) {
        setting more = make(counts[i], "vgg13", "0.05", 40);
        train(more.model, more.data, settings);
        ck_assert(small_equal(one.model, more.model));
        ck_assert_double_eq(value(one.model, "loss", 2), value(more.model, "loss", 2));
        destroy(&more);
    }
    destroy(&one);
}
END_TEST

/* Cancelled at every step in turn, and by whole epochs: the same as in one go. */
START_TEST(interrupted)
{
    added = _i == 1;
    setting whole = make(2, "vgg13", "0.05", 40);
    modeconn_options *options = options_of("train", settings);
    OK(modeconn_train(whole.model, whole.data, options, NULL, NULL));
    for (int64_t at = 1; at <= 9; at++) {
        setting part = make(2, "vgg13", "0.05", 40);
        modeconn_trainer *trainer = NULL;
        small_stop stop = {.at = at};
        int64_t done, total;
        OK(modeconn_trainer_create(part.model, part.data, options, &trainer));
        FAILS(modeconn_trainer_run(trainer, -1, small_progress, &stop), MODECONN_ERROR_CANCELLED,
              "cancelled");
        ck_assert_int_eq(stop.calls, at);
        ck_assert_int_eq(stop.last_total, 9);
        OK(modeconn_trainer_epochs(trainer, &done, &total));
        ck_assert_int_eq(done, at / 3);
        ck_assert_int_eq(total, 3);
        stop.at = 0;
        OK(modeconn_trainer_run(trainer, 1, small_progress, &stop));
        ck_assert_int_eq(stop.last_total, at == 9 ? 9 : 3 - at % 3);
        OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
        OK(modeconn_trainer_run(trainer, -1, NULL, NULL)); /* nothing left */
        ck_assert(small_equal(whole.model, part.model));
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            ck_assert_double_eq(value(whole.model, "loss", epoch),
                                value(part.model, "loss", epoch));
            ck_assert_double_eq(value(whole.model, "accuracy", epoch),
                                value(part.model, "accuracy", epoch));
        }
        modeconn_trainer_destroy(trainer);
        destroy(&part);
    }
    modeconn_options_destroy(options);
    destroy(&whole);
}
END_TEST

START_TEST(not_finite)
{
    added = _i == 1;
    setting s = make(2, "mlp", "32", 40);
    modeconn_options *options = options_of(
        "train", "epochs=4,batch_size=16,learning_rate=0.01,schedule=step,step_factor=1e30,"
                 "momentum=0.9");
    modeconn_trainer *trainer = NULL;
    modeconn_model *before = NULL;
    int64_t done;
    OK(modeconn_options_set_str(options, "milestones", "1.34")); /* in the second epoch */
    OK(modeconn_trainer_create(s.model, s.data, options, &trainer));
    OK(modeconn_trainer_run(trainer, 1, NULL, NULL));
    OK(modeconn_model_clone(s.model, &before));
    for (int again = 0; again < 2; again++) { /* and the trainer stays usable */
        FAILS(modeconn_trainer_run(trainer, -1, NULL, NULL), MODECONN_ERROR_NUMERIC, "epoch 1");
        OK(modeconn_trainer_epochs(trainer, &done, NULL));
        ck_assert_int_eq(done, 1);
        ck_assert(small_equal(s.model, before));
        for (int64_t i = 0; i < s.model->n_theta; i++) {
            ck_assert(trainer->velocity[i] == 0.0f);
        }
    }
    modeconn_trainer_destroy(trainer);
    modeconn_model_destroy(before);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

/* The last update of an epoch: no loss sees what it did. */
START_TEST(last_update)
{
    added = _i == 1;
    setting s = make(1, "mlp", "32", 40);
    modeconn_options *options = options_of(
        "train", "epochs=1,batch_size=16,learning_rate=0.01,schedule=step,step_factor=1e42,"
                 "milestones=0.7");
    modeconn_model *before = NULL;
    OK(modeconn_model_clone(s.model, &before));
    FAILS(modeconn_train(s.model, s.data, options, NULL, NULL), MODECONN_ERROR_NUMERIC,
          s.model->blocks[0].name);
    ck_assert(small_equal(s.model, before));
    modeconn_model_destroy(before);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

START_TEST(errors)
{
    added = _i == 1;
    setting s = make(1, "mlp", "4", 40);
    modeconn_dataset *points = small_points(s.context, 4, 1);
    modeconn_options *wrong = options_of("finetune", "");
    modeconn_options *options = options_of("train", "epochs=2");
    modeconn_trainer *trainer = NULL;
    FAILS(modeconn_trainer_create(NULL, s.data, NULL, &trainer), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_trainer_create(s.model, NULL, NULL, &trainer), MODECONN_ERROR_ARGUMENT,
          "dataset");
    FAILS(modeconn_trainer_create(s.model, s.data, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_trainer_create(s.model, s.data, wrong, &trainer), MODECONN_ERROR_ARGUMENT,
          "finetune");
    FAILS(modeconn_trainer_create(s.model, points, NULL, &trainer), MODECONN_ERROR_SHAPE, "1x2x2");
    ck_assert_ptr_null(trainer);
    OK(modeconn_options_set_str(options, "milestones", "3,2"));
    FAILS(modeconn_trainer_create(s.model, s.data, options, &trainer), MODECONN_ERROR_ARGUMENT,
          "milestones");
    OK(modeconn_options_set_str(options, "milestones", ""));
    OK(modeconn_options_set_f64(options, "warmup_epochs", 3));
    FAILS(modeconn_trainer_create(s.model, s.data, options, &trainer), MODECONN_ERROR_ARGUMENT,
          "warmup_epochs");
    OK(modeconn_trainer_create(s.model, s.data, NULL, &trainer));
    FAILS(modeconn_trainer_run(NULL, -1, NULL, NULL), MODECONN_ERROR_ARGUMENT, "trainer");
    FAILS(modeconn_trainer_run(trainer, -2, NULL, NULL), MODECONN_ERROR_ARGUMENT, "-2");
    FAILS(modeconn_trainer_epochs(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "trainer");
    OK(modeconn_trainer_epochs(trainer, NULL, NULL));
    OK(modeconn_trainer_run(trainer, 0, NULL, NULL));
    FAILS(modeconn_train(NULL, s.data, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "model");
    modeconn_trainer_destroy(NULL);
    modeconn_trainer_destroy(trainer);
    modeconn_options_destroy(options);
    modeconn_options_destroy(wrong);
    modeconn_dataset_destroy(points);
    destroy(&s);
}
END_TEST

/* A batch norm on one value per channel and sample: a last batch of one sample is refused, with
 * the layer's name; where the batches divide the samples it trains. */
START_TEST(single_value)
{
    added = _i == 1;
    modeconn_context *context = small_context(1);
    modeconn_dataset *data = small_points(context, 9, 1);
    modeconn_options *options = options_of("train", "batch_size=4");
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    modeconn_trainer *trainer = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(context, 1, 2, 2, &graph));
    OK(modeconn_graph_add(graph, "global_avg_pool", NULL, "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "batch_norm", "narrow", "", &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "linear", "out_features=3", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 5, &model));
    FAILS(modeconn_trainer_create(model, data, options, &trainer), MODECONN_ERROR_UNSUPPORTED,
          "narrow");
    ck_assert_ptr_nonnull(strstr(modeconn_last_error(), "9 samples in batches of 4"));
    OK(modeconn_options_set_i64(options, "batch_size", 3));
    OK(modeconn_trainer_create(model, data, options, &trainer));
    OK(modeconn_trainer_run(trainer, 1, NULL, NULL));
    modeconn_trainer_destroy(trainer);
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    modeconn_options_destroy(options);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

/* Handles may go in any order: the trainer keeps what it needs. */
START_TEST(keeps_its_handles)
{
    added = _i == 1;
    setting s = make(1, "mlp", "4", 40);
    modeconn_trainer *trainer = NULL;
    modeconn_options *options = options_of("train", settings);
    OK(modeconn_trainer_create(s.model, s.data, options, &trainer));
    modeconn_options_destroy(options);
    destroy(&s);
    OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
    modeconn_trainer_destroy(trainer);
}
END_TEST

START_TEST(out_of_memory)
{
    added = _i == 1;
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *data = small_points(context, 10, 1);
    modeconn_model *model = small_model(context, "mlp", "5", data), *reference = NULL;
    modeconn_options *options = options_of("train", "epochs=2,batch_size=4");
    OK(modeconn_model_clone(model, &reference));
    OK(modeconn_train(reference, data, options, NULL, NULL));

    for (long k = 1;; k++) {
        modeconn_model *copy = NULL;
        modeconn_trainer *trainer = NULL;
        OK(modeconn_model_clone(model, &copy));
        long live = atomic_load(&allocator.live);
        failing_at(&allocator, k);
        int32_t status = modeconn_trainer_create(copy, data, options, &trainer);
        if (status < 0) {
            ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
            ck_assert_ptr_null(trainer);
            ck_assert_int_eq(atomic_load(&allocator.live), live);
        } else {
            status = modeconn_trainer_run(trainer, -1, NULL, NULL);
            failing_at(&allocator, 0);
            if (status < 0) { /* goes on as if nothing had been */
                ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
                OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
            } else {
                ck_assert_int_gt(k, 10);
                k = -1;
            }
            ck_assert(small_equal(copy, reference));
            modeconn_trainer_destroy(trainer);
        }
        failing_at(&allocator, 0);
        modeconn_model_destroy(copy);
        if (k < 0) {
            break;
        }
    }
    modeconn_options_destroy(options);
    modeconn_model_destroy(reference);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, learns, 0, 2);
    tcase_add_loop_test(tests, by_hand, 0, 2);
    tcase_add_loop_test(tests, either_way, 0, 2);
    tcase_add_loop_test(tests, threads, 0, 2);
    tcase_add_loop_test(tests, interrupted, 0, 2);
    tcase_add_loop_test(tests, not_finite, 0, 2);
    tcase_add_loop_test(tests, last_update, 0, 2);
    tcase_add_loop_test(tests, errors, 0, 2);
    tcase_add_loop_test(tests, single_value, 0, 2);
    tcase_add_loop_test(tests, keeps_its_handles, 0, 2);
    tcase_add_loop_test(tests, out_of_memory, 0, 2);
}

int main(void)
{
    return unit_run("train/trainer", add);
}
