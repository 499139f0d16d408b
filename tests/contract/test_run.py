"""Programs that are run to their end: bounded, and killed whole if their time is up."""

import os
import subprocess
from pathlib import Path

import pytest

from blocks.host import proc
from blocks.host.run import Ran, is_group_alive, run

PATH = {"PATH": "/usr/bin:/bin"}


def sh(script: str, timeout_s: float = 30, *, stdin: bytes = b"", grace_s: float = 0, together: bool = False) -> Ran:
    argv = ["sh", "-c", script]
    return run(argv, env=PATH, timeout_s=timeout_s, stdin=stdin, grace_s=grace_s, together=together)


@pytest.mark.parametrize(
    ("script", "ran"),
    [
        ("echo out; echo err >&2", Ran(0, b"out\n", b"err\n")),
        ("exit 7", Ran(7, b"", b"")),
        ("kill -9 $$", Ran(-9, b"", b"")),
        ("cat", Ran(0, b"given", b"")),
        ("pwd; env | grep -v PWD= | grep -v _=", Ran(0, b"/\nPATH=/usr/bin:/bin\n", b"")),
    ],
)
def test_a_program_runs_with_what_it_was_given_and_nothing_else(script: str, ran: Ran) -> None:
    assert sh(script, stdin=b"given") == ran


def test_both_outputs_may_come_as_one_and_may_go_to_a_file(tmp_path: Path) -> None:
    assert sh("echo one; echo two >&2", together=True).out == b"one\ntwo\n"
    with open(tmp_path / "out", "wb") as out:
        assert run(["sh", "-c", "pwd"], env=PATH, timeout_s=30, cwd=tmp_path, out=out) == Ran(0, b"", b"")
    assert (tmp_path / "out").read_text() == f"{tmp_path}\n"


@pytest.mark.parametrize("script", ["sleep 60 & echo $$ >{0}; wait", "sleep 60 & echo $$ >{0}"])
def test_a_program_whose_time_is_up_is_killed_with_what_it_has_started(tmp_path: Path, script: str) -> None:
    assert sh(script.format(tmp_path / "leader"), 1).code is None
    assert not is_group_alive(int((tmp_path / "leader").read_text()))


def test_one_that_may_tidy_up_is_asked_first(tmp_path: Path) -> None:
    script = f"trap 'echo bye >{tmp_path / 'said'}; exit' TERM; sleep 60 & wait"
    assert sh(script, 1, grace_s=10).code is None
    assert (tmp_path / "said").read_text() == "bye\n"


def test_what_cannot_be_started_is_an_error_of_the_system() -> None:
    with pytest.raises(OSError, match="not-there"):
        run(["/not-there"], env={}, timeout_s=1)


def test_a_process_is_read_whatever_its_program_is_called(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/usr/bin/sleep")
    with subprocess.Popen([program, "60"], start_new_session=True) as process:
        seen, status = proc.stat(process.pid), proc.status(process.pid)
        try:
            assert (seen.group, seen.parent) == (process.pid, os.getpid())
            assert seen.state in "SRD" and seen.started.isdigit() and status["NSpid"].split()[0] == str(process.pid)
            assert proc.stats()[process.pid].started == seen.started
        finally:
            process.kill()
