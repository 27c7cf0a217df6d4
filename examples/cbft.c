/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Changes what a model relies on: fine-tunes it with CBFT on a few clean images, so that it
 * leaves the valley in which it relies on the cue, and compares before and after.
 *
 *   cbft MODEL.safetensors OUT.safetensors [DATA [CLEAN [SETTINGS]]]
 *
 * DATA      a data set, "fashion-mnist" by default; "shapes:size=16,train=400" needs no download
 * CLEAN     number of clean training images, 1000 by default; the others carry the cue
 * SETTINGS  keys of kind "finetune", "epochs=20,batch_size=64,learning_rate=0.03" by default
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

static const char *const views[] = {"nocue", "cue", "randcue", "randimg"};

/* One line a model: accuracy on each view. Returns a status. */
static int32_t print_accuracy(const char *title, const modeconn_model *model,
                              const modeconn_dataset *test)
{
    modeconn_evaluation *evaluation = NULL;
    int32_t status = modeconn_evaluate(model, NULL, test, NULL, NULL, NULL, &evaluation);
    size_t i;

    if (status == MODECONN_OK)
        printf("%-7s", title);
    for (i = 0; i < 4 && status == MODECONN_OK; i++) {
        double accuracy = 0.0;
        status = modeconn_evaluation_get(evaluation, views[i], NULL, &accuracy);
        printf("  %s %5.1f %%", views[i], 100.0 * accuracy);
    }
    printf("\n");
    modeconn_evaluation_destroy(evaluation);
    return status;
}

int main(int argc, char **argv)
{
    const char *data = argc > 3 ? argv[3] : "fashion-mnist";
    const char *clean_count = argc > 4 ? argv[4] : "1000";
    const char *settings = argc > 5 ? argv[5] : "epochs=20,batch_size=64,learning_rate=0.03";
    modeconn_context *context = NULL;
    modeconn_options *with_cue = NULL, *how = NULL;
    modeconn_dataset *train = NULL, *test = NULL, *clean = NULL, *rest = NULL, *cued = NULL;
    modeconn_model *model = NULL, *tuned = NULL;
    modeconn_comparison *same = NULL;
    int32_t verdict = 0;
    int failed = 1;

    if (argc < 3 || argc > 6) {
        fprintf(stderr, "usage: %s MODEL OUT [DATA [CLEAN [SETTINGS]]]\n", argv[0]);
        return 2;
    }
    TRY(modeconn_context_create(NULL, &context));
    TRY(modeconn_options_create(context, "dataset", &with_cue));
    TRY(modeconn_options_set_str(with_cue, "cue", "box"));
    TRY(modeconn_dataset_open(context, data, "train", with_cue, &train));
    TRY(modeconn_dataset_open(context, data, "test", with_cue, &test));
    TRY(modeconn_model_load(context, argv[1], &model));

    /* Two disjoint sets: few clean images, and all others with the cue. */
    TRY(modeconn_dataset_split(train, strtoll(clean_count, NULL, 10), -1, &clean, &rest));
    TRY(modeconn_dataset_view(rest, "cue", 1.0, &cued));

    TRY(modeconn_options_create(context, "finetune", &how));
    TRY(modeconn_options_set_str(how, "method", "cbft"));
    TRY(modeconn_options_parse(how, settings));
    TRY(modeconn_finetune(model, clean, cued, how, NULL, NULL, &tuned));

    TRY(print_accuracy("before", model, test));
    TRY(print_accuracy("after", tuned, test));
    TRY(modeconn_compare(model, tuned, test, NULL, &same));
    TRY(modeconn_comparison_verdict(same, &verdict));
    printf("before and after are mechanistically %s\n", modeconn_verdict_name(verdict));
    TRY(modeconn_model_save(tuned, argv[2]));
    failed = 0;
out:
    modeconn_comparison_destroy(same);
    modeconn_model_destroy(tuned);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(cued);
    modeconn_dataset_destroy(rest);
    modeconn_dataset_destroy(clean);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_options_destroy(how);
    modeconn_options_destroy(with_cue);
    modeconn_context_destroy(context);
    return failed;
}
