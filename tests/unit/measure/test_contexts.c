/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Calls whose models and data sets are of different contexts: each releases what it allocated.
 */
#include "planted.h"
#include "failing.h"

enum { TRAIN, TEST, FIRST, SECOND, CONTEXTS };

typedef struct scene {
    failing state[CONTEXTS];
    modeconn_context *context[CONTEXTS];
    modeconn_dataset *train, *test;
    modeconn_model *first, *second;
} scene;

static void open_scene(scene *on)
{
    for (int i = 0; i < CONTEXTS; i++) {
        on->context[i] = failing_context(&on->state[i]);
    }
    on->train = planted_data(on->context[TRAIN], 30, 1, "box");
    on->test = planted_data(on->context[TEST], 20, 2, "box");
    on->first = normed_model(on->context[FIRST], 1);
    on->second = normed_model(on->context[SECOND], 2);
}

/* What allocators count is right only if each got back what it gave, and nothing else. */
static void close_scene(scene *on)
{
    modeconn_dataset_destroy(on->train);
    modeconn_dataset_destroy(on->test);
    modeconn_model_destroy(on->first);
    modeconn_model_destroy(on->second);
    for (int i = 0; i < CONTEXTS; i++) {
        modeconn_context_destroy(on->context[i]);
        ck_assert_int_eq(on->state[i].live, 0);
    }
}

START_TEST(measurements)
{
    scene on;
    open_scene(&on);
    modeconn_evaluation *evaluation = NULL;
    OK(modeconn_evaluate(on.first, on.train, on.test, NULL, NULL, NULL, &evaluation));
    modeconn_evaluation_destroy(evaluation);
    modeconn_probe *probe = NULL;
    OK(modeconn_probe_measure(on.first, on.test, NULL, &probe));
    modeconn_probe_destroy(probe);
    modeconn_comparison *comparison = NULL;
    OK(modeconn_compare(on.first, on.second, on.test, NULL, &comparison));
    modeconn_comparison_destroy(comparison);
    modeconn_cka *cka = NULL;
    OK(modeconn_cka_measure(on.first, on.second, on.test, NULL, NULL, NULL, &cka));
    modeconn_cka_destroy(cka);
    modeconn_alignment *alignment = NULL;
    OK(modeconn_align(on.first, on.second, on.train, NULL, NULL, NULL, &alignment));
    modeconn_alignment_destroy(alignment);
    close_scene(&on);
}
END_TEST

START_TEST(paths)
{
    scene on;
    open_scene(&on);
    modeconn_path *path = NULL;
    OK(modeconn_path_create(on.first, on.second, NULL, &path));
    modeconn_options *options = options_of("path_fit", "epochs=1,batch_size=10");
    OK(modeconn_path_fit(path, on.train, options, NULL, NULL));
    modeconn_options_destroy(options);
    modeconn_curve *curve = NULL;
    OK(modeconn_curve_measure(path, on.train, on.test, NULL, NULL, NULL, &curve));
    modeconn_curve_destroy(curve);
    modeconn_connectivity *connectivity = NULL;
    OK(modeconn_connectivity_measure(path, on.train, on.test, NULL, NULL, NULL, &connectivity));
    modeconn_connectivity_destroy(connectivity);
    modeconn_patterns *patterns = NULL;
    OK(modeconn_patterns_measure(path, on.train, on.test, NULL, NULL, NULL, &patterns));
    modeconn_patterns_destroy(patterns);
    modeconn_path_destroy(path);
    close_scene(&on);
}
END_TEST

START_TEST(tuning)
{
    static const char *const methods[] = {"naive", "llrt", "lpft", "cbft"};
    scene on;
    open_scene(&on);
    modeconn_options *options = options_of("train", "epochs=1,batch_size=10");
    OK(modeconn_train(on.first, on.train, options, NULL, NULL));
    modeconn_options_destroy(options);
    for (int i = 0; i < 4; i++) {
        char settings[64];
        modeconn_model *tuned = NULL;
        snprintf(settings, sizeof settings, "method=%s,epochs=1,batch_size=10", methods[i]);
        options = options_of("finetune", settings);
        OK(modeconn_finetune(on.first, on.train, on.test, options, NULL, NULL, &tuned));
        modeconn_options_destroy(options);
        modeconn_model_destroy(tuned);
    }
    close_scene(&on);
}
END_TEST

/* A fitter's views are all that is left of its data set and of the data set's context. */
START_TEST(a_fitter_outlives_its_data)
{
    scene on;
    open_scene(&on);
    modeconn_path *path = NULL;
    modeconn_fitter *fitter = NULL;
    OK(modeconn_path_create(on.first, on.second, NULL, &path));
    OK(modeconn_fitter_create(path, on.train, NULL, &fitter));
    modeconn_dataset_destroy(on.train);
    modeconn_context_destroy(on.context[TRAIN]);
    ck_assert_int_gt(on.state[TRAIN].live, 0);
    modeconn_path_destroy(path);
    modeconn_fitter_destroy(fitter);
    on.train = NULL;
    on.context[TRAIN] = NULL;
    close_scene(&on);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, measurements);
    tcase_add_test(tests, paths);
    tcase_add_test(tests, tuning);
    tcase_add_test(tests, a_fitter_outlives_its_data);
}

int main(void)
{
    return unit_run("measure_contexts", add);
}
