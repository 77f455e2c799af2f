/* Makes chosen system calls fail, in a process that it is preloaded into.
 *
 * FAULT_FILE names a file of sizeof(struct fault) bytes, which is mapped and shared with the test: the test arms a fault
 * while the process runs, reads how often it has struck, and takes it away again. One fault at a time.
 *
 * A call matches when its name is `call` and what it is about has `about` in it: the path that it was given, or what
 * /proc/self/fd says of its descriptor ("/home/x/status/...", "socket:[4711]", "anon_inode:inotify"). Descriptors 0 to 2
 * never match: a log line that is lost would hide what the test looks for.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct fault {
    int32_t armed; /* 0: none */
    int32_t error; /* errno; 0: the call does a part only; negative: it hangs for so many seconds, then does what it should */
    int32_t left;  /* how often it still strikes; negative: always */
    int32_t hits;  /* how often it has struck */
    char call[24];
    char about[88];
};

static struct fault none;
static struct fault *fault = &none;

__attribute__((constructor)) static void map_fault(void) {
    const char *name = getenv("FAULT_FILE");
    if (name == NULL)
        return;
    long fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        abort();
    void *map = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    if (map == MAP_FAILED)
        abort();
    fault = map;
    syscall(SYS_close, fd);
}

/* Whether the armed fault strikes this call; uses up one of its times. */
static int strikes(const char *call, const char *path) {
    if (strcmp(call, fault->call) != 0)
        return 0;
    if (strstr(path, fault->about) == NULL)
        return 0;
    if (fault->left >= 0 && __atomic_fetch_sub(&fault->left, 1, __ATOMIC_SEQ_CST) <= 0) {
        __atomic_store_n(&fault->left, 0, __ATOMIC_SEQ_CST);
        return 0;
    }
    __atomic_fetch_add(&fault->hits, 1, __ATOMIC_SEQ_CST);
    return 1;
}

static int is_armed(void) { return __atomic_load_n(&fault->armed, __ATOMIC_SEQ_CST) != 0; }

static int strikes_path(const char *call, const char *path) {
    return is_armed() && path != NULL && strikes(call, path);
}

static int strikes_fd(const char *call, int fd) {
    if (!is_armed() || fd <= 2)
        return 0;
    char link[32], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    return strikes(call, path);
}

#define REAL(name, ...)                                                                                                \
    static __typeof__(name) *real;                                                                                     \
    if (real == NULL)                                                                                                  \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                                                            \
    return real(__VA_ARGS__)

#define FAIL                                                                                                           \
    do {                                                                                                               \
        if (fault->error < 0) {                                                                                        \
            sleep((unsigned)-fault->error);                                                                            \
            break;                                                                                                     \
        }                                                                                                              \
        errno = fault->error;                                                                                          \
        return -1;                                                                                                     \
    } while (0)

/* Half of it, at least a byte. */
static size_t part(size_t length) { return length > 1 ? length / 2 : length; }

#define FD_CALL(type, name, params, fd, ...)                                                                           \
    type name params {                                                                                                 \
        if (strikes_fd(#name, fd))                                                                                     \
            FAIL;                                                                                                      \
        REAL(name, __VA_ARGS__);                                                                                       \
    }

#define TRANSFER(name, params, fd, length, ...)                                                                        \
    ssize_t name params {                                                                                              \
        if (strikes_fd(#name, fd)) {                                                                                   \
            if (fault->error != 0)                                                                                     \
                FAIL;                                                                                                  \
            length = part(length);                                                                                     \
        }                                                                                                              \
        REAL(name, __VA_ARGS__);                                                                                       \
    }

#define PATH_CALL(type, name, params, path, ...)                                                                       \
    type name params {                                                                                                 \
        if (strikes_path(#name, path))                                                                                 \
            FAIL;                                                                                                      \
        REAL(name, __VA_ARGS__);                                                                                       \
    }

TRANSFER(read, (int fd, void *into, size_t length), fd, length, fd, into, length)
TRANSFER(pread64, (int fd, void *into, size_t length, off64_t at), fd, length, fd, into, length, at)

/* Where a plain read is to fail, nothing is in memory: or the plain read would not be made. */
ssize_t preadv2(int fd, const struct iovec *pieces, int count, off_t at, int flags) {
    if (strikes_fd("preadv2", fd))
        FAIL;
    if (is_armed() && strcmp("pread64", fault->call) == 0) {
        errno = EAGAIN;
        return -1;
    }
    REAL(preadv2, fd, pieces, count, at, flags);
}

TRANSFER(write, (int fd, const void *from, size_t length), fd, length, fd, from, length)
TRANSFER(send, (int fd, const void *from, size_t length, int flags), fd, length, fd, from, length, flags)
TRANSFER(recv, (int fd, void *into, size_t length, int flags), fd, length, fd, into, length, flags)

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (strikes_fd("writev", fd)) {
        if (fault->error != 0)
            FAIL;
        return write(fd, pieces[0].iov_base, part(pieces[0].iov_len));
    }
    REAL(writev, fd, pieces, count);
}

FD_CALL(int, fsync, (int fd), fd, fd)
FD_CALL(int, ftruncate64, (int fd, off64_t length), fd, fd, length)
FD_CALL(int, fstat64, (int fd, struct stat64 *into), fd, fd, into)
FD_CALL(int, connect, (int fd, const struct sockaddr *to, socklen_t length), fd, fd, to, length)
FD_CALL(int, accept4, (int fd, struct sockaddr *from, socklen_t *length, int flags), fd, fd, from, length, flags)
FD_CALL(int, epoll_wait, (int fd, struct epoll_event *events, int count, int timeout), fd, fd, events, count, timeout)
FD_CALL(int, epoll_ctl, (int fd, int what, int about, struct epoll_event *event), about, fd, what, about, event)
FD_CALL(int, setsockopt, (int fd, int level, int name, const void *value, socklen_t length), fd, fd, level, name, value,
        length)
FD_CALL(int, getsockopt, (int fd, int level, int name, void *value, socklen_t *length), fd, fd, level, name, value,
        length)

PATH_CALL(int, rename, (const char *from, const char *to), from, from, to)
PATH_CALL(int, unlink, (const char *path), path, path)
PATH_CALL(int, mkdir, (const char *path, mode_t mode), path, path, mode)
PATH_CALL(int, inotify_add_watch, (int fd, const char *path, uint32_t mask), path, fd, path, mask)

PATH_CALL(int, eventfd, (unsigned int count, int flags), "eventfd", count, flags)
PATH_CALL(int, epoll_create1, (int flags), "epoll", flags)
PATH_CALL(int, inotify_init1, (int flags), "inotify", flags)
FD_CALL(int, flock, (int fd, int what), fd, fd, what)
FD_CALL(int, bind, (int fd, const struct sockaddr *at, socklen_t length), fd, fd, at, length)
FD_CALL(int, listen, (int fd, int waiting), fd, fd, waiting)
FD_CALL(int, getpeername, (int fd, struct sockaddr *into, socklen_t *length), fd, fd, into, length)

int socket(int domain, int type, int protocol) {
    if (strikes_path("socket", "socket:"))
        FAIL;
    REAL(socket, domain, type, protocol);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask, struct statx *restrict into) {
    if (path[0] == 0 ? strikes_fd("statx", folder) : strikes_path("statx", path))
        FAIL;
    REAL(statx, folder, path, flags, mask, into);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (strikes_path("open64", path))
        FAIL;
    REAL(open64, path, flags, mode);
}

/* Only the claim on a log, which needs an int. */
int fcntl(int fd, int command, ...) {
    va_list more;
    va_start(more, command);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (command == F_SETLEASE && strikes_fd("fcntl", fd))
        FAIL;
    REAL(fcntl, fd, command, argument);
}

DIR *opendir(const char *path) {
    if (strikes_path("opendir", path)) {
        errno = fault->error;
        return NULL;
    }
    REAL(opendir, path);
}

struct dirent64 *readdir64(DIR *folder) {
    if (strikes_fd("readdir64", dirfd(folder))) {
        errno = fault->error;
        return NULL;
    }
    REAL(readdir64, folder);
}

/* It is about nothing, and gives its error instead of setting errno. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *with) {
    if (strikes_path("pthread_create", ""))
        return fault->error;
    REAL(pthread_create, thread, attributes, body, with);
}
