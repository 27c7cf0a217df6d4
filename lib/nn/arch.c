/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Built-in architectures: the table, options of kind "model", creation and inference from the
 * shapes in a file. To add one: a file arch_<name>.c beside this one and a row here.
 */
#include "nn/graph.h"
#include <modeconn/dataset.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const mc_option_spec specs[] = {
    MC_OPT_POSITIVE("width", "1",
                    "not mlp: multiplier of every channel count, rounded, at least 1"),
    MC_OPT_STR("widths", NULL, "",
               "not mlp: channel counts in place of the architecture's own times width, e.g. "
               "16,32,64,128"),
    MC_OPT_STR("hidden", NULL, "512,512", "mlp: units of each hidden layer"),
    MC_OPT_POSITIVE("logit_scale", "10",
                    "theory: difference of the two logits per unit of the network's output"),
    MC_OPT_I64("channels", 0, 1048576, "0", "channels of an image; 0 = the dataset's"),
    MC_OPT_I64("height", 0, 1048576, "0", "height of an image, pixels; 0 = the dataset's"),
    MC_OPT_I64("width_pixels", 0, 1048576, "0", "width of an image, pixels; 0 = the dataset's"),
    MC_OPT_I64("classes", 0, 1048576, "0", "number of classes; 0 = the dataset's"),
    MC_OPT_I64("seed", -1, 9007199254740992.0, "-1",
               "seed of the initial weights; -1 = the context's"),
};
const mc_option_kind mc_kind_model = MC_OPTION_KIND("model", specs);

const mc_architecture *const mc_architectures[] = {
    &mc_arch_vgg13,
    &mc_arch_resnet18,
    &mc_arch_resnet34,
    &mc_arch_resnet50,
    &mc_arch_resnet56,
    &mc_arch_resnet18_bottleneck,
    &mc_arch_resnet56_bottleneck,
    &mc_arch_mlp,
    &mc_arch_theory,
};
const int64_t mc_architectures_count =
    (int64_t)(sizeof(mc_architectures) / sizeof(mc_architectures[0]));

int32_t modeconn_architecture_count(int64_t *count)
{
    if (count == NULL) {
        return mc_null("count");
    }
    *count = mc_architectures_count;
    return MODECONN_OK;
}

int32_t modeconn_architecture_describe(int64_t index, const char **name, const char **description)
{
    if (index < 0 || index >= mc_architectures_count) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "architecture %lld: there are 0 to %lld",
                       (long long)index, (long long)mc_architectures_count - 1);
    }
    if (name != NULL) {
        *name = mc_architectures[index]->name;
    }
    if (description != NULL) {
        *description = mc_architectures[index]->description;
    }
    return MODECONN_OK;
}

static int32_t unknown_architecture(const char *name)
{
    mc_text names;
    mc_text_init(&names, NULL);
    for (int64_t i = 0; i < mc_architectures_count; i++) {
        mc_text_add(&names, "%s%s", i == 0 ? "" : ", ", mc_architectures[i]->name);
    }
    int32_t status = names.failed
                         ? MODECONN_ERROR_MEMORY
                         : mc_fail(MODECONN_ERROR_UNKNOWN, "no architecture \"%s\": there are %s",
                                   name, names.data);
    mc_text_free(&names);
    return status;
}

static int32_t find_architecture(const char *name, const mc_architecture **found)
{
    for (int64_t i = 0; i < mc_architectures_count; i++) {
        if (strcmp(mc_architectures[i]->name, name) == 0) {
            *found = mc_architectures[i];
            return MODECONN_OK;
        }
    }
    return unknown_architecture(name);
}

/* ---- helpers of the builders ---------------------------------------------------------------- */

int32_t mc_arch_widths(const modeconn_options *options, const char *key, const int64_t *base,
                       int64_t count, int64_t *widths)
{
    const char *list = mc_option_str(options, &mc_kind_model, key);
    if (list[0] != '\0') {
        int64_t found;
        int32_t status = mc_parse_list(list, key, widths, count, &found);
        if (status == MODECONN_OK && found != count) {
            status = mc_fail(MODECONN_ERROR_ARGUMENT, "%s: %lld numbers, expected %lld", key,
                             (long long)found, (long long)count);
        }
        return status;
    }
    double multiplier = mc_option_f64(options, &mc_kind_model, "width");
    for (int64_t i = 0; i < count; i++) {
        double width = round((double)base[i] * multiplier);
        if (width > 1048576.0) {
            return mc_fail(MODECONN_ERROR_ARGUMENT, "width %g makes %g channels", multiplier,
                           width);
        }
        widths[i] = width < 1.0 ? 1 : (int64_t)width;
    }
    return MODECONN_OK;
}

int32_t mc_parse_list(const char *list, const char *key, int64_t *values, int64_t capacity,
                      int64_t *count)
{
    const char *rest = list;
    bool more = *list != '\0';
    *count = 0;
    while (more) { /* also behind a comma that ends the text */
        size_t length = strcspn(rest, ",");
        char item[24];
        int64_t value = 0;
        if (length < sizeof item) {
            memcpy(item, rest, length);
            item[length] = '\0';
        }
        if (length >= sizeof item || !mc_parse_i64(item, &value) || value < 1 || value > 1048576 ||
            *count == capacity) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "%s: \"%s\" is not a list of at most %lld numbers of 1 to 1048576", key,
                           list, (long long)capacity);
        }
        values[(*count)++] = value;
        more = rest[length] == ',';
        rest += length + more;
    }
    return MODECONN_OK;
}

int32_t mc_arch_find(mc_find_shape_fn find, void *user, const char *name, int32_t rank,
                     int64_t shape[4])
{
    int32_t found;
    if (!find(user, name, &found, shape)) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "tensor %s is missing", name);
    }
    if (found != rank) {
        return mc_fail(MODECONN_ERROR_SHAPE, "tensor %s has %d dimensions, expected %d", name,
                       found, rank);
    }
    return MODECONN_OK;
}

int32_t mc_arch_infer_channels(int64_t inputs, modeconn_options *options)
{
    int64_t pixels = mc_option_i64(options, &mc_kind_model, "height") *
                     mc_option_i64(options, &mc_kind_model, "width_pixels");
    if (pixels == 0 || inputs % pixels != 0) {
        return mc_fail(
            MODECONN_ERROR_SHAPE,
            "the first layer takes %lld values, not a multiple of an image's %lld pixels",
            (long long)inputs, (long long)pixels);
    }
    return modeconn_options_set_i64(options, "channels", inputs / pixels);
}

int32_t mc_arch_set_list(modeconn_options *options, const char *key, const int64_t *values,
                         int64_t count)
{
    char list[1024] = "";
    size_t used = 0;
    for (int64_t i = 0; i < count && used < sizeof list; i++) {
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%lld", i > 0 ? "," : "",
                                 (long long)values[i]);
    }
    return modeconn_options_set_str(options, key, list);
}

/* ---- creation ------------------------------------------------------------------------------- */

/* The settings of a file: what rebuilds the graph, and nothing of the seed. */
static int32_t settings_text(const modeconn_options *options, mc_text *text)
{
    static const char *const numbers[] = {"channels", "height", "width_pixels", "classes"};
    mc_text_add(text, "width=");
    mc_text_add_f64(text, mc_option_f64(options, &mc_kind_model, "width"));
    mc_text_add(text, ",widths=%s", mc_option_str(options, &mc_kind_model, "widths"));
    mc_text_add(text, ",hidden=%s", mc_option_str(options, &mc_kind_model, "hidden"));
    mc_text_add(text, ",logit_scale=");
    mc_text_add_f64(text, mc_option_f64(options, &mc_kind_model, "logit_scale"));
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        mc_text_add(text, ",%s=%lld", numbers[i],
                    (long long)mc_option_i64(options, &mc_kind_model, numbers[i]));
    }
    return text->failed ? MODECONN_ERROR_MEMORY : MODECONN_OK;
}

/* Lists are numbers also where the architecture does not read them: they go into the settings text,
 * where anything else could pass for further settings. */
static int32_t check_lists(const modeconn_options *options)
{
    static const char *const keys[] = {"widths", "hidden"};
    int64_t values[MC_LIST_MAX], count = 0;
    int32_t status = MODECONN_OK;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == MODECONN_OK; i++) {
        status = mc_parse_list(mc_option_str(options, &mc_kind_model, keys[i]), keys[i], values,
                               MC_LIST_MAX, &count);
    }
    return status;
}

static int32_t build(modeconn_context *context, const mc_architecture *arch,
                     const modeconn_options *options, modeconn_model **out)
{
    modeconn_graph *graph;
    mc_text settings;
    int32_t status = check_lists(options);
    if (status < 0) {
        return status;
    }
    status = modeconn_graph_create(context, mc_option_i64(options, &mc_kind_model, "channels"),
                                   mc_option_i64(options, &mc_kind_model, "height"),
                                   mc_option_i64(options, &mc_kind_model, "width_pixels"), &graph);
    if (status < 0) {
        return status;
    }
    mc_text_init(&settings, context);
    status = arch->build(arch, graph, options, &graph->output);
    if (status == MODECONN_OK) {
        mc_graph_fuse(graph);
        status = settings_text(options, &settings);
    }
    if (status == MODECONN_OK) {
        status = mc_model_of_graph(graph, arch->name, settings.data, out);
    } else {
        mc_fail_prefix(status, "%s", arch->name);
    }
    mc_text_free(&settings);
    modeconn_graph_destroy(graph);
    return status;
}

/* A copy of the options with what `like` knows filled in; every size must then be there. */
static int32_t complete_options(const modeconn_dataset *like, const modeconn_options *options,
                                modeconn_options *full)
{
    static const char *const keys[] = {"channels", "height", "width_pixels", "classes"};
    int64_t known[4] = {0, 0, 0, 0};
    if (like != NULL) {
        modeconn_dataset_shape(like, NULL, &known[0], &known[1], &known[2], &known[3]);
    }
    for (int i = 0; i < 4; i++) {
        int64_t asked = mc_option_i64(options, &mc_kind_model, keys[i]);
        int64_t value = asked != 0 ? asked : known[i];
        if (value == 0) {
            return mc_fail(MODECONN_ERROR_ARGUMENT,
                           "%s is not known: give a dataset or set the option", keys[i]);
        }
        int32_t status = modeconn_options_set_i64(full, keys[i], value);
        if (status < 0) {
            return status;
        }
    }
    int32_t status =
        modeconn_options_set_f64(full, "width", mc_option_f64(options, &mc_kind_model, "width"));
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(full, "widths",
                                          mc_option_str(options, &mc_kind_model, "widths"));
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_str(full, "hidden",
                                          mc_option_str(options, &mc_kind_model, "hidden"));
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_f64(full, "logit_scale",
                                          mc_option_f64(options, &mc_kind_model, "logit_scale"));
    }
    return status;
}

int32_t modeconn_model_create(modeconn_context *context, const char *arch,
                              const modeconn_dataset *like, const modeconn_options *options,
                              modeconn_model **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (context == NULL || arch == NULL) {
        return mc_null(context == NULL ? "context" : "arch");
    }
    const mc_architecture *found = NULL;
    modeconn_options *full = NULL;
    int32_t status = mc_options_check(options, &mc_kind_model);
    if (status == MODECONN_OK) {
        status = find_architecture(arch, &found);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_create(context, "model", &full);
    }
    if (status == MODECONN_OK) {
        status = complete_options(like, options, full);
    }
    modeconn_model *model = NULL;
    if (status == MODECONN_OK) {
        status = build(context, found, full, &model);
    }
    if (status == MODECONN_OK) {
        status = mc_model_allocate(model);
    }
    modeconn_options_destroy(full);
    if (status < 0) {
        modeconn_model_destroy(model);
        return status;
    }
    mc_model_initialise(model, mc_seed(context, mc_option_i64(options, &mc_kind_model, "seed")));
    *out = model;
    return MODECONN_OK;
}

/* ---- from files ----------------------------------------------------------------------------- */

static int32_t from_graph_text(modeconn_context *context, const char *text, modeconn_model **out)
{
    modeconn_graph *graph;
    int32_t status = mc_graph_parse(context, text, &graph);
    if (status < 0) {
        return status;
    }
    graph->output = graph->n_nodes - 1;
    status = mc_graph_check_output(graph, graph->output);
    if (status == MODECONN_OK) {
        mc_graph_fuse(graph);
        status = mc_model_of_graph(graph, "graph", text, out);
    }
    modeconn_graph_destroy(graph);
    return status;
}

int32_t mc_model_from_settings(modeconn_context *context, const char *architecture,
                               const char *settings, modeconn_model **out)
{
    *out = NULL;
    if (strcmp(architecture, "graph") == 0) {
        return from_graph_text(context, settings, out);
    }
    const mc_architecture *arch = NULL;
    modeconn_options *options = NULL;
    int32_t status = find_architecture(architecture, &arch);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(context, "model", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_parse(options, settings);
    }
    if (status == MODECONN_OK) {
        status = build(context, arch, options, out);
    }
    modeconn_options_destroy(options);
    return status;
}

int32_t mc_model_from_shapes(modeconn_context *context, const char *architecture,
                             mc_find_shape_fn find, void *user, int64_t height, int64_t width,
                             modeconn_model **out)
{
    const mc_architecture *arch = NULL;
    modeconn_options *options = NULL;
    *out = NULL;
    int32_t status = find_architecture(architecture, &arch);
    if (status == MODECONN_OK) {
        status = modeconn_options_create(context, "model", &options);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "height", height);
    }
    if (status == MODECONN_OK) {
        status = modeconn_options_set_i64(options, "width_pixels", width);
    }
    if (status == MODECONN_OK) {
        status = arch->infer(arch, find, user, options);
    }
    if (status == MODECONN_OK) {
        status = build(context, arch, options, out);
    }
    modeconn_options_destroy(options);
    return status;
}
