/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Last-layer retraining and LPFT: what changes and what does not, that the layer is fresh, that
 * the stages are those of the single methods, threads, and models without a linear last layer.
 */
#include "finetune/finetune.h"
#include "train/small.h"

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *clean;
    modeconn_model *model;
} setting;

static setting make(int64_t threads, const char *arch, const char *width)
{
    setting s = {.context = small_context(threads)};
    s.clean = small_shapes(s.context, 37, "nocue");
    s.model = small_model(s.context, arch, width, s.clean);
    return s;
}

static void destroy(setting *s)
{
    modeconn_model_destroy(s->model);
    modeconn_dataset_destroy(s->clean);
    modeconn_context_destroy(s->context);
}

static modeconn_model *tune(const modeconn_model *from, const modeconn_dataset *clean,
                            const char *text)
{
    modeconn_options *options = options_of("finetune", text);
    modeconn_model *tuned = NULL;
    OK(modeconn_finetune(from, clean, NULL, options, NULL, NULL, &tuned));
    modeconn_options_destroy(options);
    return tuned;
}

static double value_of(const modeconn_model *model, const char *column, int64_t epoch)
{
    modeconn_history *history = NULL;
    double value = 0;
    OK(modeconn_model_history(model, &history));
    OK(modeconn_history_value(history, column, epoch, &value));
    modeconn_history_destroy(history);
    return value;
}

static int64_t epochs_of(const modeconn_model *model, int64_t *columns)
{
    modeconn_history *history = NULL;
    int64_t epochs = 0;
    OK(modeconn_model_history(model, &history));
    OK(modeconn_history_size(history, &epochs, columns));
    modeconn_history_destroy(history);
    return epochs;
}

static const char *const quick = "method=llrt,epochs=12,batch_size=16,learning_rate=1,seed=5";

START_TEST(only_the_last_layer)
{
    setting s = make(2, "vgg13", "0.05");
    modeconn_model *tuned = tune(s.model, s.clean, quick);
    int64_t weight = 0, bias = 0, columns = 0, classes = s.model->classes;
    int64_t weights = classes * s.model->representation_width;
    OK(mc_model_head(s.model, &weight, &bias));
    for (int64_t i = 0; i < s.model->n_theta; i++) {
        bool in_head = (i >= weight && i < weight + weights) || (i >= bias && i < bias + classes);
        ck_assert_msg((tuned->theta[i] != s.model->theta[i]) == in_head, "parameter %lld",
                      (long long)i);
    }
    ck_assert_int_eq(
        memcmp(tuned->statistics, s.model->statistics, (size_t)s.model->n_stats * sizeof(float)),
        0);
    ck_assert_int_eq(epochs_of(tuned, &columns), 12);
    ck_assert_int_eq(columns, 4);
    ck_assert_double_lt(value_of(tuned, "loss", 11), value_of(tuned, "loss", 0));
    modeconn_model_destroy(tuned);
    destroy(&s);
}
END_TEST

/* Where it starts is drawn anew: what the last layer was does not matter, the seed does. */
START_TEST(fresh)
{
    setting s = make(1, "mlp", "8");
    modeconn_model *other = NULL, *tuned[3];
    int64_t weight = 0, bias = 0;
    OK(modeconn_model_clone(s.model, &other));
    OK(mc_model_head(other, &weight, &bias));
    for (int64_t i = 0; i < other->classes * other->representation_width; i++) {
        other->theta[weight + i] = 100;
    }
    const modeconn_model *from[3] = {s.model, other, s.model};
    for (int i = 0; i < 3; i++) {
        tuned[i] =
            tune(from[i], s.clean,
                 i < 2 ? quick : "method=llrt,epochs=12,batch_size=16,learning_rate=1,seed=6");
    }
    ck_assert(small_equal(tuned[0], tuned[1]));
    ck_assert(!small_equal(tuned[0], tuned[2]));
    for (int i = 0; i < 3; i++) {
        modeconn_model_destroy(tuned[i]);
    }
    modeconn_model_destroy(other);
    destroy(&s);
}
END_TEST

/* The draw is uniform within 1/sqrt(width): a rate of almost 0 leaves it as it was drawn. */
START_TEST(law_of_the_draw)
{
    setting s = make(1, "mlp", "64");
    modeconn_model *tuned =
        tune(s.model, s.clean, "method=llrt,epochs=1,learning_rate=1e-30,seed=1");
    int64_t weight = 0, bias = 0, n = tuned->classes * 64;
    double sum = 0, squares = 0, bound = 1 / sqrt(64.0);
    OK(mc_model_head(tuned, &weight, &bias));
    for (int64_t i = 0; i < n; i++) {
        double w = (double)tuned->theta[weight + i];
        ck_assert(fabs(w) <= bound);
        sum += w;
        squares += w * w;
    }
    ck_assert_double_eq_tol(sum / (double)n, 0, 0.1 * bound);
    ck_assert_double_eq_tol(squares / (double)n, bound * bound / 3, 0.15 * bound * bound / 3);
    modeconn_model_destroy(tuned);
    destroy(&s);
}
END_TEST

/* Defaults: 200 epochs from a rate of 30, unless the caller says otherwise. */
START_TEST(defaults)
{
    setting s = make(1, "mlp", "4");
    modeconn_model *tuned = tune(s.model, s.clean, "method=llrt");
    ck_assert_int_eq(epochs_of(tuned, NULL), 200);
    ck_assert_double_eq_tol(value_of(tuned, "learning_rate", 0), 30, 1e-9);
    modeconn_model_destroy(tuned);
    tuned = tune(s.model, s.clean, "method=llrt,epochs=3");
    ck_assert_int_eq(epochs_of(tuned, NULL), 3);
    modeconn_model_destroy(tuned);
    destroy(&s);
}
END_TEST

/* LPFT is the one method after the other, to the bit, and tells its stages. */
START_TEST(both_in_a_row)
{
    setting s = make(2, "vgg13", "0.05");
    modeconn_model *head = tune(s.model, s.clean, quick), *all = NULL, *both = NULL;
    int64_t columns = 0;
    all = tune(head, s.clean, "method=naive,epochs=2,batch_size=16,learning_rate=0.02,seed=5");
    both = tune(s.model, s.clean,
                "method=lpft,epochs=2,batch_size=16,learning_rate=0.02,head_epochs=12,"
                "head_learning_rate=1,head_weight_decay=0,seed=5");
    ck_assert(small_equal(all, both));
    ck_assert_int_eq(epochs_of(both, &columns), 14);
    ck_assert_int_eq(columns, 5);
    for (int64_t epoch = 0; epoch < 14; epoch++) {
        const modeconn_model *single = epoch < 12 ? head : all;
        ck_assert_double_eq(value_of(both, "stage", epoch), epoch < 12 ? 0 : 1);
        ck_assert_double_eq(value_of(both, "loss", epoch),
                            value_of(single, "loss", epoch < 12 ? epoch : epoch - 12));
    }
    modeconn_model_destroy(both);
    modeconn_model_destroy(all);
    modeconn_model_destroy(head);
    destroy(&s);
}
END_TEST

START_TEST(threads)
{
    static const int64_t counts[] = {2, 3};
    setting one = make(1, "vgg13", "0.05");
    modeconn_model *first = tune(one.model, one.clean, quick);
    for (int i = 0; i < 2; i++) {
        setting more = make(counts[i], "vgg13", "0.05");
        modeconn_model *again = tune(more.model, more.clean, quick);
        ck_assert(small_equal(first, again));
        modeconn_model_destroy(again);
        destroy(&more);
    }
    modeconn_model_destroy(first);
    destroy(&one);
}
END_TEST

START_TEST(without_a_linear_layer)
{
    setting s = make(1, "mlp", "4");
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL, *tuned = NULL;
    int32_t node = 0;
    char settings[64];
    snprintf(settings, sizeof(settings), "out_channels=%d,kernel=9", (int)s.model->classes);
    OK(modeconn_graph_create(s.context, s.model->channels, 9, 9, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "c", settings, &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 0, &model));
    static const char *const methods[] = {"method=llrt", "method=lpft"};
    for (int i = 0; i < 2; i++) {
        modeconn_options *options = options_of("finetune", methods[i]);
        FAILS(modeconn_finetune(model, s.clean, NULL, options, NULL, NULL, &tuned),
              MODECONN_ERROR_UNSUPPORTED, "not linear");
        ck_assert_ptr_null(tuned);
        modeconn_options_destroy(options);
    }
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    destroy(&s);
}
END_TEST

/* Finite weights whose representation is not; one too wide for a layer of its own. */
START_TEST(representations_out_of_range)
{
    setting s = make(1, "mlp", "4");
    modeconn_model *tuned = NULL, *wide = NULL;
    modeconn_options *options = options_of("finetune", quick);
    for (int64_t i = 0; i < s.model->n_theta; i++) {
        s.model->theta[i] = 3e38F;
    }
    mc_model_changed(s.model);
    FAILS(modeconn_finetune(s.model, s.clean, NULL, options, NULL, NULL, &tuned),
          MODECONN_ERROR_NUMERIC, "representation");
    modeconn_graph *graph = NULL;
    int32_t node = 0;
    OK(modeconn_graph_create(s.context, s.model->channels, s.model->height, s.model->width,
                             &graph));
    OK(modeconn_graph_add(graph, "conv2d", "c", "out_channels=2048,kernel=1,padding=10", &node, 1,
                          &node));
    OK(modeconn_graph_add(graph, "linear", "l", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 0, &wide));
    FAILS(modeconn_finetune(wide, s.clean, NULL, options, NULL, NULL, &tuned),
          MODECONN_ERROR_UNSUPPORTED, "at most 1048576");
    ck_assert_ptr_null(tuned);
    modeconn_model_destroy(wide);
    modeconn_graph_destroy(graph);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, only_the_last_layer);
    tcase_add_test(tests, fresh);
    tcase_add_test(tests, law_of_the_draw);
    tcase_add_test(tests, defaults);
    tcase_add_test(tests, both_in_a_row);
    tcase_add_test(tests, threads);
    tcase_add_test(tests, without_a_linear_layer);
    tcase_add_test(tests, representations_out_of_range);
}

int main(void)
{
    return unit_run("finetune/llrt", add);
}
