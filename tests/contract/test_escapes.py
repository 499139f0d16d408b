"""Ways out of a sandbox, tried for real against every kind. Each prints what it got inside; the host is looked at too.

A try is a Python program. It ends with the name of the error that stopped it (`EPERM`), or with DONE; `refused` is what
may stop it. Before and after each, the host's own state is compared, and its listeners must have heard nothing.
"""

import contextlib
import hashlib
import os
import platform
import re
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.host.docker import default_socket
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.docker import Docker
from domain.errors import AgentError
from domain.ports import Completed, Egress, Sandbox, Workspace
from domain.trees import Tree, TreeEntry
from tests.contract.test_sandbox import nap, running
from tests.engine import engine_socket

KINDS = ("bubblewrap", "docker")
TREE: Tree = {"README.md": TreeEntry(0o100644, b"hello\n")}

PRELUDE = """
import ctypes, errno, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def check(result):
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result
def syscall(*arguments):
    return check(libc.syscall(*arguments))
def put(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, data)
def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as s:
        s.settimeout(3)
        s.connect(address)
        s.sendall(b"out")
try:
    attempt()
    print("DONE")
except socket.gaierror as err:
    print("UNKNOWN")
except TimeoutError:
    print("TIMEOUT")
except OSError as err:
    print(errno.errorcode.get(err.errno, err.errno))
"""

NO_ROUTE = "ENETUNREACH EHOSTUNREACH EADDRNOTAVAIL EPERM EACCES"
NOT_THERE = "ENOENT ENOTDIR"
NO_RIGHT = "EPERM EACCES ENOSYS EROFS ENOENT EINVAL"

NETWORK = {
    "the host's loopback": ('connect(socket.AF_INET, ("127.0.0.1", PORT))', "ECONNREFUSED"),
    "the host's loopback by 0.0.0.0": ('connect(socket.AF_INET, ("0.0.0.0", PORT))', "ECONNREFUSED"),
    "the host's loopback by IPv6": ('connect(socket.AF_INET6, ("::1", PORT))', f"ECONNREFUSED {NO_ROUTE}"),
    "the host's loopback by mapped IPv6": (
        'connect(socket.AF_INET6, ("::ffff:127.0.0.1", PORT))', f"ECONNREFUSED {NO_ROUTE}"),
    "the host's own address": ('connect(socket.AF_INET, (ADDRESS, PORT))', NO_ROUTE),
    "the engine's bridge": ('connect(socket.AF_INET, ("172.17.0.1", PORT))', NO_ROUTE),
    "a UDP listener of the host": ('connect(socket.AF_INET, ("127.0.0.1", PORT), socket.SOCK_DGRAM); time.sleep(0.2)',
                                   "DONE ECONNREFUSED"),
    "a UDP broadcast": ("""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.sendto(b"out", ("255.255.255.255", PORT))""", NO_ROUTE),
    "the metadata address": ('connect(socket.AF_INET, ("169.254.169.254", 80))', NO_ROUTE),
    "the metadata address by IPv6": ('connect(socket.AF_INET6, ("fd00:ec2::254", 80))', NO_ROUTE),
    "an address of the internet": ('connect(socket.AF_INET, ("192.0.2.1", 443))', NO_ROUTE),
    "a name of the internet": ('socket.getaddrinfo("example.com", 443)', "UNKNOWN"),
    "the metadata name": ('socket.getaddrinfo("metadata.google.internal", 80)', "UNKNOWN"),
    "the name of the host": ('socket.getaddrinfo("host.docker.internal", 80)', "UNKNOWN"),
    "a resolver asked by hand": (
        'connect(socket.AF_INET, (RESOLVER, 53), socket.SOCK_DGRAM)', f"{NO_ROUTE} ECONNREFUSED DONE"),
    "a raw socket": ("socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", "EPERM EPROTONOSUPPORT"),
    "a packet socket": ("socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", "EPERM EAFNOSUPPORT"),
    "the hypervisor by vsock": ("connect(40, (2, 1024))", "EAFNOSUPPORT EPERM"),
    "the kernel's crypto sockets": ("socket.socket(38, socket.SOCK_SEQPACKET)", "EAFNOSUPPORT EPERM"),
    "an address for the loopback device": ("""
    import fcntl
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(s, 0x8916, struct.pack("16sH2s4s8s", b"lo", 2, b"", bytes([10, 9, 8, 7]), b""))""", "EPERM"),
    "a new network device": ("""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("=BxHiII", 0, 0, 0, 1, 0xFFFFFFFF) + struct.pack("=HH4s", 8, 3, b"du0") + struct.pack(
        "=HHHH8s", 16, 18, 12, 1, b"dummy")
    s.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
    code = -struct.unpack("=i", s.recv(4096)[16:20])[0]
    if code: raise OSError(code, "")""", "EPERM EOPNOTSUPP"),
    "an abstract socket of the host": ('connect(socket.AF_UNIX, "\\0" + NAME)', "ECONNREFUSED"),
    "a socket file of the host": ("connect(socket.AF_UNIX, FOLDER + '/listener')", NOT_THERE),
    "the engine's socket": ("connect(socket.AF_UNIX, ENGINE)", NOT_THERE),
    "the engine's socket by its other name": ('connect(socket.AF_UNIX, "/var/run/docker.sock")', NOT_THERE),
    "containerd's socket": ('connect(socket.AF_UNIX, "/run/containerd/containerd.sock")', NOT_THERE),
    "the system bus": ('connect(socket.AF_UNIX, "/run/dbus/system_bus_socket")', NOT_THERE),
}  # fmt: skip

FILES = {
    "a file of the host": ("print(open(FOLDER + '/secret').read())", NOT_THERE),
    "a file of the host by the root of process 1": ("print(open('/proc/1/root' + FOLDER + '/secret').read())",
                                                    "EACCES EPERM ENOENT"),
    "a file of the host by its own root": (
        "print(open('/proc/self/root/../..' + FOLDER + '/secret').read())", NOT_THERE),
    "a file of the host by a working directory": ("""
    for n in range(1, 200):
        try: os.chdir(f"/proc/{n}/cwd/../../../.." + FOLDER)
        except OSError as err: last = err
        else: return
    raise last""", "ENOENT EACCES EPERM"),
    "the passwords of the host": ("open('/etc/shadow').read()", "ENOENT EACCES"),
    "the keys of the worker": ("os.listdir(os.path.expanduser(HOME))", "ENOENT EACCES"),
    "a file handle by its number": ("""
    handle = struct.pack("=IiI", 8, 1, 2) + bytes(128)
    syscall(OPEN_BY_HANDLE, os.open("/work", os.O_RDONLY), handle, os.O_RDONLY)""", NO_RIGHT),
    "a change of the system's programs": ("put('/usr/bin/env', b'x')", "EROFS EACCES ETXTBSY"),
    "a new program": ("open('/usr/bin/own', 'w')", "EROFS EACCES"),
    "a change of the users": ("put('/etc/passwd', b'x')", "EROFS EACCES"),
    "a change of the name service": ("put('/etc/hosts', b'x')", "EROFS EACCES"),
    "a change of what is mounted for it": ("put('/opt/mounted/file', b'x')", "EROFS EACCES"),
    "a new file where it is mounted": ("put('/opt/mounted/new', b'x')", "EROFS EACCES"),
    "the workspace of another sandbox": ("""
    for top in ("/work/..", "/lockgate/..", "/proc/1/cwd"):
        for name in os.listdir(top):
            if name.startswith("ws-") or name == "other": raise SystemExit("seen " + name)
    open(OTHER + "/work/README.md")""", "ENOENT EACCES"),
}  # fmt: skip

KERNEL = {
    "a mount": ('check(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))', NO_RIGHT),
    "a bind mount": ('check(libc.mount(b"/", b"/tmp", None, 4096, None))', NO_RIGHT),
    "a writable remount": ('check(libc.mount(b"", b"/usr", None, 32 | 4096, None))', NO_RIGHT),
    "a fresh /proc": ('check(libc.mount(b"proc", b"/tmp", b"proc", 0, None))', NO_RIGHT),
    "an unmount of what covers": ('check(libc.umount2(b"/proc", 2))', NO_RIGHT),
    "a mount by the new calls": ('syscall(FSOPEN, b"tmpfs", 0)', NO_RIGHT),
    "a copy of the mounts": ('syscall(OPEN_TREE, -100, b"/", 1)', NO_RIGHT),
    "another root": ('check(libc.chroot(b"/work"))', NO_RIGHT),
    "a pivot of the root": ('syscall(PIVOT_ROOT, b"/work", b"/work")', NO_RIGHT),
    "a user namespace": ("check(libc.unshare(0x10000000))", "EPERM ENOSPC ENOSYS EINVAL"),
    "a network namespace": ("check(libc.unshare(0x40000000))", NO_RIGHT),
    "a mount namespace": ("check(libc.unshare(0x00020000))", NO_RIGHT),
    "a user namespace by clone": ("""
    pid = syscall(CLONE, 0x10000000 | signal.SIGCHLD, None, None, None, None)
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)""", "EPERM ENOSPC ENOSYS EINVAL"),
    "a user namespace by clone3": ("""
    arguments = struct.pack("=QQQQQQQQ", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
    pid = syscall(435, arguments, len(arguments))
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)""", "EPERM ENOSPC ENOSYS EINVAL"),
    "the namespaces of process 1": ("""
    fd = os.open("/proc/1/ns/net", os.O_RDONLY)
    check(libc.setns(fd, 0))""", NO_RIGHT),
    "a block device": ("""
    os.mknod("/work/disk", 0o60600, os.makedev(254, 0))
    os.open("/work/disk", os.O_RDONLY)""", NO_RIGHT),
    "a character device": ("""
    os.mknod("/tmp/mem", 0o20600, os.makedev(1, 1))
    os.open("/tmp/mem", os.O_RDONLY)""", NO_RIGHT),
    "the memory device": ("os.open('/dev/mem', os.O_RDONLY)", "ENOENT EACCES EPERM"),
    "the kernel's log": ("os.open('/dev/kmsg', os.O_RDONLY)", "ENOENT EACCES EPERM"),
    "the kernel's log by a call": ("print(check(libc.klogctl(3, ctypes.create_string_buffer(4096), 4096)))", NO_RIGHT),
    "the virtual machine device": ("os.open('/dev/kvm', os.O_RDWR)", "ENOENT EACCES EPERM"),
    "the fuse device": ("os.open('/dev/fuse', os.O_RDWR)", "ENOENT EACCES EPERM"),
    "the tun device": ("os.open('/dev/net/tun', os.O_RDWR)", "ENOENT EACCES EPERM"),
    "the disks": ("[os.open('/dev/' + name, os.O_RDONLY) for name in ('vda', 'sda', 'nvme0n1', 'dm-0')]",
                  "ENOENT EACCES EPERM"),
    "the handler of core dumps": ("put('/proc/sys/kernel/core_pattern', b'|/work/x')", NO_RIGHT),
    "the path of module loading": ("put('/proc/sys/kernel/modprobe', b'/work/x')", NO_RIGHT),
    "the handler of odd binaries": ("put('/proc/sys/fs/binfmt_misc/register', b':x:M::x::/work/x:')", NO_RIGHT),
    "the magic request key": ("put('/proc/sysrq-trigger', b'h')", NO_RIGHT),
    "a cgroup's release agent": ("""
    import glob
    last = OSError(errno.ENOENT, "")
    for path in glob.glob("/sys/fs/cgroup/**/release_agent", recursive=True):
        try: put(path, b"/work/x")
        except OSError as err: last = err
        else: return
    raise last""", NO_RIGHT),
    "the event helper of the kernel": ("put('/sys/kernel/uevent_helper', b'/work/x')", NO_RIGHT),
    "a kernel module": ("syscall(INIT_MODULE, b'x', 1, b'')", "EPERM ENOSYS"),
    "another kernel": ("syscall(KEXEC_LOAD, 0, 0, None, 0)", "EPERM ENOSYS"),
    "a reboot": ("check(libc.reboot(0))", "EPERM ENOSYS EINVAL"),
    "the clock": ('check(libc.clock_settime(0, struct.pack("=qq", 1, 0)))', "EPERM ENOSYS"),
    "the host's name": ('check(libc.sethostname(b"mine", 4))', "EPERM ENOSYS"),
    "swap": ('check(libc.swapon(b"/work/README.md", 0))', "EPERM ENOSYS"),
    "a key in the kernel's rings": ('syscall(ADD_KEY, b"user", b"mine", b"x", 1, -3)', "EPERM ENOSYS EACCES"),
    "the session's key ring": ("syscall(KEYCTL, 0, -3, 1)", "EPERM ENOSYS EACCES"),
    "a bpf program": ("syscall(BPF, 0, bytes(128), 128)", "EPERM ENOSYS"),
    "performance events": ("syscall(PERF, bytes(128), 0, -1, -1, 0)", "EPERM ENOSYS EACCES"),
    "page faults of its own": ("syscall(USERFAULTFD, 0)", "EPERM ENOSYS"),
    "io_uring": ("syscall(IO_URING_SETUP, 4, bytes(256))", "EPERM ENOSYS"),
    "a set-user-id program": ("""
    import shutil
    shutil.copy("/usr/bin/id", "/work/id"); os.chmod("/work/id", 0o6755)
    if os.popen("/work/id -u").read().strip() == "0": return
    raise PermissionError(errno.EPERM, "")""", "EPERM"),
    "to be root": ("os.setuid(0)", "EPERM EINVAL"),
    "a capability": ("""
    everything = struct.pack("<5I", 0x2000001, 2**32 - 1, 0, 63, 0)
    os.setxattr("/work/README.md", "security.capability", everything)""", "EPERM EINVAL"),
    "a better priority": ("os.nice(-10)", "EPERM EACCES"),
    "real-time priority": ("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))", "EPERM"),
    "to be spared when memory runs out": ("put('/proc/self/oom_score_adj', b'-1000')", "EACCES EPERM"),
    "higher limits": ("""
    import resource
    try: resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    except ValueError: raise PermissionError(errno.EPERM, "")""", "EPERM"),
    "the first process by ptrace": ("""
    check(libc.ptrace(16, 1, None, None))
    os.waitpid(1, 0x40000000)
    print(open("/proc/1/maps").read())
    check(libc.ptrace(17, 1, None, None))""", "EPERM DONE"),
    "the memory of the first process": ("""
    for line in open("/proc/1/maps"):
        start, end = (int(number, 16) for number in line.split()[0].split("-"))
        if "[stack]" in line or "[heap]" in line:
            print(os.pread(os.open("/proc/1/mem", os.O_RDONLY), end - start, start))""", "EACCES EPERM DONE"),
    "the variables of the first process": ("print(open('/proc/1/environ', 'rb').read())", "EACCES EPERM DONE"),
    "the end of the first process": ("os.kill(1, signal.SIGKILL); time.sleep(0.2)", "EPERM DONE"),
}  # fmt: skip
TRIES = NETWORK | FILES | KERNEL

ENGINES_OWN = re.compile(r"veth|br-|docker|lg\d")
"""Devices that engines and swarms make and remove while other tests run. No try makes one with such a name."""

_NUMBERS = {
    "x86_64": {
        "OPEN_BY_HANDLE": 304, "FSOPEN": 430, "OPEN_TREE": 428, "PIVOT_ROOT": 155, "CLONE": 56, "INIT_MODULE": 175,
        "KEXEC_LOAD": 246, "ADD_KEY": 248, "KEYCTL": 250, "BPF": 321, "PERF": 298, "USERFAULTFD": 323,
        "IO_URING_SETUP": 425,
    },
    "aarch64": {
        "OPEN_BY_HANDLE": 265, "FSOPEN": 430, "OPEN_TREE": 428, "PIVOT_ROOT": 41, "CLONE": 220, "INIT_MODULE": 105,
        "KEXEC_LOAD": 104, "ADD_KEY": 217, "KEYCTL": 219, "BPF": 280, "PERF": 241, "USERFAULTFD": 282,
        "IO_URING_SETUP": 425,
    },
}  # fmt: skip


class Host:
    """What a sandbox must not reach, and what it must not change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.secret = f"secret-{uuid.uuid4()}"
        (folder / "secret").write_text(self.secret)
        (folder / "mounted").mkdir()
        (folder / "mounted" / "file").write_text("theirs")
        for path in (folder / "mounted", folder / "mounted" / "file"):
            path.chmod(0o777)
        self.name = f"lockgate-{uuid.uuid4()}"
        self.tcp = socket.create_server(("0.0.0.0", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("0.0.0.0", self.port))
        self.unix, self.abstract = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        self.unix.bind(str(folder / "listener"))
        (folder / "listener").chmod(0o777)
        self.abstract.bind(f"\0{self.name}")
        for listener in (self.unix, self.abstract):
            listener.listen()
        self.listeners = (self.tcp, self.udp, self.unix, self.abstract)
        self.before = self.state()

    def state(self) -> dict[str, str]:
        """What a way out would have changed."""
        found = {"mounted": str(sorted(path.name for path in (self.folder / "mounted").iterdir()))}
        files = ("/etc/passwd", "/etc/hosts", "/usr/bin/env", self.folder / "secret", self.folder / "mounted" / "file")
        for path in files:
            found[str(path)] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for name in ("kernel/core_pattern", "kernel/modprobe", "kernel/hostname"):
            with contextlib.suppress(OSError):
                found[name] = Path("/proc/sys", name).read_text()
        for name in ("/proc/modules", "/proc/swaps"):
            with contextlib.suppress(OSError):
                lines = Path(name).read_text().splitlines()
                found[name] = str(sorted(line.split()[0] for line in lines))
        found["devices"] = str(sorted(name for _, name in socket.if_nameindex() if not ENGINES_OWN.match(name)))
        return found

    def heard(self) -> list[str]:
        """Which listeners were reached."""
        reached = []
        for listener in self.listeners:
            listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if listener is self.udp:
                    listener.recv(10)
                else:
                    listener.accept()
                reached.append(str(listener))
        return reached

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "host").mkdir(mode=0o755)
    host = Host(tmp_path / "host")
    yield host
    try:
        assert host.heard() == []
        assert host.state() == host.before
    finally:
        host.close()


@pytest.fixture(params=KINDS)
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sandbox]:
    """One of each kind, with small limits."""
    limits = {"workspace_mb": 40, "file_mb": 30, "memory_mb": 1024, "tmp_mb": 20, "processes": 64}
    root = tmp_path / "sandboxes"
    kind: Sandbox
    if request.param == "docker":
        kind = Docker(root=root, socket=engine_socket(), warm=0, **limits)
    else:
        kind = Bubblewrap(root=root, **limits)
    yield kind
    assert kind.sweep(lambda label: False) == ()
    assert list(root.glob("ws-*")) == []


@pytest.fixture
def workspace(sandbox: Sandbox, host: Host) -> Iterator[Workspace]:
    mounts = {str(host.folder / "mounted"): "/opt/mounted"}
    workspace = sandbox.open(TREE, label="escape", mounts=mounts)
    yield workspace
    workspace.close()


def run(workspace: Workspace, attempt: str, timeout_s: float = 60, **names: object) -> Completed:
    """Run the body of a function `attempt` inside, with names bound."""
    bound = "".join(f"{name} = {value!r}\n" for name, value in names.items())
    body = "def attempt():\n    " + attempt.strip("\n").removeprefix("    ") + "\n"
    return workspace.run(["/usr/bin/python3", "-c", bound + body + PRELUDE], timeout_s=timeout_s)


@pytest.mark.parametrize("tries", [NETWORK, FILES, KERNEL], ids=["network", "files", "kernel"])
def test_it_does_not_get(
    tries: dict[str, tuple[str, str]],
    workspace: Workspace,
    host: Host,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All tries of a table in one sandbox, a process for each. What got through is named, and so is what it changed."""
    monkeypatch.setenv("LOCKGATE_TEST_SECRET", host.secret)  # what process 1 knows, others may read: it knows nothing
    bystander = sandbox.open(TREE, label="other")
    names = {
        "PORT": host.port,
        "NAME": host.name,
        "FOLDER": str(host.folder),
        "ADDRESS": _own_address(),
        "RESOLVER": _resolver(),
        "ENGINE": default_socket(),
        "HOME": os.path.expanduser("~") + "/.ssh",
        "OTHER": str(bystander.directory),  # type: ignore[attr-defined]
        **_NUMBERS[platform.machine()],
    }
    got: dict[str, object] = {}
    for name, (attempt, refused) in tries.items():
        done = run(workspace, attempt, **names)
        last = done.output.strip().rpartition("\n")[2]
        killed_itself = done.exit_code in (137, 143) and "DONE" in refused
        was_refused = done.exit_code == 0 and last in refused.split()
        if not (killed_itself or was_refused) or host.secret in done.output or host.heard():
            got[name] = done
        elif host.state() != host.before:
            got[name] = host.state()
    after = workspace.run(["echo", "still confined"], timeout_s=30)
    bystander.close()
    assert (got, after.output) == ({}, "still confined\n"), (
        "one that broke the sandbox is the one before the first named"
    )


def _own_address() -> str:
    """An address of this machine that is not its loopback; one that nobody has where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return "198.51.100.1"


def _resolver() -> str:
    for line in Path("/etc/resolv.conf").read_text().splitlines():
        if line.startswith("nameserver") and ":" not in line:
            return line.split()[1]
    return "192.0.2.53"


def test_there_are_at_least_forty_tries() -> None:
    assert len(TRIES) >= 40


# --- more than one line


def test_a_fork_bomb_ends_with_its_command(workspace: Workspace) -> None:
    marker = f"bomb-{uuid.uuid4()}"
    done = workspace.run(["bash", "-c", ':(){ :|:& };:; exec -a "$0" sleep 60', marker], timeout_s=3)
    assert done.exit_code != 0 or not running(marker)
    assert running(marker) == []
    assert workspace.run(["echo", "fine"], timeout_s=30).output == "fine\n"


def test_memory_beyond_the_limit_is_not_given(workspace: Workspace) -> None:
    done = workspace.run(["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(3000)]; print('DONE')"],
                         timeout_s=120)  # fmt: skip
    assert "DONE" not in done.output and done.exit_code != 0
    assert workspace.run(["echo", "fine"], timeout_s=30).output == "fine\n"


def test_memory_of_many_processes_is_counted_together(workspace: Workspace) -> None:
    script = """
import os, time
for _ in range(8):
    if os.fork() == 0:
        x = bytearray(os.urandom(1 << 20) * 300)
        time.sleep(600)
time.sleep(600)
"""
    done = workspace.run(["/usr/bin/python3", "-c", script + "\nprint('DONE')"], timeout_s=6)
    assert done.problem is not None and "DONE" not in done.output
    available = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line)
    assert int(available.split()[1]) > 200_000


def test_temporary_files_are_limited(workspace: Workspace) -> None:
    for where in ("/tmp", "/tmp/home", "/dev/shm"):
        done = run(workspace, f"with open({where!r} + '/x', 'wb') as f:\n        f.write(bytes(25 << 20))")
        assert done.output.strip() in ("ENOSPC", "EFBIG"), done


def test_the_disk_is_limited(workspace: Workspace) -> None:
    script = "for i in 1 2 3 4 5 6 7 8; do head -c 15M /dev/urandom > /work/f$i || exit; sleep 0.3; done; sleep 60"
    done = workspace.run(["sh", "-c", script], timeout_s=90)
    assert done.problem == "the workspace is over 40 MB", done
    with pytest.raises(AgentError):
        workspace.collect()


def test_a_huge_sparse_file_is_not_made(workspace: Workspace) -> None:
    assert run(workspace, "open('/work/big', 'wb').truncate(1 << 40)").output.strip() == "EFBIG"


def test_a_flood_of_output_is_bounded(workspace: Workspace) -> None:
    shown: list[str] = []
    done = workspace.run(["sh", "-c", "yes $(printf 'a\\033[2J') | head -c 200M"], timeout_s=60, on_output=shown.append)
    assert len(done.output) < 5_000_000 and sum(map(len, shown)) < 30_000_000
    assert "\033" not in done.output + "".join(shown)


def test_open_files_are_limited(workspace: Workspace) -> None:
    done = run(workspace, "keep = [os.open('/dev/null', 0) for _ in range(1 << 21)]")
    assert done.output.strip() == "EMFILE" or done.problem or done.exit_code == 137, done


@pytest.mark.parametrize(
    "start",
    [
        "setsid sleep $0 &",
        "nohup sleep $0 > /dev/null 2>&1 &",
        "(setsid sleep $0 > /dev/null 2>&1 < /dev/null & ) &",
        "trap '' TERM HUP INT; sleep $0 &",
        "sleep $0 & kill -STOP $!;",
        "python3 -c 'import os, sys\nif os.fork(): os._exit(0)\nos.setsid()\n"
        'os.execvp("sleep", ["sleep", sys.argv[1]])\' $0;',
    ],
)
def test_nothing_is_left_running(workspace: Workspace, start: str) -> None:
    seconds = nap()
    assert workspace.run(["sh", "-c", f"{start} echo up", seconds], timeout_s=30).output == "up\n"
    assert running(seconds) == []


def test_a_command_out_of_time_dies_with_all_its_kin(workspace: Workspace) -> None:
    seconds = nap()
    script = "trap '' TERM INT HUP; for i in 1 2 3; do setsid sh -c 'sleep $0; sleep $0' $0 & done; sleep $0; sleep $0"
    assert workspace.run(["sh", "-c", script, seconds], timeout_s=1).timed_out
    assert running(seconds) == []


def test_signals_reach_nobody_else(workspace: Workspace, sandbox: Sandbox) -> None:
    seconds = nap()
    bystander = subprocess.Popen(["sleep", seconds])
    try:
        script = "import os, signal\nfor n in range(2, 100000):\n  try: os.kill(n, 9)\n  except OSError: pass\n"
        workspace.run(["/usr/bin/python3", "-c", script.replace("os.kill(n, 9)", "n == os.getpid() or os.kill(n, 9)")],
                      timeout_s=60)  # fmt: skip
        workspace.run(["sh", "-c", "kill -9 -1"], timeout_s=30)
        assert bystander.poll() is None
        assert workspace.run(["echo", "fine"], timeout_s=30).output == "fine\n"
    finally:
        bystander.kill()
        bystander.wait()


def test_a_listener_inside_is_reached_by_nobody_outside(workspace: Workspace) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    seen: list[str] = []

    def look(text: str) -> None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            seen.append("reached")
        except ConnectionRefusedError:
            seen.append("refused")

    script = f"import socket\ns = socket.create_server(('0.0.0.0', {port}))\nprint('up', flush=True)\n"
    workspace.run(["/usr/bin/python3", "-c", script], timeout_s=30, on_output=look)
    assert seen == ["refused"]


def test_sandboxes_share_no_memory_queue_or_socket(workspace: Workspace, sandbox: Sandbox) -> None:
    other = sandbox.open(TREE, label="other")
    name = uuid.uuid4().hex
    leave = f"""
import ctypes, os, socket
libc = ctypes.CDLL(None)
print(libc.shmget(0x1234, 4096, 0o1666) >= 0)
open('/dev/shm/{name}', 'w').close(); open('/tmp/{name}', 'w').close()
s = socket.socket(socket.AF_UNIX); s.bind('\\0{name}'); s.listen()
print('up', flush=True)
"""
    find = f"""
import ctypes, os, socket
libc = ctypes.CDLL(None)
print(libc.shmget(0x1234, 4096, 0), os.path.exists('/dev/shm/{name}'), os.path.exists('/tmp/{name}'))
try: socket.socket(socket.AF_UNIX).connect('\\0{name}'); print('reached')
except OSError: print('refused')
"""
    seen: list[str] = []

    def look(text: str) -> None:
        if "up" in text:
            seen.append(other.run(["/usr/bin/python3", "-c", find], timeout_s=30).output)

    workspace.run(["/usr/bin/python3", "-c", leave + "import time; time.sleep(1)"], timeout_s=60, on_output=look)
    other.close()
    assert seen == ["-1 False False\nrefused\n"]


def test_no_variable_or_descriptor_of_the_worker_comes_in(
    workspace: Workspace, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", host.secret)
    with open(host.folder / "secret") as leaked:
        os.set_inheritable(leaked.fileno(), True)
        script = (
            "cat /proc/*/environ /proc/*/cmdline 2>/dev/null; env; for fd in /proc/self/fd/*; do readlink $fd; done; "
        )
        done = workspace.run(["sh", "-c", script + "cat <&3; cat <&9; cat <&15"], timeout_s=30)
    assert host.secret not in done.output
    assert str(host.folder) not in done.output


RESULTS = {
    "a link to a file of the host": "ln -s /etc/passwd l",
    "a link to where the host would write": "ln -s ../../../../../../tmp src",
    "a fifo": "mkfifo f",
    "a socket": "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'",
    "a hard link": "ln README.md h",
    "a device": "mknod d c 1 3 || mkfifo d",
    "hooks of a nested repository": "mkdir -p a/.git/hooks && echo '#!/bin/sh' > a/.git/hooks/post-checkout",
    "a name that is another on some file systems": "mkdir -p git~1 && touch git~1/config",
    "a name that a terminal acts on": "touch $(printf 'a\\033[2J')",
    "a name that is not text": "touch $(printf 'a\\377')",
    "a sparse giant": "truncate -s 29M big",
}


@pytest.mark.parametrize("name", RESULTS)
def test_the_result_cannot_hold(name: str, workspace: Workspace) -> None:
    done = workspace.run(["sh", "-c", RESULTS[name]], timeout_s=30)
    assert done.exit_code == 0, done
    with pytest.raises(AgentError):
        workspace.collect()


def test_the_result_carries_no_privileges(workspace: Workspace) -> None:
    workspace.run(["sh", "-c", "cp /usr/bin/true own; chmod 6777 own; mkdir .git; touch .git/config"], timeout_s=30)
    collected = workspace.collect()
    assert set(collected) == {"README.md", "own"}
    assert collected["own"].mode == 0o100755


def test_the_host_follows_no_link_when_it_reads_and_writes(workspace: Workspace, host: Host) -> None:
    workspace.run(["sh", "-c", 'ln -s "$0" /work/l; ln -s "$0" /lockgate/l; mkdir d; ln -s "$0" d/l', str(host.folder)],
                  timeout_s=30)  # fmt: skip
    for path in ("/work/l/secret", "/lockgate/l/secret", "/work/d/l/secret"):
        assert workspace.read(path) is None
        with pytest.raises(AgentError):
            workspace.write(path, b"overwritten")
    assert workspace.save("/lockgate/l") is None


# --- the gateway's listener


@pytest.fixture
def egress(tmp_path: Path) -> Iterator[tuple[Egress, socket.socket]]:
    """A gateway's directory with a listener that answers nothing by itself, and a neighbour's beside it."""
    listeners = []
    for name in ("mine", "theirs"):
        directory = tmp_path / "gateway" / name
        directory.mkdir(parents=True)
        (directory / "ca.pem").write_text("certificate")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(directory / "gateway.sock"))
        (directory / "gateway.sock").chmod(0o666)
        listener.listen()
        listeners.append(listener)
    for path in (tmp_path / "gateway", tmp_path / "gateway" / "mine"):
        path.chmod(0o755)
    yield Egress(tmp_path / "gateway" / "mine", {"HTTPS_PROXY": "http://127.0.0.1:3128"}, "token"), listeners[0]
    neighbour = listeners[1]
    neighbour.setblocking(False)
    try:
        with pytest.raises(BlockingIOError):
            neighbour.accept()
    finally:
        for listener in listeners:
            listener.close()


GATEWAY_TRIES = {
    "to remove the socket": ("os.unlink('/run/lockgate/gateway.sock')", "EROFS EACCES EPERM"),
    "to replace the socket": ("os.rename('/tmp', '/run/lockgate/gateway.sock')", "EROFS EACCES EPERM EXDEV EBUSY"),
    "to change the certificate": ("put('/run/lockgate/ca.pem', b'x')", "EROFS EACCES EPERM"),
    "to leave a file": ("open('/run/lockgate/new', 'w')", "EROFS EACCES EPERM"),
    "to open the socket to all": ("os.chmod('/run/lockgate/gateway.sock', 0o777)", "EROFS EACCES EPERM"),
    "a neighbour's socket": ("connect(socket.AF_UNIX, '/run/lockgate/../theirs/gateway.sock')", NOT_THERE),
    "a neighbour's socket by its path": ("connect(socket.AF_UNIX, THEIRS)", NOT_THERE),
}


@pytest.mark.parametrize("name", GATEWAY_TRIES)
def test_the_way_out_does_not_give(
    name: str, sandbox: Sandbox, egress: tuple[Egress, socket.socket], tmp_path: Path
) -> None:
    workspace = sandbox.open(TREE, label="escape", egress=egress[0])
    attempt, refused = GATEWAY_TRIES[name]
    done = run(workspace, attempt, THEIRS=str(tmp_path / "gateway" / "theirs" / "gateway.sock"))
    seen = workspace.run(["sh", "-c", "ls /run/lockgate; cat /run/lockgate/ca.pem"], timeout_s=30)
    workspace.close()
    assert done.output.strip() in refused.split(), done
    assert seen.output == "ca.pem\ngateway.sock\ncertificate"


def test_with_a_way_out_there_is_still_no_other(sandbox: Sandbox, egress: tuple[Egress, socket.socket]) -> None:
    """What goes to 127.0.0.1:3128 comes to this sandbox's listener; every other port and address stays closed."""
    workspace = sandbox.open(TREE, label="escape", egress=egress[0])
    with socket.create_server(("0.0.0.0", 0)) as witness:
        script = f"""
import os, socket
print(os.environ["HTTPS_PROXY"], sorted(name for _, name in socket.if_nameindex()))
s = socket.create_connection(("127.0.0.1", 3128), 10)
s.sendall(b"hello")
port = {witness.getsockname()[1]}
for address in (("127.0.0.1", port), ({_own_address()!r}, port), ("192.0.2.1", 80)):
    try: socket.create_connection(address, 3); print("reached")
    except OSError: print("closed")
"""
        done = workspace.run(["/usr/bin/python3", "-c", script], timeout_s=60)
        witness.setblocking(False)
        with pytest.raises(BlockingIOError):
            witness.accept()
    egress[1].settimeout(10)
    assert egress[1].accept()[0].recv(100) == b"hello"
    workspace.close()
    assert done.output == "http://127.0.0.1:3128 ['lo']\nclosed\nclosed\nclosed\n"


def test_a_way_out_that_is_gone_leaves_none(sandbox: Sandbox, egress: tuple[Egress, socket.socket]) -> None:
    workspace = sandbox.open(TREE, label="escape", egress=egress[0])
    egress[1].close()
    script = "import socket; s = socket.create_connection(('127.0.0.1', 3128), 10); print(s.recv(10))"
    done = workspace.run(["/usr/bin/python3", "-c", script], timeout_s=60)
    workspace.close()
    assert done.output == "b''\n" or "ConnectionResetError" in done.output
