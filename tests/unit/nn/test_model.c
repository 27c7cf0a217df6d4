/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Model handles: architectures, blocks, vectors, metadata, running on arrays, allocation failures.
 */
#include "failing.h"
#include "nn/graph.h"
#include "unit.h"
#include <math.h>
#include <stdio.h>

static modeconn_context *ctx;
static modeconn_model *model;

static const char small[] = "width=0.05,channels=2,height=9,width_pixels=8,classes=4,seed=9";

static void setup(void)
{
    OK(modeconn_context_create(NULL, &ctx));
    model = model_with(ctx, "vgg13", small);
}

static void teardown(void)
{
    modeconn_model_destroy(model);
    modeconn_context_destroy(ctx);
}

/* Parameter counts for 3 channels and 10 classes: the paper's, and what PyTorch counts in the
 * models of tests/golden/models.py. */
START_TEST(test_parameter_counts)
{
    static const struct {
        const char *arch;
        int64_t count;
    } known[] = {{"vgg13", 9413066},
                 {"resnet18", 11173962},
                 {"resnet34", 21282122},
                 {"resnet50", 23520842},
                 {"resnet56", 855770},
                 {"resnet18_bottleneck", 13958986},
                 {"resnet56_bottleneck", 869530}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        modeconn_model *full =
            model_with(ctx, known[i].arch, "channels=3,height=32,width_pixels=32,classes=10");
        int64_t count;
        OK(modeconn_model_parameter_count(full, &count));
        ck_assert_int_eq(count, known[i].count);
        modeconn_model_destroy(full);
    }
}
END_TEST

START_TEST(test_names)
{
    static const char *const expected[] = {
        "conv1.weight",          "bn1.weight",          "bn1.bias",
        "layer1.0.conv1.weight", "layer1.0.bn1.weight", "layer1.0.bn1.bias",
        "layer1.0.conv2.weight", "layer1.0.bn2.weight", "layer1.0.bn2.bias"};
    modeconn_model *resnet =
        model_with(ctx, "resnet18", "width=0.1,channels=3,height=8,width_pixels=8,classes=10");
    const char *name;
    int64_t offset, size, parameters, statistics, next = 0, shape[4];
    int32_t rank;
    OK(modeconn_model_block_count(resnet, &parameters, &statistics));
    ck_assert_int_eq(parameters, 62);
    ck_assert_int_eq(statistics, 40);
    for (int64_t i = 0; i < parameters; i++) {
        OK(modeconn_model_block(resnet, i, &name, &offset, &size, &rank, shape));
        ck_assert_int_eq(offset, next);
        ck_assert_int_eq(size, shape[0] * shape[1] * shape[2] * shape[3]);
        next += size;
        if (i < 9) {
            ck_assert_str_eq(name, expected[i]);
        }
    }
    ck_assert_int_eq(next, resnet->n_theta);
    OK(modeconn_model_block(resnet, parameters, &name, &offset, NULL, &rank, NULL));
    ck_assert_str_eq(name, "bn1.running_mean");
    ck_assert_int_eq(offset, 0);
    FAILS(modeconn_model_block(resnet, parameters + statistics, &name, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "block 102");
    modeconn_model_destroy(resnet);
}
END_TEST

START_TEST(test_initialisation)
{
    modeconn_model *same = model_with(ctx, "vgg13", small), *other = NULL;
    ck_assert_mem_eq(model->theta, same->theta, (size_t)model->n_theta * sizeof(float));
    other =
        model_with(ctx, "vgg13", "width=0.05,channels=2,height=9,width_pixels=8,classes=4,seed=8");
    ck_assert_mem_ne(model->theta, other->theta, (size_t)model->n_theta * sizeof(float));
    /* Uniform with bound 1/sqrt(fan_in): inside it, and with its variance. */
    modeconn_model *wide =
        model_with(ctx, "mlp", "hidden=400,channels=1,height=10,width_pixels=10,classes=4");
    double bound = 0.1, squares = 0.0;
    const mc_block *weight = &wide->blocks[0];
    for (int64_t i = 0; i < weight->size; i++) {
        double w = (double)wide->theta[i];
        ck_assert(fabs(w) <= bound);
        squares += w * w;
    }
    ck_assert_double_eq_tol(squares / (double)weight->size, bound * bound / 3.0, 1e-4);
    modeconn_model_destroy(wide);
    modeconn_model_destroy(same);
    modeconn_model_destroy(other);
}
END_TEST

/* One object of options serves several architectures. */
START_TEST(test_settings_not_read)
{
    static const struct {
        const char *arch, *read, *more;
    } rows[] = {
        {"mlp", "hidden=6,5", "hidden=6,5,width=3,widths=7,8,logit_scale=2"},
        {"theory", "width=0.02,logit_scale=2", "width=0.02,logit_scale=2,hidden=9"},
        {"vgg13", "width=0.02", "width=0.02,hidden=9,logit_scale=2"},
        {"resnet18", "widths=2,3,4,5", "widths=2,3,4,5,hidden=9,logit_scale=2"},
    };
    static const float x[2 * 64] = {1.0F, -2.0F};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char settings[128];
        float plain[4] = {0}, same[4] = {0};
        const char *sizes = "channels=1,height=8,width_pixels=8,classes=2";
        snprintf(settings, sizeof settings, "%s,%s", rows[i].read, sizes);
        modeconn_model *one = model_with(ctx, rows[i].arch, settings);
        snprintf(settings, sizeof settings, "%s,%s", rows[i].more, sizes);
        modeconn_model *other = model_with(ctx, rows[i].arch, settings);
        OK(mc_model_same_shape(one, other));
        OK(modeconn_model_logits(one, x, 2, plain));
        OK(modeconn_model_logits(other, x, 2, same));
        ck_assert_mem_eq(plain, same, sizeof plain);
        modeconn_model_destroy(one);
        modeconn_model_destroy(other);
    }
}
END_TEST

START_TEST(test_create_errors)
{
    modeconn_options *options, *wrong;
    modeconn_model *made = (modeconn_model *)1;
    OK(modeconn_options_create(ctx, "model", &options));
    OK(modeconn_options_create(ctx, "train", &wrong));
    FAILS(modeconn_model_create(ctx, "vgg99", NULL, options, &made), MODECONN_ERROR_UNKNOWN,
          "vgg99");
    ck_assert_ptr_null(made);
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
          "channels");
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, wrong, &made), MODECONN_ERROR_ARGUMENT,
          "train");
    FAILS(modeconn_model_create(NULL, "vgg13", NULL, NULL, &made), MODECONN_ERROR_ARGUMENT,
          "context");
    FAILS(modeconn_model_create(ctx, NULL, NULL, NULL, &made), MODECONN_ERROR_ARGUMENT, "arch");
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "out");
    OK(modeconn_options_parse(options, "channels=1,height=4,width_pixels=4,classes=2,widths=1,2"));
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
          "widths");
    OK(modeconn_options_parse(options, "hidden=3,x"));
    FAILS(modeconn_model_create(ctx, "mlp", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
          "hidden");
    static const char *const lists[] = {"5,", "5,,6", ",5", ",", "5, 6"};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "hidden: \"%s\" is not a list", lists[i]);
        OK(modeconn_options_set_str(options, "widths", ""));
        OK(modeconn_options_set_str(options, "hidden", lists[i]));
        FAILS(modeconn_model_create(ctx, "mlp", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
              expected);
        snprintf(expected, sizeof expected, "widths: \"%s\" is not a list", lists[i]);
        OK(modeconn_options_set_str(options, "widths", lists[i]));
        FAILS(modeconn_model_create(ctx, "theory", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
              expected);
    }
    /* Also where it is not read: in a file it would pass for further settings. */
    OK(modeconn_options_set_str(options, "widths", ""));
    OK(modeconn_options_set_str(options, "hidden", "4,width=3"));
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, options, &made), MODECONN_ERROR_ARGUMENT,
          "hidden");
    OK(modeconn_options_parse(options, "hidden=4,height=8192,width_pixels=8192"));
    FAILS(modeconn_model_create(ctx, "vgg13", NULL, options, &made), MODECONN_ERROR_SHAPE,
          "vgg13: layer layers.0.conv1 (conv2d): output 64x8192x8192 is too large");
    ck_assert_ptr_null(made);
    modeconn_options_destroy(options);
    modeconn_options_destroy(wrong);
}
END_TEST

START_TEST(test_architectures_listed)
{
    int64_t count;
    const char *name, *description;
    OK(modeconn_architecture_count(&count));
    ck_assert_int_eq(count, 9);
    OK(modeconn_architecture_describe(0, &name, &description));
    ck_assert_str_eq(name, "vgg13");
    FAILS(modeconn_architecture_describe(count, &name, NULL), MODECONN_ERROR_ARGUMENT,
          "architecture 9");
    FAILS(modeconn_architecture_describe(-1, &name, NULL), MODECONN_ERROR_ARGUMENT, "-1");
    OK(modeconn_architecture_describe(2, NULL, NULL));
    FAILS(modeconn_architecture_count(NULL), MODECONN_ERROR_ARGUMENT, "count");
}
END_TEST

START_TEST(test_vectors)
{
    int64_t n, k;
    OK(modeconn_model_parameter_count(model, &n));
    OK(modeconn_model_statistics_count(model, &k));
    float *theta = malloc((size_t)n * sizeof *theta), *stats = malloc((size_t)k * sizeof *stats);
    OK(modeconn_model_get_parameters(model, theta, n));
    OK(modeconn_model_get_statistics(model, stats, k));
    FAILS(modeconn_model_get_parameters(model, theta, n - 1), MODECONN_ERROR_SHAPE, "vector");
    FAILS(modeconn_model_set_parameters(model, NULL, n), MODECONN_ERROR_ARGUMENT, "theta");
    FAILS(modeconn_model_get_parameters(model, NULL, n), MODECONN_ERROR_ARGUMENT, "theta");
    FAILS(modeconn_model_get_parameters(NULL, theta, n), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_set_parameters(NULL, theta, n), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_set_parameters(model, theta, n + 1), MODECONN_ERROR_SHAPE, "theta");
    FAILS(modeconn_model_get_statistics(model, NULL, k), MODECONN_ERROR_ARGUMENT, "statistics");
    FAILS(modeconn_model_set_statistics(model, NULL, k), MODECONN_ERROR_ARGUMENT, "statistics");
    FAILS(modeconn_model_get_statistics(NULL, stats, k), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_set_statistics(NULL, stats, k), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_get_statistics(model, stats, -1), MODECONN_ERROR_SHAPE, "statistics: -1");
    FAILS(modeconn_model_set_statistics(model, stats, 0), MODECONN_ERROR_SHAPE, "statistics: 0");
    modeconn_options *plain = options_of("model", small);
    modeconn_model *without = NULL;
    OK(modeconn_model_create(ctx, "mlp", NULL, plain, &without));
    OK(modeconn_model_get_statistics(without, NULL, 0));
    OK(modeconn_model_set_statistics(without, NULL, 0));
    FAILS(modeconn_model_get_statistics(without, NULL, 1), MODECONN_ERROR_ARGUMENT, "statistics");
    modeconn_model_destroy(without);
    modeconn_options_destroy(plain);
    FAILS(modeconn_model_parameter_count(NULL, &n), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_parameter_count(model, NULL), MODECONN_ERROR_ARGUMENT, "count");
    FAILS(modeconn_model_statistics_count(NULL, &n), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_statistics_count(model, NULL), MODECONN_ERROR_ARGUMENT, "count");
    float kept = theta[5];
    theta[5] = NAN;
    FAILS(modeconn_model_set_parameters(model, theta, n), MODECONN_ERROR_NUMERIC,
          "value 5 of layers.0.conv1.weight");
    theta[5] = 2.5f;
    OK(modeconn_model_set_parameters(model, theta, n));
    ck_assert(model->theta[5] == 2.5f && kept != 2.5f);
    stats[k - 1] = -1.0f;
    FAILS(modeconn_model_set_statistics(model, stats, k), MODECONN_ERROR_NUMERIC, "running_var");
    stats[k - 1] = HUGE_VALF;
    FAILS(modeconn_model_set_statistics(model, stats, k), MODECONN_ERROR_NUMERIC, "running_var");
    stats[k - 1] = 3.0f;
    OK(modeconn_model_set_statistics(model, stats, k));
    free(theta);
    free(stats);
}
END_TEST

START_TEST(test_clone)
{
    modeconn_model *copy;
    const char *value;
    OK(modeconn_model_set_metadata(model, "who", "me"));
    OK(modeconn_model_clone(model, &copy));
    model->theta[0] += 1.0f;
    ck_assert(copy->theta[0] != model->theta[0]);
    OK(modeconn_model_get_metadata(copy, "who", &value));
    ck_assert_str_eq(value, "me");
    OK(mc_model_same_shape(model, copy));
    modeconn_model_destroy(copy);
    copy = model_with(ctx, "vgg13", "width=0.05,channels=2,height=9,width_pixels=8,classes=5");
    FAILS(mc_model_same_shape(model, copy), MODECONN_ERROR_SHAPE, "linear.weight");
    modeconn_model_destroy(copy);
    copy = model_with(ctx, "vgg13", "width=0.05,channels=2,height=9,width_pixels=9,classes=4");
    FAILS(mc_model_same_shape(model, copy), MODECONN_ERROR_SHAPE, "2x9x9");
    modeconn_model_destroy(copy);
    FAILS(modeconn_model_clone(NULL, &copy), MODECONN_ERROR_ARGUMENT, "model");
    ck_assert_ptr_null(copy);
    FAILS(modeconn_model_clone(model, NULL), MODECONN_ERROR_ARGUMENT, "out");
}
END_TEST

START_TEST(test_metadata)
{
    const char *value;
    int64_t needed;
    OK(modeconn_model_set_metadata(model, "a", "1"));
    OK(modeconn_model_set_metadata(model, "b", "2"));
    OK(modeconn_model_set_metadata(model, "a", "3"));
    OK(modeconn_model_get_metadata(model, "a", &value));
    ck_assert_str_eq(value, "3");
    OK(modeconn_model_set_metadata(model, "a", NULL));
    FAILS(modeconn_model_get_metadata(model, "a", &value), MODECONN_ERROR_UNKNOWN, "\"a\"");
    OK(modeconn_model_get_metadata(model, "b", &value));
    ck_assert_str_eq(value, "2");
    FAILS(modeconn_model_set_metadata(model, "modeconn.x", "1"), MODECONN_ERROR_ARGUMENT,
          "modeconn.x");
    FAILS(modeconn_model_set_metadata(model, "", "1"), MODECONN_ERROR_ARGUMENT, "empty");
    FAILS(modeconn_model_set_metadata(model, "k\xff", "1"), MODECONN_ERROR_ARGUMENT,
          "the key is not");
    FAILS(modeconn_model_set_metadata(model, "b", "\xc3("), MODECONN_ERROR_ARGUMENT,
          "\"b\": the value is not UTF-8");
    OK(modeconn_model_get_metadata(model, "b", &value));
    ck_assert_str_eq(value, "2");
    OK(modeconn_model_set_metadata(model, "b", value)); /* its own old text */
    OK(modeconn_model_get_metadata(model, "b", &value));
    ck_assert_str_eq(value, "2");
    OK(modeconn_model_set_metadata(model, "absent", NULL));
    FAILS(modeconn_model_set_metadata(NULL, "a", "1"), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_set_metadata(model, NULL, "1"), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_model_get_metadata(NULL, "a", &value), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_get_metadata(model, NULL, &value), MODECONN_ERROR_ARGUMENT, "key");
    FAILS(modeconn_model_get_metadata(model, "b", NULL), MODECONN_ERROR_ARGUMENT, "value");
    FAILS(modeconn_model_describe(NULL, NULL, 0, &needed), MODECONN_ERROR_ARGUMENT, "model");
    char *text = NULL;
    TEXT(modeconn_model_describe, model, text);
    ck_assert_ptr_nonnull(strstr(text, "\"vgg13\""));
    ck_assert_ptr_nonnull(strstr(text, "\"b\": \"2\""));
    free(text);
}
END_TEST

START_TEST(test_running)
{
    float images[300 * 2 * 9 * 8], logits[300 * 4], one[4];
    int64_t width;
    for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
        images[i] = (float)(mc_random_f64(1, 1000, i, 0) - 0.5);
    }
    /* More images than one pass takes, and each alone: the same logits. */
    OK(modeconn_model_logits(model, images, 300, logits));
    for (int i = 0; i < 300; i += 97) {
        OK(modeconn_model_logits(model, images + i * 144, 1, one));
        for (int j = 0; j < 4; j++) {
            ck_assert_float_eq_tol(one[j], logits[i * 4 + j], 1e-5f);
        }
    }
    OK(modeconn_model_representation(model, NULL, 0, NULL, &width));
    ck_assert_int_eq(width, 26); /* round(512 * 0.05) */
    FAILS(modeconn_model_logits(model, NULL, 1, logits), MODECONN_ERROR_ARGUMENT, "images");
    FAILS(modeconn_model_logits(model, images, -1, logits), MODECONN_ERROR_ARGUMENT, "n is -1");
    FAILS(modeconn_model_logits(NULL, images, 1, logits), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_logits(model, images, 1, NULL), MODECONN_ERROR_ARGUMENT, "logits");
    OK(modeconn_model_logits(model, NULL, 0, NULL));
    FAILS(modeconn_model_representation(NULL, images, 1, logits, NULL), MODECONN_ERROR_ARGUMENT,
          "model");
    FAILS(modeconn_model_representation(model, images, 1, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "representation");
    FAILS(modeconn_model_representation(model, NULL, 1, logits, NULL), MODECONN_ERROR_ARGUMENT,
          "images");
    width = 7;
    FAILS(modeconn_model_representation(model, images, -1, logits, &width), MODECONN_ERROR_ARGUMENT,
          "n is -1");
    ck_assert_int_eq(width, 7);
}
END_TEST

START_TEST(test_gradient_errors)
{
    float images[2 * 144] = {0}, *gradient = malloc((size_t)model->n_theta * sizeof(float));
    int32_t labels[2] = {0, 4};
    double loss = -1.0;
    FAILS(modeconn_model_gradient(model, images, labels, 2, &loss, gradient),
          MODECONN_ERROR_ARGUMENT, "label 4 of sample 1");
    labels[1] = 3;
    FAILS(modeconn_model_gradient(model, images, labels, 1, &loss, gradient),
          MODECONN_ERROR_UNSUPPORTED, "layers.7.bn1");
    FAILS(modeconn_model_gradient(model, images, labels, 0, &loss, gradient),
          MODECONN_ERROR_ARGUMENT, "n is 0");
    FAILS(modeconn_model_gradient(model, images, NULL, 2, &loss, gradient), MODECONN_ERROR_ARGUMENT,
          "labels");
    FAILS(modeconn_model_gradient(NULL, images, labels, 2, &loss, gradient),
          MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_gradient(model, NULL, labels, 2, &loss, gradient), MODECONN_ERROR_ARGUMENT,
          "images");
    FAILS(modeconn_model_gradient(model, images, labels, 2, &loss, NULL), MODECONN_ERROR_ARGUMENT,
          "gradient");
    labels[0] = -1;
    FAILS(modeconn_model_gradient(model, images, labels, 2, &loss, gradient),
          MODECONN_ERROR_ARGUMENT, "label -1 of sample 0");
    labels[0] = 0;
    OK(modeconn_model_gradient(model, images, labels, 2, NULL, gradient));
    ck_assert(loss == -1.0);
    images[3] = NAN;
    FAILS(modeconn_model_gradient(model, images, labels, 2, &loss, gradient),
          MODECONN_ERROR_NUMERIC, "loss");
    free(gradient);
}
END_TEST

START_TEST(test_null_arguments_of_getters)
{
    const char *name;
    int64_t n = 7, channels, height, width, classes;
    FAILS(modeconn_model_architecture(NULL, &name), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_architecture(model, NULL), MODECONN_ERROR_ARGUMENT, "arch");
    FAILS(modeconn_model_shape(NULL, &n, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_block_count(NULL, &n, NULL), MODECONN_ERROR_ARGUMENT, "model");
    FAILS(modeconn_model_block(NULL, 0, &name, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "model");
    FAILS(modeconn_model_block(model, -1, NULL, &n, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT,
          "block -1");
    ck_assert_int_eq(n, 7);
    OK(modeconn_model_block(model, 0, NULL, NULL, NULL, NULL, NULL));
    OK(modeconn_model_block_count(model, NULL, NULL));
    OK(modeconn_model_shape(model, NULL, NULL, NULL, NULL));
    OK(modeconn_model_shape(model, &channels, &height, &width, &classes));
    ck_assert(channels == 2 && height == 9 && width == 8 && classes == 4);
    modeconn_model_destroy(NULL);
}
END_TEST

/* Create, run, differentiate, clone: each allocation fails once, in turn. */
static int32_t whole_life(modeconn_context *context, float *gradient)
{
    modeconn_model *made = NULL, *copy = NULL;
    modeconn_options *options = NULL;
    float images[2 * 144] = {0}, logits[8];
    int32_t labels[2] = {0, 1};
    int32_t status = modeconn_options_create(context, "model", &options);
    status = status < 0 ? status : modeconn_options_parse(options, small);
    status = status < 0 ? status : modeconn_model_create(context, "vgg13", NULL, options, &made);
    status = status < 0 ? status : modeconn_model_set_metadata(made, "k", "v");
    status = status < 0 ? status : modeconn_model_logits(made, images, 2, logits);
    status = status < 0 ? status : modeconn_model_gradient(made, images, labels, 2, NULL, gradient);
    status = status < 0 ? status : modeconn_model_clone(made, &copy);
    modeconn_model_destroy(copy);
    modeconn_model_destroy(made);
    modeconn_options_destroy(options);
    return status;
}

START_TEST(test_allocation_failures)
{
    failing f;
    modeconn_context *context = failing_context(&f);
    float *gradient = malloc((size_t)model->n_theta * sizeof(float));
    long live = f.live, k = 0;
    int32_t status = MODECONN_ERROR_MEMORY;
    while (status != MODECONN_OK) {
        failing_at(&f, ++k);
        status = whole_life(context, gradient);
        ck_assert(status == MODECONN_OK || status == MODECONN_ERROR_MEMORY);
        ck_assert_int_eq(f.live, live);
    }
    ck_assert_int_gt(k, 100);
    failing_at(&f, 0);
    modeconn_context_destroy(context);
    ck_assert_int_eq(f.live, 0);
    free(gradient);
}
END_TEST

/* The working memory that a model keeps never shows old parameters. */
START_TEST(test_logits_follow_changes)
{
    float images[3 * 144], before[12], after[12], again[12];
    for (size_t i = 0; i < 3 * 144; i++) {
        images[i] = (float)(mc_random_f64(2, 1000, i, 0) - 0.5);
    }
    float *theta = malloc((size_t)model->n_theta * sizeof *theta);
    float *stats = malloc((size_t)model->n_stats * sizeof *stats);
    OK(modeconn_model_get_parameters(model, theta, model->n_theta));
    OK(modeconn_model_get_statistics(model, stats, model->n_stats));
    OK(modeconn_model_logits(model, images, 1, before));
    OK(modeconn_model_logits(model, images, 3, before)); /* more than the kept memory takes */
    theta[model->n_theta - 1] += 1.0f;                   /* bias of the last class */
    OK(modeconn_model_set_parameters(model, theta, model->n_theta));
    OK(modeconn_model_logits(model, images, 3, after));
    for (int i = 0; i < 12; i++) {
        ck_assert_float_eq_tol(after[i] - before[i], i % 4 == 3 ? 1.0f : 0.0f, 1e-5f);
    }
    stats[0] += 0.5f;
    OK(modeconn_model_set_statistics(model, stats, model->n_stats));
    OK(modeconn_model_logits(model, images, 3, again));
    ck_assert_mem_ne(again, after, sizeof after);

    modeconn_dataset *data;
    int32_t labels[3] = {0, 1, 2};
    OK(modeconn_dataset_from_f32(ctx, images, labels, 3, 2, 9, 8, 4, NULL, &data));
    modeconn_options *options = options_of("train", "epochs=1,batch_size=3");
    OK(modeconn_train(model, data, options, NULL, NULL));
    OK(modeconn_model_logits(model, images, 3, after));
    modeconn_model *copy;
    OK(modeconn_model_clone(model, &copy));
    OK(modeconn_model_logits(copy, images, 3, again));
    ck_assert_mem_eq(again, after, sizeof after);
    modeconn_model_destroy(copy);
    modeconn_options_destroy(options);
    modeconn_dataset_destroy(data);
    free(theta);
    free(stats);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_parameter_counts);
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_initialisation);
    tcase_add_test(tests, test_settings_not_read);
    tcase_add_test(tests, test_create_errors);
    tcase_add_test(tests, test_architectures_listed);
    tcase_add_test(tests, test_vectors);
    tcase_add_test(tests, test_clone);
    tcase_add_test(tests, test_metadata);
    tcase_add_test(tests, test_running);
    tcase_add_test(tests, test_logits_follow_changes);
    tcase_add_test(tests, test_gradient_errors);
    tcase_add_test(tests, test_null_arguments_of_getters);
    tcase_add_test(tests, test_allocation_failures);
}

int main(void)
{
    return unit_run("nn model", add);
}
