/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Attributes of a test set's own, and cues and interventions of the host's, through evaluation,
 * probes, comparison, curves, training and fine-tuning: planted effects come out, errors of the
 * host come back, and results outlive the dataset.
 */
#include "planted.h"

enum { N = 400 };

/* ---- slabs --------------------------------------------------------------------------------- */

static modeconn_dataset *slabs(modeconn_context *context)
{
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, "slabs:slabs=0+2,noise=1,test=400", "test", NULL, &dataset));
    return dataset;
}

/* Logits (-a x1, a x1): reads the first attribute, nothing else. */
static modeconn_model *reads_first(modeconn_context *context, float a)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t input = 0, output = 0;
    const float theta[6] = {-a, 0, 0, a, 0, 0};
    OK(modeconn_graph_create(context, 3, 1, 1, &graph));
    OK(modeconn_graph_add(graph, "linear", "fc", "out_features=2,bias=0", &input, 1, &output));
    OK(modeconn_model_from_graph(graph, output, 0, &model));
    OK(modeconn_model_set_parameters(model, theta, 6));
    modeconn_graph_destroy(graph);
    return model;
}

START_TEST(slabs_are_probed)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = slabs(context);
    modeconn_model *model = reads_first(context, 4.0F), *blind = reads_first(context, 0.0F);
    modeconn_probe *probe = NULL;
    modeconn_comparison *comparison = NULL;
    OK(modeconn_probe_measure(model, data, NULL, &probe));
    OK(modeconn_compare(model, blind, data, NULL, &comparison));
    modeconn_dataset_destroy(data); /* names are the results' own */
    int64_t count = 0;
    const char *name = NULL;
    int32_t verdict = 0;
    double effect = 0;
    OK(modeconn_probe_size(probe, &count));
    ck_assert_int_eq(count, 2);
    OK(modeconn_probe_attribute(probe, 1, &name));
    ck_assert_str_eq(name, "slab2");
    OK(modeconn_probe_get(probe, "slab1", &verdict, &effect, NULL, NULL));
    ck_assert_int_eq(verdict, MODECONN_VERDICT_DEPENDENT);
    ck_assert(effect > 1.5 &&
              effect < 3); /* half the labels contradict 8 |x1| of logit, |x1| .55 */
    OK(modeconn_probe_get(probe, "slab2", &verdict, &effect, NULL, NULL));
    ck_assert(verdict == MODECONN_VERDICT_INVARIANT && effect == 0);
    FAILS(modeconn_probe_get(probe, "cue", &verdict, NULL, NULL, NULL), MODECONN_ERROR_UNKNOWN,
          "cue");
    FAILS(modeconn_probe_attribute(probe, 2, &name), MODECONN_ERROR_ARGUMENT, "0..1");
    char *text = NULL;
    TEXT(modeconn_comparison_json, comparison, text);
    json_t *json = parse_json(text);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "attributes", "slab1", "verdict")),
                     "dissimilar");
    ck_assert_str_eq(json_string_value(JSON_AT(json, "attributes", "slab2", "verdict")), "similar");
    json_decref(json);
    TEXT(modeconn_probe_csv, probe, text);
    ck_assert_ptr_nonnull(strstr(text, "\nslab2,invariant,0,0,0,"));
    free(text);
    modeconn_comparison_destroy(comparison);
    modeconn_probe_destroy(probe);
    modeconn_model_destroy(blind);
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(slabs_are_evaluated)
{
    modeconn_context *context = context_with(2, 0);
    modeconn_dataset *data = slabs(context);
    modeconn_model *model = reads_first(context, 4.0F), *other = reads_first(context, 8.0F);
    modeconn_evaluation *made = NULL;
    modeconn_path *path = NULL;
    modeconn_curve *curve = NULL;
    modeconn_options *options = options_of("curve", "points=3,statistics=keep");
    OK(modeconn_evaluate(model, NULL, data, NULL, NULL, NULL, &made));
    OK(modeconn_path_linear(model, other, &path));
    OK(modeconn_curve_measure(path, NULL, data, options, NULL, NULL, &curve));
    modeconn_dataset_destroy(data);
    double loss[3], accuracy[3], single = 0, right = 0;
    OK(modeconn_evaluation_get(made, "randslab1", &single, &right));
    OK(modeconn_curve_values(curve, "randslab1", loss, accuracy, 3));
    ck_assert(loss[0] == single && accuracy[0] == right && right > 0.4 && right < 0.6);
    OK(modeconn_evaluation_get(made, "randslab2", &single, &right));
    ck_assert(right == 1.0);
    char *text = NULL;
    TEXT(modeconn_curve_csv, curve, text);
    ck_assert_ptr_nonnull(strstr(text, "randslab1_loss,randslab1_accuracy,randslab2_loss"));
    free(text);
    modeconn_options_destroy(options);
    modeconn_curve_destroy(curve);
    modeconn_path_destroy(path);
    modeconn_evaluation_destroy(made);
    modeconn_model_destroy(other);
    modeconn_model_destroy(model);
    modeconn_context_destroy(context);
}
END_TEST

/* ---- the host's code ----------------------------------------------------------------------- */

/* The box, drawn by the host: value v at place v, 9 nothing. */
static int32_t own_box(void *user, int64_t sample, int32_t label, int64_t value, uint64_t random,
                       float *image, int64_t channels, int64_t height, int64_t width)
{
    static const int offsets[3] = {0, 4, 9};
    const int64_t *fail_at = user;
    (void)label;
    (void)random;
    ck_assert(channels == 1 && height == SIDE && width == SIDE);
    for (int p = 0; value < 9 && p < 9; p++) {
        image[(offsets[value / 3] + p / 3) * SIDE + offsets[value % 3] + p % 3] = 1.0F;
    }
    return sample == *fail_at ? 31 : 0;
}

/* Noise of the planted images drawn anew. */
static int32_t new_noise(void *user, int64_t sample, int32_t label, uint64_t random, float *image,
                         int64_t channels, int64_t height, int64_t width)
{
    const int64_t *fail_at = user;
    (void)label;
    (void)channels;
    (void)height;
    for (uint32_t k = 0; k < CLASSES; k++) {
        image[NOISE_ROW * width + k] = (float)mc_random_normal(random, STREAM_NOISE, 0, k);
    }
    return sample == *fail_at ? 31 : 0;
}

typedef struct hosted {
    modeconn_context *context;
    int64_t fail_at;
    modeconn_dataset *plain, *data;
    modeconn_model *model;
} hosted;

/* Handles of data with both, and a model that reads cue and noise. */
static void hosted_open(hosted *h)
{
    modeconn_dataset *cued = NULL;
    *h = (hosted){.context = context_with(2, 3), .fail_at = -1};
    h->plain = planted_data(h->context, N, 1, "none");
    OK(modeconn_dataset_with_cue(h->plain, "own_box", CLASSES, own_box, NULL, &h->fail_at, &cued));
    OK(modeconn_dataset_with_attribute(cued, "noise", new_noise, NULL, &h->fail_at, &h->data));
    modeconn_dataset_destroy(cued);
    h->model = planted_model(h->context, 2.0, 1.0, 0.0);
}

static void hosted_close(hosted *h)
{
    modeconn_model_destroy(h->model);
    modeconn_dataset_destroy(h->data);
    modeconn_dataset_destroy(h->plain);
    modeconn_context_destroy(h->context);
}

/* The host's box does what the library's does: the same numbers. */
START_TEST(host_cue_is_probed)
{
    hosted h;
    hosted_open(&h);
    modeconn_dataset *boxed = planted_data(h.context, N, 1, "box");
    modeconn_probe *own = NULL, *ours = NULL;
    double effects[2], other = 0;
    int32_t verdict = 0;
    ck_assert(boxed->seed == 1 && h.data->seed == 1);
    OK(modeconn_probe_measure(h.model, h.data, NULL, &own));
    OK(modeconn_probe_measure(h.model, boxed, NULL, &ours));
    OK(modeconn_probe_get(own, "cue", &verdict, &effects[0], NULL, NULL));
    OK(modeconn_probe_get(ours, "cue", NULL, &effects[1], NULL, NULL));
    ck_assert(effects[0] == effects[1] && verdict == MODECONN_VERDICT_DEPENDENT);
    OK(modeconn_probe_get(own, "image", NULL, &effects[0], NULL, NULL));
    OK(modeconn_probe_get(ours, "image", NULL, &effects[1], NULL, NULL));
    ck_assert(effects[0] == effects[1]);
    OK(modeconn_probe_get(own, "noise", &verdict, &other, NULL, NULL));
    ck_assert(verdict == MODECONN_VERDICT_INVARIANT && other == 0);
    modeconn_model *noisy = planted_model(h.context, 2.0, 0.0, 2.0);
    modeconn_probe_destroy(own);
    OK(modeconn_probe_measure(noisy, h.data, NULL, &own));
    OK(modeconn_probe_get(own, "noise", NULL, &other, NULL, NULL));
    ck_assert(fabs(other) > 0 && fabs(other) < 0.5); /* of no use to the label: near 0, but felt */
    modeconn_model_destroy(noisy);
    modeconn_probe_destroy(ours);
    modeconn_probe_destroy(own);
    modeconn_dataset_destroy(boxed);
    hosted_close(&h);
}
END_TEST

/* The same run on the library's box and on the host's: the same parameters, bit for bit. */
static void check_finetune(const char *settings)
{
    hosted h;
    hosted_open(&h);
    modeconn_dataset *boxed = planted_data(h.context, N, 1, "box"), *cued[2] = {NULL, NULL};
    modeconn_options *options = options_of("finetune", settings);
    modeconn_options *hidden = options_of("model", "hidden=8,seed=2");
    modeconn_model *tuned[2] = {NULL, NULL}, *start = NULL;
    float *theta[2] = {NULL, NULL};
    int64_t size = 0;
    OK(modeconn_model_create(h.context, "mlp", boxed, hidden, &start));
    OK(modeconn_model_parameter_count(start, &size));
    OK(modeconn_dataset_view(boxed, "cue", 0.8, &cued[0]));
    OK(modeconn_dataset_view(h.data, "cue", 0.8, &cued[1]));
    for (int i = 0; i < 2; i++) {
        /* The clean set of naive is what it trains on: give it the cue. */
        theta[i] = malloc((size_t)size * sizeof(float));
        OK(modeconn_finetune(start, cued[i], cued[i], options, NULL, NULL, &tuned[i]));
        OK(modeconn_model_get_parameters(tuned[i], theta[i], size));
    }
    ck_assert_mem_eq(theta[0], theta[1], (size_t)size * sizeof(float));
    modeconn_model *failed = NULL;
    h.fail_at = 7;
    FAILS(modeconn_finetune(start, cued[1], cued[1], options, NULL, NULL, &failed),
          MODECONN_ERROR_CALLBACK, "own_box: the host's function returned 31 for sample 7");
    ck_assert_ptr_null(failed);
    for (int i = 0; i < 2; i++) {
        free(theta[i]);
        modeconn_model_destroy(tuned[i]);
        modeconn_dataset_destroy(cued[i]);
    }
    modeconn_model_destroy(start);
    modeconn_options_destroy(hidden);
    modeconn_options_destroy(options);
    modeconn_dataset_destroy(boxed);
    hosted_close(&h);
}

START_TEST(host_cue_is_tuned_on)
{
    check_finetune("method=naive,epochs=2,batch_size=64");
}
END_TEST

START_TEST(host_cue_in_cbft)
{
    check_finetune("method=cbft,epochs=2,batch_size=64");
    check_finetune("method=cbft,epochs=2,batch_size=64,schedule=joint");
}
END_TEST

START_TEST(host_errors_come_back)
{
    hosted h;
    hosted_open(&h);
    modeconn_probe *probe = NULL;
    modeconn_comparison *comparison = NULL;
    modeconn_evaluation *evaluation = NULL;
    modeconn_trainer *trainer = NULL;
    modeconn_options *options = options_of("train", "epochs=1,batch_size=50");
    modeconn_dataset *cue = NULL;
    h.fail_at = 123;
    FAILS(modeconn_probe_measure(h.model, h.data, NULL, &probe), MODECONN_ERROR_CALLBACK,
          "cue own_box: the host's function returned 31 for sample 123 of memory");
    ck_assert_ptr_null(probe);
    FAILS(modeconn_compare(h.model, h.model, h.data, NULL, &comparison), MODECONN_ERROR_CALLBACK,
          "first model");
    FAILS(modeconn_evaluate(h.model, NULL, h.data, NULL, NULL, NULL, &evaluation),
          MODECONN_ERROR_CALLBACK, "sample 123");
    OK(modeconn_dataset_view(h.data, "cue", 1.0, &cue));
    OK(modeconn_trainer_create(h.model, cue, options, &trainer));
    FAILS(modeconn_trainer_run(trainer, -1, NULL, NULL), MODECONN_ERROR_CALLBACK, "sample 123");
    h.fail_at = -1; /* every handle is usable still */
    OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
    OK(modeconn_probe_measure(h.model, h.data, NULL, &probe));
    modeconn_probe_destroy(probe);
    modeconn_trainer_destroy(trainer);
    modeconn_dataset_destroy(cue);
    modeconn_options_destroy(options);
    hosted_close(&h);
}
END_TEST

/* ---- crop and flip ------------------------------------------------------------------------- */

/* Training with them: the same bits for any number of threads, and in two halves; other weights
 * than without. */
START_TEST(augmented_training)
{
    float theta[4][CLASSES * PIXELS];
    static const char *const settings[] = {"crop=2,flip=1", "crop=2,flip=1", "crop=2,flip=1", ""};
    for (int run = 0; run < 4; run++) {
        modeconn_context *context = context_with(run == 1 ? 4 : 1, 0);
        modeconn_options *of_data = options_of("dataset", settings[run]);
        modeconn_options *options = options_of("train", "epochs=2,batch_size=32");
        modeconn_dataset *data = NULL;
        modeconn_trainer *trainer = NULL;
        modeconn_model *model = planted_model(context, 0, 0.1, 0);
        OK(modeconn_dataset_open(context, "shapes:size=12,train=200", "train", of_data, &data));
        OK(modeconn_trainer_create(model, data, options, &trainer));
        if (run == 2) {
            OK(modeconn_trainer_run(trainer, 1, NULL, NULL));
        }
        OK(modeconn_trainer_run(trainer, -1, NULL, NULL));
        OK(modeconn_model_get_parameters(model, theta[run], CLASSES * PIXELS));
        modeconn_trainer_destroy(trainer);
        modeconn_model_destroy(model);
        modeconn_dataset_destroy(data);
        modeconn_options_destroy(options);
        modeconn_options_destroy(of_data);
        modeconn_context_destroy(context);
    }
    ck_assert_mem_eq(theta[0], theta[1], sizeof(theta[0]));
    ck_assert_mem_eq(theta[0], theta[2], sizeof(theta[0]));
    ck_assert_mem_ne(theta[0], theta[3], sizeof(theta[0]));
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, slabs_are_probed);
    tcase_add_test(tests, slabs_are_evaluated);
    tcase_add_test(tests, host_cue_is_probed);
    tcase_add_test(tests, host_cue_is_tuned_on);
    tcase_add_test(tests, host_cue_in_cbft);
    tcase_add_test(tests, host_errors_come_back);
    tcase_add_test(tests, augmented_training);
}

int main(void)
{
    return unit_run("measure_attributes", add);
}
