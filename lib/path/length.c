/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Lengths of paths. A path's speed depends on its control points only through the products of
 * their differences, G_kl = <P_{k+1} - P_k, P_{l+1} - P_l>: one pass over the parameters, then
 * quadrature over a small matrix.
 */
#include "path/path.h"
#include <math.h>

int32_t modeconn_path_length(const modeconn_path *path, double *length)
{
    if (path == NULL) {
        return mc_null("path");
    }
    if (length == NULL) {
        return mc_null("length");
    }
    double *gram = mc_path_gram(path);
    if (gram == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    double whole = path->family->length(gram, path->n_points - 1, 1);
    bool finite = true;
    for (int64_t i = 0; i < (path->n_points - 1) * (path->n_points - 1); i++) {
        finite = finite && isfinite(gram[i]);
    }
    mc_free(path->context, gram);
    if (!finite) {
        return mc_fail(MODECONN_ERROR_NUMERIC, "a control point of the path is not finite");
    }
    *length = whole;
    return MODECONN_OK;
}

typedef struct gram_job {
    const modeconn_path *path;
    double *gram;
} gram_job;

/* One row up to the diagonal, summed in index order. */
static void gram_row(void *arg, int64_t k, int worker)
{
    const gram_job *job = arg;
    int64_t legs = job->path->n_points - 1, n = job->path->points[0]->n_theta;
    const float *a = job->path->points[k]->theta, *b = job->path->points[k + 1]->theta;
    (void)worker;
    for (int64_t l = 0; l <= k; l++) {
        const float *c = job->path->points[l]->theta, *d = job->path->points[l + 1]->theta;
        double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += ((double)b[i] - (double)a[i]) * ((double)d[i] - (double)c[i]);
        }
        job->gram[k * legs + l] = sum;
    }
}

double *mc_path_gram(const modeconn_path *path)
{
    int64_t legs = path->n_points - 1;
    gram_job job = {path, mc_alloc(path->context, legs * legs, sizeof(double))};
    if (job.gram == NULL) {
        return NULL;
    }
    mc_pool_run(path->context->pool, legs, gram_row, &job);
    for (int64_t k = 0; k < legs; k++) {
        for (int64_t l = k + 1; l < legs; l++) {
            job.gram[k * legs + l] = job.gram[l * legs + k];
        }
    }
    return job.gram;
}

double mc_path_arc(const modeconn_path *path, const double *gram, double u)
{
    enum { HALVINGS = 40 };
    int64_t legs = path->n_points - 1;
    double whole = path->family->length(gram, legs, 1), low = 0, high = 1;
    if (!(whole > 0)) {
        return u;
    }
    for (int i = 0; i < HALVINGS; i++) {
        double middle = 0.5 * (low + high);
        if (path->family->length(gram, legs, middle) < u * whole) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return 0.5 * (low + high);
}
