"""Programs that begin as forks of the supervisor are what `python -m` would make of them, and wait to be let go."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from blocks.host.alive import started

PROJECT = Path(__file__).resolve().parents[2]
TELLS = """
import gc, json, logging, os, signal, sys, tempfile, threading
signals = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]
print(json.dumps([
    __name__, sys.argv[1:], dict(os.environ), os.getcwd(), os.getsid(0) == os.getpid(), sys.stdin.read(),
    [str(handler) for handler in signals], tempfile.gettempdir(), threading.active_count(), gc.isenabled(),
    [str(handler) for handler in logging.root.handlers], logging.root.level, len(os.listdir("/proc/self/fd")),
]))
"""
SUPERVISOR = f"""
import logging, os, signal, sys
sys.path.insert(0, {str(PROJECT)!r})
from station.keeping import KeptProgram
from station.warm import ahead, on_disk

home, tells = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: None)
logging.basicConfig()
ahead.IMPORTS = {{"first": ("tells_more",), "second": ()}}
assert ahead.import_all(("prefect.context", "blocks.workshop")) and on_disk.imported
os.chdir("/")
waiting = {{}}
for name in ahead.IMPORTS:
    argv = [sys.executable, "-m", "tells", name, "--port", "1"]
    env = {{name: os.environ[name] for name in ("LOCKGATE_HOME", "PATH", "LANG")}}
    program = KeptProgram(name, argv, lambda: {{**env, "TMPDIR": home}}, tells, lambda: None)
    forked = ahead.fork(program, waiting.values())
    if forked is None:
        ahead.be(program)
        sys.exit()
    waiting[name] = forked
waiting["first"].let_go()
print("forked", flush=True)
signal.pause()
"""
WRITES = f"""
import pathlib, sys
sys.path.insert(0, {str(PROJECT)!r})
from station.warm import ahead, on_disk

on_disk.PROJECT = pathlib.Path(sys.argv[1])
print(ahead.import_all(["json"]), ahead.import_all(["writes"]))
"""


def wait_for(truth: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not truth():
        assert time.monotonic() < until, "it did not come true"
        time.sleep(0.02)


def as_by_hand() -> None:
    """Who runs these tests in the background, or below `nohup`, ignores signals, and so would what they start."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def test_a_fork_is_what_a_start_would_make_it_and_one_that_waits_ends_with_its_supervisor(tmp_path: Path) -> None:
    home, code = tmp_path / "home", tmp_path / "code"
    home.mkdir()
    code.mkdir()
    (code / "tells.py").write_text(TELLS)
    (code / "tells_more.py").write_text("")
    env = {"LOCKGATE_HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(home), str(code)],
        env={**env, "ONLY_THE_SUPERVISORS": "1", "PYTHONPATH": str(code)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert supervisor.stdout and supervisor.stdout.readline() == "forked\n"
        log = home / "run" / "first.log"
        wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
        second = json.loads((home / "run" / "second.json").read_text())
        assert started(second["pid"]) == second["started"]
    finally:
        supervisor.send_signal(signal.SIGKILL)
        supervisor.wait()
        supervisor.stdout and supervisor.stdout.close()
    plain = subprocess.run(
        [sys.executable, "-m", "tells", "first", "--port", "1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        cwd=code, env={**env, "TMPDIR": str(home)}, start_new_session=True, check=True, preexec_fn=as_by_hand,
    )  # fmt: skip
    assert json.loads(log.read_text()) == json.loads(plain.stdout)
    wait_for(lambda: started(second["pid"]) != second["started"])
    assert (home / "run" / "second.log").read_text() == "", "it waited, and never began"


def test_nothing_is_forked_with_code_that_changed_while_it_was_imported(tmp_path: Path) -> None:
    for part in ("domain", "blocks", "tasks", "flows", "station"):
        (tmp_path / part).mkdir()
    written = str(tmp_path / "flows" / "new.py")
    (tmp_path / "writes.py").write_text(f"open({written!r}, 'w').write('a = 1')")
    done = subprocess.run(
        [sys.executable, "-c", WRITES, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, stdout=subprocess.PIPE, check=True, text=True,
    )  # fmt: skip
    assert done.stdout == "True False\n"
