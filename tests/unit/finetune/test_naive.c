/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Naive fine-tuning is a training run on a copy, with a cosine rate: the same bits.
 */
#include "finetune/finetune.h"
#include "train/small.h"

static const char *const settings[] = {
    "epochs=2,batch_size=16,learning_rate=0.03,seed=4",
    "epochs=3,batch_size=40,learning_rate=0.05,momentum=0.5,nesterov=1,weight_decay=0.01,"
    "reference=1",
};

START_TEST(is_training)
{
    modeconn_context *context = small_context(2);
    modeconn_dataset *data = small_shapes(context, 40, "nocue");
    modeconn_model *model = small_model(context, "vgg13", "0.05", data);
    modeconn_model *trained = NULL, *tuned = NULL;
    modeconn_options *options = options_of("train", settings[_i]);
    modeconn_options *naive = options_of("finetune", settings[_i]);
    modeconn_history *history = NULL;
    int64_t epochs, columns;
    OK(modeconn_options_set_str(options, "schedule", "cosine"));
    OK(modeconn_options_set_str(naive, "method", "naive"));
    OK(modeconn_model_clone(model, &trained));
    OK(modeconn_train(trained, data, options, NULL, NULL));
    OK(modeconn_finetune(model, data, NULL, naive, NULL, NULL, &tuned));
    ck_assert(small_equal(trained, tuned));
    ck_assert(!small_equal(model, tuned));
    OK(modeconn_model_history(tuned, &history));
    OK(modeconn_history_size(history, &epochs, &columns));
    ck_assert_int_eq(epochs, 2 + _i);
    ck_assert_int_eq(columns, 4);
    modeconn_history_destroy(history);
    modeconn_options_destroy(naive);
    modeconn_options_destroy(options);
    modeconn_model_destroy(tuned);
    modeconn_model_destroy(trained);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_loop_test(tests, is_training, 0, 2);
}

int main(void)
{
    return unit_run("finetune/naive", add);
}
