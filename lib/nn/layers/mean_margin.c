/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An output layer without parameters, for two classes: with f the mean of all d inputs of a sample
 * (the output weights of the theory's network, 1/N each, fixed),
 *
 *     m = scale (f - threshold),   logits (-m/2, m/2),   df = scale/2 (dlogit_1 - dlogit_0)
 *
 * so that the log odds of class 1 are m.
 */
#include "nn/graph.h"
#include <math.h>

static const mc_option_spec specs[] = {
    MC_OPT_POSITIVE("scale", "1", "log odds of class 1 per unit of the mean"),
    MC_OPT_F64("threshold", -HUGE_VAL, HUGE_VAL, "0.5", "mean at which both classes are as likely"),
};
const mc_option_kind mc_kind_mean_margin = MC_OPTION_KIND("mean_margin", specs);

enum { SCALE, THRESHOLD }; /* places in node->constants */

static int32_t configure(mc_node *node, const modeconn_options *options)
{
    node->out = (mc_shape){2, 1, 1};
    node->constants[SCALE] = mc_option_f64(options, &mc_kind_mean_margin, "scale");
    node->constants[THRESHOLD] = mc_option_f64(options, &mc_kind_mean_margin, "threshold");
    return MODECONN_OK;
}

static void forward(mc_pass *pass, const mc_node *node)
{
    int64_t d = mc_shape_size(node->in);
    const float *x = mc_input_slot(pass, node, 0)->out;
    float *y = mc_slot_of(pass, node)->out;
    for (int64_t k = 0; k < pass->n; k++) {
        double sum = 0.0;
        for (int64_t i = 0; i < d; i++) {
            sum += (double)x[k * d + i];
        }
        double m = node->constants[SCALE] * (sum / (double)d - node->constants[THRESHOLD]);
        y[2 * k] = (float)(-0.5 * m);
        y[2 * k + 1] = (float)(0.5 * m);
    }
}

static void backward(mc_pass *pass, const mc_node *node)
{
    int64_t d = mc_shape_size(node->in);
    const mc_slot *slot = mc_slot_of(pass, node);
    float *dx = mc_input_slot(pass, node, 0)->d_out;
    for (int64_t k = 0; k < pass->n && dx != NULL; k++) {
        double df = (double)slot->d_out[2 * k + 1] - (double)slot->d_out[2 * k];
        float each = (float)(0.5 * node->constants[SCALE] * df / (double)d);
        for (int64_t i = k * d; i < (k + 1) * d; i++) {
            dx[i] = slot->accumulate[0] ? dx[i] + each : each;
        }
    }
}

static void plain_forward(mc_plain *plain, const mc_node *node)
{
    int64_t d = mc_shape_size(node->in);
    const double *x = plain->out[node->inputs[0]];
    double *y = plain->out[node - plain->graph->nodes];
    for (int64_t k = 0; k < plain->n; k++) {
        double f = 0.0;
        for (int64_t i = 0; i < d; i++) {
            f += x[k * d + i] / (double)d;
        }
        y[2 * k + 1] = node->constants[SCALE] * (f - node->constants[THRESHOLD]) / 2.0;
        y[2 * k] = -y[2 * k + 1];
    }
}

static void plain_backward(mc_plain *plain, const mc_node *node)
{
    int64_t d = mc_shape_size(node->in);
    const double *dy = plain->d_out[node - plain->graph->nodes];
    double *dx = plain->d_out[node->inputs[0]];
    for (int64_t i = 0; dx != NULL && i < plain->n * d; i++) {
        const double *pair = dy + 2 * (i / d);
        dx[i] += (pair[1] - pair[0]) * node->constants[SCALE] / 2.0 / (double)d;
    }
}

const mc_layer_type mc_layer_mean_margin = {
    .name = "mean_margin",
    .symmetry = MC_SYMMETRY_SUMS,
    .options = &mc_kind_mean_margin,
    .n_inputs = 1,
    .configure = configure,
    .forward = forward,
    .backward = backward,
    .plain_forward = plain_forward,
    .plain_backward = plain_backward,
};
