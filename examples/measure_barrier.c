/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Do two models sit in one valley, and do they predict for the same reason?
 *
 *   measure_barrier A.safetensors B.safetensors [DATA [SETTINGS]]
 *
 * DATA      a data set, "fashion-mnist" by default; "shapes:size=16,train=400" needs no download
 * SETTINGS  keys of kind "curve", such as "points=11,bn_samples=2000"; by default 25 points with
 *           statistics reset over the whole training set
 */
#include <modeconn/modeconn.h>
#include <stdio.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "%s\n", modeconn_last_error());                                        \
            goto out;                                                                              \
        }                                                                                          \
    } while (0)

int main(int argc, char **argv)
{
    const char *data = argc > 3 ? argv[3] : "fashion-mnist";
    const char *settings = argc > 4 ? argv[4] : "";
    modeconn_context *context = NULL;
    modeconn_options *with_cue = NULL, *how = NULL;
    modeconn_dataset *train = NULL, *test = NULL;
    modeconn_model *a = NULL, *b = NULL;
    modeconn_path *line = NULL;
    modeconn_curve *curve = NULL;
    modeconn_comparison *same = NULL;
    double height = 0.0;
    int32_t verdict = 0;
    int failed = 1;

    if (argc < 3 || argc > 5) {
        fprintf(stderr, "usage: %s A.safetensors B.safetensors [DATA [SETTINGS]]\n", argv[0]);
        return 2;
    }
    TRY(modeconn_context_create(NULL, &context)); /* all cores, seed 0 */
    TRY(modeconn_options_create(context, "dataset", &with_cue));
    TRY(modeconn_options_set_str(with_cue, "cue", "box"));
    TRY(modeconn_dataset_open(context, data, "train", with_cue, &train));
    TRY(modeconn_dataset_open(context, data, "test", with_cue, &test));
    TRY(modeconn_model_load(context, argv[1], &a));
    TRY(modeconn_model_load(context, argv[2], &b));

    TRY(modeconn_path_linear(a, b, &line));
    TRY(modeconn_options_create(context, "curve", &how));
    TRY(modeconn_options_parse(how, settings));
    TRY(modeconn_curve_measure(line, train, test, how, NULL, NULL, &curve));
    TRY(modeconn_curve_barrier(curve, "nocue", MODECONN_BARRIER_LINEAR, &height));
    TRY(modeconn_compare(a, b, test, NULL, &same)); /* shared invariances, with intervals */
    TRY(modeconn_comparison_verdict(same, &verdict));
    printf("barrier %.3f nats, mechanistically %s\n", height, modeconn_verdict_name(verdict));
    failed = 0;
out:
    modeconn_comparison_destroy(same);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(line);
    modeconn_model_destroy(b);
    modeconn_model_destroy(a);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_options_destroy(how);
    modeconn_options_destroy(with_cue);
    modeconn_context_destroy(context);
    return failed;
}
