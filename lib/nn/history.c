/* SPDX-License-Identifier: BSD-3-Clause
 *
 * history: the record of a training, a table [epochs][columns] of doubles with named columns, its
 * getters, and its form as JSON and CSV. Immutable and shared once it belongs to a model.
 */
#include "io/io.h"
#include "nn/nn.h"

#include <math.h>
#include <string.h>

/* Columns that the history of a file may have. */
enum { FILE_COLUMNS_MAX = 256 };

/* ---- public -------------------------------------------------------------------------------- */

int32_t modeconn_model_history(const modeconn_model *model, modeconn_history **out)
{
    if (out == NULL) {
        return mc_null("out");
    }
    *out = NULL;
    if (model == NULL) {
        return mc_null("model");
    }
    *out = mc_history_take(model->history);
    return MODECONN_OK;
}

void modeconn_history_destroy(modeconn_history *history)
{
    if (history == NULL || !mc_ref_drop(&history->ref)) {
        return;
    }
    modeconn_context *context = history->context;
    if (history->columns != NULL) {
        for (int64_t i = 0; i < history->n_columns; i++) {
            mc_free(context, history->columns[i]);
        }
    }
    mc_free(context, history->columns);
    mc_free(context, history->values);
    mc_free(context, history);
    mc_context_drop(context);
}

int32_t modeconn_history_size(const modeconn_history *history, int64_t *epochs, int64_t *columns)
{
    if (history == NULL) {
        return mc_null("history");
    }
    if (epochs != NULL) {
        *epochs = history->n_epochs;
    }
    if (columns != NULL) {
        *columns = history->n_columns;
    }
    return MODECONN_OK;
}

int32_t modeconn_history_column(const modeconn_history *history, int64_t index, const char **name)
{
    if (history == NULL) {
        return mc_null("history");
    }
    if (name == NULL) {
        return mc_null("name");
    }
    if (index < 0 || index >= history->n_columns) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "column %lld: the history has %lld",
                       (long long)index, (long long)history->n_columns);
    }
    *name = history->columns[index];
    return MODECONN_OK;
}

int32_t modeconn_history_value(const modeconn_history *history, const char *column, int64_t epoch,
                               double *value)
{
    if (history == NULL) {
        return mc_null("history");
    }
    if (column == NULL) {
        return mc_null("column");
    }
    if (value == NULL) {
        return mc_null("value");
    }
    int64_t index = 0;
    while (index < history->n_columns && strcmp(history->columns[index], column) != 0) {
        index++;
    }
    if (index == history->n_columns) {
        return mc_fail(MODECONN_ERROR_UNKNOWN, "the history has no column \"%s\"", column);
    }
    if (epoch < 0 || epoch >= history->n_epochs) {
        return mc_fail(MODECONN_ERROR_ARGUMENT, "epoch %lld: the history has %lld",
                       (long long)epoch, (long long)history->n_epochs);
    }
    *value = history->values[epoch * history->n_columns + index];
    return MODECONN_OK;
}

static json_t *columns_json(const modeconn_history *history)
{
    json_t *columns = json_array();
    for (int64_t i = 0; i < history->n_columns; i++) {
        if (json_array_append_new(columns, json_string(history->columns[i])) != 0) {
            json_decref(columns);
            return NULL;
        }
    }
    return columns;
}

static json_t *epoch_json(const modeconn_history *history, int64_t epoch)
{
    json_t *row = json_object();
    for (int64_t i = 0; i < history->n_columns; i++) {
        double value = history->values[epoch * history->n_columns + i];
        if (json_object_set_new(row, history->columns[i], mc_json_real(value)) != 0) {
            json_decref(row);
            return NULL;
        }
    }
    return row;
}

static json_t *history_json(const modeconn_history *history)
{
    json_t *json = json_object();
    json_t *epochs = json_array();
    bool failed = json_object_set_new(json, "columns", columns_json(history)) != 0;
    for (int64_t i = 0; !failed && i < history->n_epochs; i++) {
        failed = json_array_append_new(epochs, epoch_json(history, i)) != 0;
    }
    failed = json_object_set_new(json, "epochs", epochs) != 0 || failed;
    if (failed) {
        json_decref(json);
        return NULL;
    }
    return json;
}

int32_t modeconn_history_json(const modeconn_history *history, char *buffer, int64_t capacity,
                              int64_t *needed)
{
    if (history == NULL) {
        return mc_null("history");
    }
    return mc_json_out(history_json(history), buffer, capacity, needed);
}

int32_t modeconn_history_csv(const modeconn_history *history, char *buffer, int64_t capacity,
                             int64_t *needed)
{
    if (history == NULL) {
        return mc_null("history");
    }
    mc_text text;
    mc_text_init(&text, history->context);
    mc_text_add(&text, "epoch");
    for (int64_t i = 0; i < history->n_columns; i++) {
        mc_text_add(&text, ",");
        mc_text_add_csv(&text, history->columns[i]);
    }
    mc_text_add(&text, "\n");
    for (int64_t epoch = 0; epoch < history->n_epochs; epoch++) {
        mc_text_add(&text, "%lld", (long long)epoch);
        for (int64_t i = 0; i < history->n_columns; i++) {
            mc_text_add(&text, ",");
            mc_text_add_f64(&text, history->values[epoch * history->n_columns + i]);
        }
        mc_text_add(&text, "\n");
    }
    return mc_text_finish(&text, buffer, capacity, needed);
}

/* ---- for the library ----------------------------------------------------------------------- */

int32_t mc_history_create(modeconn_context *context, const char *const *columns, int64_t n_columns,
                          modeconn_history **out)
{
    *out = NULL;
    modeconn_history *history = mc_calloc(context, 1, sizeof(*history));
    if (history == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    mc_ref_init(&history->ref);
    history->context = mc_context_take(context);
    history->n_columns = n_columns;
    history->columns = mc_calloc(context, n_columns, sizeof(*history->columns));
    bool complete = history->columns != NULL;
    for (int64_t i = 0; complete && i < n_columns; i++) {
        history->columns[i] = mc_strdup(context, columns[i]);
        complete = history->columns[i] != NULL;
    }
    if (!complete) {
        modeconn_history_destroy(history);
        return MODECONN_ERROR_MEMORY;
    }
    *out = history;
    return MODECONN_OK;
}

/* Room for `capacity` epochs; the values move. */
static int32_t reserve(modeconn_history *history, int64_t capacity)
{
    int64_t count = 0;
    if (!mc_mul(capacity, history->n_columns, &count)) {
        return mc_fail(MODECONN_ERROR_MEMORY, "out of memory: a history of %lld epochs",
                       (long long)capacity);
    }
    double *values = mc_alloc(history->context, count, sizeof(*values));
    if (values == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    if (history->n_epochs > 0) {
        memcpy(values, history->values,
               (size_t)(history->n_epochs * history->n_columns) * sizeof(*values));
    }
    mc_free(history->context, history->values);
    history->values = values;
    history->capacity = capacity;
    return MODECONN_OK;
}

int32_t mc_history_append(modeconn_history *history, const double *values)
{
    if (history->n_epochs == history->capacity) {
        int32_t status = reserve(history, history->capacity == 0 ? 16 : 2 * history->capacity);
        if (status < 0) {
            return status;
        }
    }
    if (history->n_columns > 0) {
        memcpy(history->values + history->n_epochs * history->n_columns, values,
               (size_t)history->n_columns * sizeof(*values));
    }
    history->n_epochs++;
    return MODECONN_OK;
}

int32_t mc_history_clone(const modeconn_history *history, modeconn_history **out)
{
    return mc_history_clone_without(history, "", out);
}

int32_t mc_history_clone_without(const modeconn_history *history, const char *without,
                                 modeconn_history **out)
{
    const modeconn_context *context = history->context;
    modeconn_history *copy = NULL;
    int32_t status = MODECONN_ERROR_MEMORY;
    int64_t n = 0;
    *out = NULL;
    const char **names = mc_alloc(context, history->n_columns, sizeof(*names));
    int64_t *from = mc_alloc(context, history->n_columns, sizeof(*from)); /* column of the source */
    if (names == NULL || from == NULL) {
        goto done;
    }
    for (int64_t i = 0; i < history->n_columns; i++) {
        if (strcmp(history->columns[i], without) != 0) {
            names[n] = history->columns[i];
            from[n++] = i;
        }
    }
    status = mc_history_create(history->context, names, n, &copy);
    if (status == MODECONN_OK && history->n_epochs > 0) {
        status = reserve(copy, history->n_epochs);
    }
    if (status < 0) {
        modeconn_history_destroy(copy);
        goto done;
    }
    for (int64_t epoch = 0; epoch < history->n_epochs; epoch++) {
        for (int64_t i = 0; i < n; i++) {
            copy->values[epoch * n + i] = history->values[epoch * history->n_columns + from[i]];
        }
    }
    copy->n_epochs = history->n_epochs;
    *out = copy;
done:
    mc_free(context, names);
    mc_free(context, from);
    return status;
}

modeconn_history *mc_history_take(modeconn_history *history)
{
    mc_ref_take(&history->ref);
    return history;
}

/* Creates an empty history with the columns of a JSON list of distinct names. */
static int32_t create_from_columns(modeconn_context *context, const json_t *columns,
                                   modeconn_history **out)
{
    size_t n = json_array_size(columns);
    const char **names = mc_alloc(context, (int64_t)n, sizeof(*names));
    if (names == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    int32_t status = MODECONN_OK;
    if (!json_is_array(columns) || n > FILE_COLUMNS_MAX) {
        status = mc_fail(MODECONN_ERROR_FORMAT, "\"columns\" is not a list of at most %d names",
                         FILE_COLUMNS_MAX);
    }
    for (size_t i = 0; status == MODECONN_OK && i < n; i++) {
        names[i] = json_string_value(json_array_get(columns, i));
        if (names[i] == NULL) {
            status = mc_fail(MODECONN_ERROR_FORMAT, "column %zu is not a name", i);
        }
        for (size_t j = 0; status == MODECONN_OK && j < i; j++) {
            if (strcmp(names[i], names[j]) == 0) {
                status = mc_fail(MODECONN_ERROR_FORMAT, "column \"%s\" is there twice", names[i]);
            }
        }
    }
    if (status == MODECONN_OK) {
        status = mc_history_create(context, names, (int64_t)n, out);
    }
    mc_free(context, names);
    return status;
}

/* Appends {"loss": 0.5, ...}, null being NaN. Every column must be there, so that a table takes no
 * more memory than its text. */
static int32_t append_from_row(modeconn_history *history, const json_t *row, double *values)
{
    if (!json_is_object(row)) {
        return mc_fail(MODECONN_ERROR_FORMAT, "epoch %lld is not an object",
                       (long long)history->n_epochs);
    }
    for (int64_t i = 0; i < history->n_columns; i++) {
        const json_t *value = json_object_get(row, history->columns[i]);
        if (value == NULL) {
            return mc_fail(MODECONN_ERROR_FORMAT, "epoch %lld: \"%s\" is missing",
                           (long long)history->n_epochs, history->columns[i]);
        }
        if (!json_is_number(value) && !json_is_null(value)) {
            return mc_fail(MODECONN_ERROR_FORMAT, "epoch %lld: \"%s\" is not a number",
                           (long long)history->n_epochs, history->columns[i]);
        }
        values[i] = json_is_number(value) ? json_number_value(value) : (double)NAN;
    }
    return mc_history_append(history, values);
}

int32_t mc_history_from_json(modeconn_context *context, const char *json, modeconn_history **out)
{
    modeconn_history *history = NULL;
    double *values = NULL;
    json_error_t error;
    *out = NULL;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return json_error_code(&error) == json_error_out_of_memory
                   ? mc_fail(MODECONN_ERROR_MEMORY, "out of memory: history")
                   : mc_fail(MODECONN_ERROR_FORMAT, "%s", error.text);
    }
    const json_t *epochs = json_object_get(root, "epochs");
    int32_t status = create_from_columns(context, json_object_get(root, "columns"), &history);
    if (status == MODECONN_OK && !json_is_array(epochs)) {
        status = mc_fail(MODECONN_ERROR_FORMAT, "\"epochs\" is not a list");
    }
    if (status == MODECONN_OK) {
        values = mc_alloc(context, history->n_columns, sizeof(*values));
        status = values == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    }
    for (size_t i = 0; status == MODECONN_OK && i < json_array_size(epochs); i++) {
        status = append_from_row(history, json_array_get(epochs, i), values);
    }
    mc_free(context, values);
    json_decref(root);
    if (status < 0) {
        modeconn_history_destroy(history);
        return status;
    }
    *out = history;
    return MODECONN_OK;
}
