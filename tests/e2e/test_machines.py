"""`make demo CLUSTER=1`: a task that one machine begins and loses is reviewed at the desk, and ended by another one."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from kits.briefs import git
from kits.servers import free_port


def test_what_one_machine_began_and_lost_another_one_ends_once(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "LOCKGATE_"))}
    env = {**kept, "LOCKGATE_HOME": str(tmp_path / "home"), "LOCKGATE_PORT": str(free_port())}
    argv = [str(Path(sys.executable).with_name("lockgate")), "demo", "--cluster", "--yes"]
    played = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = played.stdout + played.stderr
    assert played.returncode == 0, told
    for promised in ("dies: each of its processes gets SIGKILL", "(signed in) answered: approve", '"said": "goodbye"'):
        assert promised in told, told
    began = re.search(r"machine (\w+) began it, and (\w+) ended it", told)
    assert began and {began[1], began[2]} == {"one", "two"}, told
    machines = tmp_path / "home" / "machines"
    main = git(machines / "hello.git", "log", "--format=%H %s", "main").splitlines()
    assert [line.partition(" ")[2] for line in main] == ["Say goodbye", "The hello"]
    calls = [json.loads(line) for line in (machines / "platform" / "calls").read_text().splitlines()]
    released = [call["revision"] for call in calls if call["verb"] == "promote"]
    assert released == [line.partition(" ")[0] for line in reversed(main)], "each once"
    assert not _left(str(tmp_path)), "all of it is stopped"


def _left(folder: str) -> list[str]:
    """Command lines that name it, or whose environment does."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue  # it has ended
        if folder.encode() in told and int(process.name) != os.getpid():
            found.append(told.partition(b"\0\0")[0].decode(errors="replace"))
    return found
