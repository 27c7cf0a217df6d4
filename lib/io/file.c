/* SPDX-License-Identifier: BSD-3-Clause
 *
 * file: writing a file so that readers see the old content or the new, never a part, and so that
 * an existing file survives every failure: the content goes to a temporary file in the target's
 * folder, is flushed to the disk and then renamed over the target.
 */
#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Names tried before giving up; each holds the process and the time, so the first one is free
 * unless two threads ask within the same nanosecond. */
enum { NAME_ATTEMPTS = 100 };

/* Linux writes at most 0x7ffff000 bytes a call. */
#define WRITE_CHUNK ((size_t)1 << 30)

struct mc_writer {
    const modeconn_context *context;
    char *path;      /* as the caller spelled it, for messages */
    char *target;    /* what is replaced: `path` with symbolic links followed */
    char *temporary; /* NULL: `path` is a device or a pipe and is written to as it is */
    int fd;
    int error; /* errno of the first write that failed */
};

int32_t modeconn_text_save(const char *path, const char *text)
{
    if (path == NULL) {
        return mc_null("path");
    }
    if (text == NULL) {
        return mc_null("text");
    }
    mc_writer *writer = NULL;
    int32_t status = mc_writer_open(NULL, path, &writer);
    if (status < 0) {
        return status;
    }
    status = mc_writer_write(writer, text, strlen(text));
    if (status < 0) {
        mc_writer_abort(writer);
        return status;
    }
    return mc_writer_commit(writer);
}

static int32_t write_failed(const char *path, int error)
{
    return mc_fail(MODECONN_ERROR_IO, "cannot write %s: %s", path, mc_errno_text(error));
}

/* "folder/.modeconn-PID-TIME.tmp" beside the target: short, so that it fits wherever the target's
 * own name does. */
static char *temporary_name(const modeconn_context *context, const char *target, int attempt)
{
    const char *slash = strrchr(target, '/');
    int folder = slash == NULL ? 0 : (int)(slash + 1 - target);
    size_t capacity = (size_t)folder + 64;
    char *name = mc_alloc(context, (int64_t)capacity, 1);
    if (name == NULL) {
        return NULL;
    }
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    long long time = (long long)now.tv_sec * 1000000000LL + now.tv_nsec + attempt;
    snprintf(name, capacity, "%.*s.modeconn-%ld-%llx.tmp", folder, target, (long)getpid(),
             (unsigned long long)time);
    return name;
}

/* Creates the temporary file with the permissions that a new file gets (0666 less the umask), or
 * those of the file it is going to replace. */
static int32_t create_temporary(mc_writer *writer, const struct stat *existing)
{
    for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
        char *name = temporary_name(writer->context, writer->target, attempt);
        if (name == NULL) {
            return MODECONN_ERROR_MEMORY;
        }
        writer->fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (writer->fd >= 0) {
            writer->temporary = name;
            break;
        }
        int error = errno;
        mc_free(writer->context, name);
        if (error != EEXIST || attempt + 1 == NAME_ATTEMPTS) {
            return write_failed(writer->path, error);
        }
    }
    if (existing != NULL && fchmod(writer->fd, existing->st_mode & 0777) != 0) {
        return write_failed(writer->path, errno);
    }
    return MODECONN_OK;
}

/* Opens what is there already: a file is replaced later, a device or pipe is written to. */
static int32_t open_existing(mc_writer *writer, const struct stat *existing)
{
    if (S_ISDIR(existing->st_mode)) {
        return write_failed(writer->path, EISDIR);
    }
    if (!S_ISREG(existing->st_mode)) {
        writer->fd = open(writer->path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        return writer->fd >= 0 ? MODECONN_OK : write_failed(writer->path, errno);
    }
    /* A rename would get round the write protection of a single file. */
    if (faccessat(AT_FDCWD, writer->path, W_OK, AT_EACCESS) != 0) {
        return write_failed(writer->path, errno);
    }
    char *resolved = realpath(writer->path, NULL);
    if (resolved == NULL) {
        return errno == ENOMEM ? mc_fail(MODECONN_ERROR_MEMORY, "out of memory: %s", writer->path)
                               : write_failed(writer->path, errno);
    }
    /* A file that is open but has no name any more (/proc/self/fd/N) resolves to one that is not
     * its own. */
    struct stat found;
    if (stat(resolved, &found) != 0 || found.st_dev != existing->st_dev ||
        found.st_ino != existing->st_ino) {
        free(resolved);
        return write_failed(writer->path, ENOENT);
    }
    writer->target = mc_strdup(writer->context, resolved);
    free(resolved);
    return writer->target == NULL ? MODECONN_ERROR_MEMORY : create_temporary(writer, existing);
}

static int32_t open_new(mc_writer *writer)
{
    struct stat link;
    if (lstat(writer->path, &link) == 0) {
        return mc_fail(MODECONN_ERROR_IO, "cannot write %s: it is a symbolic link to nothing",
                       writer->path);
    }
    size_t length = strlen(writer->path);
    if (length == 0 || writer->path[length - 1] == '/') {
        return mc_fail(MODECONN_ERROR_IO, "cannot write \"%s\": it is not the name of a file",
                       writer->path);
    }
    writer->target = mc_strdup(writer->context, writer->path);
    return writer->target == NULL ? MODECONN_ERROR_MEMORY : create_temporary(writer, NULL);
}

int32_t mc_writer_open(const modeconn_context *context, const char *path, mc_writer **out)
{
    *out = NULL;
    mc_writer *writer = mc_calloc(context, 1, sizeof(*writer));
    if (writer == NULL) {
        return MODECONN_ERROR_MEMORY;
    }
    writer->context = context;
    writer->fd = -1;
    writer->path = mc_strdup(context, path);
    if (writer->path == NULL) {
        mc_writer_abort(writer);
        return MODECONN_ERROR_MEMORY;
    }
    struct stat existing;
    int32_t status = MODECONN_OK;
    if (stat(path, &existing) == 0) {
        status = open_existing(writer, &existing);
    } else if (errno == ENOENT) {
        status = open_new(writer);
    } else {
        status = write_failed(path, errno);
    }
    if (status < 0) {
        mc_writer_abort(writer);
        return status;
    }
    *out = writer;
    return MODECONN_OK;
}

int32_t mc_writer_write(mc_writer *writer, const void *data, size_t size)
{
    const char *rest = data;
    while (size > 0 && writer->error == 0) {
        ssize_t done = write(writer->fd, rest, size < WRITE_CHUNK ? size : WRITE_CHUNK);
        if (done > 0) {
            rest += done;
            size -= (size_t)done;
        } else if (done == 0) {
            writer->error = EIO; /* no progress and no reason given */
        } else if (errno != EINTR) {
            writer->error = errno;
        }
    }
    return writer->error == 0 ? MODECONN_OK : write_failed(writer->path, writer->error);
}

/* Makes the rename itself last. Best effort: the content is safe and in place, and some file
 * systems cannot flush a folder. */
static void flush_folder(const mc_writer *writer)
{
    char *slash = strrchr(writer->target, '/');
    int fd = -1;
    if (slash == NULL) {
        fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } else {
        char first = slash[1];
        slash[1] = '\0';
        fd = open(writer->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        slash[1] = first;
    }
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
}

int32_t mc_writer_commit(mc_writer *writer)
{
    int error = writer->error;
    /* Some file systems do not know fsync(); close() then still reports what went wrong. */
    if (error == 0 && writer->temporary != NULL && fsync(writer->fd) != 0 && errno != EINVAL &&
        errno != ENOTSUP) {
        error = errno;
    }
    int closed = close(writer->fd);
    writer->fd = -1;
    if (error == 0 && closed != 0 && errno != EINTR) { /* EINTR: closed all the same */
        error = errno;
    }
    if (error == 0 && writer->temporary != NULL) {
        if (rename(writer->temporary, writer->target) == 0) {
            mc_free(writer->context, writer->temporary);
            writer->temporary = NULL;
            flush_folder(writer);
        } else {
            error = errno;
        }
    }
    int32_t status = error == 0 ? MODECONN_OK : write_failed(writer->path, error);
    mc_writer_abort(writer);
    return status;
}

void mc_writer_abort(mc_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd);
    }
    if (writer->temporary != NULL) {
        (void)unlink(writer->temporary);
        mc_free(writer->context, writer->temporary);
    }
    mc_free(writer->context, writer->target);
    mc_free(writer->context, writer->path);
    mc_free(writer->context, writer);
}
