/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Saving and loading a run: bit for bit as if never stopped, also from the middle of an epoch and
 * through a failed epoch; everything that differs is named and changes nothing.
 */
#include "io/io.h"
#include "train/train.h"
#include "train/small.h"
#include <sys/wait.h>
#include <unistd.h>

static const char settings[] = "epochs=3,batch_size=16,learning_rate=0.05,schedule=cosine,seed=11";

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *data;
    modeconn_model *model;
    modeconn_trainer *trainer;
} setting;

static setting make(const char *arch, const char *size, int64_t n, const char *text)
{
    setting s = {.context = small_context(2)};
    modeconn_options *options = options_of("train", text);
    s.data = small_shapes(s.context, n, "cue");
    s.model = small_model(s.context, arch, size, s.data);
    OK(modeconn_trainer_create(s.model, s.data, options, &s.trainer));
    modeconn_options_destroy(options);
    return s;
}

static void destroy(setting *s)
{
    modeconn_trainer_destroy(s->trainer);
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->data);
    modeconn_context_destroy(s->context);
}

static void file_name(char name[64])
{
    snprintf(name, 64, "trainer-%ld.safetensors", (long)getpid());
}

static void run_to(setting *s, int64_t at)
{
    small_stop stop = {.at = at};
    if (at > 0) {
        FAILS(modeconn_trainer_run(s->trainer, -1, small_progress, &stop), MODECONN_ERROR_CANCELLED,
              "cancelled");
    }
}

START_TEST(resumes)
{
    char name[64];
    file_name(name);
    setting whole = make("vgg13", "0.05", 40, settings);
    OK(modeconn_trainer_run(whole.trainer, -1, NULL, NULL));
    for (int64_t at = 0; at <= 9; at++) {
        setting first = make("vgg13", "0.05", 40, settings);
        setting second = make("vgg13", "0.05", 40, settings);
        int64_t done, epochs = -1;
        modeconn_history *history = NULL;
        double a, b;
        run_to(&first, at);
        OK(modeconn_trainer_save(first.trainer, name));
        run_to(&second, 2); /* whatever it was doing */
        OK(modeconn_trainer_load(second.trainer, name));
        ck_assert(small_equal(first.model, second.model));
        OK(modeconn_trainer_epochs(second.trainer, &done, NULL));
        ck_assert_int_eq(done, at / 3);
        OK(modeconn_model_history(second.model, &history));
        OK(modeconn_history_size(history, &epochs, NULL));
        ck_assert_int_eq(epochs, at / 3);
        modeconn_history_destroy(history);

        OK(modeconn_trainer_run(second.trainer, -1, NULL, NULL));
        ck_assert(small_equal(whole.model, second.model));
        OK(modeconn_model_history(second.model, &history));
        for (int64_t epoch = 0; epoch < 3; epoch++) {
            OK(modeconn_history_value(history, "loss", epoch, &a));
            OK(modeconn_history_value(whole.trainer->run.history, "loss", epoch, &b));
            ck_assert_double_eq(a, b);
            OK(modeconn_history_value(history, "accuracy", epoch, &a));
            OK(modeconn_history_value(whole.trainer->run.history, "accuracy", epoch, &b));
            ck_assert_double_eq(a, b);
        }
        modeconn_history_destroy(history);
        destroy(&second);
        destroy(&first);
    }
    destroy(&whole);
    unlink(name);
}
END_TEST

/* Saved by another process, in the middle of an epoch. */
START_TEST(another_process)
{
    char name[64];
    int state = -1;
    file_name(name);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        setting first = make("vgg13", "0.05", 40, settings);
        run_to(&first, 4);
        _exit(modeconn_trainer_save(first.trainer, name) == MODECONN_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(child, &state, 0), child);
    ck_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    setting whole = make("vgg13", "0.05", 40, settings);
    setting second = make("vgg13", "0.05", 40, settings);
    OK(modeconn_trainer_run(whole.trainer, -1, NULL, NULL));
    OK(modeconn_trainer_load(second.trainer, name));
    OK(modeconn_trainer_run(second.trainer, -1, NULL, NULL));
    ck_assert(small_equal(whole.model, second.model));
    destroy(&second);
    destroy(&whole);
    unlink(name);
}
END_TEST

/* A loss that is not finite after loading goes back to the epoch's start, not to the file's. */
START_TEST(epoch_start)
{
    static const char explosive[] = "epochs=2,batch_size=16,learning_rate=0.01,momentum=0.9,"
                                    "schedule=step,step_epochs=1,step_factor=1e30";
    char name[64];
    file_name(name);
    setting first = make("vgg13", "0.05", 40, explosive);
    setting second = make("vgg13", "0.05", 40, explosive);
    modeconn_model *start = NULL;
    OK(modeconn_trainer_run(first.trainer, 1, NULL, NULL));
    OK(modeconn_model_clone(first.model, &start));
    run_to(&first, 1); /* one step, with a huge rate */
    OK(modeconn_trainer_save(first.trainer, name));
    OK(modeconn_trainer_load(second.trainer, name));
    ck_assert(!small_equal(second.model, start));
    FAILS(modeconn_trainer_run(second.trainer, -1, NULL, NULL), MODECONN_ERROR_NUMERIC, "epoch 1");
    ck_assert(small_equal(second.model, start));
    for (int64_t i = 0; i < start->n_theta; i++) {
        ck_assert(second.trainer->velocity[i] == 0.0f);
    }
    modeconn_model_destroy(start);
    destroy(&second);
    destroy(&first);
    unlink(name);
}
END_TEST

/* Loads `name` into a fresh trainer like this and expects it to be refused without a change. */
static void refuses(const char *name, const char *arch, const char *size, int64_t n,
                    const char *text, int32_t status, const char *culprit)
{
    setting s = make(arch, size, n, text);
    modeconn_model *before = NULL;
    int64_t done;
    OK(modeconn_model_clone(s.model, &before));
    FAILS(modeconn_trainer_load(s.trainer, name), status, culprit);
    ck_assert(small_equal(s.model, before));
    OK(modeconn_trainer_epochs(s.trainer, &done, NULL));
    ck_assert_int_eq(done, 0);
    modeconn_model_destroy(before);
    destroy(&s);
}

START_TEST(differences)
{
    char name[64];
    file_name(name);
    setting s = make("mlp", "8", 40, settings);
    run_to(&s, 4);
    OK(modeconn_trainer_save(s.trainer, name));
    refuses(name, "mlp", "9", 40, settings, MODECONN_ERROR_SHAPE, "settings");
    refuses(name, "vgg13", "0.05", 40, settings, MODECONN_ERROR_SHAPE, "architecture");
    refuses(name, "mlp", "8", 41, settings, MODECONN_ERROR_ARGUMENT, "dataset");
    refuses(name, "mlp", "8", 40,
            "epochs=3,batch_size=16,learning_rate=0.06,schedule=cosine,seed=11",
            MODECONN_ERROR_ARGUMENT, "learning_rate=0.05");
    refuses(name, "mlp", "8", 40, "epochs=3,batch_size=16,learning_rate=0.05,schedule=cosine",
            MODECONN_ERROR_ARGUMENT, "seed=7");
    destroy(&s);
    unlink(name);
}
END_TEST

/* Arrays of equal description but other pixels. */
START_TEST(other_pixels)
{
    char name[64];
    file_name(name);
    modeconn_context *context = small_context(1);
    modeconn_dataset *data[2] = {small_points(context, 9, 1), small_points(context, 9, 2)};
    modeconn_model *model = small_model(context, "mlp", "5", data[0]);
    modeconn_trainer *trainer[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        OK(modeconn_trainer_create(model, data[i], NULL, &trainer[i]));
    }
    OK(modeconn_trainer_save(trainer[0], name));
    OK(modeconn_trainer_load(trainer[0], name));
    FAILS(modeconn_trainer_load(trainer[1], name), MODECONN_ERROR_ARGUMENT, "labels or pixels");
    for (int i = 0; i < 2; i++) {
        modeconn_trainer_destroy(trainer[i]);
        modeconn_dataset_destroy(data[i]);
    }
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
    unlink(name);
}
END_TEST

/* Rewrites a saved run with one tensor changed (replacement NULL: left out). */
static void rewrite(const char *name, const char *changed, const mc_tensor *replacement)
{
    mc_safetensors *file = NULL;
    mc_tensor tensors[16];
    const char *keys[8], *values[8];
    int64_t n = 0;
    OK(mc_safetensors_read(NULL, name, &file));
    for (int64_t i = 0; i < mc_safetensors_count(file); i++) {
        const mc_tensor *tensor = mc_safetensors_at(file, i);
        if (strcmp(tensor->name, changed) != 0) {
            tensors[n++] = *tensor;
        } else if (replacement != NULL) {
            tensors[n++] = *replacement;
        }
    }
    int64_t n_meta = mc_safetensors_meta_count(file);
    ck_assert_int_le(n_meta, 8);
    for (int64_t i = 0; i < n_meta; i++) {
        mc_safetensors_meta_at(file, i, &keys[i], &values[i]);
    }
    OK(mc_safetensors_write(NULL, name, tensors, n, keys, values, n_meta));
    mc_safetensors_free(file);
}

START_TEST(damaged)
{
    static const char *const needed[] = {
        "theta",   "velocity",   "position",          "sums",
        "history", "statistics", "epoch_start.theta", "epoch_start.statistics"};
    static const int64_t nowhere[4] = {7, 0, 0, 4}, backwards[4] = {1, -1, 0, 4};
    static const float nan_value[1] = {NAN};
    char name[64];
    file_name(name);
    setting s = make("vgg13", "0.05", 40, settings);
    run_to(&s, 4);
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        OK(modeconn_trainer_save(s.trainer, name));
        rewrite(name, needed[i], NULL);
        refuses(name, "vgg13", "0.05", 40, settings, MODECONN_ERROR_UNKNOWN, needed[i]);
        mc_tensor short_one = {.name = needed[i],
                               .rank = 1,
                               .shape = {1},
                               .dtype = "F32",
                               .data = nan_value,
                               .size = 1};
        OK(modeconn_trainer_save(s.trainer, name));
        rewrite(name, needed[i], &short_one);
        bool floats = i < 2 || i > 4;
        refuses(name, "vgg13", "0.05", 40, settings,
                floats ? MODECONN_ERROR_SHAPE : MODECONN_ERROR_FORMAT, needed[i]);
    }
    const int64_t *positions[] = {nowhere, backwards};
    for (int i = 0; i < 2; i++) {
        mc_tensor position = {.name = "position",
                              .rank = 1,
                              .shape = {4},
                              .dtype = "I64",
                              .data = positions[i],
                              .size = 4};
        OK(modeconn_trainer_save(s.trainer, name));
        rewrite(name, "position", &position);
        refuses(name, "vgg13", "0.05", 40, settings, MODECONN_ERROR_FORMAT, "position");
    }
    float *theta = calloc((size_t)s.model->n_theta, sizeof(float));
    ck_assert_ptr_nonnull(theta);
    theta[5] = NAN;
    mc_tensor bad = {.name = "theta",
                     .rank = 1,
                     .shape = {s.model->n_theta},
                     .dtype = "F32",
                     .data = theta,
                     .size = s.model->n_theta};
    OK(modeconn_trainer_save(s.trainer, name));
    rewrite(name, "theta", &bad);
    refuses(name, "vgg13", "0.05", 40, settings, MODECONN_ERROR_NUMERIC, "value 5 of tensor theta");
    free(theta);
    OK(modeconn_model_save(s.model, name));
    refuses(name, "vgg13", "0.05", 40, settings, MODECONN_ERROR_FORMAT, "not a saved training run");
    destroy(&s);
    unlink(name);
}
END_TEST

/* A run that was cancelled while it diverged. */
START_TEST(not_finite)
{
    setting s = make("mlp", "4", 40, settings);
    char name[64];
    file_name(name);
    run_to(&s, 2);
    OK(modeconn_trainer_save(s.trainer, name));
    float *values[3] = {s.model->theta, s.trainer->velocity, s.trainer->start_theta};
    static const char *const names[3] = {"of theta", "of velocity", "of epoch_start.theta"};
    for (int i = 0; i < 3; i++) {
        float before = values[i][1];
        values[i][1] = INFINITY;
        FAILS(modeconn_trainer_save(s.trainer, name), MODECONN_ERROR_NUMERIC, names[i]);
        values[i][1] = before;
    }
    s.trainer->run.loss_sum = NAN;
    FAILS(modeconn_trainer_save(s.trainer, name), MODECONN_ERROR_NUMERIC, "the loss is nan");
    OK(modeconn_trainer_load(s.trainer, name));
    OK(modeconn_trainer_save(s.trainer, name));
    remove(name);
    destroy(&s);
}
END_TEST

START_TEST(arguments)
{
    setting s = make("mlp", "4", 40, settings);
    FAILS(modeconn_trainer_save(NULL, "x"), MODECONN_ERROR_ARGUMENT, "trainer");
    FAILS(modeconn_trainer_save(s.trainer, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_trainer_save(s.trainer, "/nowhere/at/all"), MODECONN_ERROR_IO,
          "/nowhere/at/all");
    FAILS(modeconn_trainer_load(NULL, "x"), MODECONN_ERROR_ARGUMENT, "trainer");
    FAILS(modeconn_trainer_load(s.trainer, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_trainer_load(s.trainer, "/nowhere/at/all"), MODECONN_ERROR_IO,
          "/nowhere/at/all");
    destroy(&s);
}
END_TEST

START_TEST(out_of_memory)
{
    char name[64];
    file_name(name);
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *data = small_points(context, 10, 1);
    modeconn_model *model = small_model(context, "mlp", "5", data);
    modeconn_options *options = options_of("train", "epochs=2,batch_size=4");
    modeconn_trainer *trainer = NULL;
    small_stop stop = {.at = 4};
    OK(modeconn_trainer_create(model, data, options, &trainer));
    FAILS(modeconn_trainer_run(trainer, -1, small_progress, &stop), MODECONN_ERROR_CANCELLED, "");
    for (int loading = 0; loading < 2; loading++) {
        for (long k = 1;; k++) {
            long live = atomic_load(&allocator.live);
            failing_at(&allocator, k);
            int32_t status = loading ? modeconn_trainer_load(trainer, name)
                                     : modeconn_trainer_save(trainer, name);
            failing_at(&allocator, 0);
            if (status == MODECONN_OK) {
                ck_assert_int_gt(k, 3);
                break;
            }
            ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
            ck_assert_int_eq(atomic_load(&allocator.live), live);
        }
    }
    OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
    modeconn_trainer_destroy(trainer);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
    unlink(name);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, resumes);
    tcase_add_test(tests, another_process);
    tcase_add_test(tests, epoch_start);
    tcase_add_test(tests, differences);
    tcase_add_test(tests, other_pixels);
    tcase_add_test(tests, damaged);
    tcase_add_test(tests, not_finite);
    tcase_add_test(tests, arguments);
    tcase_add_test(tests, out_of_memory);
}

int main(void)
{
    return unit_run("train/trainer_file", add);
}
