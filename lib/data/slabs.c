/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The built-in slabs data of Lubana et al. 2023, Appendix F.3, as [d][1][1] float inputs with two
 * classes (after the LMS data of Shah et al. 2020): "slabs[:settings]".
 *
 * Dimensions 0 .. m-1 are attributes of complexity K_1 .. K_m, independent given the label; the
 * rest is noise. An attribute of complexity K is cut into S = max(2, K+1) slabs of equal width in
 * [-width, width], with gaps of twice the margin between them; slab s belongs to class s mod 2. A
 * sample lies in one of its class's slabs, all alike, or in the centre slab of an odd S with
 * probability `centre`; within the slab its place is uniform. Randomising an attribute draws slab
 * and place anew, uniform over all slabs.
 */
#include "data.h"
#include <stdio.h>
#include <string.h>

static const mc_option_spec slabs_specs[] = {
    MC_OPT_STR("slabs", NULL, "0+4", "complexity K of each attribute, joined by +"),
    MC_OPT_I64("noise", 0, 1000000, "18", "number of noise dimensions"),
    MC_OPT_STR("law", "uniform|normal", "uniform", "law of the noise"),
    MC_OPT_F64("noise_scale", 0, 1e6, "1", "half range of uniform, deviation of normal noise"),
    {"width", MODECONN_OPTION_F64, 0, 1e6, true, NULL, "1", "attributes lie in -width to width"},
    MC_OPT_F64("margin", 0, 1e6, "0.1", "half of the gap between two slabs"),
    MC_OPT_F64("centre", -1, 1, "-1",
               "probability of the centre slab in its class; -1 = every slab of a class alike"),
    MC_OPT_I64("train", 1, 1000000000, "4000", "number of training samples"),
    MC_OPT_I64("test", 1, 1000000000, "1000", "number of test samples"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "0", "seed of the samples; -1 = the context's"),
};
const mc_option_kind mc_kind_slabs = MC_OPTION_KIND("slabs", slabs_specs);

enum { CLASSES = 2, MOST_COMPLEX = 1000000 };

typedef struct slabs_job {
    uint64_t seed;
    uint32_t stream;
    int64_t n, attributes, noise, chunk;
    const int64_t *slabs; /* [attributes] number S of each */
    double width, margin, centre, noise_scale;
    bool normal;
    float *x; /* [n][attributes + noise] */
    int32_t *labels;
} slabs_job;

/* What an attribute's intervention needs. */
typedef struct slab_axis {
    modeconn_context *context;
    int64_t dimension, slabs;
    double width, margin;
} slab_axis;

/* ---- geometry ------------------------------------------------------------------------------ */

/* A place in slab s of S, u in [0, 1) of the way through it. */
static float place(int64_t s, int64_t slabs, double width, double margin, double u)
{
    double thick = 2.0 * (width - margin * (double)(slabs - 1)) / (double)slabs;
    return (float)(-width + (double)s * (thick + 2.0 * margin) + u * thick);
}

/* Slab of a sample of a class, from u in [0, 1). */
static int64_t slab_of_class(int64_t slabs, int32_t label, double centre, double u)
{
    int64_t count = (slabs - label + 1) / CLASSES; /* of the slabs label, label + 2, ... */
    int64_t middle = slabs / 2;
    bool owns_centre = slabs % 2 == 1 && middle % CLASSES == label;
    if (centre < 0.0 || !owns_centre || count == 1) {
        int64_t pick = (int64_t)(u * (double)count);
        return label + CLASSES * (pick < count ? pick : count - 1);
    }
    if (u < centre) {
        return middle;
    }
    int64_t others = count - 1; /* the u that is left, spread over them */
    int64_t pick = (int64_t)((u - centre) / (1.0 - centre) * (double)others);
    int64_t slab = label + CLASSES * (pick < others ? pick : others - 1);
    return slab < middle ? slab : slab + CLASSES;
}

static void draw_samples(void *arg, int64_t task, int worker)
{
    (void)worker;
    const slabs_job *job = arg;
    int64_t d = job->attributes + job->noise;
    int64_t end = (task + 1) * job->chunk < job->n ? (task + 1) * job->chunk : job->n;
    for (int64_t i = task * job->chunk; i < end; i++) {
        float *x = job->x + i * d;
        int32_t label = (int32_t)(i % CLASSES);
        uint64_t sample = (uint64_t)i;
        job->labels[i] = label;
        for (int64_t j = 0; j < d; j++) {
            uint32_t draw = 4 * (uint32_t)j;
            double u = mc_random_f64(job->seed, job->stream, sample, draw);
            if (j < job->attributes) {
                int64_t slab = slab_of_class(job->slabs[j], label, job->centre, u);
                u = mc_random_f64(job->seed, job->stream, sample, draw + 1);
                x[j] = place(slab, job->slabs[j], job->width, job->margin, u);
            } else if (job->normal) {
                x[j] = (float)(job->noise_scale *
                               mc_random_normal(job->seed, job->stream, sample, draw / 2 + 1));
            } else {
                x[j] = (float)(job->noise_scale * (2.0 * u - 1.0));
            }
        }
    }
}

static int32_t randomise(void *user, int64_t sample, int32_t label, uint64_t random, float *x,
                         int64_t channels, int64_t height, int64_t width)
{
    const slab_axis *axis = user;
    (void)sample;
    (void)label;
    (void)channels;
    (void)height;
    (void)width;
    int64_t slab = mc_random_below(random, MC_STREAM_SLAB_PLACE, 0, 0, axis->slabs);
    double u = mc_random_f64(random, MC_STREAM_SLAB_PLACE, 0, 1);
    x[axis->dimension] = place(slab, axis->slabs, axis->width, axis->margin, u);
    return 0;
}

static void axis_free(void *user)
{
    slab_axis *axis = user;
    mc_free(axis->context, axis);
}

/* ---- settings ------------------------------------------------------------------------------ */

/* Numbers of slabs from "0+4", allocated for the caller. */
static int32_t parse_slabs(const modeconn_context *context, const char *text, int64_t **slabs,
                           int64_t *count)
{
    char *copy = mc_strdup(context, text);
    *slabs = mc_alloc(context, (int64_t)strlen(text) / 2 + 1, sizeof(int64_t));
    *count = 0;
    int32_t status = copy == NULL || *slabs == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (char *next = copy; status == MODECONN_OK && next != NULL;) {
        char *plus = strchr(next, '+');
        int64_t complexity = -1;
        if (plus != NULL) {
            *plus = '\0';
        }
        if (!mc_parse_i64(next, &complexity) || complexity < 0 || complexity > MOST_COMPLEX) {
            status = mc_fail(MODECONN_ERROR_ARGUMENT,
                             "slabs=%.100s: expected complexities 0 to %d joined by +, as 0+4",
                             text, MOST_COMPLEX);
            break;
        }
        (*slabs)[(*count)++] = complexity < 1 ? CLASSES : complexity + 1;
        next = plus != NULL ? plus + 1 : NULL;
    }
    mc_free(context, copy);
    if (status < 0) {
        mc_free(context, *slabs);
        *slabs = NULL;
    }
    return status;
}

static int32_t check_settings(const slabs_job *job)
{
    for (int64_t a = 0; a < job->attributes; a++) {
        if (!(job->margin * (double)(job->slabs[a] - 1) < job->width)) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "slabs: margin %g leaves no room for %lld slabs in -%g to %g",
                           job->margin, (long long)job->slabs[a], job->width, job->width);
        }
    }
    if (job->centre < 0.0 && job->centre != -1.0) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "slabs: centre is %g, expected 0 to 1, or -1",
                       job->centre);
    }
    return MODECONN_OK;
}

static int32_t add_attributes(mc_store *store, const slabs_job *job)
{
    modeconn_context *context = store->context;
    for (int64_t a = 0; a < job->attributes; a++) {
        char name[32];
        snprintf(name, sizeof(name), "slab%lld", (long long)(a + 1));
        slab_axis *axis = mc_alloc(context, 1, sizeof(*axis));
        if (axis == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        *axis = (slab_axis){context, a, job->slabs[a], job->width, job->margin};
        mc_attribute *longer = NULL;
        int32_t status = mc_attribute_append(context, store->attributes, name, false, randomise,
                                             axis_free, axis, &longer);
        if (status < 0) {
            mc_free(context, axis);
            return status;
        }
        mc_attribute_drop(store->attributes); /* which the longer list keeps */
        store->attributes = longer;
    }
    return MODECONN_OK;
}

static int32_t make_store(modeconn_context *context, const modeconn_options *options,
                          const char *split, slabs_job *job, mc_store **out)
{
    mc_text source;
    mc_text_init(&source, context);
    mc_settings_text(&source, "slabs", options, &mc_kind_slabs, job->seed);
    int32_t status = MODECONN_ERROR_MEMORY;
    if (!source.failed) {
        status = mc_store_create(context, source.data, split, job->n, job->attributes + job->noise,
                                 1, 1, CLASSES, false, out);
    }
    mc_text_free(&source);
    if (status < 0) {
        return status;
    }
    status = add_attributes(*out, job);
    if (status < 0) {
        mc_store_drop(*out);
        *out = NULL;
        return status;
    }
    job->x = (float *)(*out)->f32;
    job->labels = (int32_t *)(*out)->labels;
    job->chunk = 1 + 4096 / (job->attributes + job->noise);
    mc_pool_run(context->pool, (job->n + job->chunk - 1) / job->chunk, draw_samples, job);
    return MODECONN_OK;
}

int32_t mc_open_slabs(modeconn_context *context, const char *rest, const char *split,
                      const modeconn_options *of_dataset, mc_store **out)
{
    modeconn_options *options = NULL;
    int64_t *slabs = NULL, attributes = 0;
    (void)of_dataset;
    *out = NULL;
    int32_t status = modeconn_options_create(context, "slabs", &options);
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, rest);
    }
    if (status == MODECONN_OK) {
        status = parse_slabs(context, mc_option_str(options, &mc_kind_slabs, "slabs"), &slabs,
                             &attributes);
    }
    if (status == MODECONN_OK) {
        bool train = strcmp(split, "train") == 0;
        slabs_job job = {
            .seed = mc_seed(context, mc_option_i64(options, &mc_kind_slabs, "seed")),
            .stream = train ? MC_STREAM_SLABS_TRAIN : MC_STREAM_SLABS_TEST,
            .n = mc_option_i64(options, &mc_kind_slabs, train ? "train" : "test"),
            .attributes = attributes,
            .noise = mc_option_i64(options, &mc_kind_slabs, "noise"),
            .slabs = slabs,
            .width = mc_option_f64(options, &mc_kind_slabs, "width"),
            .margin = mc_option_f64(options, &mc_kind_slabs, "margin"),
            .centre = mc_option_f64(options, &mc_kind_slabs, "centre"),
            .noise_scale = mc_option_f64(options, &mc_kind_slabs, "noise_scale"),
            .normal = strcmp(mc_option_str(options, &mc_kind_slabs, "law"), "normal") == 0,
        };
        status = check_settings(&job);
        if (status == MODECONN_OK) {
            status = make_store(context, options, split, &job, out);
        }
    }
    mc_free(context, slabs);
    modeconn_options_destroy(options);
    return status;
}
