"""A wall clock that jumps, for the station's own processes alone: a small library that the linker puts before libc's.

The kernel has no namespace for this clock (`man 7 time_namespaces`: only the monotonic ones), and to set the machine's
would hit everybody on it. With Debian 12's libfaketime Python's `sleep` fails, so this leaves alone all that waits.
"""

import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *wrong_s;

__attribute__((constructor)) static void find(void) {
    const char *path = getenv("LOCKGATE_CHAOS_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *there = mmap(NULL, sizeof *wrong_s, PROT_READ, MAP_SHARED, file, 0);
    if (there != MAP_FAILED) wrong_s = there;
    close(file);
}

static int64_t off(void) { return wrong_s ? *wrong_s : 0; }

static int (*real)(clockid_t, struct timespec *);

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *there) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (there) *there = precise.tv_sec;
    return precise.tv_sec;
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict until) {
    static int (*wait)(sem_t *, const struct timespec *);
    if (!wait) wait = (int (*)(sem_t *, const struct timespec *)) dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec kernels = {until->tv_sec - off(), until->tv_nsec};
    return wait(semaphore, &kernels);
}
"""
"""`sem_timedwait` waits by the kernel's clock: a Python for an old libc asks for it in place of `sem_clockwait`."""


class Clock:
    """How wrong the wall clock is of each process that was started with `environment`."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "clock"
        self._told.write_bytes(struct.pack("=q", 0))
        library = folder / "clock.so"
        compiler = shutil.which("cc")
        self.is_there = compiler is not None
        self.environment: dict[str, str] = {}
        if compiler:
            build = [compiler, "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", str(library), "-ldl"]
            subprocess.run(build, input=SOURCE.encode(), check=True, timeout=60)
            self.environment = {"LD_PRELOAD": str(library), "LOCKGATE_CHAOS_CLOCK": str(self._told)}

    def jump(self, wrong_s: int) -> None:
        """From now on it is off by so many seconds; 0 is right."""
        with open(self._told, "r+b", buffering=0) as file:
            file.write(struct.pack("=q", wrong_s))
