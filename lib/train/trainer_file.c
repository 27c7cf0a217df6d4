/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The file of a training run (run_file.c) holds theta, statistics, velocity and, in the middle of
 * an epoch, theta and statistics of its start.
 */
#include "train/train.h"
#include <string.h>

enum { N_VECTORS = 5 };

static void list_vectors(const modeconn_trainer *trainer, mc_run_vector *vectors)
{
    const modeconn_model *model = trainer->model;
    int64_t n_theta = model->n_theta, n_stats = model->n_stats;
    const mc_run_vector all[N_VECTORS] = {
        {.name = "theta", .size = n_theta, .values = model->theta},
        {.name = "statistics", .size = n_stats, .values = model->statistics, .statistics = true},
        {.name = "velocity", .size = n_theta, .values = trainer->velocity},
        {.name = "epoch_start.theta",
         .size = n_theta,
         .values = trainer->start_theta,
         .inside = true},
        {.name = "epoch_start.statistics",
         .size = n_stats,
         .values = trainer->start_statistics,
         .statistics = true,
         .inside = true}};
    memcpy(vectors, all, sizeof(all));
}

static int32_t state_facts(const modeconn_trainer *trainer, mc_run_facts *facts)
{
    *facts = (mc_run_facts){.what = "training run", .format = "modeconn.trainer.1"};
    return mc_run_describe(trainer->dataset, &facts->data, facts->fingerprint);
}

int32_t modeconn_trainer_save(const modeconn_trainer *trainer, const char *path)
{
    mc_run_vector vectors[N_VECTORS];
    mc_run_facts facts;
    if (trainer == NULL || path == NULL) {
        return mc_null(trainer == NULL ? "trainer" : "path");
    }
    list_vectors(trainer, vectors);
    int32_t status = state_facts(trainer, &facts);
    if (status == MODECONN_OK) {
        status = mc_run_save(&trainer->run, &facts, vectors, N_VECTORS, path);
    }
    mc_free(trainer->run.context, facts.data);
    return status;
}

int32_t modeconn_trainer_load(modeconn_trainer *trainer, const char *path)
{
    mc_run_vector vectors[N_VECTORS];
    mc_run_facts facts;
    modeconn_history *record = NULL;
    if (trainer == NULL || path == NULL) {
        return mc_null(trainer == NULL ? "trainer" : "path");
    }
    list_vectors(trainer, vectors);
    int32_t status = state_facts(trainer, &facts);
    if (status == MODECONN_OK) {
        status = mc_run_load(&trainer->run, &facts, vectors, N_VECTORS, path, &record);
    }
    if (status == MODECONN_OK) {
        mc_model_changed(trainer->model);
        mc_model_set_history(trainer->model, record);
    }
    mc_free(trainer->run.context, facts.data);
    return status;
}
