/* SPDX-License-Identifier: BSD-3-Clause
 *
 * bench_align: alignment's parts, for align.py.
 *
 *     match DATA IMAGES BATCH REPEATS   trains two VGG-13 a little and times modeconn_align() on
 *                                       the images beside one forward pass of both over them;
 *                                       prints {"match": [s, ...], "forward": [s, ...], "images",
 *                                       "shape"} in processor seconds, and "wall": [s, ...] of
 *                                       the matchings
 *     correlations DATA IMAGES PREFIX   trains two MLPs with 2048, 1024 and 512 hidden units and
 *                                       writes their correlations to PREFIX-2048, ..., doubles
 */
#include "align/align.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        if ((call) < 0) {                                                                          \
            fprintf(stderr, "bench_align: %s: %s\n", #call, modeconn_last_error());                \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static modeconn_options *options_of(modeconn_context *context, const char *kind, const char *text)
{
    modeconn_options *options = NULL;
    TRY(modeconn_options_create(context, kind, &options));
    TRY(modeconn_options_parse(options, text));
    return options;
}

static modeconn_dataset *open_images(modeconn_context *context, const char *spec, int64_t limit)
{
    char text[64];
    modeconn_dataset *data = NULL;
    snprintf(text, sizeof text, "limit=%lld", (long long)limit);
    modeconn_options *options = options_of(context, "dataset", text);
    TRY(modeconn_dataset_open(context, spec, "train", options, &data));
    modeconn_options_destroy(options);
    return data;
}

/* Two networks of seeds 0 and 1, a few steps away from their initial weights. */
static void train_two(modeconn_context *context, const char *spec, const char *arch,
                      const char *settings, const char *training, modeconn_model *models[2])
{
    modeconn_dataset *data = open_images(context, spec, 2560);
    modeconn_options *how = options_of(context, "train", training);
    for (int k = 0; k < 2; k++) {
        modeconn_options *options = options_of(context, "model", settings);
        TRY(modeconn_options_set_i64(options, "seed", k));
        TRY(modeconn_options_set_i64(how, "seed", k));
        TRY(modeconn_model_create(context, arch, data, options, &models[k]));
        TRY(modeconn_train(models[k], data, how, NULL, NULL));
        modeconn_options_destroy(options);
    }
    modeconn_options_destroy(how);
    modeconn_dataset_destroy(data);
}

/* Processor time of all threads: it does not count what other processes take. */
static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- match ----------------------------------------------------------------------------------- */

/* One forward pass of both models as an evaluation makes it: drawing the batch, then the logits. */
static double forward_seconds(modeconn_model *const models[2], const modeconn_dataset *data,
                              int64_t batch_size)
{
    mc_batch_buffer buffer;
    mc_session *session[2];
    float *logits = malloc((size_t)(batch_size * models[0]->classes) * sizeof *logits);
    double started = cpu_seconds();
    TRY(mc_batch_buffer_init(&buffer, data, batch_size));
    for (int k = 0; k < 2; k++) {
        const mc_model_ops *ops = models[k]->ops;
        TRY(ops->session_create(models[k], batch_size, 1, false, &session[k]));
        TRY(ops->bind(session[k], models[k]->theta, models[k]->statistics));
    }
    for (int64_t at = 0; at < data->n; at += batch_size) {
        mc_batch batch = {buffer.x, buffer.y,
                          data->n - at < batch_size ? data->n - at : batch_size};
        TRY(mc_dataset_gather(data, NULL, at, batch.n, buffer.x, buffer.y));
        for (int k = 0; k < 2; k++) {
            TRY(models[k]->ops->outputs(session[k], MC_NORM_RUNNING, &batch, logits, NULL));
        }
    }
    double took = cpu_seconds() - started;
    for (int k = 0; k < 2; k++) {
        models[k]->ops->session_destroy(session[k]);
    }
    mc_batch_buffer_free(&buffer);
    free(logits);
    return took;
}

static double match_seconds(modeconn_model *const models[2], const modeconn_dataset *data,
                            const modeconn_options *options, double *wall)
{
    modeconn_alignment *alignment = NULL;
    double started = cpu_seconds();
    *wall = mc_seconds();
    TRY(modeconn_align(models[0], models[1], data, options, NULL, NULL, &alignment));
    double took = cpu_seconds() - started;
    *wall = mc_seconds() - *wall;
    modeconn_alignment_destroy(alignment);
    return took;
}

static void print_times(const char *name, const double *seconds, int64_t n)
{
    printf("\"%s\": [", name);
    for (int64_t i = 0; i < n; i++) {
        printf("%s%.4f", i == 0 ? "" : ", ", seconds[i]);
    }
    printf("], ");
}

static void match(modeconn_context *context, const char *spec, int64_t images, int64_t batch,
                  int64_t repeats)
{
    enum { MOST = 100 };
    double matching[MOST], forward[MOST], wall[MOST];
    char text[64];
    modeconn_model *models[2];
    repeats = repeats < MOST ? repeats : MOST;
    train_two(context, spec, "vgg13", "width=1", "epochs=1,batch_size=128,learning_rate=0.05",
              models);
    snprintf(text, sizeof text, "batch_size=%lld", (long long)batch);
    modeconn_options *options = options_of(context, "align", text);
    modeconn_dataset *data = open_images(context, spec, images);
    for (int64_t i = 0; i < repeats; i++) {
        forward[i] = forward_seconds(models, data, batch);
        matching[i] = match_seconds(models, data, options, &wall[i]);
    }
    printf("{");
    print_times("match", matching, repeats);
    print_times("forward", forward, repeats);
    print_times("wall", wall, repeats);
    printf("\"images\": %lld, \"shape\": [%lld, %lld, %lld]}\n", (long long)data->n,
           (long long)models[0]->channels, (long long)models[0]->height,
           (long long)models[0]->width);
    modeconn_dataset_destroy(data);
    modeconn_options_destroy(options);
    modeconn_model_destroy(models[0]);
    modeconn_model_destroy(models[1]);
}

/* ---- correlations ---------------------------------------------------------------------------- */

enum { LAYERS = 3 };

typedef struct watch {
    modeconn_context *context;
    const mc_symmetry *symmetry;
    mc_centred side[2][LAYERS];
    int which;
} watch;

static void visit(void *user, int32_t node, const float *values, int64_t rows, int64_t channels)
{
    watch *w = user;
    for (int64_t g = 0; g < LAYERS; g++) {
        if (w->symmetry->groups[g].node == node) {
            TRY(mc_centred_init(&w->side[w->which][g], w->context, rows, channels));
            mc_centred_take(&w->side[w->which][g], w->context, values, rows);
        }
    }
}

static void write_correlations(watch *w, int64_t g, const char *prefix)
{
    char path[4096];
    int64_t size = w->symmetry->groups[g].size;
    double *out = malloc((size_t)(size * size) * sizeof *out);
    mc_moments moments;
    TRY(mc_moments_init(&moments, w->context, size));
    mc_moments_add(&moments, &w->side[0][g], &w->side[1][g]);
    mc_moments_similarity(&moments, MC_SIMILARITY_CORRELATION, out);
    snprintf(path, sizeof path, "%s-%lld", prefix, (long long)size);
    FILE *file = fopen(path, "wb");
    if (file == NULL ||
        fwrite(out, sizeof *out, (size_t)(size * size), file) != (size_t)(size * size)) {
        fprintf(stderr, "bench_align: cannot write %s\n", path);
        exit(1);
    }
    fclose(file);
    free(out);
    mc_moments_free(&moments);
}

static void correlations(modeconn_context *context, const char *spec, int64_t images,
                         const char *prefix)
{
    modeconn_model *models[2];
    mc_batch_buffer buffer;
    train_two(context, spec, "mlp", "hidden=2048,1024,512",
              "epochs=2,batch_size=128,learning_rate=0.05", models);
    modeconn_dataset *data = open_images(context, spec, images);
    watch w = {.context = context};
    mc_symmetry *symmetry = NULL;
    TRY(mc_symmetry_create(models[0], &symmetry));
    w.symmetry = symmetry;
    TRY(mc_batch_buffer_init(&buffer, data, data->n));
    TRY(mc_dataset_gather(data, NULL, 0, data->n, buffer.x, buffer.y));
    mc_batch batch = {buffer.x, buffer.y, data->n};
    for (w.which = 0; w.which < 2; w.which++) {
        const modeconn_model *model = models[w.which];
        mc_session *session = NULL;
        TRY(model->ops->session_create(model, data->n, 1, false, &session));
        TRY(model->ops->bind(session, model->theta, model->statistics));
        TRY(model->ops->activations(session, MC_NORM_RUNNING, &batch, visit, &w));
        model->ops->session_destroy(session);
        modeconn_model_destroy(models[w.which]);
    }
    for (int64_t g = 0; g < LAYERS; g++) {
        write_correlations(&w, g, prefix);
        mc_centred_free(&w.side[0][g], context);
        mc_centred_free(&w.side[1][g], context);
    }
    mc_symmetry_free(symmetry);
    mc_batch_buffer_free(&buffer);
    modeconn_dataset_destroy(data);
}

int main(int argc, char **argv)
{
    modeconn_context *context = NULL;
    TRY(modeconn_context_create(NULL, &context));
    if (argc == 6 && strcmp(argv[1], "match") == 0) {
        match(context, argv[2], atoll(argv[3]), atoll(argv[4]), atoll(argv[5]));
    } else if (argc == 5 && strcmp(argv[1], "correlations") == 0) {
        correlations(context, argv[2], atoll(argv[3]), argv[4]);
    } else {
        fprintf(stderr, "usage: bench_align match DATA IMAGES BATCH REPEATS\n"
                        "       bench_align correlations DATA IMAGES PREFIX\n");
        return 2;
    }
    modeconn_context_destroy(context);
    return 0;
}
