/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Activation matching of two trained VGG-13 against PyTorch and SciPy: the correlations of every
 * layer's units (1e-5), and the permutations, exactly; and how far their activation patterns agree.
 */
#include "align/align.h"
#include "golden.h"

#define TOLERANCE_CORRELATION 1e-5
enum { UNITS = 24, LAYERS = 10, IMAGES = 45 };

/* Both models' units of every layer, and which model is running. */
typedef struct watch {
    modeconn_context *context;
    const mc_symmetry *symmetry;
    mc_centred side[2][LAYERS];
    int which;
} watch;

static void visit(void *user, int32_t node, const float *values, int64_t rows, int64_t channels)
{
    watch *w = user;
    for (int64_t g = 0; g < w->symmetry->n_groups; g++) {
        if (w->symmetry->groups[g].node == node) {
            ck_assert_int_eq(channels, w->symmetry->groups[g].size);
            OK(mc_centred_init(&w->side[w->which][g], w->context, rows, channels));
            mc_centred_take(&w->side[w->which][g], w->context, values, rows);
        }
    }
}

static void run(watch *w, const modeconn_model *model, const modeconn_dataset *data)
{
    mc_session *session = NULL;
    mc_batch_buffer buffer;
    OK(mc_batch_buffer_init(&buffer, data, IMAGES));
    OK(mc_dataset_gather(data, NULL, 0, IMAGES, buffer.x, buffer.y));
    mc_batch batch = {buffer.x, buffer.y, IMAGES};
    OK(model->ops->session_create(model, IMAGES, 1, false, &session));
    OK(model->ops->bind(session, model->theta, model->statistics));
    OK(model->ops->activations(session, MC_NORM_RUNNING, &batch, visit, w));
    model->ops->session_destroy(session);
    mc_batch_buffer_free(&buffer);
}

static void check_correlations(const golden *g, modeconn_model *const ends[2],
                               const modeconn_dataset *data)
{
    mc_symmetry *symmetry = NULL;
    double similarity[UNITS * UNITS];
    OK(mc_symmetry_create(ends[0], &symmetry));
    ck_assert_int_eq(symmetry->n_groups, LAYERS);
    watch w = {.context = ends[0]->context, .symmetry = symmetry};
    for (w.which = 0; w.which < 2; w.which++) {
        run(&w, ends[w.which], data);
    }
    for (int i = 0; i < LAYERS; i++) {
        int64_t size = symmetry->groups[i].size;
        mc_moments moments;
        OK(mc_moments_init(&moments, w.context, size));
        mc_moments_add(&moments, &w.side[0][i], &w.side[1][i]);
        mc_moments_similarity(&moments, MC_SIMILARITY_CORRELATION, similarity);
        const mc_tensor *tensor = golden_tensor(g, "%d.correlation", i);
        golden_near_f64(g, tensor, similarity, size * size, TOLERANCE_CORRELATION);
        mc_moments_free(&moments);
        for (int k = 0; k < 2; k++) {
            mc_centred_free(&w.side[k][i], w.context);
        }
    }
    mc_symmetry_free(symmetry);
}

static void check_permutations(const golden *g, modeconn_model *const ends[2],
                               const modeconn_dataset *data)
{
    modeconn_options *options = options_of("align", "batch_size=16");
    modeconn_alignment *alignment = NULL;
    OK(modeconn_align(ends[0], ends[1], data, options, NULL, NULL, &alignment));
    for (int i = 0; i < LAYERS; i++) {
        int64_t found[UNITS], size = 0;
        const mc_tensor *tensor = golden_tensor(g, "%d.permutation", i);
        int32_t *expected = golden_i32(tensor);
        OK(modeconn_alignment_group(alignment, i, NULL, &size, NULL, NULL));
        ck_assert_int_eq(size, tensor->size);
        OK(modeconn_alignment_permutation(alignment, i, found, UNITS));
        for (int64_t k = 0; k < size; k++) {
            ck_assert_int_eq(found[k], expected[k]);
        }
        free(expected);
    }
    modeconn_alignment_destroy(alignment);
    modeconn_options_destroy(options);
}

/* Of the second end with the first, each with its own statistics. A unit within rounding of 0 may
 * be on in one arithmetic and off in the other: two of them a layer. */
static void check_patterns(const golden *g, modeconn_model *const ends[2],
                           const modeconn_dataset *data)
{
    modeconn_path *line = NULL;
    modeconn_patterns *patterns = NULL;
    modeconn_options *options = options_of("patterns", "points=2,statistics=interpolate");
    int64_t layers = 0;
    OK(modeconn_path_linear(ends[0], ends[1], &line));
    OK(modeconn_patterns_measure(line, NULL, data, options, NULL, NULL, &patterns));
    OK(modeconn_patterns_size(patterns, &layers, NULL));
    ck_assert_int_eq(layers, LAYERS);
    for (int i = 0; i < LAYERS; i++) {
        double agreement[2], *expected = golden_f64(golden_tensor(g, "%d.agreement", i));
        int64_t units = 0;
        OK(modeconn_patterns_layer(patterns, i, NULL, &units));
        OK(modeconn_patterns_values(patterns, i, 0, agreement, NULL, NULL, 2));
        ck_assert_double_eq(agreement[0], 1);
        ck_assert_double_lt(*expected, 0.95);
        ck_assert_double_eq_tol(agreement[1], *expected, 2.0 / (double)(units * IMAGES));
        free(expected);
    }
    modeconn_options_destroy(options);
    modeconn_patterns_destroy(patterns);
    modeconn_path_destroy(line);
}

START_TEST(vgg13)
{
    modeconn_context *context = NULL;
    golden curve, g;
    modeconn_model *ends[2];
    OK(modeconn_context_create(NULL, &context));
    golden_open(&curve, context, "curve.expected");
    golden_open(&g, context, "align.expected");
    modeconn_dataset *data = golden_dataset(&curve, "train.", 10, NULL);
    ends[0] = golden_model(context, "curve_first", "vgg13", data);
    ends[1] = golden_model(context, "curve_second", "vgg13", data);
    check_correlations(&g, ends, data);
    check_permutations(&g, ends, data);
    check_patterns(&g, ends, data);
    modeconn_model_destroy(ends[0]);
    modeconn_model_destroy(ends[1]);
    modeconn_dataset_destroy(data);
    golden_close(&g);
    golden_close(&curve);
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, vgg13);
}

int main(void)
{
    return unit_run("golden align", add);
}
