/*
 * Put before the C library by LD_PRELOAD: fails one sync of a journal, as a disk does that lost a write. That is the first
 * one after the file appeared that WEIR_TEST_SYNC_FAILS names, which it deletes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int is_journal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    return strcmp(path + length - 4, ".log") == 0;
}

static int sync_or_fail(const char *name, int fd) {
    const char *trigger = getenv("WEIR_TEST_SYNC_FAILS");
    if (trigger && is_journal(fd) && unlink(trigger) == 0) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return sync_or_fail("fsync", fd); }

int fdatasync(int fd) { return sync_or_fail("fdatasync", fd); }
