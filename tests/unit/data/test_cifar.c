/* SPDX-License-Identifier: BSD-3-Clause
 *
 * CIFAR-10 and CIFAR-100 binary files: order of files, layout of a record, every way to be wrong,
 * and the real subset where it is at hand.
 */
#include "data_test.h"
#include "folder.h"

enum { IMAGE = 3072, RECORD = 3073 };

static uint8_t byte_at(int first, int record, int p)
{
    return (uint8_t)(first * 50 + record * 11 + p * 7 + p / 251);
}

/* Records numbered from `first`, labels (first + i) % 10. */
static void write_batch(const char *name, int first, int records)
{
    uint8_t *data = calloc((size_t)records, RECORD);
    ck_assert_ptr_nonnull(data);
    for (int i = 0; i < records; i++) {
        data[i * RECORD] = (uint8_t)((first + i) % 10);
        for (int p = 0; p < IMAGE; p++) {
            data[i * RECORD + 1 + p] = byte_at(first, i, p);
        }
    }
    file_put(folder_path(name), data, (size_t)records * RECORD);
    free(data);
}

START_TEST(test_files_in_order)
{
    modeconn_context *context = context_of("threads=1");
    char spec[128];
    folder_make();
    snprintf(spec, sizeof(spec), "cifar10:%s", folder);
    /* Written in another order than they are to be read in; two gaps; some that do not count. */
    write_batch("data_batch_10.bin", 6, 3);
    write_batch("data_batch_2.bin", 4, 2);
    write_batch("data_batch_1.bin", 0, 4);
    write_batch("test_batch.bin", 7, 2);
    file_put(folder_path("data_batch_3.bin.part"), "x", 1);
    file_put(folder_path("data_batch_.bin"), "x", 1);
    file_put(folder_path("data_batch_x.bin"), "x", 1);
    file_put(folder_path("batches.meta.txt"), "airplane", 8);
    modeconn_dataset *train = NULL, *test = NULL;
    OK(modeconn_dataset_open(context, spec, "train", NULL, &train));
    OK(modeconn_dataset_open(context, spec, "test", NULL, &test));
    int64_t n = 0, channels = 0, height = 0, width = 0, classes = 0;
    OK(modeconn_dataset_shape(train, &n, &channels, &height, &width, &classes));
    ck_assert(n == 9 && channels == 3 && height == 32 && width == 32 && classes == 10);
    int32_t *labels = labels_of(train);
    static const int firsts[9] = {0, 0, 0, 0, 4, 4, 6, 6, 6};
    static const int records[9] = {0, 1, 2, 3, 0, 1, 0, 1, 2};
    for (int i = 0; i < 9; i++) {
        ck_assert_int_eq(labels[i], firsts[i] + records[i]);
        for (int p = 0; p < IMAGE; p++) {
            ck_assert_int_eq(train->store->u8[i * IMAGE + p], byte_at(firsts[i], records[i], p));
        }
    }
    free(labels);
    OK(modeconn_dataset_shape(test, &n, NULL, NULL, NULL, NULL));
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(test->store->labels[1], 8);
    ck_assert_str_eq(test->store->source, "cifar10");
    ck_assert_str_eq(test->store->split, "test");
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_damaged)
{
    modeconn_context *context = context_of("threads=1");
    char spec[128], path[128];
    uint8_t records[3 * RECORD] = {0};
    folder_make();
    snprintf(spec, sizeof(spec), "cifar10:%s", folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "no data_batch_*.bin");
    open_fails(context, spec, "train", MODECONN_ERROR_IO, folder);
    open_fails(context, spec, "test", MODECONN_ERROR_IO, "test_batch.bin");
    write_batch("data_batch_1.bin", 0, 2);
    static const size_t sizes[] = {0, 1, RECORD - 1, RECORD + 1, 3 * RECORD - 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        char cut[32];
        snprintf(cut, sizeof(cut), "record %d", (int)(sizes[i] / RECORD));
        file_put(folder_path("data_batch_2.bin"), records, sizes[i]);
        open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, "data_batch_2.bin");
        open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, cut);
    }
    records[2 * RECORD] = 10;
    file_put(folder_path("data_batch_2.bin"), records, sizeof(records));
    open_fails(context, spec, "train", MODECONN_ERROR_FORMAT,
               "data_batch_2.bin: record 2: label 10");
    records[RECORD] = 255;
    file_put(folder_path("test_batch.bin"), records, sizeof(records));
    open_fails(context, spec, "test", MODECONN_ERROR_FORMAT, "test_batch.bin: record 1: label 255");
    snprintf(path, sizeof(path), "%s/data_batch_2.bin", folder);
    ck_assert_int_eq(remove(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "data_batch_2.bin: is a directory");
    snprintf(spec, sizeof(spec), "cifar10:%s/data_batch_1.bin", folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "data_batch_1.bin");
    open_fails(context, "cifar10:/nowhere/at/all", "train", MODECONN_ERROR_IO, "/nowhere/at/all");
    open_fails(context, "cifar10", "train", MODECONN_ERROR_ARGUMENT, "cifar10:DIR");
    open_fails(context, "cifar10:", "test", MODECONN_ERROR_ARGUMENT, "cifar10:DIR");
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_failing_allocations)
{
    failing state;
    modeconn_context *context = failing_context(&state);
    char spec[128], name[32];
    folder_make();
    for (int i = 1; i <= 10; i++) { /* more files than the list first has room for */
        snprintf(name, sizeof(name), "data_batch_%d.bin", i);
        write_batch(name, i, 1);
    }
    snprintf(spec, sizeof(spec), "cifar10:%s", folder);
    fail_each(&state, context, attempt_open, spec, 19);
    folder_remove();
    modeconn_context_destroy(context);
    ck_assert_int_eq(atomic_load(&state.live), 0);
}
END_TEST

/* Against the bytes of the file itself. */
START_TEST(test_real_subset)
{
    const char *shared = getenv("MODECONN_SHARED_DATA");
    char spec[512], path[512];
    snprintf(path, sizeof(path), "%s/cifar-10-subset/test_batch.bin", shared == NULL ? "" : shared);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        printf("skipped: no cifar-10-subset\n");
        return;
    }
    modeconn_context *context = context_of("threads=1");
    modeconn_dataset *train = NULL, *test = NULL;
    snprintf(spec, sizeof(spec), "cifar10:%s/cifar-10-subset", shared);
    OK(modeconn_dataset_open(context, spec, "train", NULL, &train));
    OK(modeconn_dataset_open(context, spec, "test", NULL, &test));
    ck_assert_int_eq(train->n, 10000);
    ck_assert_int_eq(test->n, 2000);
    uint8_t record[RECORD];
    for (int i = 0; i < 2000; i++) {
        ck_assert_uint_eq(fread(record, 1, RECORD, file), RECORD);
        ck_assert_int_eq(test->store->labels[i], record[0]);
        ck_assert_mem_eq(test->store->u8 + (size_t)i * IMAGE, record + 1, IMAGE);
    }
    fclose(file);
    int64_t counts[10] = {0};
    for (int i = 0; i < 10000; i++) {
        counts[train->store->labels[i]]++;
    }
    for (int c = 0; c < 10; c++) {
        ck_assert(counts[c] > 850 && counts[c] < 1150);
    }
    modeconn_dataset_destroy(test);
    modeconn_dataset_destroy(train);
    modeconn_context_destroy(context);
}
END_TEST

/* Records of CIFAR-100: coarse label i % 20, fine label (7 i) % 100. */
static void write_hundred(const char *name, int records)
{
    uint8_t *data = calloc((size_t)records, RECORD + 1);
    ck_assert_ptr_nonnull(data);
    for (int i = 0; i < records; i++) {
        uint8_t *record = data + i * (RECORD + 1);
        record[0] = (uint8_t)(i % 20);
        record[1] = (uint8_t)(7 * i % 100);
        for (int p = 0; p < IMAGE; p++) {
            record[2 + p] = byte_at(9, i, p);
        }
    }
    file_put(folder_path(name), data, (size_t)records * (RECORD + 1));
    free(data);
}

START_TEST(test_hundred)
{
    modeconn_context *context = context_of("threads=1");
    char spec[128];
    folder_make();
    snprintf(spec, sizeof(spec), "cifar100:%s", folder);
    write_hundred("train.bin", 40);
    write_hundred("test.bin", 3);
    for (int coarse = 0; coarse < 2; coarse++) {
        modeconn_options *options = options_of("dataset", coarse ? "labels=coarse" : "");
        modeconn_dataset *train = NULL, *test = NULL;
        OK(modeconn_dataset_open(context, spec, "train", options, &train));
        OK(modeconn_dataset_open(context, spec, "test", options, &test));
        ck_assert(train->n == 40 && test->n == 3);
        ck_assert_int_eq(train->store->classes, coarse ? 20 : 100);
        ck_assert_str_eq(train->store->source, coarse ? "cifar100:coarse" : "cifar100");
        for (int i = 0; i < 40; i++) {
            ck_assert_int_eq(train->store->labels[i], coarse ? i % 20 : 7 * i % 100);
            for (int p = 0; p < IMAGE; p++) {
                ck_assert_int_eq(train->store->u8[i * IMAGE + p], byte_at(9, i, p));
            }
        }
        modeconn_dataset_destroy(test);
        modeconn_dataset_destroy(train);
        modeconn_options_destroy(options);
    }
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_hundred_damaged)
{
    modeconn_context *context = context_of("threads=1");
    char spec[128];
    uint8_t records[2 * (RECORD + 1)] = {0};
    folder_make();
    snprintf(spec, sizeof(spec), "cifar100:%s", folder);
    open_fails(context, spec, "train", MODECONN_ERROR_IO, "train.bin");
    static const size_t sizes[] = {0, 1, RECORD, RECORD + 2, 2 * RECORD};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        file_put(folder_path("train.bin"), records, sizes[i]);
        open_fails(context, spec, "train", MODECONN_ERROR_FORMAT, "train.bin");
    }
    records[RECORD + 1] = 20; /* the coarse label, also where it is not asked for */
    file_put(folder_path("test.bin"), records, sizeof(records));
    open_fails(context, spec, "test", MODECONN_ERROR_FORMAT, "test.bin: record 1: label 20");
    records[RECORD + 1] = 19;
    records[RECORD + 2] = 100;
    file_put(folder_path("test.bin"), records, sizeof(records));
    open_fails(context, spec, "test", MODECONN_ERROR_FORMAT, "record 1: label 100, expected 0..99");
    open_fails(context, "cifar100:", "test", MODECONN_ERROR_ARGUMENT, "cifar100:DIR");
    open_fails(context, "cifar100:/nowhere", "test", MODECONN_ERROR_IO, "/nowhere/test.bin");
    folder_remove();
    modeconn_context_destroy(context);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_files_in_order);
    tcase_add_test(tests, test_damaged);
    tcase_add_test(tests, test_failing_allocations);
    tcase_add_test(tests, test_real_subset);
    tcase_add_test(tests, test_hundred);
    tcase_add_test(tests, test_hundred_damaged);
}

int main(void)
{
    return unit_run("data_cifar", add);
}
