"""The system calls of a docker sandbox: an allowlist of our own, so that every engine's sandboxes are alike.

Left out are those that make namespaces or mounts, reach kernel memory, modules, keys, clocks or other machines' parts,
and those with a record of holes that programs do without (io_uring, userfaultfd, bpf, perf). Sockets are of the
families in seccomp.FAMILIES: AF_VSOCK, for one, reaches the hypervisor from any network namespace.
https://docs.docker.com/engine/security/seccomp/
"""

import functools
import json
from typing import Any

from blocks.host.seccomp import FAMILIES

_ALLOWED = """
read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask rt_sigreturn
ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl
dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile connect accept sendto recvfrom sendmsg recvmsg
shutdown bind listen getsockname getpeername socketpair setsockopt getsockopt fork vfork execve exit wait4 kill uname
semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd
chdir fchdir rename mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday
getrlimit getrusage sysinfo times ptrace getuid getgid setuid setgid geteuid getegid setpgid getppid getpgrp setsid
setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid getpgid setfsuid setfsgid getsid capget
capset rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend sigaltstack utime mknod statfs fstatfs getpriority
setpriority sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_get_priority_max
sched_get_priority_min sched_rr_get_interval mlock munlock mlockall munlockall modify_ldt prctl arch_prctl setrlimit
sync gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity set_thread_area io_setup
io_destroy io_getevents io_submit io_cancel get_thread_area epoll_create epoll_ctl_old epoll_wait_old remap_file_pages
getdents64 set_tid_address restart_syscall semtimedop fadvise64 timer_create timer_settime timer_gettime
timer_getoverrun timer_delete clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes
mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr waitid ioprio_set ioprio_get inotify_init
inotify_add_watch inotify_rm_watch openat mkdirat mknodat fchownat futimesat newfstatat unlinkat renameat linkat
symlinkat readlinkat fchmodat faccessat pselect6 ppoll set_robust_list get_robust_list splice tee sync_file_range
vmsplice utimensat epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime accept4
signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo recvmmsg prlimit64 syncfs
sendmmsg getcpu process_vm_readv process_vm_writev kcmp sched_setattr sched_getattr renameat2 seccomp getrandom
memfd_create execveat membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free statx
io_pgetevents rseq pidfd_send_signal pidfd_open close_range openat2 pidfd_getfd faccessat2 process_madvise
epoll_pwait2 landlock_create_ruleset landlock_add_rule landlock_restrict_self process_mrelease futex_waitv fchmodat2
cachestat futex_wake futex_wait futex_requeue map_shadow_stack mseal
"""

_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET: include/uapi/linux/sched.h"""
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
"""PER_LINUX, PER_LINUX32, both with UNAME26, and the question which one it is."""
_ENOSYS, _EAFNOSUPPORT = 38, 97
_FAMILIES = 64
"""Numbers of socket families that are answered as if the kernel lacked them; it has 46 today."""


@functools.cache
def profile() -> str:
    """The profile as JSON, as `--security-opt seccomp=` takes it."""
    calls = [
        {"names": _ALLOWED.split(), "action": "SCMP_ACT_ALLOW"},
        _where("clone", 0, "SCMP_CMP_MASKED_EQ", _NEW_NAMESPACES, 0),
        # its flags lie in memory, out of a filter's sight: without it, C libraries fall back to clone
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
        *(_where("personality", 0, "SCMP_CMP_EQ", value) for value in _PERSONALITIES),
        *(_family(number) for number in range(_FAMILIES)),
    ]
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": calls})


def _where(name: str, index: int, operator: str, value: int, second: int = 0) -> dict[str, Any]:
    argument = {"index": index, "value": value, "valueTwo": second, "op": operator}
    return {"names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument]}


def _family(number: int) -> dict[str, Any]:
    rule = _where("socket", 0, "SCMP_CMP_EQ", number)
    return rule if number in FAMILIES else {**rule, "action": "SCMP_ACT_ERRNO", "errnoRet": _EAFNOSUPPORT}
