/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Activation patterns along a path and CKA: against counts and kernel matrices made from the
 * layers' outputs as the twin in double gives them; properties; threads and batches; reports,
 * errors, cancelling.
 */
#include "nn/graph.h"
#include "planted.h"

enum { N = 40 };

/* conv - batch norm - ReLU - linear - ReLU - linear: two ReLUs, or other activations, the second of
 * which is the penultimate representation. */
static modeconn_model *deep_model_with(modeconn_context *context, int64_t seed, int hidden,
                                       const char *activation)
{
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    char settings[32];
    int32_t node = 0;
    snprintf(settings, sizeof(settings), "out_features=%d", hidden);
    OK(modeconn_graph_create(context, 1, SIDE, SIDE, &graph));
    OK(modeconn_graph_add(graph, "conv2d", "conv", "out_channels=6,kernel=3,stride=2", &node, 1,
                          &node));
    OK(modeconn_graph_add(graph, "batch_norm", "bn", NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, activation, NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "fc", settings, &node, 1, &node));
    OK(modeconn_graph_add(graph, activation, "hidden", NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "out", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, seed, &model));
    modeconn_graph_destroy(graph);
    return model;
}

static modeconn_model *deep_model(modeconn_context *context, int64_t seed, int hidden)
{
    return deep_model_with(context, seed, hidden, "relu");
}

/* Output of a node over the data's nocue view, [n][places][channels], by the twin. */
static double *twin_output(const modeconn_model *model, const modeconn_dataset *data, int32_t node,
                           int64_t *places, int64_t *channels)
{
    mc_plain *plain = NULL;
    const mc_shape shape = model->graph->nodes[node].out;
    int64_t hw = shape.h * shape.w, c = shape.c;
    float images[N * PIXELS];
    double *x = malloc(sizeof(*x) * N * PIXELS), *out = malloc(sizeof(*out) * (size_t)(N * hw * c));
    double *theta = malloc(sizeof(*theta) * (size_t)model->n_theta);
    double *statistics = malloc(sizeof(*statistics) * (size_t)(model->n_stats + 1));
    int32_t labels[N];
    OK(modeconn_dataset_read(data, NULL, N, images, labels));
    for (int i = 0; i < N * PIXELS; i++) {
        x[i] = (double)images[i];
    }
    for (int64_t i = 0; i < model->n_theta; i++) {
        theta[i] = (double)model->theta[i];
    }
    for (int64_t i = 0; i < model->n_stats; i++) {
        statistics[i] = (double)model->statistics[i];
    }
    OK(mc_plain_create(model->graph, N, &plain));
    mc_plain_forward(plain, theta, statistics, MC_NORM_RUNNING, x);
    for (int64_t i = 0; i < N; i++) {
        for (int64_t p = 0; p < hw; p++) {
            for (int64_t k = 0; k < c; k++) {
                out[(i * hw + p) * c + k] = plain->out[node][(i * c + k) * hw + p];
            }
        }
    }
    mc_plain_free(plain);
    free(statistics);
    free(theta);
    free(x);
    *places = hw;
    *channels = c;
    return out;
}

typedef struct setting {
    modeconn_context *context;
    modeconn_dataset *data;
    modeconn_model *first, *second;
    modeconn_path *line;
} setting;

static setting make(int64_t threads)
{
    setting s = {.context = context_with(threads, 0)};
    s.data = planted_data(s.context, N, 3, "box");
    s.first = deep_model(s.context, 1, 9);
    s.second = deep_model(s.context, 2, 9);
    OK(modeconn_path_linear(s.first, s.second, &s.line));
    return s;
}

static void destroy(setting *s)
{
    modeconn_path_destroy(s->line);
    modeconn_model_destroy(s->second);
    modeconn_model_destroy(s->first);
    modeconn_dataset_destroy(s->data);
    modeconn_context_destroy(s->context);
}

static const int32_t relus[2] = {3, 5}; /* nodes */

/* ---- nodes ---------------------------------------------------------------------------------- */

START_TEST(nodes)
{
    setting s = make(1);
    mc_layer_list list;
    mc_node_info info;
    OK(mc_layer_list_open(&list, s.first, MC_LAYERS_ALL));
    ck_assert_int_eq(list.n, 2);
    ck_assert_int_eq(list.node[0], relus[0]);
    ck_assert_int_eq(list.node[1], relus[1]);
    ck_assert_str_eq(list.name[0], "bn"); /* a ReLU without a name: what it follows */
    ck_assert_str_eq(list.name[1], "hidden");
    ck_assert_int_eq(list.places[0], 25);
    ck_assert_int_eq(list.channels[1], 9);
    ck_assert_int_eq(list.offset[2], 25 * 6 + 9);
    ck_assert_int_eq(mc_layer_list_find(&list, 5, 0), 1);
    ck_assert_int_eq(mc_layer_list_find(&list, 4, 0), -1);
    ck_assert(mc_model_node(s.first, 5, &info) && info.relu && info.representation);
    ck_assert(mc_model_node(s.first, 0, &info) && !info.relu);
    ck_assert(!mc_model_node(s.first, 7, &info) && !mc_model_node(s.first, -1, &info));
    mc_layer_list_free(&list);
    destroy(&s);
}
END_TEST

/* ---- patterns ------------------------------------------------------------------------------- */

static modeconn_patterns *patterns_of(const setting *s, const char *settings)
{
    modeconn_options *options = options_of("patterns", settings);
    modeconn_patterns *made = NULL;
    OK(modeconn_patterns_measure(s->line, s->data, s->data, options, NULL, NULL, &made));
    modeconn_options_destroy(options);
    return made;
}

/* Agreement, kappa and identical share of two 0/1 arrays [N][units], counted plainly. */
static void count(const double *a, const double *b, int64_t units, double expected[3])
{
    int64_t equal = 0, whole = 0;
    double chance = 0;
    for (int64_t i = 0; i < N; i++) {
        int64_t of_sample = 0;
        for (int64_t u = 0; u < units; u++) {
            of_sample += (a[i * units + u] > 0) == (b[i * units + u] > 0);
        }
        equal += of_sample;
        whole += of_sample == units;
    }
    for (int64_t u = 0; u < units; u++) {
        double p = 0, q = 0;
        for (int64_t i = 0; i < N; i++) {
            p += a[i * units + u] > 0;
            q += b[i * units + u] > 0;
        }
        chance += p / N * (q / N) + (1 - p / N) * (1 - q / N);
    }
    chance /= (double)units;
    expected[0] = (double)equal / (double)(N * units);
    expected[1] = (expected[0] - chance) / (1 - chance);
    expected[2] = (double)whole / N;
}

START_TEST(patterns_are_counts)
{
    setting s = make(2);
    modeconn_patterns *made =
        patterns_of(&s, "points=3,statistics=interpolate,batch_size=16,view=nocue");
    modeconn_model *middle = NULL;
    int64_t layers = 0, points = 0, places = 0, channels = 0, units = 0;
    const modeconn_model *ends[2] = {s.first, s.second};
    OK(modeconn_patterns_size(made, &layers, &points));
    ck_assert_int_eq(layers, 2);
    ck_assert_int_eq(points, 3);
    OK(modeconn_path_model(s.line, 0.5, &middle));
    for (int64_t layer = 0; layer < 2; layer++) {
        double *between = twin_output(middle, s.data, relus[layer], &places, &channels);
        OK(modeconn_patterns_layer(made, layer, NULL, &units));
        ck_assert_int_eq(units, places * channels);
        for (int32_t which = 0; which < 2; which++) {
            double *end = twin_output(ends[which], s.data, relus[layer], &places, &channels);
            double agreement[3], kappa[3], identical[3], expected[3];
            OK(modeconn_patterns_values(made, layer, which, agreement, kappa, identical, 3));
            count(between, end, units, expected);
            ck_assert_double_eq_tol(agreement[1], expected[0], 1e-12);
            ck_assert_double_eq_tol(kappa[1], expected[1], 1e-12);
            ck_assert_double_eq_tol(identical[1], expected[2], 1e-12);
            int at = which == 0 ? 0 : 2; /* each end agrees with itself */
            ck_assert(agreement[at] == 1 && identical[at] == 1 && fabs(kappa[at] - 1) < 1e-12);
            ck_assert_double_lt(agreement[2 - at], 1);
            free(end);
        }
        free(between);
    }
    modeconn_model_destroy(middle);
    modeconn_patterns_destroy(made);
    destroy(&s);
}
END_TEST

static char *patterns_json(int64_t threads, const char *settings)
{
    setting s = make(threads);
    char *text = NULL;
    modeconn_patterns *made = patterns_of(&s, settings);
    TEXT(modeconn_patterns_json, made, text);
    modeconn_patterns_destroy(made);
    destroy(&s);
    return text;
}

START_TEST(patterns_threads_and_reports)
{
    char *one = patterns_json(1, "points=2"), *three = patterns_json(3, "points=2"), *csv = NULL;
    ck_assert_str_eq(one, three);
    free(three);
    json_t *json = parse_json(one);
    json_t *layer = json_array_get(JSON_AT(json, "layers"), 1);
    ck_assert_str_eq(json_string_value(JSON_AT(layer, "name")), "hidden");
    ck_assert_int_eq((int)json_array_size(JSON_AT(layer, "second", "chance")), 2);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "statistics", "policy")), "reset");
    ck_assert_int_eq(json_integer_value(JSON_AT(json, "n")), N);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "data", "view")), "nocue");
    json_decref(json);
    setting s = make(1);
    modeconn_patterns *made = patterns_of(&s, "points=2");
    TEXT(modeconn_patterns_csv, made, csv);
    ck_assert_int_eq(strncmp(csv, "layer,name,units,t,active,", 26), 0);
    ck_assert_ptr_nonnull(strstr(csv, "\n1,hidden,9,1,"));
    free(csv);
    modeconn_patterns_destroy(made);
    destroy(&s);
}
END_TEST

static int32_t stop_at(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                       double accuracy, double rate, double left)
{
    (void)epoch, (void)total, (void)loss, (void)accuracy, (void)rate, (void)left;
    return step == *(int64_t *)user;
}

/* `epoch` is the number of points done, whatever the statistics take before the first. */
typedef struct told {
    int64_t calls, last_step, total, epoch_at[64];
} told;

static int32_t tell(void *user, int64_t epoch, int64_t step, int64_t total, double loss,
                    double accuracy, double rate, double left)
{
    told *t = user;
    (void)loss, (void)accuracy, (void)rate, (void)left;
    ck_assert_int_lt(step, 64);
    t->epoch_at[step] = epoch;
    t->last_step = step;
    t->total = total;
    return 0;
}

START_TEST(patterns_progress)
{
    enum { POINTS = 3, STATISTICS = 4, BATCHES = 2 };
    setting s = make(1);
    told t = {0};
    char settings[96];
    snprintf(settings, sizeof settings, "points=%d,bn_batch_size=%d,batch_size=%d", POINTS,
             N / STATISTICS, N / BATCHES);
    modeconn_options *options = options_of("patterns", settings);
    modeconn_patterns *made = NULL;
    OK(modeconn_patterns_measure(s.line, s.data, s.data, options, tell, &t, &made));
    const int64_t before = 2 * STATISTICS, point = STATISTICS + 3 * BATCHES;
    ck_assert_int_eq(t.total, before + POINTS * point);
    ck_assert_int_eq(t.last_step, t.total);
    for (int64_t step = 1; step <= t.total; step++) {
        ck_assert_int_eq(t.epoch_at[step], step < before ? 0 : (step - before) / point);
    }
    modeconn_patterns_destroy(made);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

START_TEST(patterns_errors)
{
    setting s = make(1);
    modeconn_patterns *made = NULL;
    modeconn_options *options = options_of("patterns", "points=2,view=night");
    modeconn_options *cka = options_of("cka", "");
    modeconn_options *batch = options_of("patterns", "statistics=batch,batch_size=1");
    modeconn_model *flat = planted_model(s.context, 1, 1, 0);
    modeconn_path *plain = NULL;
    modeconn_dataset *other = NULL;
    double values[1];
    int64_t step = 3;
    float image[4] = {0};
    int32_t label = 0;
    OK(modeconn_path_linear(flat, flat, &plain));
    OK(modeconn_dataset_from_f32(s.context, image, &label, 1, 1, 2, 2, 10, NULL, &other));
#define LOOK(along, test, how)                                                                     \
    modeconn_patterns_measure(along, s.data, test, how, NULL, NULL, &made)
    FAILS(LOOK(NULL, s.data, NULL), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(LOOK(s.line, NULL, NULL), MODECONN_ERROR_ARGUMENT, "test");
    FAILS(LOOK(s.line, s.data, cka), MODECONN_ERROR_ARGUMENT, "cka");
    FAILS(LOOK(s.line, s.data, options), MODECONN_ERROR_UNKNOWN, "night");
    FAILS(LOOK(s.line, other, NULL), MODECONN_ERROR_SHAPE, "2x2");
    FAILS(LOOK(plain, s.data, NULL), MODECONN_ERROR_UNSUPPORTED, "no ReLU");
    modeconn_model *broken = NULL;
    modeconn_path *out = NULL;
    modeconn_options *keep = options_of("patterns", "statistics=keep");
    OK(modeconn_model_clone(s.second, &broken));
    for (int64_t i = 0; i < broken->n_theta; i++) {
        broken->theta[i] = 3e38F; /* finite, but its outputs are not */
    }
    OK(modeconn_path_linear(s.first, broken, &out));
    FAILS(LOOK(out, s.data, keep), MODECONN_ERROR_NUMERIC, "second end: outputs of ");
    modeconn_options_destroy(keep);
    modeconn_path_destroy(out);
    modeconn_model_destroy(broken);
    FAILS(modeconn_patterns_measure(s.line, NULL, s.data, NULL, NULL, NULL, &made),
          MODECONN_ERROR_ARGUMENT, "train");
    FAILS(modeconn_patterns_measure(s.line, s.data, s.data, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    FAILS(modeconn_patterns_measure(s.line, s.data, s.data, NULL, stop_at, &step, &made),
          MODECONN_ERROR_CANCELLED, "step 3 of");
    ck_assert_ptr_null(made);
    OK(LOOK(s.line, s.data, batch)); /* maps of 5x5 have a variance in a batch of one */
    FAILS(modeconn_patterns_layer(made, 2, NULL, NULL), MODECONN_ERROR_ARGUMENT, "layer 2");
    FAILS(modeconn_patterns_values(made, -1, 0, NULL, NULL, NULL, 11), MODECONN_ERROR_ARGUMENT,
          "layer -1");
    FAILS(modeconn_patterns_values(made, 0, 2, NULL, NULL, NULL, 11), MODECONN_ERROR_ARGUMENT,
          "which");
    FAILS(modeconn_patterns_values(made, 0, 0, values, NULL, NULL, 1), MODECONN_ERROR_BUFFER,
          "capacity");
    FAILS(modeconn_patterns_size(NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "patterns");
    FAILS(modeconn_patterns_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "patterns");
    FAILS(modeconn_patterns_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "patterns");
    modeconn_patterns_destroy(made);
    modeconn_patterns_destroy(NULL);
    modeconn_dataset_destroy(other);
    modeconn_path_destroy(plain);
    modeconn_model_destroy(flat);
    modeconn_options_destroy(batch);
    modeconn_options_destroy(cka);
    modeconn_options_destroy(options);
    destroy(&s);
}
END_TEST

/* ---- CKA ------------------------------------------------------------------------------------ */

static modeconn_cka *cka_of(const modeconn_model *first, const modeconn_model *second,
                            const modeconn_dataset *data, const char *settings)
{
    modeconn_options *options = options_of("cka", settings);
    modeconn_cka *made = NULL;
    OK(modeconn_cka_measure(first, second, data, options, NULL, NULL, &made));
    modeconn_options_destroy(options);
    return made;
}

/* HSIC of two linear kernels from their matrices [n][n]: the centred trace, or with `unbiased` the
 * estimator of Song et al., each as it is written down. */
static double kernel_hsic(const double *x, int64_t p, const double *y, int64_t q, int64_t n,
                          bool unbiased)
{
    double *k = malloc(sizeof(*k) * (size_t)(n * n)), *l = malloc(sizeof(*l) * (size_t)(n * n));
    double trace = 0, sum_k = 0, sum_l = 0, middle = 0;
    for (int64_t i = 0; i < n * n; i++) {
        k[i] = l[i] = 0;
        bool skip = unbiased && i / n == i % n;
        for (int64_t j = 0; j < p && !skip; j++) {
            k[i] += x[i / n * p + j] * x[i % n * p + j];
        }
        for (int64_t j = 0; j < q && !skip; j++) {
            l[i] += y[i / n * q + j] * y[i % n * q + j];
        }
        trace += k[i] * l[i];
        sum_k += k[i];
        sum_l += l[i];
    }
    for (int64_t i = 0; i < n; i++) {
        double row_k = 0, row_l = 0;
        for (int64_t j = 0; j < n; j++) {
            row_k += k[i * n + j];
            row_l += l[i * n + j];
        }
        middle += row_k * row_l;
    }
    free(k);
    free(l);
    double m = (double)n;
    return unbiased ? (trace + sum_k * sum_l / ((m - 1) * (m - 2)) - 2 / (m - 2) * middle) /
                          (m * (m - 3))
                    : trace + sum_k * sum_l / (m * m) - 2 / m * middle;
}

static double kernel_cka(const double *x, int64_t p, const double *y, int64_t q, int64_t n,
                         bool unbiased)
{
    return kernel_hsic(x, p, y, q, n, unbiased) /
           sqrt(kernel_hsic(x, p, x, p, n, unbiased) * kernel_hsic(y, q, y, q, n, unbiased));
}

/* Of the outputs of ReLUs and of GELUs. */
START_TEST(cka_is_that_of_the_kernels)
{
    const char *activation = _i == 0 ? "relu" : "gelu";
    setting s = make(2);
    modeconn_model *narrow = deep_model_with(s.context, 1, 9, activation);
    modeconn_model *wide = deep_model_with(s.context, 5, 13, activation);
    modeconn_cka *made = cka_of(narrow, wide, s.data, "batch_size=16,view=nocue");
    int64_t layers = 0;
    OK(modeconn_cka_size(made, &layers));
    ck_assert_int_eq(layers, 2);
    for (int64_t layer = 0; layer < 2; layer++) {
        int64_t places = 0, p = 0, q = 0;
        double *x = twin_output(narrow, s.data, relus[layer], &places, &p);
        double *y = twin_output(wide, s.data, relus[layer], &places, &q);
        double value = 0, debiased = 0;
        const char *name = NULL;
        OK(modeconn_cka_get(made, layer, &name, NULL, &value, &debiased));
        ck_assert_str_eq(name, layer == 0 ? "bn" : "hidden");
        ck_assert_double_eq_tol(value, kernel_cka(x, p, y, q, N * places, false), 2e-6);
        ck_assert_double_eq_tol(debiased, kernel_cka(x, p, y, q, N * places, true), 2e-6);
        ck_assert(value > 0 && value < 1 && debiased < value);
        free(x);
        free(y);
    }
    modeconn_cka_destroy(made);
    modeconn_model_destroy(wide);
    modeconn_model_destroy(narrow);
    destroy(&s);
}
END_TEST

/* 1 of a model with itself, and with itself scaled; symmetric; a layer that never varies has none;
 * batches do not matter. */
START_TEST(cka_properties)
{
    setting s = make(1);
    modeconn_model *scaled = NULL, *dead = NULL;
    double a = 0, b = 0, c = 0, d = 0;
    OK(modeconn_model_clone(s.first, &scaled));
    OK(modeconn_model_clone(s.first, &dead));
    for (int64_t i = 0; i < scaled->n_blocks_theta; i++) {
        const mc_block *block = &scaled->blocks[i];
        for (int64_t k = 0; strncmp(block->name, "fc.", 3) == 0 && k < block->size; k++) {
            scaled->theta[block->offset + k] *= 7.0F;
            dead->theta[block->offset + k] = 0.0F;
        }
    }
    const struct {
        const modeconn_model *first, *second;
    } pairs[] = {{s.first, s.first}, {s.first, scaled}};
    for (int i = 0; i < 2; i++) {
        modeconn_cka *made = cka_of(pairs[i].first, pairs[i].second, s.data, "");
        for (int64_t layer = 0; layer < 2; layer++) {
            OK(modeconn_cka_get(made, layer, NULL, NULL, &a, &b));
            ck_assert_double_eq_tol(a, 1, 1e-6);
            ck_assert_double_eq_tol(b, 1, 1e-6);
        }
        modeconn_cka_destroy(made);
    }
    modeconn_cka *forth = cka_of(s.first, s.second, s.data, "batch_size=7");
    modeconn_cka *back = cka_of(s.second, s.first, s.data, "batch_size=40,layers=representation");
    OK(modeconn_cka_get(forth, 1, NULL, NULL, &a, &b));
    OK(modeconn_cka_get(back, 0, NULL, NULL, &c, &d));
    ck_assert_double_eq_tol(a, c, 1e-6);
    ck_assert_double_eq_tol(b, d, 1e-6);
    modeconn_cka_destroy(back);
    modeconn_cka_destroy(forth);
    modeconn_cka *none = cka_of(s.first, dead, s.data, "");
    OK(modeconn_cka_get(none, 0, NULL, NULL, &a, &b));
    ck_assert_double_eq_tol(a, 1, 1e-6);
    OK(modeconn_cka_get(none, 1, NULL, NULL, &a, &b));
    ck_assert(isnan(a) && isnan(b));
    modeconn_cka_destroy(none);
    modeconn_model_destroy(dead);
    modeconn_model_destroy(scaled);
    destroy(&s);
}
END_TEST

static char *cka_json(int64_t threads)
{
    setting s = make(threads);
    char *text = NULL;
    modeconn_cka *made = cka_of(s.first, s.second, s.data, "batch_size=16");
    TEXT(modeconn_cka_json, made, text);
    modeconn_cka_destroy(made);
    destroy(&s);
    return text;
}

START_TEST(cka_threads_and_reports)
{
    char *one = cka_json(1), *three = cka_json(3), *csv = NULL;
    ck_assert_str_eq(one, three);
    free(three);
    json_t *json = parse_json(one);
    json_t *layer = json_array_get(JSON_AT(json, "layers"), 0);
    ck_assert_int_eq(json_integer_value(JSON_AT(layer, "rows")), N * 25);
    ck_assert_int_eq(json_integer_value(JSON_AT(layer, "features", "first")), 6);
    ck_assert(json_is_real(JSON_AT(layer, "debiased")));
    ck_assert_str_eq(json_string_value(JSON_AT(json, "models", "second", "architecture")), "graph");
    json_decref(json);
    setting s = make(1);
    modeconn_cka *made = cka_of(s.first, s.second, s.data, "");
    TEXT(modeconn_cka_csv, made, csv);
    ck_assert_int_eq(strncmp(csv, "layer,first,second,rows,cka,debiased\n0,bn,bn,1000,", 50), 0);
    free(csv);
    modeconn_cka_destroy(made);
    destroy(&s);
}
END_TEST

/* What a result says of its samples, and a name that CSV has to quote. */
START_TEST(as_seen)
{
    setting s = make(1);
    modeconn_graph *graph = NULL;
    modeconn_model *model = NULL;
    int32_t node = 0;
    modeconn_dataset *half = NULL;
    char *text = NULL, *csv = NULL;
    OK(modeconn_graph_create(s.context, s.first->channels, s.first->height, s.first->width,
                             &graph));
    OK(modeconn_graph_add(graph, "linear", "a, \"b\"", "out_features=5", &node, 1, &node));
    OK(modeconn_graph_add(graph, "relu", NULL, NULL, &node, 1, &node));
    OK(modeconn_graph_add(graph, "linear", "c", "out_features=10", &node, 1, &node));
    OK(modeconn_model_from_graph(graph, node, 1, &model));
    OK(modeconn_dataset_view(s.data, "cue", 0.5, &half));
    modeconn_cka *seen = cka_of(model, model, half, ""),
                 *other = cka_of(model, model, half, "view=cue");
    TEXT(modeconn_cka_json, seen, text);
    json_t *json = parse_json(text);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "data", "cue_proportion")), 0.5);
    json_decref(json);
    TEXT(modeconn_cka_json, other, text);
    json = parse_json(text);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "data", "cue_proportion")), 1);
    ck_assert_str_eq(json_string_value(JSON_AT(json, "data", "view")), "cue");
    json_decref(json);
    TEXT(modeconn_cka_csv, seen, csv);
    ck_assert_ptr_nonnull(strstr(csv, "\n0,\"a, \"\"b\"\"\",\"a, \"\"b\"\"\","));
    free(csv);
    modeconn_cka_destroy(other);
    modeconn_cka_destroy(seen);
    modeconn_path *line = NULL;
    modeconn_patterns *patterns = NULL;
    modeconn_options *two = options_of("patterns", "points=2");
    OK(modeconn_path_linear(model, model, &line));
    OK(modeconn_patterns_measure(line, NULL, half, two, NULL, NULL, &patterns));
    TEXT(modeconn_patterns_csv, patterns, csv);
    ck_assert_ptr_nonnull(strstr(csv, "\n0,\"a, \"\"b\"\"\",5,0,"));
    free(csv);
    TEXT(modeconn_patterns_json, patterns, text);
    json = parse_json(text);
    ck_assert_double_eq(json_number_value(JSON_AT(json, "data", "cue_proportion")), 0.5);
    json_decref(json);
    modeconn_patterns_destroy(patterns);
    modeconn_options_destroy(two);
    modeconn_path_destroy(line);
    modeconn_dataset_destroy(half);
    modeconn_model_destroy(model);
    modeconn_graph_destroy(graph);
    destroy(&s);
}
END_TEST

START_TEST(cka_errors)
{
    setting s = make(1);
    modeconn_cka *made = NULL;
    modeconn_options *night = options_of("cka", "view=night"), *probe = options_of("probe", "");
    modeconn_options *last = options_of("cka", "layers=representation");
    modeconn_model *shallow = normed_model(s.context, 1);
    modeconn_dataset *other = NULL;
    int64_t step = 1, layers = 0;
    float image[4] = {0};
    int32_t label = 0;
    OK(modeconn_dataset_from_f32(s.context, image, &label, 1, 1, 2, 2, 10, NULL, &other));
#define CKA(one, other, test, how) modeconn_cka_measure(one, other, test, how, NULL, NULL, &made)
    FAILS(CKA(NULL, s.second, s.data, NULL), MODECONN_ERROR_ARGUMENT, "first");
    FAILS(CKA(s.first, NULL, s.data, NULL), MODECONN_ERROR_ARGUMENT, "second");
    FAILS(CKA(s.first, s.second, NULL, NULL), MODECONN_ERROR_ARGUMENT, "test");
    FAILS(CKA(s.first, s.second, s.data, probe), MODECONN_ERROR_ARGUMENT, "probe");
    FAILS(CKA(s.first, s.second, s.data, night), MODECONN_ERROR_UNKNOWN, "night");
    FAILS(CKA(s.first, s.second, other, NULL), MODECONN_ERROR_SHAPE, "first model");
    FAILS(CKA(s.first, shallow, s.data, NULL), MODECONN_ERROR_SHAPE, "places");
    FAILS(modeconn_cka_measure(s.first, s.second, s.data, NULL, NULL, NULL, NULL),
          MODECONN_ERROR_ARGUMENT, "out");
    modeconn_model *broken = NULL;
    OK(modeconn_model_clone(s.second, &broken));
    for (int64_t i = 0; i < broken->n_theta; i++) {
        broken->theta[i] = 3e38F; /* finite, but its outputs are not */
    }
    FAILS(CKA(s.first, broken, s.data, NULL), MODECONN_ERROR_NUMERIC, "second model");
    FAILS(CKA(broken, s.first, s.data, NULL), MODECONN_ERROR_NUMERIC, "first model");
    modeconn_model_destroy(broken);
    FAILS(modeconn_cka_measure(s.first, s.second, s.data, NULL, stop_at, &step, &made),
          MODECONN_ERROR_CANCELLED, "step 1 of 1");
    ck_assert_ptr_null(made);
    OK(CKA(s.first, shallow, s.data, last)); /* the last layers of any two models go together */
    FAILS(modeconn_cka_get(made, 1, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "layer 1");
    FAILS(modeconn_cka_get(NULL, 0, NULL, NULL, NULL, NULL), MODECONN_ERROR_ARGUMENT, "cka");
    FAILS(modeconn_cka_size(made, NULL), MODECONN_ERROR_ARGUMENT, "layers");
    FAILS(modeconn_cka_size(NULL, &layers), MODECONN_ERROR_ARGUMENT, "cka");
    FAILS(modeconn_cka_json(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "cka");
    FAILS(modeconn_cka_csv(NULL, NULL, 0, NULL), MODECONN_ERROR_ARGUMENT, "cka");
    modeconn_cka_destroy(made);
    modeconn_cka_destroy(NULL);
    modeconn_dataset_destroy(other);
    modeconn_model_destroy(shallow);
    modeconn_options_destroy(last);
    modeconn_options_destroy(probe);
    modeconn_options_destroy(night);
    destroy(&s);
}
END_TEST

START_TEST(allocation_failures)
{
    failing allocator;
    modeconn_context *context = failing_context(&allocator);
    modeconn_dataset *data = planted_data(context, 6, 1, "box");
    modeconn_model *model = deep_model(context, 1, 4);
    modeconn_options *options = options_of("patterns", "points=2");
    modeconn_path *line = NULL;
    modeconn_patterns *patterns = NULL;
    modeconn_cka *cka = NULL;
    OK(modeconn_path_linear(model, model, &line));
    EVERY_ALLOCATION(&allocator,
                     modeconn_patterns_measure(line, data, data, options, NULL, NULL, &patterns),
                     patterns);
    EVERY_ALLOCATION(&allocator, modeconn_cka_measure(model, model, data, NULL, NULL, NULL, &cka),
                     cka);
    modeconn_cka_destroy(cka);
    modeconn_patterns_destroy(patterns);
    modeconn_path_destroy(line);
    modeconn_options_destroy(options);
    modeconn_model_destroy(model);
    modeconn_dataset_destroy(data);
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&allocator.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, nodes);
    tcase_add_test(tests, patterns_are_counts);
    tcase_add_test(tests, patterns_threads_and_reports);
    tcase_add_test(tests, patterns_progress);
    tcase_add_test(tests, patterns_errors);
    tcase_add_loop_test(tests, cka_is_that_of_the_kernels, 0, 2);
    tcase_add_test(tests, cka_properties);
    tcase_add_test(tests, cka_threads_and_reports);
    tcase_add_test(tests, as_seen);
    tcase_add_test(tests, cka_errors);
    tcase_add_test(tests, allocation_failures);
}

int main(void)
{
    return unit_run("measure_layers", add);
}
