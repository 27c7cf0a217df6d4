/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Linear centred kernel alignment of two models, layer by layer (similarity.h of the API), from
 * sums in feature space over one pass of the data: with rows x [p] and y [q] of a layer, shifted by
 * the means of the first rows seen (CKA does not depend on a shift; rounding does),
 *
 *     X^T X, X^T Y, Y^T Y, sum x, sum y, |x|^2, |y|^2, sum x |y|^2, ...      (mc_hsic_sums)
 *
 * The biased form centres them, || X^T Y - n mx my^T ||^2. The unbiased HSIC of Song et al. (2012),
 * for kernels K = X X^T and L = Y Y^T without their diagonals, K~ and L~,
 *
 *     [ tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2/(n-2) 1'K~L~1 ] / (n (n-3))
 *
 * needs no kernel matrix either:
 *
 *     tr(K~ L~) = || X^T Y ||^2 - sum |x|^2 |y|^2,   1'K~1 = |sum x|^2 - sum |x|^2,
 *     1'K~L~1 = sum x . X^T Y . sum y - sum x . sum(x |y|^2) - sum y . sum(y |x|^2)
 *               + sum |x|^2 |y|^2
 */
#include "measure/measure.h"
#include <math.h>
#include <string.h>

static const mc_option_spec cka_options[] = {
    MC_OPT_STR("layers", "all|representation", "all",
               "outputs of ReLUs and GELUs and the penultimate representation, or that alone"),
    MC_OPT_STR("view", NULL, "",
               "view to look at, with the cue on all samples; empty = as the test set is seen"),
    MC_OPT_I64("batch_size", 1, 1048576, "100", "samples per batch"),
};
const mc_option_kind mc_kind_cka = MC_OPTION_KIND("cka", cka_options);

enum { X, Y };
/* Rows that are summed up at a time, and rows of a product that make a task: fixed, so that the
 * order of every sum is. */
enum { BLOCK = 256, STRIPE = 8 };

/* What is summed of one layer. Products: 0 = X^T X, 1 = X^T Y, 2 = Y^T Y. */
typedef struct sums {
    int64_t rows, width[2];
    double *product[3];
    double *shift[2], *sum[2]; /* [width] */
    double *mixed[2][2];       /* [which][by]: sum of which's rows times by's squared norm */
    double squares[2], quartic[3];
} sums;

typedef struct looking {
    modeconn_cka *made;
    const modeconn_model *model[2];
    modeconn_dataset *data;
    int64_t batch_size;
    mc_session *session[2];
    mc_batch_buffer buffer;
    float *kept;     /* [batch][values] of the first model's layers, layer after layer */
    sums *sums;      /* [layers] */
    double *rows[2]; /* [BLOCK][width] of the block, shifted */
    int which;
    int64_t samples, next;
    const char *not_finite; /* layer that has values that are no numbers */
    mc_progress progress;
} looking;

/* ---- the two figures ------------------------------------------------------------------------ */

double mc_hsic(const mc_hsic_sums *s)
{
    double n = s->n, trace = s->cross - s->quartic;
    double first = s->sum_squared[X] - s->squares[X], second = s->sum_squared[Y] - s->squares[Y];
    double middle = s->middle - s->mixed[X] - s->mixed[Y] + s->quartic;
    if (n < 4.0) {
        return NAN;
    }
    return (trace + first * second / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * middle) /
           (n * (n - 3.0));
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* Sums of the pair (a, b) of X and Y; `product` is A^T B [width a][width b]. */
static mc_hsic_sums hsic_sums(const sums *s, int a, int b)
{
    const double *product = s->product[a + b];
    int64_t p = s->width[a], q = s->width[b];
    mc_hsic_sums out = {
        .n = (double)s->rows,
        .squares = {s->squares[a], s->squares[b]},
        .quartic = s->quartic[a + b],
        .cross = dot(product, product, p * q),
        .sum_squared = {dot(s->sum[a], s->sum[a], p), dot(s->sum[b], s->sum[b], q)},
        .mixed = {dot(s->sum[a], s->mixed[a][b], p), dot(s->sum[b], s->mixed[b][a], q)}};
    for (int64_t i = 0; i < p; i++) {
        out.middle += s->sum[a][i] * dot(product + i * q, s->sum[b], q);
    }
    return out;
}

/* || A^T B ||^2 of the centred rows. */
static double centred(const sums *s, int a, int b)
{
    const double *product = s->product[a + b];
    double total = 0.0;
    for (int64_t i = 0; i < s->width[a]; i++) {
        for (int64_t j = 0; j < s->width[b]; j++) {
            double c = product[i * s->width[b] + j] - s->sum[a][i] * s->sum[b][j] / (double)s->rows;
            total += c * c;
        }
    }
    return total;
}

/* Whether a layer varies beyond what rounding leaves of a constant. */
static bool varies(const sums *s, int which)
{
    double spread =
        s->squares[which] - dot(s->sum[which], s->sum[which], s->width[which]) / (double)s->rows;
    return spread > 1e-14 * s->squares[which] && spread > 0.0;
}

static void finish_layer(modeconn_cka *made, int64_t layer, const sums *s)
{
    made->rows[layer] = s->rows;
    made->value[layer] = made->debiased[layer] = NAN;
    if (!varies(s, X) || !varies(s, Y)) {
        return;
    }
    made->value[layer] = centred(s, X, Y) / sqrt(centred(s, X, X) * centred(s, Y, Y));
    mc_hsic_sums pair = hsic_sums(s, X, Y), first = hsic_sums(s, X, X), second = hsic_sums(s, Y, Y);
    double own = mc_hsic(&first) * mc_hsic(&second);
    if (own > 0.0) {
        made->debiased[layer] = mc_hsic(&pair) / sqrt(own);
    }
}

/* ---- summing -------------------------------------------------------------------------------- */

typedef struct product_job {
    const double *a, *b; /* [rows][p], [rows][q] */
    int64_t rows, p, q;
    double *out; /* [p][q], added to */
} product_job;

static void product_task(void *arg, int64_t task, int worker)
{
    const product_job *job = arg;
    int64_t q = job->q, end = (task + 1) * STRIPE < job->p ? (task + 1) * STRIPE : job->p;
    (void)worker;
    for (int64_t r = 0; r < job->rows; r++) {
        const double *restrict b = job->b + r * q;
        for (int64_t i = task * STRIPE; i < end; i++) {
            double a = job->a[r * job->p + i];
            double *restrict out = job->out + i * q;
            for (int64_t j = 0; j < q; j++) {
                out[j] += a * b[j];
            }
        }
    }
}

static void add_product(looking *run, sums *s, int a, int b, int64_t rows)
{
    product_job job = {run->rows[a], run->rows[b], rows,
                       s->width[a],  s->width[b],  s->product[a + b]};
    mc_pool_run(run->made->context->pool, (job.p + STRIPE - 1) / STRIPE, product_task, &job);
}

/* The first rows of a layer set its shift. */
static void set_shift(sums *s, int which, const float *values, int64_t rows)
{
    int64_t width = s->width[which];
    for (int64_t j = 0; j < width; j++) {
        double sum = 0.0;
        for (int64_t r = 0; r < rows; r++) {
            sum += (double)values[r * width + j];
        }
        s->shift[which][j] = sum / (double)rows;
    }
}

static void load_rows(looking *run, const sums *s, int which, const float *values, int64_t rows)
{
    int64_t width = s->width[which];
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < width; j++) {
            run->rows[which][r * width + j] = (double)values[r * width + j] - s->shift[which][j];
        }
    }
}

static void add_row(looking *run, sums *s, int64_t r)
{
    double norm[2];
    for (int which = 0; which < 2; which++) {
        const double *row = run->rows[which] + r * s->width[which];
        norm[which] = dot(row, row, s->width[which]);
        s->squares[which] += norm[which];
    }
    for (int a = 0; a < 2; a++) {
        const double *row = run->rows[a] + r * s->width[a];
        for (int64_t j = 0; j < s->width[a]; j++) {
            s->sum[a][j] += row[j];
            s->mixed[a][X][j] += row[j] * norm[X];
            s->mixed[a][Y][j] += row[j] * norm[Y];
        }
    }
    s->quartic[X + X] += norm[X] * norm[X];
    s->quartic[X + Y] += norm[X] * norm[Y];
    s->quartic[Y + Y] += norm[Y] * norm[Y];
}

static void add_rows(looking *run, sums *s, const float *x, const float *y, int64_t rows)
{
    if (s->rows == 0) {
        set_shift(s, X, x, rows < BLOCK ? rows : BLOCK);
        set_shift(s, Y, y, rows < BLOCK ? rows : BLOCK);
    }
    for (int64_t done = 0; done < rows; done += BLOCK) {
        int64_t n = rows - done < BLOCK ? rows - done : BLOCK;
        load_rows(run, s, X, x + done * s->width[X], n);
        load_rows(run, s, Y, y + done * s->width[Y], n);
        for (int64_t r = 0; r < n; r++) {
            add_row(run, s, r);
        }
        add_product(run, s, X, X, n);
        add_product(run, s, X, Y, n);
        add_product(run, s, Y, Y, n);
    }
    s->rows += rows;
}

static void visit(void *user, int32_t node, const float *values, int64_t rows, int64_t channels)
{
    looking *run = user;
    const mc_layer_list *layers = run->made->layers;
    int64_t layer = mc_layer_list_find(&layers[run->which], node, run->next);
    if (layer < 0) {
        return;
    }
    run->next = layer + 1;
    if (!mc_all_finite(values, rows * channels)) {
        run->not_finite = layers[run->which].name[layer];
    }
    float *kept = run->kept + layers[X].offset[layer] * run->batch_size;
    if (run->which == X) {
        memcpy(kept, values, (size_t)(rows * channels) * sizeof(*kept));
    } else {
        add_rows(run, &run->sums[layer], kept, values, rows);
    }
}

static int32_t look(looking *run)
{
    int32_t status = MODECONN_OK;
    for (int64_t done = 0; status == MODECONN_OK && done < run->data->n; done += run->batch_size) {
        int64_t left = run->data->n - done;
        run->samples = left < run->batch_size ? left : run->batch_size;
        mc_batch batch = {run->buffer.x, run->buffer.y, run->samples};
        status =
            mc_dataset_gather(run->data, NULL, done, run->samples, run->buffer.x, run->buffer.y);
        for (run->which = X; run->which <= Y && status == MODECONN_OK; run->which++) {
            run->next = 0;
            status = run->model[run->which]->ops->activations(run->session[run->which],
                                                              MC_NORM_RUNNING, &batch, visit, run);
            if (status == MODECONN_OK && run->not_finite != NULL) {
                status = mc_fail(MODECONN_ERROR_NUMERIC, "%s model: outputs of %s are not finite",
                                 run->which == X ? "first" : "second", run->not_finite);
            }
        }
        if (status == MODECONN_OK) {
            status = mc_progress_step(&run->progress, 0, NAN, NAN, NAN);
        }
    }
    for (int64_t i = 0; status == MODECONN_OK && i < run->made->layers[X].n; i++) {
        finish_layer(run->made, i, &run->sums[i]);
    }
    return status;
}

/* ---- memory --------------------------------------------------------------------------------- */

static int32_t check_layers(const mc_layer_list layers[2])
{
    if (layers[X].n != layers[Y].n) {
        return mc_fail(MODECONN_ERROR_SHAPE,
                       "the models have %lld and %lld layers to compare: layers=representation "
                       "compares the last",
                       (long long)layers[X].n, (long long)layers[Y].n);
    }
    for (int64_t i = 0; i < layers[X].n; i++) {
        if (layers[X].places[i] != layers[Y].places[i]) {
            return mc_fail(MODECONN_ERROR_SHAPE, "layer %lld: %s has %lld places, %s has %lld",
                           (long long)i, layers[X].name[i], (long long)layers[X].places[i],
                           layers[Y].name[i], (long long)layers[Y].places[i]);
        }
    }
    return MODECONN_OK;
}

static int32_t sums_init(modeconn_context *context, sums *s)
{
    int64_t p = s->width[X], q = s->width[Y], sizes[3];
    bool whole = mc_mul(p, p, &sizes[0]) && mc_mul(p, q, &sizes[1]) && mc_mul(q, q, &sizes[2]);
    if (!whole) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: products of %lld and %lld features",
                       (long long)p, (long long)q);
    }
    for (int i = 0; i < 3; i++) {
        s->product[i] = mc_calloc(context, sizes[i], sizeof(double));
        whole = whole && s->product[i] != NULL;
    }
    for (int a = 0; a < 2; a++) {
        s->shift[a] = mc_calloc(context, s->width[a], sizeof(double));
        s->sum[a] = mc_calloc(context, s->width[a], sizeof(double));
        s->mixed[a][X] = mc_calloc(context, s->width[a], sizeof(double));
        s->mixed[a][Y] = mc_calloc(context, s->width[a], sizeof(double));
        whole = whole && s->shift[a] != NULL && s->sum[a] != NULL && s->mixed[a][X] != NULL &&
                s->mixed[a][Y] != NULL;
    }
    return whole ? MODECONN_OK : MODECONN_ERROR_MEMORY;
}

static void sums_free(modeconn_context *context, sums *s)
{
    for (int i = 0; i < 3; i++) {
        mc_free(context, s->product[i]);
    }
    for (int a = 0; a < 2; a++) {
        mc_free(context, s->shift[a]);
        mc_free(context, s->sum[a]);
        mc_free(context, s->mixed[a][X]);
        mc_free(context, s->mixed[a][Y]);
    }
}

static int32_t allocate(looking *run)
{
    const mc_layer_list *layers = run->made->layers;
    modeconn_context *context = run->made->context;
    int64_t widest[2] = {1, 1}, n = layers[X].n, kept = 0;
    int32_t status = mc_batch_buffer_init(&run->buffer, run->data, run->batch_size);
    run->sums = mc_calloc(context, n, sizeof(*run->sums));
    if (status < 0 || run->sums == NULL) {
        return status < 0 ? status : MODECONN_ERROR_MEMORY;
    }
    for (int64_t i = 0; i < n && status == MODECONN_OK; i++) {
        for (int a = 0; a < 2; a++) {
            int64_t width = layers[a].channels[i];
            run->sums[i].width[a] = width;
            widest[a] = width > widest[a] ? width : widest[a];
        }
        status = sums_init(context, &run->sums[i]);
    }
    if (status == MODECONN_OK && !mc_mul(layers[X].offset[n], run->batch_size, &kept)) {
        status = mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %lld values of %lld samples",
                         (long long)layers[X].offset[n], (long long)run->batch_size);
    }
    if (status == MODECONN_OK) {
        run->kept = mc_alloc(context, kept, sizeof(float));
        run->rows[X] = mc_alloc(context, BLOCK * widest[X], sizeof(double));
        run->rows[Y] = mc_alloc(context, BLOCK * widest[Y], sizeof(double));
        if (run->kept == NULL || run->rows[X] == NULL || run->rows[Y] == NULL) {
            status = MODECONN_ERROR_MEMORY;
        }
    }
    return status;
}

static int32_t open_sessions(looking *run)
{
    int32_t status = MODECONN_OK;
    for (int a = 0; a < 2 && status == MODECONN_OK; a++) {
        const modeconn_model *model = run->model[a];
        status = model->ops->session_create(model, run->batch_size, 1, false, &run->session[a]);
        if (status == MODECONN_OK) {
            status = model->ops->bind(run->session[a], model->theta, model->statistics);
        }
    }
    return status;
}

static void release(looking *run)
{
    modeconn_context *context = run->model[X]->context;
    for (int a = 0; a < 2; a++) {
        if (run->session[a] != NULL) {
            run->model[a]->ops->session_destroy(run->session[a]);
        }
        mc_free(context, run->rows[a]);
    }
    for (int64_t i = 0; run->sums != NULL && i < run->made->layers[X].n; i++) {
        sums_free(context, &run->sums[i]);
    }
    mc_free(context, run->sums);
    mc_free(context, run->kept);
    if (run->buffer.context != NULL) {
        mc_batch_buffer_free(&run->buffer);
    }
    modeconn_dataset_destroy(run->data);
}

/* ---- the handle ----------------------------------------------------------------------------- */

static int32_t create(modeconn_cka **out, const looking *run, mc_layer_choice choice)
{
    modeconn_context *context = run->model[X]->context;
    modeconn_cka *made = mc_calloc(context, 1, sizeof(*made));
    if (made == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    made->context = mc_context_take(context);
    made->n = run->data->n;
    const char *view = mc_view_name(run->data, run->data->view);
    made->view = mc_names_copy(context, &view, 1);
    int32_t status = made->view == NULL
                         ? MODECONN_ERROR_MEMORY
                         : mc_layer_list_open(&made->layers[X], run->model[X], choice);
    if (status == MODECONN_OK) {
        status = mc_layer_list_open(&made->layers[Y], run->model[Y], choice);
    }
    if (status == MODECONN_OK) {
        status = check_layers(made->layers);
    }
    if (status == MODECONN_OK) {
        made->rows = mc_calloc(context, made->layers[X].n, sizeof(*made->rows));
        made->value = mc_calloc(context, made->layers[X].n, sizeof(*made->value));
        made->debiased = mc_calloc(context, made->layers[X].n, sizeof(*made->debiased));
        status = made->rows == NULL || made->value == NULL || made->debiased == NULL
                     ? MODECONN_ERROR_MEMORY
                     : mc_provenance_init(&made->origin, context, run->model[X], run->model[Y],
                                          run->data, NULL, run->batch_size);
    }
    if (status < 0) {
        modeconn_cka_destroy(made);
        return status;
    }
    *out = made;
    return MODECONN_OK;
}

static int32_t prepare(looking *run, const modeconn_dataset *test, const modeconn_options *options)
{
    static const char *const names[2] = {"first model", "second model"};
    bool all = strcmp(mc_option_str(options, &mc_kind_cka, "layers"), "all") == 0;
    int32_t status = MODECONN_OK;
    for (int a = 0; a < 2; a++) {
        status = mc_check_fit(run->model[a], test);
        if (status < 0) {
            return mc_fail_prefix(status, "%s", names[a]);
        }
    }
    status = mc_layer_view(test, mc_option_str(options, &mc_kind_cka, "view"), &run->data);
    if (status < 0) {
        return status;
    }
    run->batch_size = mc_option_i64(options, &mc_kind_cka, "batch_size");
    if (run->batch_size > run->data->n) {
        run->batch_size = run->data->n;
    }
    status = create(&run->made, run, all ? MC_LAYERS_ALL : MC_LAYERS_REPRESENTATION);
    if (status == MODECONN_OK) {
        status = allocate(run);
    }
    return status < 0 ? status : open_sessions(run);
}

int32_t modeconn_cka_measure(const modeconn_model *first, const modeconn_model *second,
                             const modeconn_dataset *test, const modeconn_options *options,
                             modeconn_progress_fn progress, void *user, modeconn_cka **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (first == NULL || second == NULL || test == NULL) {
        return mc_null(first == NULL ? "first" : second == NULL ? "second" : "test");
    }
    int32_t status = mc_options_check(options, &mc_kind_cka);
    if (status < 0) {
        return status;
    }
    looking run = {.model = {first, second}};
    status = prepare(&run, test, options);
    if (status == MODECONN_OK) {
        mc_progress_init(&run.progress, progress, user,
                         (run.data->n + run.batch_size - 1) / run.batch_size);
        status = look(&run);
    }
    release(&run);
    if (status < 0) {
        modeconn_cka_destroy(run.made);
        return status;
    }
    *out = run.made;
    return MODECONN_OK;
}

void modeconn_cka_destroy(modeconn_cka *cka)
{
    if (cka == NULL) {
        return;
    }
    modeconn_context *context = cka->context;
    for (int a = 0; a < 2; a++) {
        if (cka->layers[a].context != NULL) {
            mc_layer_list_free(&cka->layers[a]);
        }
    }
    mc_free(context, cka->view);
    mc_free(context, cka->rows);
    mc_free(context, cka->value);
    mc_free(context, cka->debiased);
    if (cka->origin.context != NULL) {
        mc_provenance_free(&cka->origin);
    }
    mc_free(context, cka);
    mc_context_drop(context);
}
