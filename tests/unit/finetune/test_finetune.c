/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What every method shares: the table, the call's errors, cancelling, non-finite losses, every
 * allocation failed in turn; the model given is never changed.
 */
#include "finetune/finetune.h"
#include "train/small.h"

static const char *const methods[] = {"naive", "cbft", "llrt", "lpft"};
enum { METHODS = 4 };

/* Options of two epochs in all (lpft: one of each stage), batches of 16. */
static modeconn_options *two_epochs(int method, const char *rate)
{
    modeconn_options *options = options_of("finetune", "batch_size=16,head_epochs=1");
    OK(modeconn_options_set_str(options, "method", methods[method]));
    OK(modeconn_options_set_i64(options, "epochs", method == 3 ? 1 : 2));
    OK(modeconn_options_set_text(options, "learning_rate", rate));
    return options;
}

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *clean, *cued;
    modeconn_model *model, *copy;
} setting;

static setting make(void)
{
    setting s = {.context = small_context(2)};
    s.clean = small_shapes(s.context, 40, "nocue");
    s.cued = small_shapes(s.context, 60, "cue");
    s.model = small_model(s.context, "mlp", "8", s.clean);
    OK(modeconn_model_clone(s.model, &s.copy));
    return s;
}

static void destroy(setting *s)
{
    ck_assert(small_equal(s->model, s->copy));
    modeconn_model_destroy(s->copy);
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->cued);
    modeconn_dataset_destroy(s->clean);
    modeconn_context_destroy(s->context);
}

START_TEST(table)
{
    int64_t count = 0;
    const char *name = NULL, *description = NULL, *defaults = NULL;
    OK(modeconn_finetune_method_count(&count));
    ck_assert_int_eq(count, METHODS);
    for (int64_t i = 0; i < count; i++) {
        OK(modeconn_finetune_method_describe(i, &name, &description));
        ck_assert_str_eq(name, methods[i]);
        ck_assert_uint_gt(strlen(description), 10);
        OK(modeconn_finetune_method_describe(i, NULL, NULL));
        /* Defaults are settings of the kind. */
        OK(modeconn_finetune_method_defaults(i, &defaults));
        modeconn_options_destroy(options_of("finetune", defaults));
        ck_assert_int_eq(defaults[0] != '\0', i == 2);
    }
    FAILS(modeconn_finetune_method_count(NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_finetune_method_describe(4, &name, NULL), MODECONN_ERROR_ARGUMENT, "4");
    FAILS(modeconn_finetune_method_defaults(4, &defaults), MODECONN_ERROR_ARGUMENT, "4");
    FAILS(modeconn_finetune_method_defaults(0, NULL), MODECONN_ERROR_ARGUMENT, "settings");
    FAILS(modeconn_finetune_method_describe(-1, &name, NULL), MODECONN_ERROR_ARGUMENT, "-1");
}
END_TEST

START_TEST(errors)
{
    setting s = make();
    modeconn_model *tuned = s.model;
    modeconn_dataset *points = small_points(s.context, 6, 1);
    modeconn_options *wrong = options_of("train", "");
    modeconn_options *unknown = options_of("finetune", "method=magic");
    FAILS(modeconn_finetune(NULL, s.clean, s.cued, NULL, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "model");
    ck_assert_ptr_null(tuned);
    FAILS(modeconn_finetune(s.model, NULL, s.cued, NULL, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "clean");
    FAILS(modeconn_finetune(s.model, s.clean, NULL, NULL, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "cued");
    FAILS(modeconn_finetune(s.model, s.clean, s.cued, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "tuned");
    FAILS(modeconn_finetune(s.model, s.clean, s.cued, wrong, NULL, NULL, &tuned),
          MODECONN_ERROR_ARGUMENT, "train");
    FAILS(modeconn_finetune(s.model, s.clean, s.cued, unknown, NULL, NULL, &tuned),
          MODECONN_ERROR_UNKNOWN, "magic");
    FAILS(modeconn_finetune(s.model, points, s.cued, NULL, NULL, NULL, &tuned),
          MODECONN_ERROR_SHAPE, "clean data");
    FAILS(modeconn_finetune(s.model, s.clean, points, NULL, NULL, NULL, &tuned),
          MODECONN_ERROR_SHAPE, "cue data");
    modeconn_options_destroy(unknown);
    modeconn_options_destroy(wrong);
    modeconn_dataset_destroy(points);
    destroy(&s);
}
END_TEST

START_TEST(cancelled)
{
    setting s = make();
    modeconn_options *options = two_epochs(_i, "0.01");
    modeconn_model *tuned = NULL;
    int64_t total = _i < 2 ? 6 : 9; /* the others pass the representations first */
    for (int64_t at = 1; at <= total; at++) {
        small_stop stop = {.at = at};
        char place[32];
        snprintf(place, sizeof(place), "step %d of %d", (int)at, (int)total);
        FAILS(modeconn_finetune(s.model, s.clean, s.cued, options, small_progress, &stop, &tuned),
              MODECONN_ERROR_CANCELLED, place);
        ck_assert_ptr_null(tuned);
        ck_assert_int_eq(stop.calls, at);
    }
    small_stop stop = {0};
    OK(modeconn_finetune(s.model, s.clean, s.cued, options, small_progress, &stop, &tuned));
    ck_assert_int_eq(stop.calls, total);
    ck_assert_int_eq(stop.last_total, total);
    ck_assert_int_eq(stop.last_epoch, 2);
    ck_assert_double_gt(stop.last_loss, 0);
    ck_assert(stop.last_accuracy >= 0 && stop.last_accuracy <= 1);
    ck_assert_double_gt(stop.last_rate, 0);
    modeconn_model_destroy(tuned);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

START_TEST(not_finite)
{
    setting s = make();
    modeconn_options *options = two_epochs(_i, "1e30");
    modeconn_model *tuned = NULL;
    OK(modeconn_options_set_f64(options, "weight_decay", 1e30));
    FAILS(modeconn_finetune(s.model, s.clean, s.cued, options, NULL, NULL, &tuned),
          MODECONN_ERROR_NUMERIC, "learning rate ");
    ck_assert_ptr_null(tuned);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

START_TEST(out_of_memory)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *clean = small_points(context, 9, 1), *cued = small_points(context, 12, 2);
    modeconn_model *model = small_model(context, "mlp", "5", clean), *expected = NULL;
    modeconn_options *options = options_of(
        "finetune", "epochs=1,head_epochs=1,batch_size=4,track_distance=1,track_barrier=3");
    OK(modeconn_options_set_str(options, "method", methods[_i]));
    OK(modeconn_finetune(model, clean, cued, options, NULL, NULL, &expected));
    for (long k = 1;; k++) {
        modeconn_model *tuned = NULL;
        long live = atomic_load(&allocator.live);
        failing_at(&allocator, k);
        int32_t status = modeconn_finetune(model, clean, cued, options, NULL, NULL, &tuned);
        failing_at(&allocator, 0);
        if (status == MODECONN_OK) {
            ck_assert_int_gt(k, 15);
            ck_assert(small_equal(tuned, expected));
            modeconn_model_destroy(tuned);
            break;
        }
        ck_assert_int_eq(status, MODECONN_ERROR_MEMORY);
        ck_assert_ptr_null(tuned);
        ck_assert_int_eq(atomic_load(&allocator.live), live);
    }
    modeconn_options_destroy(options);
    modeconn_model_destroy(expected);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(cued);
    modeconn_dataset_destroy(clean);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, table);
    tcase_add_test(tests, errors);
    tcase_add_loop_test(tests, cancelled, 0, METHODS);
    tcase_add_loop_test(tests, not_finite, 0, METHODS);
    tcase_add_loop_test(tests, out_of_memory, 0, METHODS);
}

int main(void)
{
    return unit_run("finetune/finetune", add);
}
