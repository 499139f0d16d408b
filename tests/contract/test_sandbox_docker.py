"""The contract of the Sandbox and Workspace ports, against containers of a real engine.

What holds for every kind is imported from test_sandbox, and runs here on the fixtures below.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from blocks.host.docker import Engine
from blocks.sandboxes import docker_containers, docker_pool
from blocks.sandboxes.docker import Docker
from blocks.sandboxes.docker_workspace import BACKGROUND, DockerWorkspace
from domain.errors import AgentError, InputError, SandboxError
from domain.trees import Tree, TreeEntry
from tests.contract.test_sandbox import (  # noqa: F401 (collected here too)
    FILE,
    LINK,
    TREE,
    nap,
    python,
    running,
    shell,
    test_a_command_out_of_time_leaves_nothing,
    test_a_command_works_on_the_tree,
    test_a_gigabyte_of_output_is_drained_and_bounded,
    test_a_toolchain_is_found_at_its_own_path,
    test_a_toolchain_that_would_show_a_home_is_refused,
    test_a_tree_comes_out_as_it_went_in,
    test_an_error_in_the_callback_leaves_nothing,
    test_changes_come_out_and_junk_does_not,
    test_daemons_end_with_their_command,
    test_exit_codes_are_the_commands_own,
    test_files_are_exchanged_both_ways,
    test_links_are_not_followed_out,
    test_mounts_are_read_only_and_where_they_were_asked_for,
    test_mounts_do_not_replace_what_is_the_sandboxs_own,
    test_no_file_of_the_platform_is_left_open,
    test_other_paths_are_not_the_platforms_to_use,
    test_output_comes_by_lines_as_it_is_printed_and_harmless,
    test_socket_families_that_namespaces_do_not_cover_are_refused,
    test_stdin_is_the_bytes_or_nothing,
    test_the_environment_is_made_from_scratch,
    test_the_working_copy_itself_cannot_be_replaced,
    test_there_is_no_network_but_a_loopback_of_its_own,
    test_this_machine_isolates,
    test_what_git_should_not_hold_is_refused,
    test_what_is_read_is_bounded,
    test_what_the_opened_tree_had_is_no_junk,
)
from tests.engine import engine_socket, own_engine

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def engine() -> Engine:
    return Engine.at(engine_socket())


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Docker]:
    """One without waiting containers; whatever a test does, nothing is left at the engine."""
    sandbox = Docker(root=tmp_path / "sandboxes", socket=engine_socket(), warm=0)
    yield sandbox
    settle()
    sandbox.drain()
    assert left(sandbox) == set()


@pytest.fixture
def workspace(sandbox: Docker) -> Iterator[DockerWorkspace]:
    workspace = sandbox.open(TREE, label="test")
    yield workspace
    workspace.close()


def left(sandbox: Docker) -> set[str]:
    """Names of workspaces that have something at the engine."""
    directories = docker_containers.directories(Engine.at(sandbox.socket))
    return {directory.name for directory in directories if directory.parent == sandbox.root}


def settle() -> None:
    """Wait for what was started in the background: until all of its threads are free at once."""
    met = threading.Barrier(BACKGROUND._max_workers)
    for future in [BACKGROUND.submit(met.wait, 60) for _ in range(met.parties)]:
        future.result(60)


# --- isolation


def test_a_container_is_as_hard_as_it_was_asked_for(workspace: DockerWorkspace, engine: Engine) -> None:
    runner = workspace._containers.start_runner()
    seen = engine.api.inspect_container(runner.container)
    config = seen["HostConfig"]
    workspace._containers.remove(runner)
    assert (config["NetworkMode"], config["ReadonlyRootfs"], config["Init"]) == ("none", True, True)
    assert (config["CapDrop"], config["CapAdd"], config["Privileged"]) == (["ALL"], None, False)
    assert config["SecurityOpt"][0] == "no-new-privileges:true" and "seccomp={" in config["SecurityOpt"][1]
    assert (config["PidsLimit"], config["Memory"], config["MemorySwap"]) == (512, 8192 << 20, 8192 << 20)
    assert config["IpcMode"] == "private" and config["LogConfig"]["Type"] == "none" and not config["Devices"]
    assert {limit["Name"]: limit["Hard"] for limit in config["Ulimits"]} == {
        "nofile": 4096,
        "core": 0,
        "fsize": 512 << 20,
    }
    assert seen["Config"]["User"] == "10002:10002"
    assert seen["Config"]["Labels"].keys() == {docker_containers.LABEL}
    assert sorted(mount["Destination"] for mount in seen["Mounts"]) == ["/lockgate", "/work"]


def test_nothing_of_the_host_is_seen(
    workspace: DockerWorkspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = f"secret-{uuid.uuid4()}"
    monkeypatch.setenv("LOCKGATE_TEST_SECRET", secret)
    (tmp_path / "file").write_text(secret)
    for path in ("/root", "/home", "/var", "/srv", "/etc/shadow", str(tmp_path), __file__, "/run/docker.sock"):
        assert shell(workspace, f"ls -d '{path}' 2>/dev/null || echo none").strip() == "none", path
    assert shell(workspace, "ls -A /sys; cat /etc/hostname; grep nameserver /etc/resolv.conf").split() == [
        "sandbox",
        "nameserver",
        "192.0.2.1",
    ]
    assert secret not in shell(workspace, "cat /proc/*/environ /proc/*/cmdline 2>/dev/null; env")
    assert workspace.run(["ps", "ax"], timeout_s=9).output.count("\n") == 4  # title, init, cat, ps


def test_only_the_workspace_and_tmp_can_be_written(workspace: DockerWorkspace) -> None:
    tries = (
        "/ /usr /usr/bin /etc /etc/passwd /etc/hosts /etc/resolv.conf /dev /sys /run /proc/sys/kernel/core_pattern "
        "/work /lockgate /tmp /tmp/home /dev/shm"
    )
    script = f"for p in {tries}; do test -w $p && echo $p; done; touch /dev/x /x 2>/dev/null && echo bad; true"
    assert shell(workspace, script).split() == ["/work", "/lockgate", "/tmp", "/tmp/home", "/dev/shm"]


def test_it_is_an_ordinary_user_without_privileges(workspace: DockerWorkspace) -> None:
    script = "id -u; grep -h CapEff /proc/self/status; unshare -U true 2>&1 | head -1; cat /proc/1/oom_score_adj"
    uid, _, capabilities, *nested, last = shell(workspace, script).split()
    assert uid == ("10001" if os.geteuid() == 0 else str(os.geteuid()))
    assert (capabilities, last) == ("0" * 16, "1000")
    assert "failed:" in nested


@pytest.mark.parametrize("weaker", [{"privileged": True}, {"network_mode": "host"}, {"cap_add": ["SYS_ADMIN"]}])
def test_a_container_that_isolates_less_is_refused(
    sandbox: Docker, monkeypatch: pytest.MonkeyPatch, weaker: dict[str, object]
) -> None:
    names = {"privileged": "Privileged", "network_mode": "NetworkMode", "cap_add": "CapAdd"}
    original = docker_containers.WorkspaceContainers._host_config

    def weak(*args: object, **options: object) -> dict[str, object]:
        config = original(*args, **options)  # type: ignore[arg-type]
        return {**config, **{names[name]: value for name, value in weaker.items()}}

    monkeypatch.setattr(docker_containers.WorkspaceContainers, "_host_config", weak)
    monkeypatch.setattr("blocks.sandboxes.docker._proved", {})
    with pytest.raises(SandboxError):
        sandbox.open(TREE, label="test")
    assert sandbox.doctor() is not None


def test_without_an_engine_or_the_image_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Docker(root=tmp_path / "a", socket=str(tmp_path / "none.sock"))
    assert "no Docker Engine at" in str(nowhere.doctor())
    assert nowhere.sweep(lambda label: False) == ()
    with pytest.raises(SandboxError, match="no Docker Engine at"):
        nowhere.open({}, label="test")
    monkeypatch.setattr("blocks.sandboxes.docker.REPOSITORY", "lockgate-base:none")
    monkeypatch.setattr("blocks.sandboxes.docker._proved", {})
    assert "lockgate image build" in str(Docker(root=tmp_path / "b", socket=engine_socket()).doctor())


# --- commands


def test_each_command_has_a_container_of_its_own(workspace: DockerWorkspace) -> None:
    assert shell(workspace, "echo 1 > /tmp/x; echo 2 > /dev/shm/x; echo 3 > x; ls /tmp /dev/shm").split() == [
        "/dev/shm:", "x", "/tmp:", "home", "x",
    ]  # fmt: skip
    for _ in range(3):
        assert shell(workspace, "cat x; ls /tmp /dev/shm").split() == ["3", "/dev/shm:", "/tmp:", "home"]


def test_a_reason_to_stop_ends_the_command(workspace: DockerWorkspace) -> None:
    seconds = nap()
    asked: list[int] = []

    def stop() -> str | None:
        asked.append(1)
        return "the race is over" if len(asked) == 2 else None

    done = workspace.run(["sh", "-c", f"setsid sleep {seconds} & sleep {seconds}"], timeout_s=60, stop=stop)
    assert (done.problem, done.timed_out, done.exit_code) == ("the race is over", False, 137)
    assert running(seconds) == []


def test_what_closes_its_output_is_waited_for(workspace: DockerWorkspace) -> None:
    assert workspace.run(["sh", "-c", "exec >&- 2>&-; sleep 1; touch done; exit 3"], timeout_s=30).exit_code == 3
    assert "done" in workspace.collect()


def test_arguments_and_variables_come_through_as_they_are(workspace: DockerWorkspace) -> None:
    words = ["a b", "", "$(id)", "'", '"', "é\n", "-n"]
    argv = ["python3", "-c", "import os, sys; print(sys.argv[1:], os.environ['V'])", *words]
    assert workspace.run(argv, timeout_s=9, env={"V": "$HOME `x`"}).output == f"{words} $HOME `x`\n"


def test_no_descriptor_of_the_worker_is_left_open(workspace: DockerWorkspace) -> None:
    def use() -> int:
        for _ in range(3):
            shell(workspace, "true")
            workspace.run(["sleep", "9"], timeout_s=0.2)
            workspace.run(["cat"], timeout_s=9, stdin=b"x")
            workspace.collect()
        settle()
        return len([fd for fd in os.listdir("/proc/self/fd") if _is_open(fd)])

    use()
    assert use() <= use()


def _is_open(fd: str) -> bool:
    return os.path.exists(f"/proc/self/fd/{fd}") or os.path.islink(f"/proc/self/fd/{fd}")


def test_two_commands_at_once_are_fine(workspace: DockerWorkspace) -> None:
    results: list[str] = []
    script = "touch $0; until test -e a && test -e b; do sleep 0.05; done; echo met"
    threads = [
        threading.Thread(
            target=lambda name=name: results.append(workspace.run(["sh", "-c", script, name], timeout_s=30).output)
        )
        for name in ("a", "b")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["met\n", "met\n"]


# --- limits


def small(sandbox: Docker, **limits: int) -> DockerWorkspace:
    return sandbox.model_copy(update=limits).open({}, label="test")


def test_a_fork_bomb_is_contained(sandbox: Docker) -> None:
    bombed, other = small(sandbox, processes=40), small(sandbox)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(bombed.run(["bash", "-c", ":(){ :|:& };:; wait"], timeout_s=3))
    )
    thread.start()
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


def test_memory_and_file_size_are_limited(sandbox: Docker) -> None:
    workspace = small(sandbox, memory_mb=200, file_mb=20, tmp_mb=10)
    limits = {
        "open('/work/big', 'wb').truncate(4 << 30)": "File too large",
        "open('/work/big', 'wb').write(bytes(30 << 20))": "File too large",
        "open('/tmp/big', 'wb').write(bytes(15 << 20))": "No space left",
        "open('/tmp/home/big', 'wb').write(bytes(15 << 20))": "No space left",
        "open('/dev/shm/big', 'wb').write(bytes(15 << 20))": "No space left",
    }
    for script, error in limits.items():
        done = workspace.run(["/usr/bin/python3", "-c", script], timeout_s=30)
        assert done.exit_code == 1, script
        assert error in done.output, script
    done = workspace.run(["/usr/bin/python3", "-c", "x = bytearray(400 << 20)"], timeout_s=30)
    assert done.exit_code == 137
    assert shell(workspace, "echo fine") == "fine\n"
    workspace.close()


@pytest.mark.parametrize("where", ["/work", "/lockgate"])
def test_a_workspace_over_its_size_is_stopped(sandbox: Docker, where: str) -> None:
    workspace = small(sandbox, workspace_mb=20)
    done = workspace.run(["sh", "-c", f"dd if=/dev/zero of={where}/x bs=1M count=40; sleep 60"], timeout_s=60)
    assert (done.problem, done.timed_out) == ("the workspace is over 20 MB", False)
    assert workspace.run(["true"], timeout_s=9).problem == "the workspace is over 20 MB"
    workspace.close()


def test_a_full_disk_is_the_platforms_trouble(sandbox: Docker, workspace: DockerWorkspace) -> None:
    with pytest.raises(SandboxError, match="the disk is full at"):
        small(sandbox, min_free_mb=10**9)
    workspace._bounds = workspace._bounds._replace(free_bytes=1 << 60)
    with pytest.raises(SandboxError, match="the disk is full at"):
        workspace.run(["true"], timeout_s=9)


# --- trees


@pytest.mark.parametrize("tree", [{"../x": TreeEntry(FILE, b"")}, {"l": TreeEntry(LINK, b"/etc/passwd")}])
def test_a_hostile_tree_is_not_opened(sandbox: Docker, tree: Tree) -> None:
    with pytest.raises(InputError, match="cannot be opened in a sandbox"):
        sandbox.open(tree, label="test")
    assert list(sandbox.root.glob("ws-*")) == []


def test_a_shared_tree_is_changed_by_nobody_and_costs_only_what_changes(sandbox: Docker) -> None:
    shared = sandbox.model_copy(update={"copy_mb": 0})
    tree = {
        **TREE,
        "large": TreeEntry(FILE, bytes(3 << 20)),
        "d/a": TreeEntry(FILE, b"1"),
        "d/b": TreeEntry(FILE, b"2"),
    }
    one, two = shared.open(tree, label="test"), shared.open(tree, label="test")
    assert one.collect() == two.collect() == tree
    shell(one, "rm -r d src; mkdir d; echo 3 > d/c; echo more >> README.md; chmod 600 bin/go; echo x > new")
    assert one.collect() == {
        "README.md": TreeEntry(FILE, b"hello\nmore\n"),
        "bin/go": TreeEntry(FILE, TREE["bin/go"].content),
        "docs/link": TREE["docs/link"],
        "d/c": TreeEntry(FILE, b"3\n"),
        "new": TreeEntry(FILE, b"x\n"),
        "large": tree["large"],
    }
    assert (one.read("/work/README.md"), one.read("/work/d/a")) == (b"hello\nmore\n", None)
    assert two.collect() == tree
    assert sum(file.stat().st_size for file in one.directory.rglob("*") if file.is_file()) < 100_000
    one.close()
    two.close()


def test_a_harvest_is_a_layer_that_is_not_collected(sandbox: Docker, tmp_path: Path) -> None:
    setup = sandbox.open(TREE, label="setup")
    shell(setup, "mkdir -p node_modules/x/bin; echo 1 > node_modules/x/index.js; ln -s x node_modules/y")
    setup.harvest(tmp_path / "layer")
    setup.close()
    workspace = sandbox.open(TREE, label="test", layer=tmp_path / "layer")
    assert shell(workspace, "cat node_modules/y/index.js README.md; echo 2 > node_modules/z; echo 3 > new") == (
        "1\nhello\n"
    )
    assert workspace.collect() == {**TREE, "new": TreeEntry(FILE, b"3\n")}
    assert not (tmp_path / "layer" / "node_modules" / "z").exists()
    workspace.close()


def test_a_saved_directory_comes_back_in_a_later_sandbox(sandbox: Docker, workspace: DockerWorkspace) -> None:
    shell(workspace, "mkdir -p /lockgate/session/d; echo 1 > /lockgate/session/d/x; touch /lockgate/session/e")
    saved = workspace.save("/lockgate/session")
    assert saved
    later = sandbox.open({}, label="later")
    later.restore("/lockgate/session", saved)
    assert shell(later, "cd /lockgate/session; cat d/x; echo 2 >> d/x; find . | sort").split() == [
        "1", ".", "./d", "./d/x", "./e",
    ]  # fmt: skip
    shell(later, "ln -s /etc /lockgate/session/etc")
    assert later.save("/lockgate/session") is None
    later.close()


def test_an_image_that_nobody_has_is_wrong_input(sandbox: Docker) -> None:
    with pytest.raises(InputError, match=r"127\.0\.0\.1:9/none.*cannot be pulled"):
        sandbox.open({}, label="test", image="127.0.0.1:9/none:1")
    assert list(sandbox.root.glob("ws-*")) == []


def test_the_image_that_was_asked_for_is_the_one_that_runs(sandbox: Docker, engine: Engine) -> None:
    name = f"lockgate-test-{uuid.uuid4().hex[:8]}"
    made = engine.api.create_container("lockgate-base", command=["true"])["Id"]
    try:
        changes = ["ENV PATH=/opt/own/bin:/usr/bin:/bin", "USER root"]
        engine.api.commit(made, repository=name, tag="1", changes=changes)
        workspace = sandbox.open({}, label="test", image=f"{name}:1")
        assert shell(workspace, "echo $PATH; id -u").split()[0] == "/opt/own/bin:/usr/bin:/bin"
        assert shell(workspace, "id -u").strip() != "0"
        workspace.close()
    finally:
        engine.remove(made)
        engine.api.remove_image(f"{name}:1", force=True)


# --- warm containers


def test_a_waiting_container_is_taken_once_and_replaced(sandbox: Docker) -> None:
    warm = sandbox.model_copy(update={"warm": 1})
    warm.open({}, label="first").close()
    settle()
    waiting = docker_pool.waiting(sandbox.root, 60)
    assert len(waiting) == 1
    one, two = warm.open(TREE, label="one"), warm.open(TREE, label="two")
    assert one.directory.name in waiting and two.directory.name not in waiting
    for workspace in (one, two):
        assert shell(workspace, "cat README.md; ls -A /lockgate /tmp") == "hello\n/lockgate:\n\n/tmp:\nhome\n"
        assert workspace.collect() == TREE
        workspace.close()
    settle()
    assert len(docker_pool.waiting(sandbox.root, 60) - waiting) == 1


def test_a_waiting_container_is_for_its_own_make_alone(sandbox: Docker, tmp_path: Path) -> None:
    warm = sandbox.model_copy(update={"warm": 1})
    warm.open({}, label="first").close()
    settle()
    waiting = docker_pool.waiting(sandbox.root, 60)
    for other in (warm.model_copy(update={"memory_mb": 512}), warm.model_copy(update={"tmp_mb": 64})):
        workspace = other.open({}, label="other")
        assert workspace.directory.name not in waiting
        workspace.close()
    workspace = warm.open({}, label="other", mounts={str(tmp_path): "/opt/x"})
    assert workspace.directory.name not in waiting
    workspace.close()


def test_a_waiting_container_that_died_is_noticed(sandbox: Docker, engine: Engine) -> None:
    warm = sandbox.model_copy(update={"warm": 1})
    warm.open({}, label="first").close()
    settle()
    for container in engine.api.containers(filters={"label": docker_containers.LABEL}):
        if Path(container["Labels"][docker_containers.LABEL]).parent == sandbox.root:
            engine.api.kill(container["Id"])
    workspace = warm.open(TREE, label="next")
    assert shell(workspace, "cat README.md") == "hello\n"
    workspace.close()


def test_a_waiting_container_that_nobody_takes_ends_by_itself(sandbox: Docker, engine: Engine) -> None:
    brief = sandbox.model_copy(update={"warm": 1, "warm_minutes": 1 / 60})
    brief.open({}, label="first").close()
    settle()
    (name,) = left(sandbox)
    filters = {"label": f"{docker_containers.LABEL}={sandbox.root / name}"}
    until = time.monotonic() + 60
    while engine.api.containers(filters=filters) and time.monotonic() < until:
        time.sleep(0.1)
    assert engine.api.containers(filters=filters) == []
    workspace = brief.model_copy(update={"warm": 0}).open(TREE, label="next")
    assert shell(workspace, "cat README.md") == "hello\n"
    workspace.close()


def test_what_waits_too_long_is_swept(sandbox: Docker) -> None:
    sandbox.model_copy(update={"warm": 2}).open({}, label="first").close()
    settle()
    waiting = docker_pool.waiting(sandbox.root, 60)
    assert len(waiting) == 2
    assert sandbox.sweep(lambda label: False) == ()
    assert left(sandbox) == waiting
    for ticket in sandbox.root.glob("warm/*/ws-*"):
        os.utime(ticket, (0, 0))
    assert sandbox.sweep(lambda label: False) == ()
    # their maker lives: they go with it, or here by hand
    sandbox.drain()
    for name in waiting:
        (sandbox.root / name / "meta.json").write_text('{"label": "warm", "pid": 1, "start": 0, "boot": "another"}')
    assert sandbox.sweep(lambda label: True) == ()
    assert left(sandbox) == set()


# --- ends


def test_closing_twice_is_fine_and_leaves_nothing(sandbox: Docker) -> None:
    workspace = sandbox.open(TREE, label="test")
    shell(workspace, "mkdir -p a/b/c; touch a/b/c/d; chmod 0 a/b/c a/b a; chmod 0 /lockgate /work")
    workspace.close()
    workspace.close()
    assert list(sandbox.root.glob("ws-*")) == []
    assert left(sandbox) == set()
    with pytest.raises(SandboxError, match="closed"):
        workspace.run(["true"], timeout_s=9)


OPENER = """
import sys
from pathlib import Path
from blocks.sandboxes.docker import Docker
workspace = Docker(root=Path(sys.argv[1]), socket=sys.argv[3], warm=0).open({}, label="killed")
workspace.run(["sh", "-c", "setsid sleep $0 & echo up > /work/up; sleep $0", sys.argv[2]], timeout_s=1000)
"""


def test_a_killed_opener_leaves_no_process_and_is_swept(sandbox: Docker) -> None:
    seconds = nap()
    argv = [sys.executable, "-c", OPENER, str(sandbox.root), seconds, engine_socket()]
    opener = subprocess.Popen(argv, cwd=PROJECT)
    until = time.monotonic() + 60
    while not list(sandbox.root.glob("ws-*/work/up")) and time.monotonic() < until:
        time.sleep(0.1)
    assert sandbox.sweep(lambda label: False) == ()  # its opener lives
    assert running(seconds)
    opener.send_signal(signal.SIGKILL)
    opener.wait()
    while running(seconds) and time.monotonic() < until:  # its connection was what kept the container alive
        time.sleep(0.05)
    assert running(seconds) == []
    assert sandbox.sweep(lambda label: label == "killed") == ()  # its task goes on elsewhere
    assert len(left(sandbox)) == 1
    assert sandbox.sweep(lambda label: False) == ("killed",)
    assert list(sandbox.root.glob("ws-*")) == []
    assert left(sandbox) == set()


def test_containers_without_a_directory_are_swept(sandbox: Docker) -> None:
    workspace = sandbox.open({}, label="test")
    shutil.rmtree(workspace.directory)
    assert left(sandbox) == {workspace.directory.name}
    assert sandbox.sweep(lambda label: True) == ()
    assert left(sandbox) == set()
    workspace.close()


def test_the_containers_of_another_station_are_left_alone(sandbox: Docker, tmp_path: Path) -> None:
    other = Docker(root=tmp_path / "other", socket=engine_socket(), warm=0)
    workspace = other.open(TREE, label="test")
    assert sandbox.open({}, label="x").close() is None
    assert sandbox.sweep(lambda label: False) == ()
    assert shell(workspace, "cat README.md") == "hello\n"
    workspace.close()
    assert left(other) == set()


def test_an_engine_that_dies_is_the_platforms_trouble(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        assert not os.environ.get("CI"), "an engine of the tests' own needs root and dockerd"
        pytest.skip("an engine of the tests' own needs root and dockerd")
    from blocks.sandboxes import image

    with own_engine() as socket:
        image.build(Engine.at(str(socket)), lambda line: None)
        sandbox = Docker(root=tmp_path / "sandboxes", socket=str(socket), warm=0)
        workspace = sandbox.open(TREE, label="test")
        seconds = nap()
        pid = int((socket.parent / "pid").read_text())
        with pytest.raises(SandboxError, match=r"the engine|the sandbox broke"):
            workspace.run(
                ["sh", "-c", f"echo up; sleep {seconds}"],
                timeout_s=120,
                on_output=lambda text: os.kill(pid, signal.SIGTERM),
            )
        assert running(seconds) == []
        with pytest.raises((SandboxError, AgentError)):
            workspace.run(["true"], timeout_s=9)
        with pytest.raises(SandboxError):
            workspace.close()
        assert not workspace.directory.exists()
