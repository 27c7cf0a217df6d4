/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The built-in synthetic image set: "shapes[:settings]", ten classes of simple figures
 * (figures.c), so that tests, examples and machines without data files need no download.
 */
#include "data.h"
#include <string.h>

static const mc_option_spec shapes_specs[] = {
    MC_OPT_I64("size", 8, 1024, "28", "height and width of the images, pixels"),
    MC_OPT_I64("channels", 1, MC_SHAPES_CHANNELS, "1", "channels of the images"),
    MC_OPT_I64("train", 1, 1000000000, "4000", "number of training images"),
    MC_OPT_I64("test", 1, 1000000000, "1000", "number of test images"),
    MC_OPT_F64("noise", 0, 1, "0.1",
               "standard deviation of the pixel noise, as a share of the whole range of grey"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "0", "seed of the images; -1 = the context's"),
};
const mc_option_kind mc_kind_shapes = MC_OPTION_KIND("shapes", shapes_specs);

enum { CLASSES = 10 };

typedef struct shapes_job {
    uint64_t seed;
    uint32_t stream;
    int64_t n, size, channels;
    double noise;
    uint8_t *images;
    int32_t *labels;
} shapes_job;

static void draw_image(void *arg, int64_t task, int worker)
{
    (void)worker;
    const shapes_job *job = arg;
    uint8_t *pixels = job->images + task * job->channels * job->size * job->size;
    job->labels[task] =
        mc_shapes_image(job->seed, job->stream, task, job->size, job->channels, job->noise, pixels);
}

int32_t mc_open_shapes(modeconn_context *context, const char *rest, const char *split,
                       const modeconn_options *of_dataset, mc_store **out)
{
    (void)of_dataset;
    *out = NULL;
    modeconn_options *options = NULL;
    int32_t status = modeconn_options_create(context, "shapes", &options);
    if (status < 0) {
        return status;
    }
    mc_text source;
    mc_text_init(&source, context);
    status = modeconn_options_parse(options, rest);
    if (status < 0) {
        goto done;
    }
    bool train = strcmp(split, "train") == 0;
    shapes_job job = {
        .seed = mc_seed(context, mc_option_i64(options, &mc_kind_shapes, "seed")),
        .stream = train ? MC_STREAM_SHAPES_TRAIN : MC_STREAM_SHAPES_TEST,
        .n = mc_option_i64(options, &mc_kind_shapes, train ? "train" : "test"),
        .size = mc_option_i64(options, &mc_kind_shapes, "size"),
        .channels = mc_option_i64(options, &mc_kind_shapes, "channels"),
        .noise = mc_option_f64(options, &mc_kind_shapes, "noise"),
    };
    mc_settings_text(&source, "shapes", options, &mc_kind_shapes, job.seed);
    if (source.failed) {
        status = MODECONN_ERROR_MEMORY;
        goto done;
    }
    status = mc_store_create(context, source.data, split, job.n, job.channels, job.size, job.size,
                             CLASSES, true, out);
    if (status < 0) {
        goto done;
    }
    job.images = (uint8_t *)(*out)->u8;
    job.labels = (int32_t *)(*out)->labels;
    mc_pool_run(context->pool, job.n, draw_image, &job);
done:
    mc_text_free(&source);
    modeconn_options_destroy(options);
    return status;
}
