/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Tests of lib/io/file.c: what is written arrives whole, what was there survives every failure,
 * and nothing is left behind.
 */
#include "unit.h"
#include "folder.h"
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

static void assert_content(const char *path, const char *expected)
{
    size_t size = 0;
    char *text = file_get(path, &size);
    ck_assert_str_eq(text, expected);
    ck_assert_uint_eq(size, strlen(expected));
    free(text);
}

static mode_t permissions(const char *path)
{
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    return info.st_mode & 07777;
}

START_TEST(test_text_is_saved_and_replaced)
{
    OK(modeconn_text_save(folder_path("a.json"), "{}\n"));
    assert_content(folder_path("a.json"), "{}\n");
    OK(modeconn_text_save(folder_path("a.json"), "longer than before"));
    assert_content(folder_path("a.json"), "longer than before");
    OK(modeconn_text_save(folder_path("a.json"), ""));
    assert_content(folder_path("a.json"), "");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_relative_path_and_longest_name)
{
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    ck_assert_int_eq(chdir(folder), 0);
    OK(modeconn_text_save("plain", "x"));
    OK(modeconn_text_save(name, "y"));
    assert_content("plain", "x");
    assert_content(name, "y");
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(folder_count(), 2);
}
END_TEST

START_TEST(test_null_arguments)
{
    FAILS(modeconn_text_save(NULL, "x"), MODECONN_ERROR_ARGUMENT, "path");
    FAILS(modeconn_text_save("x", NULL), MODECONN_ERROR_ARGUMENT, "text");
    mc_writer_abort(NULL);
}
END_TEST

START_TEST(test_permissions_follow_the_umask)
{
    mode_t before = umask(027);
    OK(modeconn_text_save(folder_path("new"), "x"));
    ck_assert_uint_eq(umask(before), 027); /* and the umask itself is as it was */
    ck_assert_uint_eq(permissions(folder_path("new")), 0640);
}
END_TEST

START_TEST(test_permissions_of_a_replaced_file_are_kept)
{
    file_put(folder_path("private"), "old", 3);
    ck_assert_int_eq(chmod(folder_path("private"), 0600), 0);
    OK(modeconn_text_save(folder_path("private"), "new"));
    ck_assert_uint_eq(permissions(folder_path("private")), 0600);
    assert_content(folder_path("private"), "new");
}
END_TEST

START_TEST(test_symbolic_links_are_followed)
{
    file_put(folder_path("real"), "old", 3);
    ck_assert_int_eq(symlink("real", folder_path("link")), 0);
    OK(modeconn_text_save(folder_path("link"), "new"));
    struct stat info;
    ck_assert_int_eq(lstat(folder_path("link"), &info), 0);
    ck_assert(S_ISLNK(info.st_mode));
    assert_content(folder_path("real"), "new");

    ck_assert_int_eq(symlink("nowhere", folder_path("dangling")), 0);
    FAILS(modeconn_text_save(folder_path("dangling"), "x"), MODECONN_ERROR_IO, "dangling");
    ck_assert_int_eq(folder_count(), 3);
}
END_TEST

/* What /proc/self/fd/N leads to is then "folder/gone (deleted)", another name. */
START_TEST(test_a_file_without_a_name_is_refused)
{
    char path[64];
    int fd = open(folder_path("gone"), O_RDWR | O_CREAT, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(unlink(folder_path("gone")), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    FAILS(modeconn_text_save(path, "x"), MODECONN_ERROR_IO, path);
    ck_assert_int_eq(folder_count(), 0);
    file_put(folder_path("gone (deleted)"), "somebody else's", 15);
    FAILS(modeconn_text_save(path, "x"), MODECONN_ERROR_IO, path);
    assert_content(folder_path("gone (deleted)"), "somebody else's");
    close(fd);
}
END_TEST

START_TEST(test_bad_places)
{
    file_put(folder_path("file"), "x", 1);
    FAILS(modeconn_text_save(folder_path("no/such"), "x"), MODECONN_ERROR_IO, "no/such");
    FAILS(modeconn_text_save(folder_path("no/such"), "x"), MODECONN_ERROR_IO,
          "No such file or directory");
    FAILS(modeconn_text_save(folder_path("file/below"), "x"), MODECONN_ERROR_IO, "file/below");
    FAILS(modeconn_text_save(folder, "x"), MODECONN_ERROR_IO, "Is a directory");
    FAILS(modeconn_text_save(folder_path("slash/"), "x"), MODECONN_ERROR_IO, "slash/");
    FAILS(modeconn_text_save("", "x"), MODECONN_ERROR_IO, "\"\"");
    FAILS(modeconn_text_save("/proc/modeconn", "x"), MODECONN_ERROR_IO, "/proc/modeconn");
    char name[300];
    memset(name, 'n', 256);
    name[256] = '\0';
    FAILS(modeconn_text_save(folder_path(name), "x"), MODECONN_ERROR_IO, "nnn");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_no_write_permission)
{
    if (geteuid() == 0) {
        printf("skipped: permissions do not bind the superuser\n");
        return;
    }
    file_put(folder_path("protected"), "old", 3);
    ck_assert_int_eq(chmod(folder_path("protected"), 0444), 0);
    FAILS(modeconn_text_save(folder_path("protected"), "new"), MODECONN_ERROR_IO, "protected");
    assert_content(folder_path("protected"), "old");
    ck_assert_int_eq(chmod(folder, 0555), 0);
    FAILS(modeconn_text_save(folder_path("new"), "x"), MODECONN_ERROR_IO, "Permission denied");
    ck_assert_int_eq(chmod(folder, 0755), 0);
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_devices_are_written_to_and_not_replaced)
{
    OK(modeconn_text_save("/dev/null", "gone"));
    struct stat info;
    ck_assert_int_eq(stat("/dev/null", &info), 0);
    ck_assert(S_ISCHR(info.st_mode));
    FAILS(modeconn_text_save("/dev/full", "x"), MODECONN_ERROR_IO, "No space left on device");
    FAILS(modeconn_text_save("/dev/full", "x"), MODECONN_ERROR_IO, "/dev/full");

    char link[64];
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", ends[1]);
    OK(modeconn_text_save(link, "through"));
    char got[8] = "";
    ck_assert_int_eq(read(ends[0], got, sizeof(got)), 7);
    ck_assert_mem_eq(got, "through", 7);
    close(ends[0]);
    close(ends[1]);
}
END_TEST

/* A full disk, played by the limit on a file's size: the write that crosses it is short, the next
 * one fails. The old file stays, the temporary one goes, and commit fails like the write did. */
START_TEST(test_full_disk_keeps_the_old_file)
{
    static const char block[4096];
    struct rlimit before, small;
    file_put(folder_path("model"), "old", 3);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 10000;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);

    mc_writer *writer = NULL;
    OK(mc_writer_open(NULL, folder_path("model"), &writer));
    OK(mc_writer_write(writer, block, sizeof(block)));
    OK(mc_writer_write(writer, block, sizeof(block)));
    FAILS(mc_writer_write(writer, block, sizeof(block)), MODECONN_ERROR_IO, "File too large");
    FAILS(mc_writer_write(writer, block, 1), MODECONN_ERROR_IO, "model");
    ck_assert_int_eq(folder_count(), 2);
    FAILS(mc_writer_commit(writer), MODECONN_ERROR_IO, "File too large");

    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_content(folder_path("model"), "old");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_abort_keeps_the_old_file)
{
    file_put(folder_path("model"), "old", 3);
    mc_writer *writer = NULL;
    OK(mc_writer_open(NULL, folder_path("model"), &writer));
    OK(mc_writer_write(writer, "new", 3));
    assert_content(folder_path("model"), "old"); /* nothing shows before the commit */
    mc_writer_abort(writer);
    assert_content(folder_path("model"), "old");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_commit_fails_where_the_target_became_a_folder)
{
    mc_writer *writer = NULL;
    OK(mc_writer_open(NULL, folder_path("model"), &writer));
    OK(mc_writer_write(writer, "new", 3));
    ck_assert_int_eq(mkdir(folder_path("model"), 0755), 0);
    FAILS(mc_writer_commit(writer), MODECONN_ERROR_IO, "model");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

START_TEST(test_two_writers_at_once)
{
    mc_writer *first = NULL, *second = NULL;
    OK(mc_writer_open(NULL, folder_path("model"), &first));
    OK(mc_writer_open(NULL, folder_path("model"), &second));
    OK(mc_writer_write(first, "first", 5));
    OK(mc_writer_write(second, "second", 6));
    OK(mc_writer_commit(second));
    assert_content(folder_path("model"), "second");
    OK(mc_writer_commit(first));
    assert_content(folder_path("model"), "first");
    ck_assert_int_eq(folder_count(), 1);
}
END_TEST

static void add(TCase *tests)
{
    tcase_add_checked_fixture(tests, folder_make, folder_remove);
    tcase_add_test(tests, test_text_is_saved_and_replaced);
    tcase_add_test(tests, test_relative_path_and_longest_name);
    tcase_add_test(tests, test_null_arguments);
    tcase_add_test(tests, test_permissions_follow_the_umask);
    tcase_add_test(tests, test_permissions_of_a_replaced_file_are_kept);
    tcase_add_test(tests, test_symbolic_links_are_followed);
    tcase_add_test(tests, test_a_file_without_a_name_is_refused);
    tcase_add_test(tests, test_bad_places);
    tcase_add_test(tests, test_no_write_permission);
    tcase_add_test(tests, test_devices_are_written_to_and_not_replaced);
    tcase_add_test(tests, test_full_disk_keeps_the_old_file);
    tcase_add_test(tests, test_abort_keeps_the_old_file);
    tcase_add_test(tests, test_commit_fails_where_the_target_became_a_folder);
    tcase_add_test(tests, test_two_writers_at_once);
}

int main(void)
{
    return unit_run("io_file", add);
}
