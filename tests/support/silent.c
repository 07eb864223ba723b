/* A network file system and a name server that do not answer, while the file $SILENT_WHILE exists: calls about files
 * below $SILENT_DIRECTORY do not return, and lookups of names below .silent.test fail late. With $SILENT_THREADS, the
 * system starts no threads meanwhile. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int is_silent(void) {
    const char *marker = getenv("SILENT_WHILE");
    return marker && syscall(SYS_faccessat, AT_FDCWD, marker, F_OK) == 0;
}

static int is_there(const char *path) {
    const char *directory = getenv("SILENT_DIRECTORY");
    return directory && path && strncmp(path, directory, strlen(directory)) == 0;
}

/* Also for a symbolic link to there. */
static void wait_for(const char *path) {
    char target[PATH_MAX + 1] = {0};
    int concerns = is_there(path) ||
                   (path && syscall(SYS_readlinkat, AT_FDCWD, path, target, PATH_MAX) > 0 && is_there(target));
    while (concerns && is_silent())
        usleep(20000);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                        \
    int name(const char *path, int flags, ...) {          \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        wait_for(path);                                   \
        return REAL(name)(path, flags, mode);             \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                      \
    int name(int at, const char *path, int flags, ...) {  \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode_t mode = va_arg(rest, mode_t);               \
        va_end(rest);                                     \
        wait_for(path);                                   \
        return REAL(name)(at, path, flags, mode);         \
    }
OPENAT(openat)
OPENAT(openat64)

#define CALL(type, name, parameters, arguments)           \
    type name parameters {                                \
        wait_for(path);                                   \
        return REAL(name) arguments;                      \
    }
CALL(int, stat64, (const char *path, struct stat64 *to), (path, to))
CALL(int, lstat64, (const char *path, struct stat64 *to), (path, to))
CALL(int, fstatat64, (int at, const char *path, struct stat64 *to, int flags), (at, path, to, flags))
CALL(int, statx, (int at, const char *path, int flags, unsigned mask, struct statx *to), (at, path, flags, mask, to))
CALL(DIR *, opendir, (const char *path), (path))
CALL(char *, realpath, (const char *path, char *to), (path, to))
CALL(ssize_t, readlink, (const char *path, char *to, size_t size), (path, to, size))
CALL(int, mkdir, (const char *path, mode_t mode), (path, mode))
CALL(int, unlink, (const char *path), (path))
CALL(int, inotify_add_watch, (int watcher, const char *path, uint32_t mask), (watcher, path, mask))

int rename(const char *from, const char *path) {
    wait_for(path);
    return REAL(rename)(from, path);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static const char zone[] = ".silent.test";
    size_t length = name ? strlen(name) : 0;
    if (length <= strlen(zone) || strcmp(name + length - strlen(zone), zone) != 0)
        return REAL(getaddrinfo)(name, service, hints, found);
    /* As long as the C library asks two name servers by default: resolv.conf(5), `timeout` and `attempts`. */
    for (int tenths = 0; tenths < 200 && is_silent(); tenths++)
        usleep(100000);
    return EAI_AGAIN;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument) {
    if (getenv("SILENT_THREADS") && is_silent())
        return EPERM;
    return REAL(pthread_create)(thread, attributes, run, argument);
}
