/* SPDX-License-Identifier: BSD-3-Clause
 *
 * NumPy's .npy files written here byte by byte: every type, order and version, shapes, and every
 * way to be wrong.
 */
#include "data_test.h"
#include "folder.h"
#include <math.h>

enum { LARGEST = 4096 };

/* A file in memory. */
typedef struct npy {
    uint8_t bytes[LARGEST];
    size_t size;
} npy;

/* A header of `version` with this dictionary, padded as NumPy does. */
static npy header(int version, const char *dictionary)
{
    npy file = {{0}, 0};
    size_t fixed = version == 1 ? 10 : 12, length = strlen(dictionary) + 1;
    while ((fixed + length) % 64 != 0) {
        length++;
    }
    memcpy(file.bytes, "\x93NUMPY", 6);
    file.bytes[6] = (uint8_t)version;
    file.bytes[8] = (uint8_t)(length & 255);
    file.bytes[9] = (uint8_t)(length >> 8);
    memset(file.bytes + fixed, ' ', length);
    memcpy(file.bytes + fixed, dictionary, strlen(dictionary));
    file.bytes[fixed + length - 1] = '\n';
    file.size = fixed + length;
    return file;
}

static void append(npy *file, double value, const char *type)
{
    uint8_t raw[8] = {0};
    int width = type[2] - '0';
    float single = (float)value;
    int64_t whole = (int64_t)value;
    if (type[1] == 'f' && width == 4) {
        memcpy(raw, &single, 4);
    } else if (type[1] == 'f') {
        memcpy(raw, &value, 8);
    } else {
        memcpy(raw, &whole, 8); /* of a little-endian machine, as this test assumes below */
    }
    for (int b = 0; b < width; b++) {
        file->bytes[file->size++] = raw[type[0] == '>' ? width - 1 - b : b];
    }
}

static npy array(int version, const char *type, bool fortran, const char *shape,
                 const double *values, int count)
{
    char dictionary[200];
    snprintf(dictionary, sizeof(dictionary), "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }",
             type, fortran ? "True" : "False", shape);
    npy file = header(version, dictionary);
    for (int i = 0; i < count; i++) {
        append(&file, values[i], type);
    }
    return file;
}

static void put(const char *name, const npy *file)
{
    file_put(folder_path(name), file->bytes, file->size);
}

static const char *spec_of(const char *images, const char *labels)
{
    static char spec[2 * FOLDER_PATH + 8];
    snprintf(spec, sizeof(spec), "npy:%s,%s", folder_path(images), folder_path(labels));
    return spec;
}

static const double six[6] = {0, 1, 2, 3, 0, 1};

/* Two images of 1x3 and their labels, through every type. */
static void read_types(modeconn_context *context, const char *images, const char *labels,
                       int version)
{
    static const double pixels[6] = {0, 127, 3, 1, 2, 100};
    npy x = array(version, images, false, "(2, 1, 1, 3)", pixels, 6);
    npy y = array(version, labels, false, "(2,)", six + 1, 2);
    modeconn_dataset *dataset = NULL;
    put("x", &x);
    put("y", &y);
    OK(modeconn_dataset_open(context, spec_of("x", "y"), "test", NULL, &dataset));
    int32_t *got_labels = labels_of(dataset);
    ck_assert_int_eq(dataset->store->classes, 3);
    ck_assert(got_labels[0] == 1 && got_labels[1] == 2);
    for (int i = 0; i < 6; i++) {
        if (images[1] == 'f') {
            ck_assert((double)dataset->store->f32[i] == pixels[i]);
        } else {
            ck_assert_int_eq(dataset->store->u8[i], (int)pixels[i]);
        }
    }
    free(got_labels);
    modeconn_dataset_destroy(dataset);
}

START_TEST(test_types)
{
    static const char *const types[] = {"|u1", "|i1", "<u2", ">u2", "<i2", ">i2",
                                        "<u4", ">u4", "<i4", ">i4", "<u8", ">u8",
                                        "<i8", ">i8", "<f4", ">f4", "<f8", ">f8"};
    enum { TYPES = sizeof(types) / sizeof(types[0]) };
    modeconn_context *context = context_of("threads=1");
    folder_make();
    for (int t = 0; t < TYPES; t++) {
        read_types(context, types[t], types[(t + 5) % TYPES], 1 + t % 3);
    }
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* [2][2][2][3] with value = position in C order, in both orders; [n][H][W] and [n][d]; booleans. */
START_TEST(test_shapes_and_order)
{
    modeconn_context *context = context_of("threads=1");
    double c_order[24], fortran[24];
    for (int i = 0; i < 24; i++) {
        int a = i / 12, b = i / 6 % 2, c = i / 3 % 2, d = i % 3;
        c_order[i] = i;
        fortran[a + 2 * (b + 2 * (c + 2 * d))] = i;
    }
    static const struct {
        const char *shape;
        int64_t n, channels, height, width;
    } cases[] = {
        {"(2, 2, 2, 3)", 2, 2, 2, 3}, {"(4,2,3)", 4, 1, 2, 3}, {"( 2 , 12 )", 2, 12, 1, 1}};
    folder_make();
    for (int k = 0; k < 3; k++) {
        npy x = array(1, "<f4", false, cases[k].shape, c_order, 24);
        char shape[16];
        snprintf(shape, sizeof(shape), "(%d, 1)", (int)cases[k].n);
        npy y = array(1, "|b1", false, shape, (const double[]){0, 1, 1, 0}, (int)cases[k].n);
        modeconn_dataset *dataset = NULL;
        put("x", &x);
        put("y", &y);
        OK(modeconn_dataset_open(context, spec_of("x", "y"), "train", NULL, &dataset));
        int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
        OK(modeconn_dataset_shape(dataset, &n, &channels, &height, &width, &classes));
        ck_assert(n == cases[k].n && channels == cases[k].channels && height == cases[k].height &&
                  width == cases[k].width && classes == 2);
        float *got = images_of(dataset);
        for (int i = 0; i < 24; i++) {
            ck_assert(got[i] == (float)i);
        }
        free(got);
        modeconn_dataset_destroy(dataset);
    }
    npy x = array(2, "<f8", true, "(2, 2, 2, 3)", fortran, 24);
    npy y = array(3, "<i8", true, "(2,)", six, 2);
    modeconn_dataset *dataset = NULL;
    put("x", &x);
    put("y", &y);
    OK(modeconn_dataset_open(context, spec_of("x", "y"), "train", NULL, &dataset));
    float *got = images_of(dataset);
    for (int i = 0; i < 24; i++) {
        ck_assert(got[i] == (float)i);
    }
    free(got);
    modeconn_dataset_destroy(dataset);
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* As others may write it: other order of keys, double quotes, no trailing comma. */
START_TEST(test_other_writers)
{
    npy file = header(1, "{\"shape\":(3,),\"descr\":\"<i4\",\"fortran_order\":False}");
    mc_npy out;
    for (int i = 0; i < 3; i++) {
        append(&file, i, "<i4");
    }
    OK(mc_npy_parse("it", file.bytes, (int64_t)file.size, &out));
    ck_assert(out.rank == 1 && out.count == 3 && out.kind == 'i' && out.width == 4);
}
END_TEST

START_TEST(test_bad_headers)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "{'descr': '<f4', 'fortran_order': False, }",
        "{'descr': '<f4', 'shape': (1,), }",
        "{'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1, }",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), } extra",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': 1, }",
        "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '=f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '|f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4",
        "{'descr': '<f4444444444444', 'fortran_order': False, 'shape': (1,), }",
    };
    mc_npy out;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        npy file = header(1, bad[i]);
        memset(file.bytes + file.size, 0, 4);
        ck_assert_msg(mc_npy_parse("it", file.bytes, (int64_t)file.size + 4, &out) < 0, "%s",
                      bad[i]);
        FAILS(mc_npy_parse("it", file.bytes, (int64_t)file.size + 4, &out), MODECONN_ERROR_FORMAT,
              "it: cannot read the");
    }
}
END_TEST

START_TEST(test_damaged)
{
    npy good = array(1, "<f4", false, "(2, 3)", six, 6), file = good;
    mc_npy out;
    OK(mc_npy_parse("it", good.bytes, (int64_t)good.size, &out));
    for (int64_t size = 0; size < (int64_t)good.size; size++) { /* cut anywhere */
        uint8_t *copy = malloc((size_t)size + 1);
        memcpy(copy, good.bytes, (size_t)size);
        FAILS(mc_npy_parse("it", copy, size, &out), MODECONN_ERROR_FORMAT, "it: ");
        free(copy);
    }
    file.size++;
    FAILS(mc_npy_parse("it", file.bytes, (int64_t)file.size, &out), MODECONN_ERROR_FORMAT, "fewer");
    file = good;
    file.bytes[0] = 'N';
    FAILS(mc_npy_parse("it", file.bytes, (int64_t)file.size, &out), MODECONN_ERROR_FORMAT,
          "not an");
    for (int version = 0; version < 256; version++) {
        file = good;
        file.bytes[6] = (uint8_t)version;
        if (version < 1 || version > 3) {
            FAILS(mc_npy_parse("it", file.bytes, (int64_t)file.size, &out), MODECONN_ERROR_FORMAT,
                  "version");
        }
    }
    file = good;
    file.bytes[9] = 255; /* a header longer than the file */
    FAILS(mc_npy_parse("it", file.bytes, (int64_t)file.size, &out), MODECONN_ERROR_FORMAT,
          "truncated in the header");
    npy huge = array(1, "<f8", false, "(4000000000, 4000000000, 4000000000)", six, 6);
    FAILS(mc_npy_parse("it", huge.bytes, (int64_t)huge.size, &out), MODECONN_ERROR_FORMAT, "more");
}
END_TEST

static void refused(modeconn_context *context, const npy *x, const npy *y, int32_t status,
                    const char *culprit)
{
    put("x.npy", x);
    put("y.npy", y);
    open_fails(context, spec_of("x.npy", "y.npy"), "train", status, culprit);
}

START_TEST(test_values)
{
    modeconn_context *context = context_of("threads=1");
    folder_make();
    npy x = array(1, "<f8", false, "(2, 3)", six, 6), y = array(1, "<i4", false, "(2,)", six, 2);
    npy bad = array(1, "<f8", false, "(2, 3)", (const double[]){0, 0, 0, 0, NAN, 0}, 6);
    refused(context, &bad, &y, MODECONN_ERROR_FORMAT, "x.npy: sample 1: value 1 is nan");
    bad = array(1, "<f8", false, "(2, 3)", (const double[]){0, 0, 0, 0, 0, 1e300}, 6);
    refused(context, &bad, &y, MODECONN_ERROR_FORMAT, "sample 1: value 2 is 1e+300");
    bad = array(1, "<i2", false, "(2, 3)", (const double[]){0, 256, 0, 0, 0, 0}, 6);
    refused(context, &bad, &y, MODECONN_ERROR_FORMAT, "is 256, expected 0..255");
    bad = array(1, ">i2", false, "(2, 3)", (const double[]){0, 0, 0, -1, 0, 0}, 6);
    refused(context, &bad, &y, MODECONN_ERROR_FORMAT, "sample 1: value 0 is -1, expected 0..255");
    static const double labels[][2] = {{0, -1}, {0, 0.5}, {0, NAN}, {0, 3e9}, {0, 1e6}};
    static const char *const shown[] = {"label -1", "label 0.5", "label nan", "label 3e+09",
                                        "label 1000000 among only 2"};
    for (int i = 0; i < 5; i++) {
        bad = array(1, "<f8", false, "(2,)", labels[i], 2);
        refused(context, &x, &bad, MODECONN_ERROR_FORMAT, shown[i]);
        refused(context, &x, &bad, MODECONN_ERROR_FORMAT, "y.npy");
    }
    bad = array(1, "<i4", false, "(3,)", six, 3);
    refused(context, &x, &bad, MODECONN_ERROR_SHAPE, "3 labels");
    bad = array(1, "<i4", false, "(1,2)", six, 2);
    refused(context, &x, &bad, MODECONN_ERROR_SHAPE, "rank 2");
    refused(context, &y, &y, MODECONN_ERROR_SHAPE, "rank 1");
    open_fails(context, "npy:/nowhere,/at/all", "train", MODECONN_ERROR_IO, "/nowhere");
    open_fails(context, "npy:x", "train", MODECONN_ERROR_ARGUMENT, "npy:IMAGES,LABELS");
    bad = (npy){{0}, 0};
    refused(context, &bad, &y, MODECONN_ERROR_FORMAT, "x.npy");
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    folder_make();
    npy x = array(1, "|u1", false, "(2, 3)", six, 6), y = array(1, "<i4", false, "(2,)", six, 2);
    put("x", &x);
    put("y", &y);
    fail_each(&state, context, attempt_open, spec_of("x", "y"), 8);
    folder_remove();
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_types);
    tcase_add_test(tests, test_shapes_and_order);
    tcase_add_test(tests, test_other_writers);
    tcase_add_test(tests, test_bad_headers);
    tcase_add_test(tests, test_damaged);
    tcase_add_test(tests, test_values);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_npy", add);
}
