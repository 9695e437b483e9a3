/* Loaded before the C library: writes down every change of files below one folder, with its data and in order,
 * and makes the n-th and all later ones fail as a full disk does, or ends the process before the n-th.
 *
 * A record: kind, length of the path, of the second path, offset, length of the data (25 bytes, packed), then
 * these three. Kinds: c create, t truncate (offset: new length), w write, s sync, r rename, u unlink, m mkdir.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static int log_fd = -1, fail_errno;
static long count, fail_at, kill_at;

struct __attribute__((packed)) record {
    char kind;
    uint32_t path, other;
    int64_t offset;
    uint64_t data;
};

/* From here on; numbers begin at 1, and 0 is never. */
int recorder_arm(const char *folder, const char *log, long fail, int error, long kill) {
    snprintf(root, sizeof root, "%s", folder);
    log_fd = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    count = 0, fail_at = fail, fail_errno = error, kill_at = kill;
    return log_fd < 0 ? errno : 0;
}

static int watched(const char *path) {
    size_t n = strlen(root);
    return log_fd >= 0 && n && !strncmp(path, root, n) && (path[n] == '/' || !path[n]);
}

static int watched_fd(int fd, char *path) {
    char link[64];
    if (log_fd < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return watched(path);
}

static void put(const void *data, size_t size) {
    for (const char *at = data; size;) {
        ssize_t n = syscall(SYS_write, log_fd, at, size);
        if (n <= 0) abort();
        at += n, size -= n;
    }
}

static void note(char kind, const char *path, const char *other, int64_t offset, const void *data, size_t size) {
    struct record head = {kind, strlen(path), strlen(other), offset, size};
    put(&head, sizeof head);
    put(path, head.path);
    put(other, head.other);
    put(data, size);
}

/* Counts a change that is about to be made; says whether it must fail. */
static int refused(int needs_room) {
    count++;
    if (count == kill_at) syscall(SYS_kill, getpid(), SIGKILL);
    if (!fail_at || count < fail_at || !needs_room) return 0;
    errno = fail_errno;
    return 1;
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    if ((folder != AT_FDCWD && path[0] != '/') || !watched(path) || !(flags & (O_CREAT | O_TRUNC)))
        return syscall(SYS_openat, folder, path, flags, mode);
    pthread_mutex_lock(&guard);
    struct stat about;
    int there = !lstat(path, &about), fd = -1;
    int changes = there ? (flags & O_TRUNC) && about.st_size > 0 : flags & O_CREAT;
    if (!changes || !refused(!there)) {
        fd = syscall(SYS_openat, folder, path, flags, mode);
        if (fd >= 0 && changes) note(there ? 't' : 'c', path, "", 0, "", 0);
    }
    pthread_mutex_unlock(&guard);
    return fd;
}

#define OPEN(name, first, ...)                     \
    int name(first, int flags, ...) {              \
        va_list more;                              \
        va_start(more, flags);                     \
        mode_t mode = va_arg(more, mode_t);        \
        va_end(more);                              \
        return opened(__VA_ARGS__, flags, mode);   \
    }
#define BOTH int folder, const char *path
OPEN(open, const char *path, AT_FDCWD, path)
OPEN(open64, const char *path, AT_FDCWD, path)
int openat(BOTH, int flags, ...) __attribute__((alias("openat64")));
int openat64(BOTH, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    return opened(folder, path, flags, mode);
}

/* A write that does not fit as a whole writes what fits, as the kernel does: the first half of it. */
static ssize_t written(int fd, const void *data, size_t size, int64_t offset) {
    char path[PATH_MAX];
    if (!watched_fd(fd, path))
        return offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
    pthread_mutex_lock(&guard);
    ssize_t n = -1;
    int first = fail_at && count + 1 == fail_at;
    if (!refused(1)) {
        int64_t at = offset;
        if (at < 0) {
            int append = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
            at = syscall(SYS_lseek, fd, 0, append ? SEEK_END : SEEK_CUR);
        }
        n = offset < 0 ? syscall(SYS_write, fd, data, size) : syscall(SYS_pwrite64, fd, data, size, offset);
        if (n > 0) note('w', path, "", at, data, n);
    } else if (first && size > 1) {
        n = offset < 0 ? syscall(SYS_write, fd, data, size / 2) : syscall(SYS_pwrite64, fd, data, size / 2, offset);
    }
    pthread_mutex_unlock(&guard);
    return n;
}

ssize_t write(int fd, const void *data, size_t size) { return written(fd, data, size, -1); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return written(fd, data, size, at); }

/* In parts: a change of its own each, as a crash can come between them. */
ssize_t writev(int fd, const struct iovec *parts, int n) {
    char path[PATH_MAX];
    if (!watched_fd(fd, path)) return syscall(SYS_writev, fd, parts, n);
    ssize_t all = 0;
    for (int i = 0; i < n; i++) {
        ssize_t done = written(fd, parts[i].iov_base, parts[i].iov_len, -1);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

static int truncated(int fd, int64_t length) {
    char path[PATH_MAX];
    if (!watched_fd(fd, path)) return syscall(SYS_ftruncate, fd, length);
    pthread_mutex_lock(&guard);
    struct stat about;
    int n = -1, grows = !fstat(fd, &about) && length > about.st_size;
    if (!refused(grows)) {
        n = syscall(SYS_ftruncate, fd, length);
        if (!n) note('t', path, "", length, "", 0);
    }
    pthread_mutex_unlock(&guard);
    return n;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length); }
int ftruncate64(int fd, off64_t length) { return truncated(fd, length); }

/* Takes no room and says nothing of it: the file is on disk if the system says so. */
static int synced(int fd, long call) {
    char path[PATH_MAX];
    if (!watched_fd(fd, path)) return syscall(call, fd);
    pthread_mutex_lock(&guard);
    refused(0);
    int n = syscall(call, fd);
    if (!n) note('s', path, "", 0, "", 0);
    pthread_mutex_unlock(&guard);
    return n;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int changed(char kind, int needs_room, int folder, const char *path, const char *other, int flags) {
    int heard = watched(path) && (folder == AT_FDCWD || path[0] == '/'), n = -1;
    pthread_mutex_lock(&guard);
    if (!heard || !refused(needs_room)) {
        if (kind == 'r') n = syscall(SYS_renameat, folder, path, folder, other);
        if (kind == 'u') n = syscall(SYS_unlinkat, folder, path, flags);
        if (kind == 'm') n = syscall(SYS_mkdirat, folder, path, flags);
        if (heard && !n) note(kind, path, other, 0, "", 0);
    }
    pthread_mutex_unlock(&guard);
    return n;
}

int rename(const char *from, const char *to) { return changed('r', 0, AT_FDCWD, from, to, 0); }
int unlink(const char *path) { return changed('u', 0, AT_FDCWD, path, "", 0); }
int unlinkat(BOTH, int flags) { return changed('u', 0, folder, path, "", flags); }
int rmdir(const char *path) { return changed('u', 0, AT_FDCWD, path, "", AT_REMOVEDIR); }
int mkdir(const char *path, mode_t mode) { return changed('m', 1, AT_FDCWD, path, "", mode); }
int mkdirat(BOTH, mode_t mode) { return changed('m', 1, folder, path, "", mode); }
