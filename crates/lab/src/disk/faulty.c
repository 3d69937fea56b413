/* A disk that fails: preloaded into a program, it lets calls on some files fail with EIO.
 *
 * LAB_DISK_FILES: a part of the paths of these files.
 * LAB_DISK_PLAN: a file with two numbers of 8 bytes: how many more calls work (negative: all), and how
 * many have failed. The test writes it while the program runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static volatile long *plan;
static const char *files;

static void begin(void) {
    const char *path = getenv("LAB_DISK_PLAN");
    files = getenv("LAB_DISK_FILES");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0 || !files) return;
    void *map = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) plan = map;
}

/* Whether this call on `fd` fails. */
static int fails(int fd) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, begin);
    if (!plan || plan[0] < 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, files)) return 0;
    if (__atomic_fetch_sub(&plan[0], 1, __ATOMIC_SEQ_CST) > 0) return 0;
    /* It stays broken. */
    __atomic_store_n(&plan[0], 0, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&plan[1], 1, __ATOMIC_SEQ_CST);
    errno = EIO;
    return 1;
}

#define FAULTY(type, name, parameters, arguments)                              \
    type name parameters {                                                     \
        static type(*real) parameters;                                         \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);         \
        return fails(fd) ? -1 : real arguments;                                \
    }

FAULTY(ssize_t, read, (int fd, void *b, size_t n), (fd, b, n))
FAULTY(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
FAULTY(ssize_t, pread, (int fd, void *b, size_t n, off_t at), (fd, b, n, at))
FAULTY(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t at), (fd, b, n, at))
FAULTY(ssize_t, pread64, (int fd, void *b, size_t n, off64_t at), (fd, b, n, at))
FAULTY(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t at), (fd, b, n, at))
FAULTY(int, ftruncate, (int fd, off_t n), (fd, n))
FAULTY(int, ftruncate64, (int fd, off64_t n), (fd, n))
FAULTY(int, fsync, (int fd), (fd))
FAULTY(int, fdatasync, (int fd), (fd))
