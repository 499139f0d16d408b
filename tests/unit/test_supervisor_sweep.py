"""What killed workers leave is swept when the next one starts."""

import subprocess
import sys
from pathlib import Path

from station.supervisor import sweep_runners


def test_what_a_killed_runner_left_is_removed_and_a_live_one_keeps_its_own(tmp_path: Path) -> None:
    dead, live, other = (
        tmp_path / name for name in ("prefect-workspace-attempt-a1", "prefect-workspace-attempt-b2", "x")
    )
    for folder in (dead, live, other):
        folder.mkdir()
        (folder / "workspace.json").write_text('{"PREFECT_API_AUTH_STRING": "user:password"}')
    wait = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", wait, str(live / "supervisor.json")], stdin=subprocess.PIPE):
        sweep_runners(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [live.name, other.name]
