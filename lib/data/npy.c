/* SPDX-License-Identifier: BSD-3-Clause
 *
 * NumPy's .npy format, versions 1 to 3, as images and labels:
 *
 *     "\x93NUMPY", major, minor, header length (uint16 in version 1, uint32 after), header, values
 *
 * The header is a Python dictionary with exactly descr, fortran_order and shape; only what NumPy
 * writes for plain numbers is read. Nothing in it is believed before it was compared with the size
 * of the file. Images [n][C][H][W], [n][H][W] (one channel) or [n][d] ([d][1][1]); labels [n].
 */
#include "data.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAGIC = 6, PREFIX = 8, MOST_CLASSES_A_SAMPLE = 64 };

static const char magic[MAGIC + 1] = "\x93NUMPY";

/* ---- header -------------------------------------------------------------------------------- */

/* What is left of a header's text. */
typedef struct cursor {
    const char *next, *end;
} cursor;

static void skip_spaces(cursor *at)
{
    while (at->next < at->end && (*at->next == ' ' || *at->next == '\t' || *at->next == '\n')) {
        at->next++;
    }
}

static bool take(cursor *at, const char *word)
{
    size_t length = strlen(word);
    skip_spaces(at);
    if ((size_t)(at->end - at->next) < length || memcmp(at->next, word, length) != 0) {
        return false;
    }
    at->next += length;
    return true;
}

/* A string in either quote, without escapes. */
static bool take_string(cursor *at, char *to, size_t capacity)
{
    skip_spaces(at);
    if (at->next == at->end || (*at->next != '\'' && *at->next != '"')) {
        return false;
    }
    char quote = *at->next++;
    size_t length = 0;
    while (at->next < at->end && *at->next != quote) {
        if (length + 1 >= capacity) {
            return false;
        }
        to[length++] = *at->next++;
    }
    to[length] = '\0';
    return take(at, (char[]){quote, '\0'});
}

/* "(2, 3)", "(2,)": sizes, at most four, of which none is 0. */
static bool take_shape(cursor *at, mc_npy *out)
{
    out->rank = 0;
    if (!take(at, "(")) {
        return false;
    }
    while (!take(at, ")")) {
        int64_t size = 0;
        skip_spaces(at);
        const char *from = at->next;
        while (at->next < at->end && *at->next >= '0' && *at->next <= '9') {
            if (!mc_mul(size, 10, &size) || size > INT64_MAX - 9) {
                return false;
            }
            size += *at->next++ - '0';
        }
        if (at->next == from || size < 1 || out->rank == 4) {
            return false;
        }
        out->shape[out->rank++] = size;
        if (!take(at, ",")) {
            return take(at, ")");
        }
    }
    return out->rank > 0;
}

static bool take_type(cursor *at, mc_npy *out)
{
    char text[8];
    if (!take_string(at, text, sizeof(text)) || strlen(text) != 3) {
        return false;
    }
    static const char known[][3] = {"u1", "i1", "b1", "u2", "i2", "u4",
                                    "i4", "u8", "i8", "f4", "f8"};
    bool found = false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        found = found || strcmp(text + 1, known[i]) == 0;
    }
    out->kind = text[1];
    out->width = text[2] - '0';
    out->big_endian = text[0] == '>';
    bool ordered = text[0] == '<' || text[0] == '>' || (text[0] == '|' && out->width == 1);
    return found && ordered;
}

enum { DESCR, FORTRAN_ORDER, SHAPE, KEYS };

/* The value of one key; NULL or what is wrong. */
static const char *take_value(cursor *at, int key, mc_npy *out)
{
    switch (key) {
    case DESCR:
        return take_type(at, out) ? NULL : "descr (expected plain u1-u8, i1-i8, f4, f8 or b1)";
    case FORTRAN_ORDER:
        out->fortran = take(at, "True");
        return out->fortran || take(at, "False") ? NULL : "fortran_order";
    default:
        return take_shape(at, out) ? NULL : "shape (expected one to four sizes of at least 1)";
    }
}

/* The whole dictionary; NULL or what is wrong. */
static const char *take_header(cursor *at, mc_npy *out)
{
    static const char *const keys[KEYS] = {"descr", "fortran_order", "shape"};
    bool seen[KEYS] = {false, false, false};
    bool more = take(at, "{");
    while (more && !take(at, "}")) {
        char name[16];
        int key = 0;
        if (!take_string(at, name, sizeof(name)) || !take(at, ":")) {
            return "dictionary";
        }
        while (key < KEYS && strcmp(name, keys[key]) != 0) {
            key++;
        }
        if (key == KEYS || seen[key]) {
            return "keys (expected descr, fortran_order and shape)";
        }
        seen[key] = true;
        const char *wrong = take_value(at, key, out);
        if (wrong != NULL) {
            return wrong;
        }
        more = take(at, ",");
        if (!more && !take(at, "}")) {
            return "dictionary";
        }
    }
    skip_spaces(at);
    return seen[DESCR] && seen[FORTRAN_ORDER] && seen[SHAPE] && at->next == at->end ? NULL
                                                                                    : "dictionary";
}

/* Length of the header and where it begins; false where the file is too short or of no version
 * known. */
static bool find_header(const uint8_t *bytes, int64_t size, int64_t *begin, int64_t *length)
{
    int64_t bytes_of_length = size > PREFIX && bytes[MAGIC] == 1 ? 2 : 4;
    *begin = PREFIX + bytes_of_length;
    *length = 0;
    if (size < *begin || memcmp(bytes, magic, MAGIC) != 0 || bytes[MAGIC] < 1 || bytes[MAGIC] > 3 ||
        bytes[MAGIC + 1] != 0) {
        return false;
    }
    for (int64_t i = bytes_of_length - 1; i >= 0; i--) {
        *length = *length << 8 | bytes[PREFIX + i];
    }
    return true;
}

int32_t mc_npy_parse(const char *name, const uint8_t *bytes, int64_t size, mc_npy *out)
{
    int64_t begin = 0, length = 0, payload = 0;
    *out = (mc_npy){.name = name, .count = 1};
    if (!find_header(bytes, size, &begin, &length)) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: not an .npy array of version 1, 2 or 3", name);
    }
    if (length > size - begin) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: truncated in the header", name);
    }
    const char *text = (const char *)bytes + begin;
    cursor at = {text, text + length};
    const char *wrong = take_header(&at, out);
    if (wrong != NULL) {
        int shown = 0; /* of the header, as far as it is fit to be */
        while (shown < 120 && shown < length && text[shown] >= ' ' && text[shown] <= '~') {
            shown++;
        }
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: cannot read the %s of %.*s", name, wrong, shown,
                       text);
    }
    bool fits = true;
    for (int i = 0; i < out->rank; i++) {
        fits = fits && mc_mul(out->count, out->shape[i], &out->count);
    }
    fits = fits && mc_mul(out->count, out->width, &payload);
    if (!fits || payload != size - begin - length) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: %lld bytes of values, the header announces %s",
                       name, (long long)(size - begin - length),
                       !fits || payload > size - begin - length ? "more" : "fewer");
    }
    out->values = bytes + begin + length;
    return MODECONN_OK;
}

/* ---- values -------------------------------------------------------------------------------- */

/* Where value i in C order lies. */
static int64_t place(const mc_npy *in, int64_t i)
{
    if (!in->fortran) {
        return i;
    }
    int64_t at = 0, index[4] = {0};
    for (int d = in->rank - 1; d >= 0; d--) {
        index[d] = i % in->shape[d];
        i /= in->shape[d];
    }
    for (int d = in->rank - 1; d >= 0; d--) {
        at = at * in->shape[d] + index[d];
    }
    return at;
}

static double read_value(const mc_npy *in, int64_t i)
{
    const uint8_t *bytes = in->values + place(in, i) * in->width;
    uint64_t bits = 0;
    for (int64_t b = 0; b < in->width; b++) {
        bits = bits << 8 | bytes[in->big_endian ? b : in->width - 1 - b];
    }
    if (in->kind == 'f' && in->width == 4) {
        uint32_t half = (uint32_t)bits;
        float value = 0;
        memcpy(&value, &half, sizeof(value));
        return (double)value;
    }
    if (in->kind == 'f') {
        double value = 0;
        memcpy(&value, &bits, sizeof(value));
        return value;
    }
    int64_t unused = 64 - 8 * in->width;
    if (in->kind == 'i' && bits >> (8 * in->width - 1) != 0) {
        /* Two's complement: the magnitude is one more than the complement's. */
        return -(double)(~bits << unused >> unused) - 1.0;
    }
    return (double)bits;
}

/* [n][C][H][W] of the images. */
static int32_t image_shape(const mc_npy *images, int64_t shape[4])
{
    static const char *const expected = "[n][C][H][W], [n][H][W] or [n][d]";
    if (images->rank < 2) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: an array of rank %d, expected images %s",
                       images->name, images->rank, expected);
    }
    shape[0] = images->shape[0];
    shape[1] = images->rank == 3 ? 1 : images->shape[1];
    shape[2] = images->rank == 2 ? 1 : images->shape[images->rank - 2];
    shape[3] = images->rank == 2 ? 1 : images->shape[images->rank - 1];
    return MODECONN_OK;
}

static int32_t check_labels(const mc_npy *images, const mc_npy *labels, int64_t *classes)
{
    bool column = labels->rank == 1 || (labels->rank == 2 && labels->shape[1] == 1);
    if (!column) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s: an array of rank %d, expected labels [n]",
                       labels->name, labels->rank);
    }
    if (labels->count != images->shape[0]) {
        return mc_fail(MODECONN_ERROR_SHAPE, "%s has %lld labels, %s has %lld images", labels->name,
                       (long long)labels->count, images->name, (long long)images->shape[0]);
    }
    *classes = 2;
    for (int64_t i = 0; i < labels->count; i++) {
        double value = read_value(labels, i);
        if (!(value >= 0 && value < INT32_MAX && value == floor(value))) {
            return mc_fail(MODECONN_ERROR_FORMAT,
                           "%s: sample %lld: label %g, expected a whole number from 0",
                           labels->name, (long long)i, value);
        }
        *classes = (int64_t)value >= *classes ? (int64_t)value + 1 : *classes;
    }
    /* Models and cues take memory by the class: a stray label must not ask for billions. */
    if (*classes / MOST_CLASSES_A_SAMPLE > labels->count) {
        return mc_fail(MODECONN_ERROR_FORMAT, "%s: label %lld among only %lld samples",
                       labels->name, (long long)(*classes - 1), (long long)labels->count);
    }
    return MODECONN_OK;
}

static int32_t fill(const mc_npy *images, mc_store *store)
{
    int64_t size = images->count / store->n;
    for (int64_t i = 0; i < images->count; i++) {
        double value = read_value(images, i);
        bool ok = store->u8 != NULL ? value >= 0 && value <= 255 : isfinite((float)value);
        if (!ok) {
            return mc_fail(MODECONN_ERROR_FORMAT, "%s: sample %lld: value %lld is %g, %s",
                           images->name, (long long)(i / size), (long long)(i % size), value,
                           store->u8 != NULL ? "expected 0..255" : "not a finite float");
        }
        if (store->u8 != NULL) {
            ((uint8_t *)store->u8)[i] = (uint8_t)value;
        } else {
            ((float *)store->f32)[i] = (float)value;
        }
    }
    return MODECONN_OK;
}

int32_t mc_npy_store(modeconn_context *context, const char *source, const char *split,
                     const mc_npy *images, const mc_npy *labels, mc_store **out)
{
    int64_t shape[4] = {0}, classes = 0;
    mc_store *store = NULL;
    *out = NULL;
    int32_t status = image_shape(images, shape);
    if (status == MODECONN_OK) {
        status = check_labels(images, labels, &classes);
    }
    if (status == MODECONN_OK) {
        status = mc_store_create(context, source, split, shape[0], shape[1], shape[2], shape[3],
                                 classes, images->kind != 'f', &store);
    }
    if (status == MODECONN_OK) {
        status = fill(images, store);
    }
    if (status < 0) {
        mc_store_drop(store);
        return status;
    }
    for (int64_t i = 0; i < store->n; i++) {
        ((int32_t *)store->labels)[i] = (int32_t)read_value(labels, i);
    }
    *out = store;
    return MODECONN_OK;
}

/* ---- "npy:IMAGES,LABELS" ------------------------------------------------------------------- */

/* A whole file in memory, allocated for the caller. */
static int32_t read_file(const modeconn_context *context, const char *path, uint8_t **bytes,
                         int64_t *size)
{
    int fd = -1;
    *bytes = NULL;
    int32_t status = mc_data_file(path, &fd, size);
    if (status < 0) {
        return status;
    }
    *bytes = mc_alloc(context, *size, 1);
    status = *bytes == NULL ? MODECONN_ERROR_MEMORY : MODECONN_OK;
    for (int64_t done = 0; status == MODECONN_OK && done < *size;) {
        ssize_t got = read(fd, *bytes + done, (size_t)(*size - done));
        if (got > 0) {
            done += got;
        } else if (got == 0) {
            status = mc_fail(MODECONN_ERROR_FORMAT, "%s: truncated while it was read", path);
        } else if (errno != EINTR) {
            status = mc_fail(MODECONN_ERROR_IO, "%s: %s", path, mc_errno_text(errno));
        }
    }
    close(fd);
    if (status < 0) {
        mc_free(context, *bytes);
        *bytes = NULL;
    }
    return status;
}

int32_t mc_open_npy(modeconn_context *context, const char *rest, const char *split,
                    const modeconn_options *options, mc_store **out)
{
    char *first = NULL;
    const char *names[2] = {NULL, NULL};
    uint8_t *bytes[2] = {NULL, NULL};
    mc_npy arrays[2];
    (void)options;
    *out = NULL;
    int32_t status = mc_data_two_names(context, "npy", rest, "npy:IMAGES,LABELS, two file names",
                                       &first, &names[1]);
    if (status < 0) {
        return status;
    }
    names[0] = first;
    for (int i = 0; status == MODECONN_OK && i < 2; i++) {
        int64_t size = 0;
        status = read_file(context, names[i], &bytes[i], &size);
        if (status == MODECONN_OK) {
            status = mc_npy_parse(names[i], bytes[i], size, &arrays[i]);
        }
    }
    if (status == MODECONN_OK) {
        mc_text source;
        mc_text_init(&source, context);
        mc_text_add(&source, "npy:%s", rest);
        status = source.failed
                     ? MODECONN_ERROR_MEMORY
                     : mc_npy_store(context, source.data, split, &arrays[0], &arrays[1], out);
        mc_text_free(&source);
    }
    mc_free(context, bytes[0]);
    mc_free(context, bytes[1]);
    mc_free(context, first);
    return status;
}
