"""A wall clock that jumps, for the station's own processes alone: a small library that the linker puts before libc's.

The kernel has no namespace for this clock (`man 7 time_namespaces`: only the monotonic ones), and to set the machine's
would hit everybody on it. With Debian 12's libfaketime Python's `sleep` fails, so this leaves alone all that waits.
"""

import os
import shutil
import struct
import subprocess
import sys
import sysconfig
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


UNDER_IT = """
import os
import sys

if os.environ.get("LD_PRELOAD") != {library!r}:
    wrong = {{"LD_PRELOAD": {library!r}, "LOCKGATE_CHAOS_CLOCK": {told!r}}}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {{**os.environ, **wrong}})
"""
"""Each Python of `Clock.programs` runs this before all else, and starts itself again under the clock unless it is."""


class Clock:
    """How wrong the wall clock is of each process that a Python in `programs` starts, and of what these start.

    `lockgate up` keeps `LD_PRELOAD` from the station, as it should: no setting of the product's lets it through. So
    chaos brings a Python of its own, an environment beside the real one with all that is there.
    """

    def __init__(self, folder: Path) -> None:
        self._told = folder / "clock"
        self._told.write_bytes(struct.pack("=q", 0))
        self._library = folder / "clock.so"
        self.programs = Path(sys.executable).parent
        compiler = shutil.which("cc")
        self.is_there = compiler is not None
        if compiler:
            build = [compiler, "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", str(self._library), "-ldl"]
            subprocess.run(build, input=SOURCE.encode(), check=True, timeout=60)
            self.programs = self._environment(folder / "python")

    def _environment(self, place: Path) -> Path:
        real, packages = Path(sys.executable).parent, sysconfig.get_path("purelib")
        own = place / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        own.mkdir(parents=True)
        (own / "chaos_clock.py").write_text(UNDER_IT.format(library=str(self._library), told=str(self._told)))
        (own / "chaos.pth").write_text(f"import chaos_clock\nimport site; site.addsitedir({packages!r})\n")
        shutil.copy(Path(sys.prefix, "pyvenv.cfg"), place)
        for kind in ("share", "etc"):
            if Path(sys.prefix, kind).exists():
                (place / kind).symlink_to(Path(sys.prefix, kind))
        programs = place / "bin"
        programs.mkdir()
        for file in real.iterdir():
            target = Path(os.readlink(file)) if file.name.startswith("python") and file.is_symlink() else file
            (programs / file.name).symlink_to(target)
        (programs / "lockgate").unlink()
        (programs / "lockgate").write_text(f"#!{programs}/python\nfrom lockgate import main\n\nmain()\n")
        (programs / "lockgate").chmod(0o755)
        return programs

    def is_over(self, pid: int) -> bool:
        """Whether a process is under this clock. Raises OSError if it has ended."""
        return str(self._library) in Path(f"/proc/{pid}/maps").read_text()

    def jump(self, wrong_s: int) -> None:
        """From now on it is off by so many seconds; 0 is right."""
        with open(self._told, "r+b", buffering=0) as file:
            file.write(struct.pack("=q", wrong_s))
