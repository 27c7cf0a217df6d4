/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Names of datasets and splits, and the opening of files.
 */
#include "data_test.h"
#include "folder.h"

START_TEST(test_names)
{
    modeconn_context *context = context_of("threads=1");
    open_fails(context, "imagenet:here", "train", MODECONN_ERROR_UNKNOWN, "\"imagenet\"");
    for (int64_t i = 0; i < mc_readers_count; i++) { /* the message lists what there is */
        open_fails(context, "", "train", MODECONN_ERROR_UNKNOWN, mc_readers[i].name);
        ck_assert(mc_readers[i].help != NULL && mc_readers[i].open != NULL);
    }
    open_fails(context, "shape", "train", MODECONN_ERROR_UNKNOWN, "\"shape\"");
    open_fails(context, "shapess", "train", MODECONN_ERROR_UNKNOWN, "\"shapess\"");
    open_fails(context, "shapes", "validation", MODECONN_ERROR_UNKNOWN, "validation");
    open_fails(context, "shapes", "", MODECONN_ERROR_UNKNOWN, "split");
    char lengthy[5000];
    memset(lengthy, 'x', sizeof(lengthy));
    lengthy[sizeof(lengthy) - 1] = '\0';
    open_fails(context, lengthy, "train", MODECONN_ERROR_UNKNOWN, "xxxx");
    modeconn_context_destroy(context);
}
END_TEST

START_TEST(test_file)
{
    char path[512];
    int fd = -1;
    int64_t size = -1;
    folder_make();
    file_put(folder_path("five"), "12345", 5);
    snprintf(path, sizeof(path), "%s/five", folder);
    OK(mc_data_file(path, &fd, &size));
    ck_assert_int_eq(size, 5);
    char text[8] = {0};
    ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
    ck_assert_str_eq(text, "12345");
    close(fd);
    FAILS(mc_data_file(folder, &fd, &size), MODECONN_ERROR_IO, "directory");
    FAILS(mc_data_file(folder, &fd, &size), MODECONN_ERROR_IO, folder);
    snprintf(path, sizeof(path), "%s/pipe", folder);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    FAILS(mc_data_file(path, &fd, &size), MODECONN_ERROR_IO, "regular"); /* and does not hang */
    snprintf(path, sizeof(path), "%s/none", folder);
    FAILS(mc_data_file(path, &fd, &size), MODECONN_ERROR_IO, path);
    folder_remove();
}
END_TEST

START_TEST(test_path)
{
    char *path = mc_data_path(NULL, "a/b", "c.bin");
    ck_assert_str_eq(path, "a/b/c.bin");
    mc_free(NULL, path);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_test(tests, test_names);
    tcase_add_test(tests, test_file);
    tcase_add_test(tests, test_path);
}

int main(void)
{
    return unit_run("data_readers", add);
}
