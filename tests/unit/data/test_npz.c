/* SPDX-License-Identifier: BSD-3-Clause
 *
 * NumPy's .npz archives, made with libzip: stored and deflated members, the names of arrays by
 * split, damaged and missing ones. What an array may hold is in test_npy.c.
 */
#include "data_test.h"
#include "folder.h"
#include <zip.h>

enum { VALUES = 256 };

/* A .npy of uint8 in `to`: header, then values i + first, n of them. */
static size_t npy_of(uint8_t *to, const char *shape, int first, int n)
{
    char text[119];
    memset(text, ' ', sizeof(text));
    int length = snprintf(text, sizeof(text),
                          "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shape);
    text[length] = ' ';
    memcpy(to, "\x93NUMPY\x01\x00\x76\x00", 10);
    memcpy(to + 10, text, 117);
    to[127] = '\n';
    for (int i = 0; i < n; i++) {
        to[128 + i] = (uint8_t)(first + i);
    }
    return (size_t)(128 + n);
}

typedef struct member {
    const char *name, *shape;
    int first, n;
} member;

/* An archive of these members, the last name NULL. */
static void put_npz(const char *path, const member *members, bool deflated)
{
    int error = 0;
    zip_t *zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &error);
    ck_assert_ptr_nonnull(zip);
    for (; members->name != NULL; members++) {
        uint8_t *bytes = malloc(128 + VALUES);
        size_t size = npy_of(bytes, members->shape, members->first, members->n);
        zip_source_t *source = zip_source_buffer(zip, bytes, size, 1);
        zip_int64_t index = zip_file_add(zip, members->name, source, 0);
        ck_assert_int_ge(index, 0);
        zip_set_file_compression(zip, (zip_uint64_t)index, deflated ? ZIP_CM_DEFLATE : ZIP_CM_STORE,
                                 0);
    }
    ck_assert_int_eq(zip_close(zip), 0);
}

static const member plain[] = {
    {"x.npy", "(3, 2, 2)", 10, 12}, {"y.npy", "(3,)", 0, 3}, {.name = NULL}};

static const char *spec_of(const char *name)
{
    static char spec[FOLDER_PATH + 8];
    snprintf(spec, sizeof(spec), "npz:%s", folder_path(name));
    return spec;
}

START_TEST(test_reads)
{
    modeconn_context *context = context_of("threads=1");
    static const member others[] = {{"labels.npy", "(3,)", 1, 3},
                                    {"notes.txt", "(1,)", 0, 1},
                                    {"images.npy", "(3, 4)", 10, 12},
                                    {.name = NULL}};
    folder_make();
    for (int k = 0; k < 4; k++) {
        modeconn_dataset *dataset = NULL;
        put_npz(folder_path("a.npz"), k < 2 ? plain : others, k % 2);
        OK(modeconn_dataset_open(context, spec_of("a.npz"), k % 2 ? "train" : "test", NULL,
                                 &dataset));
        ck_assert(dataset->n == 3 && dataset->store->classes == (k < 2 ? 3 : 4));
        ck_assert_str_eq(dataset->store->source, spec_of("a.npz"));
        for (int i = 0; i < 12; i++) {
            ck_assert_int_eq(dataset->store->u8[i], 10 + i);
        }
        modeconn_dataset_destroy(dataset);
    }
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* Arrays of a split's own go before those of either. */
START_TEST(test_splits)
{
    modeconn_context *context = context_of("threads=1");
    static const member both[] = {{"x.npy", "(1, 2)", 0, 2},
                                  {"y.npy", "(1,)", 0, 1},
                                  {"x_train.npy", "(2, 2)", 50, 4},
                                  {"y_train.npy", "(2,)", 0, 2},
                                  {"x_test.npy", "(1, 2)", 90, 2},
                                  {"y_test.npy", "(1,)", 1, 1},
                                  {.name = NULL}};
    modeconn_dataset *train = NULL, *test = NULL;
    folder_make();
    put_npz(folder_path("a.npz"), both, true);
    OK(modeconn_dataset_open(context, spec_of("a.npz"), "train", NULL, &train));
    OK(modeconn_dataset_open(context, spec_of("a.npz"), "test", NULL, &test));
    ck_assert(train->n == 2 && train->store->u8[0] == 50);
    ck_assert(test->n == 1 && test->store->u8[0] == 90 && test->store->labels[0] == 1);
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_missing)
{
    modeconn_context *context = context_of("threads=1");
    static const member no_labels[] = {{"x.npy", "(1, 2)", 0, 2}, {.name = NULL}};
    static const member no_images[] = {
        {"y.npy", "(1,)", 0, 1}, {"X.npy", "(1, 2)", 0, 2}, {.name = NULL}};
    static const member wrong[] = {
        {"x.npy", "(1, 2)", 0, 2}, {"y.npy", "(9,)", 0, 1}, {.name = NULL}};
    folder_make();
    put_npz(folder_path("a.npz"), no_labels, false);
    open_fails(context, spec_of("a.npz"), "train", MODECONN_ERROR_UNKNOWN, "y_train, y or labels");
    put_npz(folder_path("a.npz"), no_images, false);
    open_fails(context, spec_of("a.npz"), "test", MODECONN_ERROR_UNKNOWN, "x_test, x or images");
    put_npz(folder_path("a.npz"), wrong, false);
    open_fails(context, spec_of("a.npz"), "test", MODECONN_ERROR_FORMAT, "a.npz: y.npy: 1 bytes");
    open_fails(context, "npz:/nowhere.npz", "train", MODECONN_ERROR_IO, "/nowhere.npz");
    open_fails(context, "npz:", "train", MODECONN_ERROR_ARGUMENT, "npz:FILE");
    open_fails(context, spec_of("."), "train", MODECONN_ERROR_IO, "directory");
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

/* Cut anywhere: refused, naming the file. One byte changed anywhere: refused, or read as it was
 * (a time, an attribute: nothing that the data hang on). */
START_TEST(test_damaged)
{
    modeconn_context *context = context_of("threads=1");
    folder_make();
    for (int deflated = 0; deflated < 2; deflated++) {
        size_t size = 0;
        put_npz(folder_path("a.npz"), plain, deflated);
        char *good = file_get(folder_path("a.npz"), &size);
        for (size_t cut = 0; cut < size; cut += 1 + cut / 40) {
            file_put(folder_path("b.npz"), good, cut);
            open_fails(context, spec_of("b.npz"), "train", MODECONN_ERROR_FORMAT, "b.npz");
        }
        for (size_t at = 0; at < size; at++) {
            modeconn_dataset *dataset = NULL;
            good[at] = (char)(good[at] ^ 0x55);
            file_put(folder_path("b.npz"), good, size);
            good[at] = (char)(good[at] ^ 0x55);
            int32_t status =
                modeconn_dataset_open(context, spec_of("b.npz"), "train", NULL, &dataset);
            ck_assert((status == MODECONN_OK) == (dataset != NULL));
            if (status == MODECONN_OK) {
                for (int i = 0; i < 12; i++) {
                    ck_assert_int_eq(dataset->store->u8[i], 10 + i);
                }
            } else {
                ck_assert(status == MODECONN_ERROR_FORMAT || status == MODECONN_ERROR_UNKNOWN);
                ck_assert_ptr_nonnull(strstr(modeconn_last_error(), "b.npz"));
            }
            modeconn_dataset_destroy(dataset);
        }
        free(good);
    }
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    folder_make();
    put_npz(folder_path("a.npz"), plain, true);
    fail_each(&state, context, attempt_open, spec_of("a.npz"), 9);
    folder_remove();
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_reads);
    tcase_add_test(tests, test_splits);
    tcase_add_test(tests, test_missing);
    tcase_add_test(tests, test_damaged);
    tcase_add_test(tests, test_failing_allocations);
}

int main(void)
{
    return unit_run("data_npz", add);
}
