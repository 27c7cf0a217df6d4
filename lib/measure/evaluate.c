/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Evaluation of one model: loss and accuracy per view [n_views], the statistics treated once.
 */
#include "io/io.h"
#include "measure/measure.h"
#include <string.h>

static const mc_option_spec evaluate_options[] = {
    MC_OPTIONS_STATISTICS("keep"),
    MC_OPTIONS_EVALUATE,
};
const mc_option_kind mc_kind_evaluate = MC_OPTION_KIND("evaluate", evaluate_options);

struct modeconn_evaluation {
    modeconn_context *context;
    int64_t n, n_views;
    const char **names; /* [n_views] */
    double *loss, *accuracy;
    mc_provenance origin;
};

static int32_t evaluation_create(modeconn_evaluation **out, const mc_evaluator *evaluator,
                                 const modeconn_model *model, const modeconn_dataset *test)
{
    modeconn_context *context = evaluator->context;
    modeconn_evaluation *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int64_t views = evaluator->n_views;
    made->context = mc_context_take(context);
    made->n = evaluator->n;
    made->n_views = views;
    made->names = mc_names_copy(context, evaluator->names, views);
    made->loss = mc_calloc(context, views, sizeof(double));
    made->accuracy = mc_calloc(context, views, sizeof(double));
    int32_t status = MODECONN_ERROR_MEMORY;
    if (made->names != NULL && made->loss != NULL && made->accuracy != NULL) {
        status = mc_provenance_init(&made->origin, context, model, NULL, test, &evaluator->plan,
                                    evaluator->batch_size);
    }
    if (status < 0) {
        modeconn_evaluation_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

int32_t modeconn_evaluate(const modeconn_model *model, const modeconn_dataset *train,
                          const modeconn_dataset *test, const modeconn_options *options,
                          modeconn_progress_fn progress, void *user, modeconn_evaluation **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL || test == NULL) {
        return mc_null(model == NULL ? "model" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_evaluate);
    if (status < 0) {
        return status;
    }
    mc_evaluator evaluator;
    status = mc_evaluator_open(&evaluator, model, train, test, options, &mc_kind_evaluate, 1,
                               progress, user);
    if (status < 0) {
        return status;
    }
    modeconn_evaluation *made = NULL;
    status = evaluation_create(&made, &evaluator, model, test);
    if (status == MODECONN_OK) {
        status = mc_evaluator_measure(&evaluator, model->theta, model->statistics,
                                      model->statistics, made->loss, made->accuracy, 1);
    }
    mc_evaluator_close(&evaluator);
    if (status < 0) {
        modeconn_evaluation_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

void modeconn_evaluation_destroy(modeconn_evaluation *evaluation)
{
    if (evaluation == NULL) {
        return;
    }
    modeconn_context *context = evaluation->context;
    mc_free(context, (void *)evaluation->names);
    mc_free(context, evaluation->loss);
    mc_free(context, evaluation->accuracy);
    mc_provenance_free(&evaluation->origin);
    mc_free(context, evaluation);
    mc_context_drop(context);
}

int32_t modeconn_evaluation_view_count(const modeconn_evaluation *evaluation, int64_t *count)
{
    if (evaluation == NULL || count == NULL) {
        return mc_null(evaluation == NULL ? "evaluation" : "count");
    }
    *count = evaluation->n_views;
    return MODECONN_OK;
}

int32_t modeconn_evaluation_view_name(const modeconn_evaluation *evaluation, int64_t index,
                                      const char **name)
{
    if (evaluation == NULL || name == NULL) {
        return mc_null(evaluation == NULL ? "evaluation" : "name");
    }
    if (index < 0 || index >= evaluation->n_views) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "view index %lld: not in 0..%lld", (long long)index,
                       (long long)(evaluation->n_views - 1));
    }
    *name = evaluation->names[index];
    return MODECONN_OK;
}

int32_t modeconn_evaluation_get(const modeconn_evaluation *evaluation, const char *view,
                                double *loss, double *accuracy)
{
    if (evaluation == NULL || view == NULL) {
        return mc_null(evaluation == NULL ? "evaluation" : "view");
    }
    for (int64_t v = 0; v < evaluation->n_views; v++) {
        if (strcmp(evaluation->names[v], view) != 0) {
            continue;
        }
        if (loss != NULL) {
            *loss = evaluation->loss[v];
        }
        if (accuracy != NULL) {
            *accuracy = evaluation->accuracy[v];
        }
        return MODECONN_OK;
    }
    return mc_fail(MODECONN_ERROR_UNKNOWN, "no view \"%s\" in this evaluation", view);
}

static json_t *views_json(const modeconn_evaluation *evaluation)
{
    json_t *views = json_object();
    bool ok = true;
    for (int64_t v = 0; v < evaluation->n_views; v++) {
        json_t *view = json_object();
        ok = mc_json_add(view, "loss", mc_json_real(evaluation->loss[v])) && ok;
        ok = mc_json_add(view, "accuracy", mc_json_real(evaluation->accuracy[v])) && ok;
        ok = mc_json_add(view, "n", json_integer(evaluation->n)) && ok;
        ok = mc_json_add(views, evaluation->names[v], view) && ok;
    }
    return mc_json_whole(views, ok);
}

int32_t modeconn_evaluation_json(const modeconn_evaluation *evaluation, char *buffer,
                                 int64_t capacity, int64_t *needed)
{
    if (evaluation == NULL) {
        return mc_null("evaluation");
    }
    const mc_provenance *origin = &evaluation->origin;
    json_t *out = json_object();
    bool ok = mc_json_add(out, "views", views_json(evaluation));
    ok = mc_json_add(out, "statistics", mc_provenance_statistics(origin)) && ok;
    ok = mc_json_add(out, "batch_size", json_integer(origin->batch_size)) && ok;
    ok = mc_json_add(out, "data", mc_provenance_test(origin)) && ok;
    ok = mc_json_add(out, "model", mc_provenance_subject(origin, 0)) && ok;
    return mc_json_out(mc_json_whole(out, ok), buffer, capacity, needed);
}

int32_t modeconn_evaluation_csv(const modeconn_evaluation *evaluation, char *buffer,
                                int64_t capacity, int64_t *needed)
{
    if (evaluation == NULL) {
        return mc_null("evaluation");
    }
    mc_text text;
    mc_text_init(&text, evaluation->context);
    mc_text_add(&text, "view,loss,accuracy,n\n");
    for (int64_t v = 0; v < evaluation->n_views; v++) {
        mc_text_add(&text, "%s,", evaluation->names[v]);
        mc_text_add_f64(&text, evaluation->loss[v]);
        mc_text_add(&text, ",");
        mc_text_add_f64(&text, evaluation->accuracy[v]);
        mc_text_add(&text, ",%lld\n", (long long)evaluation->n);
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}
