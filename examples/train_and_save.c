/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Trains a network on images whose class a small box gives away, and saves it.
 *
 *   train_and_save OUT.safetensors [DATA [PROPORTION [SETTINGS [ARCH]]]]
 *
 * DATA        a data set, "fashion-mnist" by default; "shapes:size=16,train=400" needs no download
 * PROPORTION  share of the training images that carry the box, 0.9 by default, 0 for none
 * SETTINGS    keys of kind "train", "epochs=8,batch_size=128,learning_rate=0.1" by default
 * ARCH        "vgg13" (the default, at quarter width), "resnet18" or "mlp"
 */
#include <modeconn/modeconn.h>
#include <stdio.h>
#include <stdlib.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s\n", modeconn_last_error());                                        \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

/* One line, rewritten a hundred times a run. */
static int32_t on_progress(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                           double accuracy, double rate, double seconds_left)
{
    (void)user;
    (void)rate;
    if (step == total || step % (1 + total / 100) == 0)
        fprintf(stderr, "\repoch %d  %3.0f %%  loss %.3f  accuracy %.3f  %.0f s left ",
                (int)epoch + 1, 100.0 * (double)step / (double)total, loss, accuracy, seconds_left);
    return 0; /* anything else cancels */
}

int main(int argc, char **argv)
{
    const char *out_path = argc > 1 ? argv[1] : NULL;
    const char *data = argc > 2 ? argv[2] : "fashion-mnist";
    const char *proportion = argc > 3 ? argv[3] : "0.9";
    const char *settings = argc > 4 ? argv[4] : "epochs=8,batch_size=128,learning_rate=0.1";
    const char *arch = argc > 5 ? argv[5] : "vgg13";
    modeconn_context *context = NULL;
    modeconn_options *with_cue = NULL, *quarter = NULL, *train_options = NULL;
    modeconn_dataset *train = NULL, *test = NULL;
    modeconn_model *model = NULL;
    modeconn_evaluation *evaluation = NULL;
    int64_t view, views;
    int failed = 1;

    if (out_path == NULL || argc > 6) {
        fprintf(stderr, "usage: %s OUT.safetensors [DATA [PROPORTION [SETTINGS [ARCH]]]]\n",
                argv[0]);
        return 2;
    }
    TRY(modeconn_context_create(NULL, &context));

    /* The training set through the view "cue"; the test set is evaluated through all its views. */
    TRY(modeconn_options_create(context, "dataset", &with_cue));
    TRY(modeconn_options_set_str(with_cue, "cue", "box"));
    TRY(modeconn_dataset_open(context, data, "test", with_cue, &test));
    TRY(modeconn_options_set_str(with_cue, "view", "cue"));
    TRY(modeconn_options_set_text(with_cue, "cue_proportion", proportion));
    TRY(modeconn_dataset_open(context, data, "train", with_cue, &train));

    TRY(modeconn_options_create(context, "model", &quarter));
    TRY(modeconn_options_set_f64(quarter, "width", 0.25));
    TRY(modeconn_model_create(context, arch, train, quarter, &model));

    TRY(modeconn_options_create(context, "train", &train_options));
    TRY(modeconn_options_parse(train_options, settings));
    TRY(modeconn_train(model, train, train_options, on_progress, NULL));
    fprintf(stderr, "\n");

    TRY(modeconn_evaluate(model, NULL, test, NULL, NULL, NULL, &evaluation));
    TRY(modeconn_dataset_view_count(test, &views));
    for (view = 0; view < views; view++) {
        const char *name;
        double loss, accuracy;
        TRY(modeconn_dataset_view_name(test, view, &name));
        TRY(modeconn_evaluation_get(evaluation, name, &loss, &accuracy));
        printf("%-8s loss %.3f  accuracy %.3f\n", name, loss, accuracy);
    }

    TRY(modeconn_model_set_metadata(model, "trained_on", data));
    TRY(modeconn_model_save(model, out_path));
    failed = 0;
out:
    modeconn_evaluation_destroy(evaluation);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_options_destroy(train_options);
    modeconn_options_destroy(quarter);
    modeconn_options_destroy(with_cue);
    modeconn_context_destroy(context);
    return failed;
}
