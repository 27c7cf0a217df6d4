/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which attributes of the data does a model rely on? Prints, for the cue and for the image, the
 * rise in loss when that attribute alone is randomised, its interval, and a verdict.
 *
 *   probe_model MODEL.safetensors [DATA [SETTINGS]]
 *
 * DATA      a data set, "fashion-mnist" by default; "shapes:size=16,train=400" needs no download
 * SETTINGS  keys of kind "probe", such as "margin=0.05,resamples=500"
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
    const char *data = argc > 2 ? argv[2] : "fashion-mnist";
    const char *settings = argc > 3 ? argv[3] : "";
    modeconn_context *context = NULL;
    modeconn_options *with_cue = NULL, *how = NULL;
    modeconn_dataset *test = NULL;
    modeconn_model *model = NULL;
    modeconn_probe *probe = NULL;
    double margin = 0.0;
    int64_t i, attributes = 0;
    int failed = 1;

    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: %s MODEL.safetensors [DATA [SETTINGS]]\n", argv[0]);
        return 2;
    }
    TRY(modeconn_context_create(NULL, &context));
    TRY(modeconn_options_create(context, "dataset", &with_cue));
    TRY(modeconn_options_set_str(with_cue, "cue", "box"));
    TRY(modeconn_dataset_open(context, data, "test", with_cue, &test));
    TRY(modeconn_model_load(context, argv[1], &model));

    TRY(modeconn_options_create(context, "probe", &how));
    TRY(modeconn_options_parse(how, settings));
    TRY(modeconn_options_get_f64(how, "margin", &margin));
    TRY(modeconn_probe_measure(model, test, how, &probe));
    TRY(modeconn_probe_size(probe, &attributes));
    for (i = 0; i < attributes; i++) {
        const char *name;
        int32_t verdict;
        double effect, low, high;
        TRY(modeconn_probe_attribute(probe, i, &name));
        TRY(modeconn_probe_get(probe, name, &verdict, &effect, &low, &high));
        printf("%-6s %-10s %+.3f nats [%+.3f, %+.3f], margin %.3f\n", name,
               modeconn_verdict_name(verdict), effect, low, high, margin);
    }
    failed = 0;
out:
    modeconn_probe_destroy(probe);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(test);
    modeconn_options_destroy(how);
    modeconn_options_destroy(with_cue);
    modeconn_context_destroy(context);
    return failed;
}
