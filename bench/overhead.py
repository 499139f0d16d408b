"""What the platform adds: a whole task against a shell script's worth of the same raw commands, side by side.

    make bench-overhead

The task is the example: three attempts, two releases, one rollback. Its seconds are of three kinds:
- raw: the commands that the task needs (git, pytest, ruff, bandit, kingfisher, alembic, uvicorn), one after the other,
  with no sandbox, no record and no review, on the same machine in the same run;
- observation: what policy asks to be waited for, as the ledger has it (windows of the canary, the bake window, mutants
  within their time);
- the platform's own: all the rest, process starts among it.

The environment with the project's requirements is built before both. The last line is one JSON object.
"""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from domain.rollout import Rollout
from domain.task import End
from kits.product.station import Station
from kits.servers import free_port

SHOP = PROJECT / "examples" / "shop"
BIN = Path(sys.executable).parent


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        station = Station(Path(folder) / "home")
        station.home.mkdir()
        print("starting a station and building the project's environment …", flush=True)
        try:
            station.up()
            compare(station, Path(folder))
        finally:
            station.down()


def compare(station: Station, folder: Path) -> None:
    """Warm up, run both, print the table and the JSON line."""
    station.replay("shop", SHOP / "attempts")
    port = free_port()
    station.target("bench", port)
    run_task(station, folder / "warm", "warm")  # builds the environment, makes the first release
    toolchain = next(path.parent.parent for path in (station.home / "toolchains").rglob("bin/alembic"))
    task_s, run_id = run_task(station, folder / "measured", "measured")
    raw_s, raw_parts = run_raw(folder / "raw", toolchain)
    steps, starts = step_seconds(station, run_id), start_seconds(station, run_id)
    observed = observation_seconds(station, run_id)
    observation_s = sum(observed.values())
    print(f"\n{'step':<16}{'task s':>9}{'raw s':>9}{'observed':>10}{'own s':>9}")
    for name, seconds in [*steps.items(), ("process starts", starts)]:
        raw, seen = raw_parts.get(name, 0.0), observed.get(name, 0.0)
        shown = (f"{value:.2f}" if value else "" for value in (raw, seen))
        print("{:<16}{:>9.2f}{:>9}{:>10}{:>9.2f}".format(name, seconds, *shown, seconds - raw - seen))
    between = task_s - sum(steps.values()) - starts
    print(f"{'between':<16}{between:>9.2f}{'':>28}   (negative: test and scan ran side by side)")
    own_s = task_s - raw_s - observation_s
    print(f"{'whole':<16}{task_s:>9.2f}{raw_s:>9.2f}{observation_s:>10.2f}{own_s:>9.2f}\n")
    print(
        json.dumps(
            {
                "task_s": round(task_s, 2),
                "raw_s": round(raw_s, 2),
                "observation_s": round(observation_s, 2),
                "platform_s": round(own_s, 2),
                "starts_s": round(starts, 2),
            }
        )
    )


def observation_seconds(station: Station, run_id: str) -> dict[str, float]:
    """Seconds that policy asked for, by step. Of a window that a sick release cut short nothing is counted."""
    rollout = Rollout()
    seen = dict.fromkeys(("test", "deploy", "health_check"), 0.0)
    for entry in station.entries(run_id):
        if entry.kind == "tested":
            seen["test"] += (entry.body["mutation"] or {}).get("seconds", 0.0)
        elif entry.kind == "share-passed":
            seen["deploy"] += rollout.share_s
        elif entry.kind == "health" and entry.body["healthy"]:
            seen["health_check"] += rollout.bake_s
    return seen


def run_task(station: Station, folder: Path, nonce: str) -> tuple[float, str]:
    """Seconds from submission to the final state; reviews are answered as soon as they are asked."""
    folder.mkdir(parents=True)
    at = repository(folder, nonce)
    text = station.python(
        "from flows.briefs import read_brief\nfrom station.demo import SHOP\n"
        f"print(read_brief(SHOP / 'brief.toml', repository={str(at)!r}, environment='bench').model_dump_json())"
    )
    started = time.monotonic()
    run_id = station.submit(json.loads(text))
    outcome = station.wait(run_id, 400)
    seconds = time.monotonic() - started
    if outcome.end is not End.LIVE:
        raise SystemExit(f"the task ended {outcome.sentence}")
    return seconds, run_id


def repository(folder: Path, nonce: str) -> Path:
    """The example as a bare repository, different each time, so that no test result is found in a cache."""
    work = folder / "work"
    shutil.copytree(SHOP / "repository", work, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    (work / "NONCE").write_text(nonce)
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "The shop")
    git(folder, "clone", "--quiet", "--bare", str(work), "shop.git")
    return folder / "shop.git"


def run_raw(folder: Path, toolchain: Path) -> tuple[float, dict[str, float]]:
    """Seconds of the raw commands, in all and by the step they belong to."""
    folder.mkdir()
    at = repository(folder, "raw")
    parts: dict[str, float] = {}
    env = {"PATH": f"{toolchain}/bin:/usr/bin:/bin", "HOME": str(folder), "PYTHONPATH": ".", "LANG": "C.UTF-8"}
    clock = Clock(parts)
    work = folder / "clone"
    kingfisher = [str(BIN / "kingfisher"), "scan", "--no-validate", "--no-update-check", "--git-history", "none",
                  "--rule-cache-dir", str(folder / "rules")]  # fmt: skip
    for _ in range(2):  # its rules are compiled once, which is not what is compared
        call([*kingfisher, str(SHOP / "repository" / "shop")], folder, env, fine=(0, 200, 205))
    started = time.monotonic()
    git(folder, "clone", "--quiet", str(at), str(work))
    acceptance = work / "tests" / "acceptance" / "test_v2_search.py"
    pytest = ["python", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    with clock("prepare"):
        files = sorted(path.name for path in work.iterdir() if path.name != ".git")
        call([*kingfisher, *files], work, env, fine=(0, 200, 205))  # before the tests leave byte code there
        acceptance.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SHOP / "acceptance" / "test_v2_search.py", acceptance)
        call(pytest, work, env, fine=(0, 1))
        call(["python", "-m", "ruff", "check", "--no-cache", "shop"], work, env)
        acceptance.unlink()
    for number in (1, 2, 3):
        with clock("edit"):
            git(work, "checkout", "--quiet", "-B", f"attempt-{number}", "main")
            git(work, "apply", str(SHOP / "attempts" / f"attempt-{number}.patch"))
            git(work, "add", "--all")
            git(work, "commit", "--quiet", "--message", f"attempt {number}")
        with clock("test"):
            acceptance.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SHOP / "acceptance" / "test_v2_search.py", acceptance)
            call(pytest, work, env, fine=(0, 1))
            call(["python", "-m", "ruff", "check", "--no-cache", "shop"], work, env)
            acceptance.unlink()
        with clock("security_scan"):
            call([str(BIN / "ruff"), "check", "--isolated", "--select", "S", "shop"], work, env, fine=(0, 1))
            call([str(BIN / "bandit"), "-q", "-r", "shop"], work, env, fine=(0, 1))
            call([*kingfisher, "shop"], work, env, fine=(0, 200, 205))
        if number > 1:
            release(number, work, folder, env, clock)
    return time.monotonic() - started, parts


def release(number: int, work: Path, folder: Path, env: dict[str, str], clock: "Clock") -> None:
    """Merge, migrate, start, watch, and for the sick one revert."""
    with clock("merge"):
        git(work, "push", "--quiet", "--force", "origin", f"attempt-{number}:main")
    data = folder / "data"
    data.mkdir(exist_ok=True)
    port = free_port()
    env = {**env, "DATA_DIR": str(data), "RELEASE_ID": str(number), "SHOP_ENV": "production"}
    with clock("deploy"):
        for _ in ("rehearsal", "production"):
            call(["python", "-m", "alembic", "upgrade", "head"], work, env)
        argv = ["python", "-m", "uvicorn", "shop.app:app", "--port", str(port), "--log-level", "error"]
        service = subprocess.Popen(argv, cwd=work, env=env, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}/health"
        while status(url) != 200:
            time.sleep(0.05)
    with clock("health_check"):
        status(url)
    if number == 2:
        with clock("rollback"):
            git(work, "push", "--quiet", "--force", "origin", "main:main")
    service.terminate()
    service.wait()


class Clock:
    """Adds up seconds under a name."""

    def __init__(self, parts: dict[str, float]) -> None:
        self.parts = parts
        self.name = ""
        self.since = 0.0

    def __call__(self, name: str) -> "Clock":
        self.name = name
        return self

    def __enter__(self) -> None:
        self.since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.parts[self.name] = self.parts.get(self.name, 0.0) + time.monotonic() - self.since


def step_seconds(station: Station, run_id: str) -> dict[str, float]:
    """Seconds in each step, as Prefect recorded them."""
    wanted = {"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200, "sort": "EXPECTED_START_TIME_ASC"}
    seconds: dict[str, float] = {}
    for task in station.api("POST", "/task_runs/filter", wanted):
        name = re.split(r"-", task["name"])[0]
        seconds[name] = seconds.get(name, 0.0) + float(task["total_run_time"])
    return seconds


def start_seconds(station: Station, run_id: str) -> float:
    """Seconds in which the run was due and its process was not there yet."""
    states: list[dict[str, Any]] = station.api("GET", f"/flow_run_states/?flow_run_id={run_id}")
    states.sort(key=lambda state: state["timestamp"])
    total = 0.0
    for now, then in itertools.pairwise(states):
        if now["type"] in ("SCHEDULED", "PENDING"):
            total += (moment(then) - moment(now)).total_seconds()
    return total


def moment(state: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(state["timestamp"])


def status(url: str) -> int:
    try:
        return httpx.get(url, timeout=2).status_code
    except httpx.HTTPError:
        return 0


def call(argv: list[str], cwd: Path, env: dict[str, str], fine: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode not in fine:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}:\n{done.stdout[-1500:]}{done.stderr[-1500:]}")


def git(cwd: Path, *words: str) -> None:
    who = {f"GIT_{role}_{part}": "bench" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    call(["git", *words], cwd, {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, **who})


if __name__ == "__main__":
    main()
