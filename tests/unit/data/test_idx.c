/* SPDX-License-Identifier: BSD-3-Clause
 *
 * IDX files: what is read, every way in which they can be wrong, and the real Fashion-MNIST.
 */
#include "data_test.h"
#include "folder.h"

enum { N = 6, SIDE = 28, PIXELS = N * SIDE * SIDE };

/* A pair of files as bytes, to be damaged before it is written. */
typedef struct pair {
    uint8_t images[16 + PIXELS + 8];
    uint8_t labels[8 + N + 8];
    size_t images_size, labels_size;
} pair;

static void put32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        to[i] = (uint8_t)(value >> (24 - 8 * i));
    }
}

static uint8_t pixel_at(int p)
{
    return (uint8_t)(p * 37 + p / 256);
}

static void good_pair(pair *p)
{
    memset(p, 0, sizeof(*p));
    put32(p->images, 0x803);
    put32(p->images + 4, N);
    put32(p->images + 8, SIDE);
    put32(p->images + 12, SIDE);
    for (int i = 0; i < PIXELS; i++) {
        p->images[16 + i] = pixel_at(i);
    }
    put32(p->labels, 0x801);
    put32(p->labels + 4, N);
    for (int i = 0; i < N; i++) {
        p->labels[8 + i] = (uint8_t)(i * 3 % 5);
    }
    p->images_size = 16 + PIXELS;
    p->labels_size = 8 + N;
}

static void write_pair(const pair *p, bool zipped)
{
    if (zipped) {
        file_put_gz(folder_path("images"), p->images, p->images_size);
        file_put_gz(folder_path("labels"), p->labels, p->labels_size);
    } else {
        file_put(folder_path("images"), p->images, p->images_size);
        file_put(folder_path("labels"), p->labels, p->labels_size);
    }
}

static const char *spec_of(char spec[256])
{
    snprintf(spec, 256, "idx:%s/images,%s/labels", folder, folder);
    return spec;
}

static void check_pair(modeconn_context *context, const char *spec, const char *split,
                       int64_t expected_classes)
{
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, spec, split, NULL, &dataset));
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
    ck_assert(n == N && channels == 1 && height == SIDE && width == SIDE);
    ck_assert_int_eq(classes, expected_classes);
    int32_t *labels = labels_of(dataset);
    for (int i = 0; i < N; i++) {
        ck_assert_int_eq(labels[i], i * 3 % 5);
    }
    for (int i = 0; i < PIXELS; i++) {
        ck_assert_int_eq(dataset->store->u8[i], pixel_at(i));
    }
    free(labels);
    modeconn_dataset_destroy(dataset);
}

START_TEST(test_plain_and_gz)
{
    modeconn_context *context = context_of("threads=1");
    char spec[256];
    pair p;
    folder_make();
    good_pair(&p);
    for (int zipped = 0; zipped < 2; zipped++) {
        write_pair(&p, zipped);
        check_pair(context, spec_of(spec), "train", 5);
        check_pair(context, spec, "test", 5);
    }
    /* At least two classes, also where all labels are 0. */
    memset(p.labels + 8, 0, N);
    write_pair(&p, false);
    modeconn_dataset *dataset = NULL;
    OK(modeconn_dataset_open(context, spec, "train", NULL, &dataset));
    ck_assert_int_eq(dataset->store->classes, 2);
    ck_assert_str_eq(dataset->store->source, spec);
    modeconn_dataset_destroy(dataset);
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* A folder in Fashion-MNIST's layout: plain files first, .gz otherwise. */
START_TEST(test_fashion_folder)
{
    modeconn_context *context = context_of("threads=1");
    char spec[128];
    pair p;
    folder_make();
    good_pair(&p);
    snprintf(spec, sizeof(spec), "fashion-mnist:%s", folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "train-images-idx3-ubyte");
    file_put_gz(folder_path("train-images-idx3-ubyte.gz"), p.images, p.images_size);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "train-labels-idx1-ubyte");
    file_put(folder_path("train-labels-idx1-ubyte"), p.labels, p.labels_size);
    check_pair(context, spec, "train", 10);
    open_fails(context, spec, "test", MODECONN_ERROR_IO, "t10k-images-idx3-ubyte");
    file_put(folder_path("t10k-images-idx3-ubyte"), p.images, p.images_size);
    file_put(folder_path("t10k-labels-idx1-ubyte"), p.labels, p.labels_size);
    check_pair(context, spec, "test", 10);
    p.labels[8 + 4] = 10;
    file_put(folder_path("t10k-labels-idx1-ubyte"), p.labels, p.labels_size);
    open_fails(context, spec, "test", MODECONN_ERROR_FORMAT, "sample 4: label 10");
    put32(p.images + 8, 2 * SIDE);
    put32(p.images + 12, SIDE / 2);
    file_put(folder_path("t10k-images-idx3-ubyte"), p.images, p.images_size);
    open_fails(context, spec, "test", MODECONN_ERROR_FORMAT, "56x14");
    folder_remove();
    open_fails(context, "fashion-mnist:/nowhere/at/all", "train", MODECONN_ERROR_IO,
               "/nowhere/at/all");
    modeconn_context_destroy(context);
}
END_TEST

/* One way to damage a pair; the message names the file and what is wrong with it. */
typedef struct damage {
    const char *what;
    size_t images_size, labels_size; /* 0: whole */
    int word;                        /* header word that is replaced: 0..3 images, 4..5 labels */
    uint32_t value;
    int32_t status;
    const char *culprit[2];
} damage;

static const damage damages[] = {
    {"one byte short", 16 + PIXELS - 1, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "truncated"}},
    {"half", 16 + PIXELS / 2, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "truncated"}},
    {"header only", 16, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "truncated"}},
    {"half a header", 9, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "header"}},
    {"one byte", 1, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "header"}},
    {"long images", 16 + PIXELS + 1, 0, -1, 0, MODECONN_ERROR_FORMAT, {"/images", "follow"}},
    {"short labels", 0, 8 + N - 1, -1, 0, MODECONN_ERROR_FORMAT, {"/labels", "truncated"}},
    {"no labels", 0, 8, -1, 0, MODECONN_ERROR_FORMAT, {"/labels", "truncated"}},
    {"half a label header", 0, 6, -1, 0, MODECONN_ERROR_FORMAT, {"/labels", "header"}},
    {"long labels", 0, 8 + N + 3, -1, 0, MODECONN_ERROR_FORMAT, {"/labels", "follow"}},
    {"label magic on images", 0, 0, 0, 0x801, MODECONN_ERROR_FORMAT, {"/images", "0x00000801"}},
    {"float images", 0, 0, 0, 0xD03, MODECONN_ERROR_FORMAT, {"/images", "0x00000d03"}},
    {"image magic on labels", 0, 0, 4, 0x803, MODECONN_ERROR_FORMAT, {"/labels", "0x00000803"}},
    {"no images", 0, 0, 1, 0, MODECONN_ERROR_FORMAT, {"/images", "dimension 0"}},
    {"no rows", 0, 0, 2, 0, MODECONN_ERROR_FORMAT, {"/images", "dimension 1"}},
    {"no columns", 0, 0, 3, 0, MODECONN_ERROR_FORMAT, {"/images", "dimension 2"}},
    {"more images announced", 0, 0, 1, N + 1, 0, {"/images", ""}},
    {"fewer images announced", 0, 0, 1, N - 1, MODECONN_ERROR_SHAPE, {"/images", "/labels"}},
    {"fewer labels announced", 0, 0, 5, N - 1, MODECONN_ERROR_SHAPE, {"/images", "/labels"}},
    {"more labels announced", 0, 0, 5, N + 2, 0, {"/labels", ""}},
    {"huge count", 0, 0, 1, 0xFFFFFFFF, MODECONN_ERROR_FORMAT, {"/images", "truncated"}},
    {"huge rows", 0, 0, 2, 0xFFFFFFFF, MODECONN_ERROR_FORMAT, {"/images", "truncated"}},
    {"huge label count", 0, 0, 5, 0xFFFFFFFF, MODECONN_ERROR_FORMAT, {"/labels", "truncated"}},
};

START_TEST(test_damaged)
{
    modeconn_context *context = context_of("threads=1");
    char spec[256];
    folder_make();
    spec_of(spec);
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const damage *d = &damages[i];
        pair p;
        good_pair(&p);
        if (d->word >= 0) {
            put32(d->word < 4 ? p.images + 4 * d->word : p.labels + 4 * (d->word - 4), d->value);
        }
        p.images_size = d->images_size > 0 ? d->images_size : p.images_size;
        p.labels_size = d->labels_size > 0 ? d->labels_size : p.labels_size;
        for (int zipped = 0; zipped < 2; zipped++) {
            write_pair(&p, zipped);
            modeconn_dataset *dataset = (modeconn_dataset *)(uintptr_t)1;
            int32_t status = modeconn_dataset_open(context, spec, "train", NULL, &dataset);
            const char *text = modeconn_last_error();
            /* Status 0: whether data or counts are found short first depends on the size. */
            bool expected = d->status != 0
                                ? status == d->status
                                : status == MODECONN_ERROR_FORMAT || status == MODECONN_ERROR_SHAPE;
            ck_assert_msg(expected, "%s%s: %s (%s)", d->what, zipped ? ", gz" : "",
                          modeconn_status_name(status), text);
            ck_assert_msg(strstr(text, d->culprit[0]) != NULL &&
                              strstr(text, d->culprit[1]) != NULL,
                          "%s%s: \"%s\"", d->what, zipped ? ", gz" : "", text);
            ck_assert_ptr_null(dataset);
        }
    }
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_not_files)
{
    modeconn_context *context = context_of("threads=1");
    char spec[300], path[128];
    pair p;
    folder_make();
    good_pair(&p);
    write_pair(&p, false);
    snprintf(spec, sizeof(spec), "idx:%s/none,%s/labels", folder, folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "/none");
    snprintf(spec, sizeof(spec), "idx:%s/images,%s/none", folder, folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "/none");
    snprintf(spec, sizeof(spec), "idx:%s,%s/labels", folder, folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "is a directory");
    file_put(folder_path("images"), "", 0);
    open_fails(context, spec_of(spec), "train", MODECONN_ERROR_FORMAT, "/images");
    file_put(folder_path("images"), "this is not a file of images at all", 35);
    open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, "magic 0x74686973");
    snprintf(path, sizeof(path), "%s/images", folder);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "/images: is a directory");
    open_fails(context, "idx:", "train", MODECONN_ERROR_ARGUMENT, "idx:IMAGES,LABELS");
    open_fails(context, "idx", "train", MODECONN_ERROR_ARGUMENT, "idx:IMAGES,LABELS");
    open_fails(context, "idx:a", "train", MODECONN_ERROR_ARGUMENT, "idx:a");
    open_fails(context, "idx:,b", "train", MODECONN_ERROR_ARGUMENT, "idx:,b");
    open_fails(context, "idx:a,", "train", MODECONN_ERROR_ARGUMENT, "idx:a,");
    open_fails(context, "idx:a,b,c", "train", MODECONN_ERROR_ARGUMENT, "commas");
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* A gzip stream cut anywhere, and one with any damaged byte, is an error or, where only bytes
 * that gzip does not check changed (time, system), still the right data. */
START_TEST(test_damaged_gz)
{
    modeconn_context *context = context_of("threads=1");
    char spec[256], path[128];
    static uint8_t stream[2 * PIXELS];
    pair p;
    folder_make();
    good_pair(&p);
    write_pair(&p, true);
    spec_of(spec);
    snprintf(path, sizeof(path), "%s/images", folder);
    FILE *file = fopen(path, "rb");
    ck_assert_ptr_nonnull(file);
    size_t size = fread(stream, 1, sizeof(stream), file);
    fclose(file);
    ck_assert(size > 100 && size < sizeof(stream));
    for (size_t cut = 0; cut < size; cut += cut < 40 || cut + 40 > size ? 1 : 61) {
        file_put(folder_path("images"), stream, cut);
        open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, "/images");
    }
    int refused = 0, tried = 0;
    for (size_t at = 0; at < size; at += at < 20 || at + 20 > size ? 1 : 97) {
        stream[at] ^= 0x5A;
        file_put(folder_path("images"), stream, size);
        modeconn_dataset *dataset = NULL;
        int32_t status = modeconn_dataset_open(context, spec, "train", NULL, &dataset);
        stream[at] ^= 0x5A;
        tried++;
        if (status == MODECONN_OK) {
            ck_assert_int_eq(dataset->store->u8[PIXELS - 1], pixel_at(PIXELS - 1));
            modeconn_dataset_destroy(dataset);
        } else {
            ck_assert_int_eq(status, MODECONN_ERROR_FORMAT);
            refused++;
        }
    }
    ck_assert_int_gt(refused, tried - 10);
    /* zlib reads ahead, so it meets the damage before the header is asked for. */
    char expected[200];
    snprintf(expected, sizeof(expected), "%s: damaged gzip stream: the data do not match their CRC",
             path);
    stream[size - 8] ^= 1;
    file_put(folder_path("images"), stream, size);
    open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, expected);
    stream[size - 8] ^= 1;
    snprintf(expected, sizeof(expected), "%s: damaged gzip stream: incorrect length check", path);
    stream[size - 4] ^= 1;
    file_put(folder_path("images"), stream, size);
    open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, expected);
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    char spec[256];
    pair p;
    folder_make();
    good_pair(&p);
    write_pair(&p, false);
    fail_each(&state, context, attempt_open, spec_of(spec), 10);
    file_put(folder_path("train-images-idx3-ubyte"), p.images, p.images_size);
    file_put_gz(folder_path("train-labels-idx1-ubyte.gz"), p.labels, p.labels_size);
    snprintf(spec, sizeof(spec), "fashion-mnist:%s", folder);
    fail_each(&state, context, attempt_open, spec, 11);
    folder_remove();
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

/* Counts, classes and the mean grey of 0.2860 that everybody finds; the first test labels. */
START_TEST(test_real_fashion_mnist)
{
    if (access("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", R_OK) != 0) {
        printf("skipped: no dataset-fashion-mnist\n");
        return;
    }
    static const int first[8] = {9, 2, 1, 1, 6, 1, 4, 6};
    modeconn_context *context = context_of("threads=1");
    for (int split = 0; split < 2; split++) {
        modeconn_dataset *dataset = NULL;
        OK(modeconn_dataset_open(context, "fashion-mnist", split == 0 ? "train" : "test", NULL,
                                 &dataset));
        int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
        OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
        ck_assert_int_eq(n, split == 0 ? 60000 : 10000);
        ck_assert(channels == 1 && height == 28 && width == 28 && classes == 10);
        int32_t *labels = labels_of(dataset);
        int64_t counts[10] = {0};
        for (int64_t i = 0; i < n; i++) {
            counts[labels[i]]++;
        }
        for (int c = 0; c < 10; c++) {
            ck_assert_int_eq(counts[c], n / 10);
        }
        for (int i = 0; i < 8 && split == 1; i++) {
            ck_assert_int_eq(labels[i], first[i]);
        }
        double sum = 0.0;
        for (int64_t i = 0; i < n * 784; i++) {
            sum += dataset->store->u8[i];
        }
        ck_assert_double_eq_tol(sum / (double)(n * 784) / 255.0, split == 0 ? 0.2860 : 0.2868,
                                1e-4);
        free(labels);
        modeconn_dataset_destroy(dataset);
    }
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_plain_and_gz);
    tcase_add_test(tests, test_fashion_folder);
    tcase_add_test(tests, test_damaged);
    tcase_add_test(tests, test_not_files);
    tcase_add_test(tests, test_damaged_gz);
    tcase_add_test(tests, test_failing_allocations);
    tcase_add_test(tests, test_real_fashion_mnist);
}

int main(void)
{
    return unit_run("data_idx", add);
}
