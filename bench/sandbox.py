"""What a sandbox costs: from `open` to the end of its first command, and opening a large repository.

    make bench-sandbox

Side by side on the same machine in the same run: each kind of ours, a plain `docker run` of the same image, and SWE-ReX
(PyPI), which is installed into a temporary environment. SWE-ReX is deployed in a container of the same image where
that works, else locally, which isolates nothing. The large repository has 7,000 files of 60 MB and 200 commits: ours
get its tree, `git clone --local` its path. The last line is one JSON object.
"""

import contextlib
import functools
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from blocks.host.docker import Engine
from blocks.sandboxes import image
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.docker import Docker
from blocks.sandboxes.docker_workspace import BACKGROUND
from domain.errors import SandboxError
from domain.ports import Sandbox
from domain.trees import Tree, TreeEntry

ROUNDS = 10
FILES, BYTES, COMMITS = 7_000, 60_000_000, 200
SMALL: Tree = {"README.md": TreeEntry(0o100644, b"hello\n")}

REX = """
import asyncio, json, logging, sys, time
logging.disable(logging.CRITICAL)
from swerex.deployment.docker import DockerDeployment
from swerex.deployment.local import LocalDeployment
from swerex.runtime.abstract import BashAction, CreateBashSessionRequest

async def once(make):
    started = time.monotonic()
    deployment = make()
    await deployment.start()
    try:
        await deployment.runtime.create_session(CreateBashSessionRequest())
        await deployment.runtime.run_in_session(BashAction(command="true"))
        return time.monotonic() - started
    finally:
        await deployment.stop()

async def main(kind, rounds, venv, python):
    arguments = ["-v", f"{venv}:{venv}:ro", "-v", f"{python}:{python}:ro", "-e", f"PATH={venv}/bin:/usr/bin:/bin",
                 "-e", "HOME=/tmp", "--workdir", "/tmp"]
    make = LocalDeployment if kind == "local" else lambda: DockerDeployment(
        image="lockgate-base", pull="never", docker_args=arguments, startup_timeout=20)
    await once(make)
    print(json.dumps([await once(make) for _ in range(int(rounds))]))

asyncio.run(main(*sys.argv[1:]))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as name:
        folder = Path(name)
        kinds: dict[str, Sandbox] = {"bubblewrap": Bubblewrap(root=folder / "bubblewrap")}
        docker = Docker(root=folder / "docker")
        try:
            print("making the base image …", flush=True)
            image.build(Engine.at(docker.socket, SandboxError), lambda line: None)
            kinds["docker"] = docker
        except SandboxError as err:
            print(f"docker is left out: {err}")
        try:
            result = {**compare_first_commands(kinds, folder), **compare_large(kinds, folder)}
        finally:
            BACKGROUND.shutdown()
            docker.drain()
    print(f"\n{json.dumps(result)}")


def compare_first_commands(kinds: dict[str, Sandbox], folder: Path) -> dict[str, object]:
    """A table of seconds from nothing to the end of `true`."""
    seconds = {f"{name} (ours)": rounds(functools.partial(first_command, kind)) for name, kind in kinds.items()}
    docker = kinds.get("docker")
    if isinstance(docker, Docker):
        cold = docker.model_copy(update={"warm": 0})
        seconds["docker, nothing warm (ours)"] = rounds(lambda: first_command(cold))
        seconds["docker run"] = rounds(docker_run)
        seconds["docker run --network none"] = rounds(lambda: docker_run("--network", "none"))
    rex_kind, rex = swe_rex(folder, with_docker="docker" in kinds)
    seconds[f"SWE-ReX, {rex_kind}"] = rex
    print(f"\n{'open → first command':<32}{'median s':>10}{'best s':>10}")
    for name, values in seconds.items():
        print(f"{name:<32}{statistics.median(values):>10.3f}{min(values):>10.3f}")
    medians = {name: round(statistics.median(values), 3) for name, values in seconds.items()}
    result: dict[str, object] = {"first_command_s": medians}
    if docker:
        result["docker_over_docker_run"] = round(medians["docker (ours)"] / medians["docker run"], 2)
    return result


def compare_large(kinds: dict[str, Sandbox], folder: Path) -> dict[str, object]:
    """A table of seconds from a large tree to the end of `true`: the first time, and with the tree kept."""
    print(f"\nmaking a repository of {FILES} files, {BYTES // 1_000_000} MB, {COMMITS} commits …", flush=True)
    repository, tree = large(folder)
    opening = {name: functools.partial(first_command, kind, tree) for name, kind in kinds.items()}
    seconds = {f"{name} (ours)": rounds(act, 3) for name, act in opening.items()}
    seconds["git clone --local"] = rounds(lambda: clone(repository, folder / "clone"), 3)
    print(f"\n{'large repository':<32}{'first s':>10}{'then s':>10}")
    medians = {}
    for name, (first, *others) in seconds.items():
        medians[name] = [round(first, 3), round(statistics.median(others), 3)]
        print(f"{name:<32}{medians[name][0]:>10.3f}{medians[name][1]:>10.3f}")
    return {"large_repository_first_then_s": medians}


def rounds(act: Callable[[], float], count: int = ROUNDS) -> list[float]:
    """The seconds that each call gives."""
    return [act() for _ in range(count + 1)]


def first_command(sandbox: Sandbox, tree: Tree = SMALL) -> float:
    """Seconds from `open` to the end of the first command; closing and what waits for the next are not counted."""
    started = time.monotonic()
    workspace = sandbox.open(tree, label="bench")
    done = workspace.run(["true"], timeout_s=60)
    seconds = time.monotonic() - started
    workspace.close()
    if done.exit_code:
        raise SystemExit(f"true ended with {done}")
    met = threading.Barrier(BACKGROUND._max_workers)  # until the next container waits, as between two steps of a task
    for future in [BACKGROUND.submit(met.wait) for _ in range(met.parties)]:
        future.result()
    return seconds


def docker_run(*options: str) -> float:
    """Seconds of the same command by hand."""
    started = time.monotonic()
    subprocess.run(["docker", "run", "--rm", *options, image.REPOSITORY, "true"], check=True)
    return time.monotonic() - started


def swe_rex(folder: Path, *, with_docker: bool) -> tuple[str, list[float]]:
    """How it was deployed, and its seconds."""
    print("installing SWE-ReX …", flush=True)
    venv = folder / "rex"
    uv = Path(sys.executable).parent / "uv"
    interpreter = Path(sys.base_prefix, "bin", "python3")
    quiet = {"check": True, "stdout": subprocess.DEVNULL}
    subprocess.run([uv, "venv", "--quiet", "--python", interpreter, venv], **quiet)  # type: ignore[call-overload]
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", venv / "bin" / "python", "swe-rex", "aiohttp"], **quiet
    )  # type: ignore[call-overload]
    folder.chmod(0o755)
    for kind in ("in docker", "local") if with_docker else ("local",):
        argv = [venv / "bin" / "python", "-c", REX, kind, "3", venv, sys.base_prefix]
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=180)
            return kind, json.loads(done.stdout.strip().splitlines()[-1])
    raise SystemExit("SWE-ReX works neither in a container nor locally here")


def large(folder: Path) -> tuple[Path, Tree]:
    """A bare repository and the tree at its tip; the same every time."""
    dice = random.Random(7)
    words = [bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz_ ()=.,\n", k=60)) + b"\n" for _ in range(5_000)]
    tree: Tree = {}
    for number in range(FILES):
        lines = dice.choices(words, k=int(BYTES / FILES / 61 * dice.uniform(0.2, 1.8)))
        path = f"package{number % 60}/module{number % 700}/file{number}.py"
        tree[path] = TreeEntry(0o100644, b"".join(lines))
    stream = bytearray()
    for commit in range(COMMITS):
        stream += b"commit refs/heads/main\ncommitter bench <bench> %d +0000\ndata 1\nx" % (1_600_000_000 + commit)
        for path, entry in list(tree.items()) if commit == COMMITS - 1 else dice.sample(list(tree.items()), 20):
            content = entry.content if commit == COMMITS - 1 else entry.content + b"%d" % commit
            stream += b"M 100644 inline %s\ndata %d\n" % (path.encode(), len(content)) + content + b"\n"
    at = folder / "large.git"
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "PATH": os.environ["PATH"]}
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", at], check=True, env=quiet)
    subprocess.run(["git", "-C", at, "fast-import", "--quiet"], check=True, input=bytes(stream), env=quiet)
    return at, tree


def clone(repository: Path, into: Path) -> float:
    """Seconds of a clone with its work tree."""
    shutil.rmtree(into, ignore_errors=True)
    started = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", "--local", repository, into], check=True)
    return time.monotonic() - started


if __name__ == "__main__":
    main()
