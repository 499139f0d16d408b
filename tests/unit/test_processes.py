"""Background processes: found again by anyone, never mistaken for another, and gone when they are stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station import processes

PROJECT = Path(__file__).parents[2]
ENV = {"PATH": "/usr/bin:/bin"}
NAP = ["/bin/sleep", "300"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home of its own; what was started in it is stopped."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    yield tmp_path
    for mark in (tmp_path / "run").glob("*.json"):
        processes.stop(mark.stem, grace_s=0)


def start(name: str, argv: list[str]) -> int:
    return processes.start(name, argv, ENV, Path("/"))


def wait(until: Callable[[], bool], timeout_s: float = 10) -> bool:
    end = time.monotonic() + timeout_s
    while not until() and time.monotonic() < end:
        time.sleep(0.02)
    return until()


def said(name: str, word: str) -> bool:
    return wait(lambda: word in processes.log_of(name).read_text())


def mark_of(home: Path, name: str) -> Path:
    return home / "run" / f"{name}.json"


def test_what_was_started_runs_until_it_is_stopped(home: Path) -> None:
    pid = start("nap", NAP)
    assert processes.running("nap") == pid
    assert processes.stop("nap")
    assert processes.started(pid) is None
    assert processes.running("nap") is None
    assert not mark_of(home, "nap").exists()


@pytest.mark.parametrize("end", [lambda: processes.stop("script", grace_s=0.1), lambda: processes.kill("script")])
def test_what_is_in_the_group_of_another_is_ended_alone(home: Path, end: Callable[[], object]) -> None:
    """As a supervisor in the foreground is that a script has started."""
    deaf = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(300)",
    ]
    with subprocess.Popen(deaf, stdout=subprocess.PIPE) as script:
        assert script.stdout and script.stdout.readline()
        note = {"pid": script.pid, "started": processes.started(script.pid)}
        mark_of(home, "script").parent.mkdir()
        mark_of(home, "script").write_text(json.dumps(note))
        assert os.getpgid(script.pid) == os.getpgrp() != script.pid
        end()
        assert processes.started(script.pid) is None


def test_stopping_what_does_not_run_says_so(home: Path) -> None:
    assert not processes.stop("nothing")
    start("short", ["/bin/true"])
    assert wait(lambda: processes.running("short") is None)
    assert not processes.stop("short")
    assert not mark_of(home, "short").exists()


def test_each_name_is_a_process_of_its_own(home: Path) -> None:
    first, second = start("one", NAP), start("two", NAP)
    assert processes.stop("one")
    assert processes.started(first) is None
    assert processes.running("two") == second


def test_it_outlives_the_command_that_started_it_and_others_find_and_stop_it(home: Path) -> None:
    code = "from pathlib import Path; from station import processes; "
    code += f"print(processes.start('nap', {NAP!r}, {ENV!r}, Path('/')))"
    env = {**os.environ, "LOCKGATE_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    assert processes.running("nap") == pid
    assert os.getsid(pid) == pid, "a terminal that closes takes it along otherwise"
    assert processes.stop("nap")
    assert processes.started(pid) is None


def test_what_it_says_is_added_to_its_log(home: Path) -> None:
    for word in ("first", "second"):
        start("talk", ["/bin/sh", "-c", f"echo {word}; echo {word} trouble >&2"])
        assert said("talk", f"{word} trouble")
    assert processes.log_of("talk").read_text().split() == ["first", "first", "trouble", "second", "second", "trouble"]


def test_it_gets_the_environment_that_is_given_and_no_other(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_CANARY", "a-secret")
    processes.start("env", ["/usr/bin/env"], {**ENV, "GIVEN": "yes"}, Path("/"))
    assert said("env", "GIVEN=yes")
    assert "a-secret" not in processes.log_of("env").read_text()


def test_only_its_owner_reads_the_marks_and_logs(home: Path) -> None:
    start("nap", NAP)
    assert (home / "run").stat().st_mode & 0o777 == 0o700


def test_ignored_signals_are_not_inherited(home: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        start("mask", ["/bin/grep", "SigIgn", "/proc/self/status"])
    finally:
        signal.signal(signal.SIGINT, before)
    assert said("mask", "SigIgn")
    ignored = int(processes.log_of("mask").read_text().split()[1], 16)
    assert not any(ignored & 1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


def test_a_process_that_ends_in_its_own_time_is_given_that_time(home: Path) -> None:
    start(
        "polite", ["/bin/sh", "-c", "trap 'sleep 0.3; echo tidy; exit' TERM; echo ready; while :; do sleep 0.05; done"]
    )
    assert said("polite", "ready")
    assert processes.stop("polite", grace_s=10)
    assert "tidy" in processes.log_of("polite").read_text()


def test_a_process_that_ignores_sigterm_is_killed_with_what_it_started(home: Path) -> None:
    nap = "300.0123"
    pid = start("stubborn", ["/bin/sh", "-c", f"trap '' TERM; sleep {nap} & echo ready $!; while :; do sleep 1; done"])
    assert said("stubborn", "ready")
    child = int(processes.log_of("stubborn").read_text().split()[1])
    assert processes.started(child) is not None
    assert processes.stop("stubborn", grace_s=0.2)
    assert processes.started(pid) is None
    assert wait(lambda: processes.started(child) is None)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that nobody started under a name."""
    with subprocess.Popen(NAP) as process:
        yield process
        process.kill()


def test_a_pid_that_another_process_has_by_now_is_not_ours(home: Path, stranger: subprocess.Popen[bytes]) -> None:
    pid = start("nap", NAP)
    mark = json.loads(mark_of(home, "nap").read_text())
    assert mark == {"pid": pid, "started": processes.started(pid)}
    assert processes.stop("nap")
    earlier = (processes.started(stranger.pid) or 0) - 1
    mark_of(home, "nap").write_text(json.dumps({"pid": stranger.pid, "started": earlier}))
    assert processes.running("nap") is None
    assert not processes.stop("nap")
    assert stranger.poll() is None


@pytest.mark.parametrize("text", ["", "{", "half a ma"])
def test_a_mark_that_is_half_written_is_no_process(home: Path, text: str) -> None:
    start("nap", NAP)
    assert processes.stop("nap")
    mark_of(home, "nap").write_text(text)
    assert processes.running("nap") is None


def test_a_zombie_does_not_run(home: Path) -> None:
    process = subprocess.Popen(["/bin/true"])
    assert wait(lambda: processes.started(process.pid) is None), "its exit is not collected, and it counts as gone"
    process.wait()


def test_a_name_with_spaces_and_brackets_does_not_confuse_the_start_time(home: Path, tmp_path: Path) -> None:
    program = tmp_path / "a) S 1 (b"
    program.symlink_to("/bin/sleep")
    pid = start("odd", [str(program), "300"])
    first = processes.started(pid)
    assert first is not None and first > 1000
    assert processes.running("odd") == pid


def test_a_program_that_is_not_there_leaves_no_mark(home: Path) -> None:
    with pytest.raises(FileNotFoundError):
        start("nowhere", ["/no/such/program"])
    assert processes.running("nowhere") is None
