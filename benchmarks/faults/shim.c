// Makes one file operation below a folder fail, or the process die there: preloaded before libc, so
// that Python's, safetensors' (Rust) and FFmpeg's calls are counted alike.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN = 1, READ = 2, WRITE = 4, FSYNC = 8, RENAME = 16, LINK = 32, UNLINK = 64, MKDIR = 128, MAP = 256 };

static char folder[PATH_MAX];
static int kinds, error_number, lasting, armed;
static long strike_at, seen, of_kind[16];

// error: an errno; 0: half of a write or read is done; below 0: the signal -error is raised.
void fault_arm(const char *path, int which, long n, int error, int every_later) {
  snprintf(folder, sizeof folder, "%s/", path);
  kinds = which, strike_at = n, error_number = error, lasting = every_later, seen = 0;
  memset(of_kind, 0, sizeof of_kind);
  armed = 1;
}

long fault_disarm(void) {
  armed = 0;
  return seen;
}

// How many operations of one kind there were.
long fault_count(int kind) { return of_kind[__builtin_ctz(kind)]; }

static int below(const char *path) { return path && strncmp(path, folder, strlen(folder)) == 0; }

static int of_descriptor(int descriptor) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 2);
  if (length < 0) return 0;
  path[length] = '/', path[length + 1] = 0;  // the folder itself counts
  return below(path);
}

// Whether this operation is the one that fails.
static int strikes(int kind, int inside) {
  if (!armed || !(kinds & kind) || !inside) return 0;
  __atomic_add_fetch(&of_kind[__builtin_ctz(kind)], 1, __ATOMIC_SEQ_CST);
  long n = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
  if (n != strike_at && !(lasting && strike_at > 0 && n > strike_at)) return 0;
  if (error_number < 0) {
    kill(getpid(), -error_number);
    return 0;
  }
  errno = error_number;
  return 1;
}

#define REAL(type, name, ...)                                \
  static type (*real)(__VA_ARGS__);                          \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPENER(name)                                                        \
  int name(const char *path, int flags, ...) {                              \
    REAL(int, #name, const char *, int, ...);                               \
    va_list more;                                                           \
    va_start(more, flags);                                                  \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                           \
    if (armed && strikes(OPEN, below(path))) return -1;                     \
    return real(path, flags, mode);                                         \
  }
OPENER(open)
OPENER(open64)

#define OPENER_AT(name)                                                     \
  int name(int at, const char *path, int flags, ...) {                      \
    REAL(int, #name, int, const char *, int, ...);                          \
    va_list more;                                                           \
    va_start(more, flags);                                                  \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                                           \
    if (armed && strikes(OPEN, below(path))) return -1;                     \
    return real(at, path, flags, mode);                                     \
  }
OPENER_AT(openat)
OPENER_AT(openat64)

ssize_t read(int file, void *to, size_t count) {
  REAL(ssize_t, "read", int, void *, size_t);
  if (armed && (kinds & READ) && count && strikes(READ, of_descriptor(file))) {
    if (error_number) return -1;
    count = (count + 1) / 2;
  }
  return real(file, to, count);
}

ssize_t write(int file, const void *from, size_t count) {
  REAL(ssize_t, "write", int, const void *, size_t);
  if (armed && (kinds & WRITE) && count && strikes(WRITE, of_descriptor(file))) {
    if (error_number) return -1;
    count = (count + 1) / 2;
  }
  return real(file, from, count);
}

int fsync(int file) {
  REAL(int, "fsync", int);
  return armed && (kinds & FSYNC) && strikes(FSYNC, of_descriptor(file)) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  return armed && strikes(RENAME, below(to)) ? -1 : real(from, to);
}

int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *);
  return armed && strikes(LINK, below(to)) ? -1 : real(from, to);
}

int linkat(int a, const char *from, int b, const char *to, int flags) {
  REAL(int, "linkat", int, const char *, int, const char *, int);
  return armed && strikes(LINK, below(to)) ? -1 : real(a, from, b, to, flags);
}

int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  return armed && strikes(UNLINK, below(path)) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  return armed && strikes(MKDIR, below(path)) ? -1 : real(path, mode);
}

#define MAPPER(name, offset_type)                                                          \
  void *name(void *at, size_t length, int protection, int flags, int file, offset_type from) { \
    REAL(void *, #name, void *, size_t, int, int, int, offset_type);                       \
    if (armed && (kinds & MAP) && file >= 0 && strikes(MAP, of_descriptor(file)))          \
      return MAP_FAILED;                                                                   \
    return real(at, length, protection, flags, file, from);                                \
  }
MAPPER(mmap, off_t)
MAPPER(mmap64, off64_t)
