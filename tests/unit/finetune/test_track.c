/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tracking: the distance and the barriers that the history tells are those that the public
 * measurements find afterwards; they change nothing else; cancelling during them; errors.
 */
#include "finetune/finetune.h"
#include "train/small.h"

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *clean, *cue;
    modeconn_model *model;
} setting;

static setting make(const char *arch, const char *width)
{
    setting s = {.context = small_context(2)};
    s.clean = small_shapes(s.context, 30, "nocue");
    s.cue = small_shapes(s.context, 44, "cue");
    s.model = small_model(s.context, arch, width, s.clean);
    return s;
}

static void destroy(setting *s)
{
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->cue);
    modeconn_dataset_destroy(s->clean);
    modeconn_context_destroy(s->context);
}

static modeconn_model *tune(const setting *s, const char *text)
{
    modeconn_options *options = options_of("finetune", text);
    modeconn_model *tuned = NULL;
    OK(modeconn_finetune(s->model, s->clean, s->cue, options, NULL, NULL, &tuned));
    modeconn_options_destroy(options);
    return tuned;
}

static double last(const modeconn_model *model, const char *column)
{
    modeconn_history *history = NULL;
    int64_t epochs = 0;
    double value = 0;
    OK(modeconn_model_history(model, &history));
    OK(modeconn_history_size(history, &epochs, NULL));
    OK(modeconn_history_value(history, column, epochs - 1, &value));
    modeconn_history_destroy(history);
    return value;
}

static modeconn_dataset *first_of(const modeconn_dataset *data, int64_t n)
{
    int64_t indices[64];
    modeconn_dataset *out = NULL;
    for (int64_t i = 0; i < n; i++) {
        indices[i] = i;
    }
    OK(modeconn_dataset_subset(data, indices, n, &out));
    return out;
}

/* The last epoch's values against path and curve of the finished model. */
static void check_last(const setting *s, const modeconn_model *tuned, int64_t samples)
{
    modeconn_path *line = NULL;
    double length = 0, height = 0;
    OK(modeconn_path_linear(s->model, tuned, &line));
    OK(modeconn_path_length(line, &length));
    ck_assert_double_eq_tol(last(tuned, "distance"), length, 1e-9 * length);
    ck_assert_double_gt(length, 0.01);

    modeconn_dataset *clean = first_of(s->clean, samples), *cue = first_of(s->cue, samples);
    const modeconn_dataset *sets[2] = {clean, cue};
    static const char *const views[2] = {"nocue", "cue"};
    static const char *const columns[2] = {"barrier_clean", "barrier_cue"};
    modeconn_options *options = options_of("curve", "points=5,bn_batch_size=16,batch_size=16");
    for (int i = 0; i < 2; i++) {
        modeconn_curve *curve = NULL;
        OK(modeconn_options_set_str(options, "views", views[i]));
        OK(modeconn_curve_measure(line, clean, sets[i], options, NULL, NULL, &curve));
        OK(modeconn_curve_barrier(curve, views[i], MODECONN_BARRIER_LINEAR, &height));
        ck_assert_double_eq_tol(last(tuned, columns[i]), height, 1e-9);
        modeconn_curve_destroy(curve);
    }
    modeconn_options_destroy(options);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(clean);
    modeconn_path_destroy(line);
}

static const char *const runs[][2] = {
    {"naive", "method=naive,epochs=3,batch_size=16,learning_rate=0.3,seed=1"},
    {"cbft", "method=cbft,epochs=3,batch_size=16,learning_rate=0.1,seed=1"},
    {"llrt", "method=llrt,epochs=3,batch_size=16,learning_rate=3,seed=1"},
    {"lpft", "method=lpft,epochs=2,head_epochs=2,batch_size=16,learning_rate=0.3,seed=1"},
};

START_TEST(is_what_is_measured)
{
    setting s = make(_i < 4 ? "vgg13" : "mlp", _i < 4 ? "0.05" : "8");
    char text[256];
    modeconn_model *plain = tune(&s, runs[_i % 4][1]), *tracked = NULL;
    snprintf(text, sizeof(text), "%s,track_distance=1,track_barrier=5,track_samples=24",
             runs[_i % 4][1]);
    tracked = tune(&s, text);
    ck_assert(small_equal(plain, tracked));
    check_last(&s, tracked, 24);
    modeconn_model_destroy(tracked);
    modeconn_model_destroy(plain);
    destroy(&s);
}
END_TEST

/* The same function with its hidden units moved on by one: a block of rows, and one of columns. */
static modeconn_model *rotated(const modeconn_model *model)
{
    modeconn_model *out = NULL;
    OK(modeconn_model_clone(model, &out));
    for (int64_t b = 0; b < 3; b++) {
        const mc_block *block = &model->blocks[b];
        int64_t columns = block->size / block->shape[0];
        for (int64_t i = 0; i < block->size; i++) {
            int64_t row = i / columns, column = i % columns;
            int64_t to = b < 2 ? (row + 1) % block->shape[0] * columns + column
                               : row * columns + (column + 1) % columns;
            out->theta[block->offset + to] = model->theta[block->offset + i];
        }
    }
    return out;
}

/* A trained model and itself with its units in another order: equal ends, a barrier between. */
START_TEST(sees_a_barrier)
{
    setting s = make("mlp", "8");
    modeconn_options *training = options_of("train", "epochs=60,batch_size=10,learning_rate=0.05");
    OK(modeconn_train(s.model, s.clean, training, NULL, NULL));
    modeconn_options *options = options_of("finetune", "track_barrier=9,track_samples=0");
    mc_finetune_job job = {.origin = s.model, .clean = s.clean, .cued = s.cue, .options = options};
    double values[2] = {0};
    modeconn_model *other = rotated(s.model);
    OK(mc_track_open(&job.track, &job));
    ck_assert_int_eq(job.track.n_columns, 2);
    OK(mc_track_epoch(&job.track, s.model, &job.relay, values));
    ck_assert(fabs(values[0]) < 1e-12 && fabs(values[1]) < 1e-12);
    OK(mc_track_epoch(&job.track, other, &job.relay, values));
    ck_assert_double_gt(values[0], 0.1);
    ck_assert_double_gt(values[1], 0.1);
    mc_track_close(&job.track);
    modeconn_model_destroy(other);
    modeconn_options_destroy(options);
    modeconn_options_destroy(training);
    destroy(&s);
}
END_TEST

typedef struct stop_between {
    int64_t step, repeats; /* calls at the same step */
} stop_between;

static int32_t stop_when_repeated(void *user, int64_t epoch, int64_t step, int64_t total,
                                  double loss, double accuracy, double rate, double left)
{
    stop_between *stop = user;
    (void)epoch, (void)total, (void)loss, (void)accuracy, (void)rate, (void)left;
    stop->repeats = step == stop->step ? stop->repeats + 1 : 0;
    stop->step = step;
    return stop->repeats == 3;
}

START_TEST(cancelled_while_tracking)
{
    setting s = make("mlp", "8");
    char text[256];
    stop_between stop = {0};
    modeconn_model *tuned = NULL;
    snprintf(text, sizeof(text), "%s,track_barrier=5", runs[_i][1]);
    modeconn_options *options = options_of("finetune", text);
    FAILS(modeconn_finetune(s.model, s.clean, s.cue, options, stop_when_repeated, &stop, &tuned),
          MODECONN_ERROR_CANCELLED, "step");
    ck_assert_ptr_null(tuned);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

START_TEST(errors)
{
    setting s = make("vgg13", "0.05");
    modeconn_model *tuned = NULL;
    modeconn_dataset *points = small_points(s.context, 6, 1);
    modeconn_options *options = options_of("finetune", "method=naive,epochs=1,track_barrier=2");
    FAILS(modeconn_finetune(s.model, s.clean, NULL, options, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "track_barrier is 2");
    OK(modeconn_options_set_i64(options, "track_barrier", 3));
    FAILS(modeconn_finetune(s.model, s.clean, points, options, NULL, NULL, &tuned),
          MODECONN_ERROR_SHAPE, "cue data");
    OK(modeconn_options_set_i64(options, "track_samples", 1));
    FAILS(modeconn_finetune(s.model, s.clean, NULL, options, NULL, NULL, &tuned),
          MODECONN_ERROR_UNSUPPORTED, "track_barrier");
    ck_assert_ptr_null(tuned);
    modeconn_options_destroy(options);
    modeconn_dataset_destroy(points);
    destroy(&s);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, is_what_is_measured, 0, 8);
    tcase_add_test(tests, sees_a_barrier);
    tcase_add_loop_test(tests, cancelled_while_tracking, 0, 4);
    tcase_add_test(tests, errors);
}

int main(void)
{
    return unit_run("finetune/track", add);
}
