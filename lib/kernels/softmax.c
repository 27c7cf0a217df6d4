/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Softmax cross-entropy of one sample: loss = log sum_j exp(z_j - m) - (z_label - m), m = max z.
 */
#include "kernels/kernels.h"
#include <math.h>

static int64_t arg_max_of(const float *logits, int64_t classes)
{
    int64_t best = 0;
    for (int64_t j = 1; j < classes; j++) {
        if (logits[j] > logits[best]) {
            best = j;
        }
    }
    return best;
}

/* sum_j exp(z_j - z_best); NaN where a logit is. */
static double partition(const float *logits, int64_t classes, int64_t best)
{
    double sum = 0.0;
    for (int64_t j = 0; j < classes; j++) {
        sum += exp((double)logits[j] - (double)logits[best]);
    }
    return sum;
}

double mc_cross_entropy(const float *logits, int64_t classes, int32_t label, int64_t *arg_max)
{
    int64_t best = arg_max_of(logits, classes);
    *arg_max = best;
    return log(partition(logits, classes, best)) - ((double)logits[label] - (double)logits[best]);
}

void mc_cross_entropy_back(const float *logits, int64_t classes, int32_t label, double scale,
                           float *d)
{
    int64_t best = arg_max_of(logits, classes);
    double sum = partition(logits, classes, best);
    for (int64_t j = 0; j < classes; j++) {
        double p = exp((double)logits[j] - (double)logits[best]) / sum;
        d[j] = (float)(scale * (p - (j == label ? 1.0 : 0.0)));
    }
}
