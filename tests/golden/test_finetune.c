/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Against PyTorch (make_finetune_goldens.py): last-layer retraining and LPFT followed for some
 * epochs through the public call, fresh layer, orders and short batches included; the invariance
 * term and its gradient. Against kernel matrices in NumPy: CKA.
 */
#include "finetune/finetune.h"
#include "golden.h"

enum { CLASSES = 5, DRAW = 11 };

static modeconn_context *context;
static golden g;

static void setup(void)
{
    context = NULL;
    OK(modeconn_context_create(NULL, &context));
}

static void teardown(void)
{
    golden_close(&g);
    modeconn_context_destroy(context);
}

static modeconn_model *tune(const modeconn_model *start, const modeconn_dataset *clean,
                            const char *settings)
{
    modeconn_options *options = NULL;
    modeconn_model *tuned = NULL;
    OK(modeconn_options_create(context, "finetune", &options));
    OK(modeconn_options_parse(options, "batch_size=8,momentum=0.9"));
    OK(modeconn_options_set_i64(options, "seed", DRAW));
    OK(modeconn_options_parse(options, settings));
    OK(modeconn_finetune(start, clean, NULL, options, NULL, NULL, &tuned));
    modeconn_options_destroy(options);
    return tuned;
}

static void check_losses(const modeconn_model *tuned, const char *name)
{
    modeconn_history *history = NULL;
    const mc_tensor *expected = golden_tensor(&g, "%s.loss", name);
    double losses[16];
    int64_t epochs = 0;
    OK(modeconn_model_history(tuned, &history));
    OK(modeconn_history_size(history, &epochs, NULL));
    ck_assert_int_eq(epochs, expected->size);
    for (int64_t i = 0; i < epochs; i++) {
        OK(modeconn_history_value(history, "loss", i, &losses[i]));
    }
    golden_near_f64(&g, expected, losses, epochs, TOLERANCE_LOSS);
    modeconn_history_destroy(history);
}

/* Blocks whose names begin with `prefix` against NAME.BLOCK. */
static void check_blocks(const modeconn_model *tuned, const char *name, const char *prefix)
{
    int64_t seen = 0;
    for (int64_t i = 0; i < tuned->n_blocks_theta; i++) {
        const mc_block *block = &tuned->blocks[i];
        if (strncmp(block->name, prefix, strlen(prefix)) == 0) {
            golden_block_near(&g, golden_tensor(&g, "%s.%s", name, block->name), block,
                              tuned->theta, NULL, TOLERANCE_GRADIENT);
            seen++;
        }
    }
    ck_assert_int_gt(seen, 1);
}

START_TEST(test_trajectories)
{
    golden_open(&g, context, "finetune.expected");
    modeconn_dataset *clean = golden_dataset(&g, "", CLASSES, NULL);
    modeconn_model *start = golden_model(context, "finetune_start", "vgg13", clean);
    modeconn_model *llrt = tune(start, clean, "method=llrt,epochs=6,learning_rate=1");
    modeconn_model *late = tune(start, clean, "method=llrt,epochs=6,learning_rate=1,reference=1");
    modeconn_model *lpft = tune(start, clean,
                                "method=lpft,head_epochs=6,head_learning_rate=1,epochs=2,"
                                "learning_rate=0.02,weight_decay=5e-3");
    check_losses(llrt, "llrt");
    check_blocks(llrt, "llrt", "linear.");
    check_losses(late, "llrt_late");
    check_blocks(late, "llrt_late", "linear.");
    check_losses(lpft, "lpft");
    check_blocks(lpft, "lpft", "");
    golden_statistics_near(&g, "lpft", lpft, lpft->statistics, TOLERANCE_STATISTICS);
    modeconn_model_destroy(lpft);
    modeconn_model_destroy(late);
    modeconn_model_destroy(llrt);
    modeconn_model_destroy(start);
    modeconn_dataset_destroy(clean);
}
END_TEST

START_TEST(test_reference)
{
    static const char *const columns[] = {"ce", "barrier", "invariance"};
    golden_open(&g, context, "reference.expected");
    modeconn_dataset *clean = golden_dataset(&g, "nc.", CLASSES, NULL);
    modeconn_dataset *cue = golden_dataset(&g, "c.", CLASSES, NULL);
    modeconn_model *start = golden_model(context, "reference_start", "vgg13", clean), *tuned = NULL;
    modeconn_options *options = NULL;
    modeconn_history *history = NULL;
    OK(modeconn_options_create(context, "finetune", &options));
    OK(modeconn_options_parse(options, "method=cbft,reference=1,draw=clipped,epochs=4,batch_size=8,"
                                       "learning_rate=0.02,seed=23"));
    OK(modeconn_finetune(start, clean, cue, options, NULL, NULL, &tuned));
    OK(modeconn_model_history(tuned, &history));
    for (int i = 0; i < 3; i++) {
        const mc_tensor *expected = golden_tensor(&g, "loss.%s", columns[i]);
        char name[32];
        double values[4];
        int64_t first = 4 - expected->size; /* the invariance term is not computed in epoch 0 */
        snprintf(name, sizeof(name), "loss_%s", columns[i]);
        for (int64_t epoch = 0; epoch < 4; epoch++) {
            OK(modeconn_history_value(history, name, epoch, &values[epoch]));
            ck_assert_int_eq(isnan(values[epoch]), epoch < first);
        }
        golden_near_f64(&g, expected, values + first, expected->size, TOLERANCE_LOSS);
    }
    golden_theta_near(&g, "after", tuned, tuned->theta, start->theta, TOLERANCE_STEPS);
    golden_statistics_near(&g, "after", tuned, tuned->statistics, TOLERANCE_STATISTICS);
    modeconn_history_destroy(history);
    modeconn_options_destroy(options);
    modeconn_model_destroy(tuned);
    modeconn_model_destroy(start);
    modeconn_dataset_destroy(cue);
    modeconn_dataset_destroy(clean);
}
END_TEST

START_TEST(test_invariance)
{
    enum { K = 7, WIDTH = 5 };
    mc_cbft_objective objective;
    modeconn_model shape = {.context = context, .classes = K, .representation_width = WIDTH};
    static float logits[12 * K], d_logits[2][12 * K], d[2][12 * WIDTH];
    golden_open(&g, context, "finetune.expected");
    float *z[2];
    int32_t *y[2];
    for (int i = 0; i < 2; i++) {
        z[i] = golden_f32(golden_tensor(&g, "invariance.z%d", i));
        y[i] = golden_i32(golden_tensor(&g, "invariance.y%d", i));
    }
    mc_pair pair = {.n = {12, 10},
                    .classes = K,
                    .width = WIDTH,
                    .y = {y[0], y[1]},
                    .logits = {logits, logits},
                    .representation = {z[0], z[1]},
                    .d_logits = {d_logits[0], d_logits[1]},
                    .d_representation = {d[0], d[1]}};
    OK(mc_cbft_objective_init(&objective, &shape));
    objective.weight = 1;
    OK(mc_cbft_objective_pair(&objective, &pair));
    golden_near_f64(&g, golden_tensor(&g, "invariance.value"), &objective.loss_invariance, 1,
                    TOLERANCE_LOSS);
    golden_near(&g, golden_tensor(&g, "invariance.grad0"), d[0], 12 * WIDTH, TOLERANCE_GRADIENT);
    golden_near(&g, golden_tensor(&g, "invariance.grad1"), d[1], 10 * WIDTH, TOLERANCE_GRADIENT);
    mc_cbft_objective_free(&objective);
    for (int i = 0; i < 2; i++) {
        free(z[i]);
        free(y[i]);
    }
}
END_TEST

START_TEST(test_cka)
{
    golden_open(&g, context, "cka.expected");
    modeconn_dataset *data = golden_dataset(&g, "", 8, NULL);
    modeconn_model *first = golden_model(context, "cka_first", "mlp", data);
    modeconn_model *second = golden_model(context, "cka_second", "mlp", data);
    modeconn_cka *made = NULL;
    double value[2], debiased[2];
    int64_t layers = 0;
    OK(modeconn_cka_measure(first, second, data, NULL, NULL, NULL, &made));
    OK(modeconn_cka_size(made, &layers));
    ck_assert_int_eq(layers, 2);
    for (int64_t i = 0; i < 2; i++) {
        OK(modeconn_cka_get(made, i, NULL, NULL, &value[i], &debiased[i]));
    }
    golden_near_f64(&g, golden_tensor(&g, "cka"), value, 2, TOLERANCE_LOGITS);
    golden_near_f64(&g, golden_tensor(&g, "debiased"), debiased, 2, TOLERANCE_LOGITS);
    modeconn_cka_destroy(made);
    modeconn_model_destroy(second);
    modeconn_model_destroy(first);
    modeconn_dataset_destroy(data);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_trajectories);
    tcase_add_test(tests, test_reference);
    tcase_add_test(tests, test_invariance);
    tcase_add_test(tests, test_cka);
}

int main(void)
{
    return unit_run("golden finetune", add);
}
