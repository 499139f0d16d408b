"""The system call filter of sandboxes and releases, as classic BPF for `bwrap --seccomp`.

Namespaces do not cover everything: an AF_VSOCK socket reaches the hypervisor from any network namespace, the kernel's
key rings are shared, and io_uring makes sockets that no filter sees. So sockets are of four families, and the rest of
that list answers as if the kernel had none. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import errno
import platform
import socket
import struct
from typing import NamedTuple

from domain.errors import SandboxError

FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)


class _Machine(NamedTuple):
    audit_arch: int
    socket: int
    unknown_calls: tuple[int, ...]
    """add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, io_uring_setup"""


# Numbers: include/uapi/linux/audit.h, arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 41, (248, 249, 250, 298, 321, 323, 425)),
    "aarch64": _Machine(0xC00000B7, 198, (217, 218, 219, 241, 280, 282, 425)),
}
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data, little endian
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_X32 = 0x40000000  # the x32 ABI has the same audit_arch and other numbers


def program(machine: str | None = None) -> bytes:
    """The filter for this machine. Raises SandboxError for one whose numbers are not known."""
    name = machine or platform.machine()
    if name not in _MACHINES:
        raise SandboxError(f"no system call filter for {name}: run the worker on {' or '.join(_MACHINES)}")
    audit_arch, socket_call, unknown_calls = _MACHINES[name]
    no_call, no_family = _ERRNO | errno.ENOSYS, _ERRNO | errno.EAFNOSUPPORT
    steps = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQUAL, 1, 0, audit_arch),
        (_RETURN, 0, 0, no_call),
        (_LOAD, 0, 0, _NUMBER),
        (_JUMP_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, no_call),
    ]
    for call in unknown_calls:
        steps += [(_JUMP_EQUAL, 0, 1, call), (_RETURN, 0, 0, no_call)]
    steps += [(_JUMP_EQUAL, 1, 0, socket_call), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for family in FAMILIES:
        steps += [(_JUMP_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    steps.append((_RETURN, 0, 0, no_family))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
