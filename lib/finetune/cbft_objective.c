/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parts of CBFT's objective (Lubana et al. 2023) that need no model: the draw of t, and
 *
 *     L_CE = -1/n sum_i log softmax(logits_i)[y_i]                           of the clean batch a
 *     L_I  = sum_k || zhat_k(a) - zhat_k(b) ||^2,  zhat = z / max(||z||, 1e-12)
 *
 * with z_k [width] the mean representation of class k over a batch; classes missing from either
 * batch are skipped. Sums run in double, in sample order.
 *
 * With u_k = 2 (zhat_k(a) - zhat_k(b)) the gradients are d/dz_k(a) = J_a u_k, d/dz_k(b) = -J_b u_k,
 * where J u = (u - zhat (zhat . u)) / ||z||, and u / 1e-12 below the clamp, as in PyTorch; each of
 * the n_k samples of the class gets 1/n_k of it.
 */
#include "finetune/finetune.h"
#include <math.h>
#include <string.h>

static const double smallest_norm = 1e-12;

double mc_cbft_draw_t(uint64_t seed, const mc_draw *law, int64_t step)
{
    if (law->clipped) {
        double x = mc_random_normal(seed, MC_STREAM_CBFT_T, (uint64_t)step, 0);
        return 0.5 + law->deviation * fmin(fmax(x, -law->clip), law->clip);
    }
    /* Rejection: 68 % of the draws lie within one deviation (1/2 by default) of the mean, and 4 %
     * where the deviation is 10. */
    for (uint32_t attempt = 0;; attempt++) {
        double x = mc_random_normal(seed, MC_STREAM_CBFT_T, (uint64_t)step, attempt);
        double t = 0.5 + law->deviation * x;
        if (t >= 0 && t <= 1) {
            return t;
        }
    }
}

int32_t mc_cbft_objective_init(mc_cbft_objective *objective, const modeconn_model *model)
{
    int64_t values;
    *objective = (mc_cbft_objective){.context = model->context};
    if (!mc_mul(model->classes, model->representation_width, &values)) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: class means of %lld x %lld values",
                       (long long)model->classes, (long long)model->representation_width);
    }
    for (int which = 0; which < 2; which++) {
        objective->mean[which] = mc_alloc(model->context, values, sizeof(double));
        objective->count[which] = mc_alloc(model->context, model->classes, sizeof(int64_t));
        if (objective->mean[which] == NULL || objective->count[which] == NULL) {
            mc_cbft_objective_free(objective);
            return MODECONN_ERROR_MEMORY;
        }
    }
    return MODECONN_OK;
}

void mc_cbft_objective_free(mc_cbft_objective *objective)
{
    for (int which = 0; which < 2; which++) {
        mc_free(objective->context, objective->mean[which]);
        mc_free(objective->context, objective->count[which]);
    }
    *objective = (mc_cbft_objective){0};
}

/* ---- cross-entropy ------------------------------------------------------------------------ */

/* d [classes] += (softmax(logits) - onehot(label)) * scale; returns the loss. */
static double cross_entropy(const float *logits, int32_t label, int64_t classes, double scale,
                            bool *hit, float *d)
{
    int64_t best = 0;
    double sum = 0;
    for (int64_t k = 1; k < classes; k++) {
        if (logits[k] > logits[best]) {
            best = k;
        }
    }
    double top = (double)logits[best];
    for (int64_t k = 0; k < classes; k++) {
        sum += exp((double)logits[k] - top);
    }
    for (int64_t k = 0; k < classes; k++) {
        double p = exp((double)logits[k] - top) / sum;
        d[k] += (float)((p - (k == label)) * scale);
    }
    *hit = best == label;
    return log(sum) - ((double)logits[label] - top);
}

static void clean_loss(mc_cbft_objective *objective, const mc_pair *pair)
{
    int64_t n = pair->n[0], classes = pair->classes;
    double sum = 0;
    objective->hits = 0;
    for (int64_t i = 0; i < n; i++) {
        bool hit;
        sum += cross_entropy(pair->logits[0] + i * classes, pair->y[0][i], classes, 1 / (double)n,
                             &hit, pair->d_logits[0] + i * classes);
        objective->hits += hit;
    }
    objective->loss_ce = sum / (double)n;
}

/* ---- invariance --------------------------------------------------------------------------- */

static void class_means(mc_cbft_objective *objective, const mc_pair *pair, int which)
{
    int64_t width = pair->width;
    double *mean = objective->mean[which];
    int64_t *count = objective->count[which];

    memset(mean, 0, (size_t)(pair->classes * width) * sizeof(double));
    memset(count, 0, (size_t)pair->classes * sizeof(int64_t));
    for (int64_t i = 0; i < pair->n[which]; i++) {
        int32_t k = pair->y[which][i];
        const float *z = pair->representation[which] + i * width;
        for (int64_t j = 0; j < width; j++) {
            mean[k * width + j] += (double)z[j];
        }
        count[k]++;
    }
    for (int64_t k = 0; k < pair->classes; k++) {
        for (int64_t j = 0; j < width && count[k] > 0; j++) {
            mean[k * width + j] /= (double)count[k];
        }
    }
}

static double norm(const double *z, int64_t width)
{
    double sum = 0;
    for (int64_t j = 0; j < width; j++) {
        sum += z[j] * z[j];
    }
    return sqrt(sum);
}

/* Both class means turn into weight / n_k times the gradient by them; returns the class's part of
 * L_I. */
static double class_term(double *za, double *zb, int64_t width, const double scale[2])
{
    double length[2] = {norm(za, width), norm(zb, width)};
    double divisor[2] = {fmax(length[0], smallest_norm), fmax(length[1], smallest_norm)};
    double loss = 0, dot[2] = {0, 0};

    for (int64_t j = 0; j < width; j++) {
        double a = za[j] / divisor[0], b = zb[j] / divisor[1];
        loss += (a - b) * (a - b);
        dot[0] += a * 2 * (a - b);
        dot[1] += b * 2 * (b - a);
    }
    for (int which = 0; which < 2; which++) {
        if (length[which] < smallest_norm) { /* the clamp does not depend on z */
            dot[which] = 0;
        }
    }
    for (int64_t j = 0; j < width; j++) {
        double a = za[j] / divisor[0], b = zb[j] / divisor[1];
        za[j] = (2 * (a - b) - a * dot[0]) / divisor[0] * scale[0];
        zb[j] = (2 * (b - a) - b * dot[1]) / divisor[1] * scale[1];
    }
    return loss;
}

static void add_cotangents(const mc_cbft_objective *objective, const mc_pair *pair, int which)
{
    int64_t width = pair->width;
    for (int64_t i = 0; i < pair->n[which]; i++) {
        int32_t k = pair->y[which][i];
        if (objective->count[0][k] == 0 || objective->count[1][k] == 0) {
            continue;
        }
        const double *gradient = objective->mean[which] + k * width;
        float *d = pair->d_representation[which] + i * width;
        for (int64_t j = 0; j < width; j++) {
            d[j] += (float)gradient[j];
        }
    }
}

static void invariance_loss(mc_cbft_objective *objective, const mc_pair *pair)
{
    class_means(objective, pair, 0);
    class_means(objective, pair, 1);
    objective->loss_invariance = 0;
    for (int64_t k = 0; k < pair->classes; k++) {
        int64_t in_a = objective->count[0][k], in_b = objective->count[1][k];
        if (in_a == 0 || in_b == 0) {
            continue;
        }
        const double scale[2] = {objective->weight / (double)in_a,
                                 objective->weight / (double)in_b};
        objective->loss_invariance +=
            class_term(objective->mean[0] + k * pair->width, objective->mean[1] + k * pair->width,
                       pair->width, scale);
    }
    if (objective->weight == 0) {
        return;
    }
    add_cotangents(objective, pair, 0);
    add_cotangents(objective, pair, 1);
}

int32_t mc_cbft_objective_pair(void *user, const mc_pair *pair)
{
    mc_cbft_objective *objective = user;
    clean_loss(objective, pair);
    invariance_loss(objective, pair);
    if (!isfinite(objective->loss_ce)) {
        return mc_fail(MODECONN_ERROR_NUMERIC, "the cross-entropy of the clean batch is %s",
                       mc_not_finite(objective->loss_ce));
    }
    if (!isfinite(objective->loss_invariance)) {
        return mc_fail(MODECONN_ERROR_NUMERIC, "the invariance term is %s",
                       mc_not_finite(objective->loss_invariance));
    }
    return MODECONN_OK;
}
