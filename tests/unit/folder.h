/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A folder of a test's own, and whole files in it.
 */
#ifndef MC_TEST_FOLDER_H
#define MC_TEST_FOLDER_H

#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FOLDER_PATH = 512 };

static char folder[64];

static inline void folder_make(void)
{
    strcpy(folder, "/tmp/modeconn-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* Path of a name in the folder; valid until the fourth call after it. */
static inline const char *folder_path(const char *name)
{
    static char paths[4][FOLDER_PATH];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, FOLDER_PATH, "%s/%s", folder, name);
    return path;
}

/* Number of entries: finds temporary files that were left behind. */
static inline int folder_count(void)
{
    int n = 0;
    DIR *stream = opendir(folder);
    ck_assert_ptr_nonnull(stream);
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(stream);
    return n;
}

static inline void folder_remove(void)
{
    DIR *stream = opendir(folder);
    ck_assert_ptr_nonnull(stream);
    for (const struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            char path[FOLDER_PATH];
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            ck_assert_msg(remove(path) == 0, "cannot remove %s", path);
        }
    }
    closedir(stream);
    ck_assert_int_eq(rmdir(folder), 0);
}

static inline void file_put(const char *path, const void *bytes, size_t size)
{
    /* Writing anew to an old file makes some file systems flush it, which takes its time. */
    (void)remove(path);
    FILE *stream = fopen(path, "wb");
    ck_assert_ptr_nonnull(stream);
    ck_assert_uint_eq(fwrite(bytes, 1, size, stream), size);
    ck_assert_int_eq(fclose(stream), 0);
}

/* The whole file with a NUL after it; free() it. */
static inline char *file_get(const char *path, size_t *size)
{
    FILE *stream = fopen(path, "rb");
    ck_assert_msg(stream != NULL, "no file %s", path);
    ck_assert_int_eq(fseek(stream, 0, SEEK_END), 0);
    size_t length = (size_t)ftell(stream);
    rewind(stream);
    char *bytes = malloc(length + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_uint_eq(fread(bytes, 1, length, stream), length);
    bytes[length] = '\0';
    fclose(stream);
    if (size != NULL) {
        *size = length;
    }
    return bytes;
}

#endif
