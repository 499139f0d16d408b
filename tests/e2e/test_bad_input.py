"""What goes wrong on day one: each ends in a clear reason, leaves no process or sandbox behind, and loses nothing."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from domain.task import End
from kits.briefs import FILES, GOOD, SETTINGS, brief, git, repository
from kits.product.station import Station
from kits.servers import free_port


@pytest.fixture(autouse=True)
def nothing_is_left_behind(station: Station) -> object:
    """After each test: no sandbox on disk, and no process of one."""
    yield
    sandboxes = station.home / "sandboxes"
    until = time.monotonic() + 30  # a run that another test killed is swept when it is resumed
    while left := [path.name for path in sandboxes.glob("ws-*") if path.is_dir()]:
        assert time.monotonic() < until, left
        time.sleep(0.5)
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert f"/agent-{station.port}/" not in listing, "an agent's process is still there"


def agent(station: Station, tmp_path: Path, name: str, script: str) -> str:
    """A command agent; its reference for a brief."""
    mounts = tmp_path / "agents"
    mounts.mkdir(exist_ok=True)
    station.command(name, script, mounts)
    return f"command/{name}"


MALFORMED = {
    "not TOML": ("title = ", "not valid TOML"),
    "no acceptance": ('title="abc"\ngoal="x"\nrepository="."\n', "acceptance"),
    "unknown field": ('title="abc"\ngoal="x"\nrepository="."\nacceptanse={}\n[acceptance]\n', "acceptanse"),
    "path outside": (
        'title="abc"\ngoal="x"\nrepository="."\n[[acceptance.files]]\npath="../x"\ncontent=""\n',
        "must be a relative path",
    ),
    "missing file": (
        'title="abc"\ngoal="x"\nrepository="."\n[[acceptance.files]]\npath="x"\nfrom="nowhere"\n',
        "nowhere",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_brief_is_wrong_use_and_says_where(station: Station, tmp_path: Path, name: str) -> None:
    text, reason = MALFORMED[name]
    file = tmp_path / "brief.toml"
    file.write_text(text)
    done = station.lockgate("run", str(file), "--wait")
    assert done.returncode == 2
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_brief_that_no_person_could_judge_is_refused_with_every_reason(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    vague = brief(at, "command/default", goal="make it better", acceptance={}, environment="mars")
    outcome = station.wait(station.submit(vague))
    assert outcome.end is End.REFUSED
    told = " ".join(outcome.reasons)
    assert "mars" in told
    assert "acceptance" in told


def test_repositories_that_cannot_be_worked_on_are_refused_with_the_reason(station: Station, tmp_path: Path) -> None:
    dirty = repository(tmp_path / "dirty", bare=False)
    (dirty / "sums.py").write_text("half a thought")
    empty = repository(tmp_path / "empty", files={}, bare=False)
    passing = repository(
        tmp_path / "passing.git", {**FILES, "sums.py": FILES["sums.py"] + "double = lambda a: 2 * a\n"}
    )
    untold = repository(tmp_path / "untold.git", {"README": "no tests here"})
    wrong = repository(tmp_path / "wrong.git", {**FILES, "lockgate.toml": "tests = 3\n"})
    cases = {
        str(tmp_path / "missing"): "missing",
        str(dirty): "sums.py",
        str(empty): "is empty",
        str(passing): "already passes on base",
        str(untold): "lockgate.toml",
        str(wrong): "lockgate.toml",
    }
    runs = {at: station.submit(brief(Path(at), "command/default")) for at in cases}
    for at, reason in cases.items():
        outcome = station.wait(runs[at])
        assert outcome.end is End.REFUSED, f"{at}: {outcome.sentence}"
        assert reason in " ".join(outcome.reasons), f"{at}: {outcome.reasons}"
    assert (dirty / "sums.py").read_text() == "half a thought"


def test_agents_that_hang_crash_flood_or_do_nothing_end_the_attempt_with_the_reason(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "sums.git")
    scripts = {
        "hangs": ("sleep 600", "time", {"attempts": 1, "minutes": 0.1}),
        "crashes": ("echo oh no; exit 3", "exit code 3", {"attempts": 1}),
        "floods": ("head -c 100000000 /dev/zero | tr '\\0' x; exit 1", "exit code 1", {"attempts": 1}),
        "idles": ("true", "changed nothing", {"attempts": 1}),
        "fills": (
            "dd if=/dev/zero of=a bs=1M count=300; dd if=/dev/zero of=b bs=1M count=300; sleep 5",
            "MB",
            {"attempts": 1},
        ),
        "escapes": ("ln -s /etc/passwd sums2.py", "sums2.py", {"attempts": 1}),
    }
    station.python(
        "from blocks.workshop import Workshop\nshop = Workshop.saved('default')\n"
        "from blocks.sandboxes.bubblewrap import Bubblewrap\n"
        "shop.sandbox = Bubblewrap(workspace_mb=400)\nshop.keep('small')"
    )
    runs = {}
    for name, (script, _, budget) in scripts.items():
        told = brief(at, agent(station, tmp_path, name, script), budget=budget, workshop="small")
        runs[name] = station.submit(told)
    for name, (_, reason, _) in scripts.items():
        outcome = station.wait(runs[name])
        assert outcome.end is End.GAVE_UP, f"{name}: {outcome.sentence}"
        assert reason in " ".join(outcome.reasons), f"{name}: {outcome.reasons}"
    assert git(at, "rev-list", "--count", "main") == "1", "nothing reached the branch"


SERVICE = {
    **FILES,
    "serve.py": "import time\ntime.sleep(600)\n",
    "lockgate.toml": SETTINGS + 'run = "python serve.py {port}"\n',
}


def test_a_port_that_somebody_else_holds_freezes_the_run_before_the_agent_is_paid(
    station: Station, tmp_path: Path
) -> None:
    at = repository(tmp_path / "service.git", SERVICE)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        station.target("held", holder.getsockname()[1])
        told = brief(at, agent(station, tmp_path, "good", GOOD), environment="held")
        outcome = station.wait(station.submit(told))
    assert outcome.end is End.FROZEN, outcome.sentence
    assert "port" in outcome.sentence
    assert outcome.attempts == 0


def test_a_service_that_never_answers_freezes_the_run_and_leaves_no_process(station: Station, tmp_path: Path) -> None:
    name = f"silent_{station.port}.py"  # a name that no other service on this machine has
    run = f'run = "python {name} {{port}}"\n'
    at = repository(tmp_path / "service.git", {**FILES, name: SERVICE["serve.py"], "lockgate.toml": SETTINGS + run})
    station.target("silent", free_port(), start_timeout_s=3)
    told = brief(at, agent(station, tmp_path, "good", GOOD), environment="silent")
    outcome = station.wait(station.submit(told))
    assert outcome.end is End.FROZEN
    assert "base itself does not run" in outcome.sentence
    until = time.monotonic() + 20  # a killed namespace is gone a moment later on a busy machine
    while name in (listing := subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout):
        assert time.monotonic() < until, listing
        time.sleep(0.2)


def test_a_person_asks_for_changes_then_rejects_and_the_agent_hears_it(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    script = f"{GOOD}if [ -f /lockgate/feedback.md ]; then cat /lockgate/feedback.md; echo '# said' >> sums.py; fi\n"
    file = tmp_path / "brief.json"
    file.write_text(json.dumps(brief(at, agent(station, tmp_path, "listens", script), budget={"attempts": 2})))
    run_id = _left_by_ctrl_c(station, file)
    station.wait_for_state(run_id, "PAUSED")
    assert station.answer(run_id, {"decision": "maybe"}) == "REJECT", "an answer that is none is not taken"
    assert station.answer(run_id, {"reviewer": "ann"}) == "REJECT"
    shown = station.lockgate("review", run_id, check=True).stdout
    assert "def double" in shown
    station.lockgate("review", run_id, "--changes", "say so in a comment", "--as", "ann", check=True)
    until = time.monotonic() + 90
    while len(station.entries(run_id, "question")) < 2 and time.monotonic() < until:
        time.sleep(0.3)
    station.wait_for_state(run_id, "PAUSED")
    assert "# said" in station.lockgate("review", run_id, check=True).stdout
    station.lockgate("review", run_id, "--reject", "not now", "--as", "ann", check=True)
    outcome = station.wait(run_id, approve=False)
    assert outcome.end is End.DECLINED
    assert "ann: not now" in outcome.sentence
    followed = station.lockgate("run", "/nonexistent.toml", "--wait")
    assert followed.returncode == 2
    assert git(at, "rev-list", "--count", "main") == "1"


def _left_by_ctrl_c(station: Station, file: Path) -> str:
    """The id of a run whose submitter followed it until it asked, and then pressed Ctrl-C."""
    argv = [str(station.programs / "lockgate"), "run", str(file), "--wait"]
    with subprocess.Popen(
        argv, env=station.env, cwd=station.home.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        run_id = command.stdout.readline().split()[1]
        assert any(f"review {run_id} --approve" in line for line in command.stdout)
        command.send_signal(signal.SIGINT)
        assert (command.wait(60), f"the run goes on: `lockgate log {run_id}" in command.communicate()[1]) == (130, True)
    return run_id


def test_the_server_may_die_in_the_middle_and_the_run_still_ends(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    run_id = station.submit(brief(at, agent(station, tmp_path, "slow", f"sleep 6\n{GOOD}")))
    until = time.monotonic() + 60
    while not station.entries(run_id, "plan") and time.monotonic() < until:
        time.sleep(0.2)
    server = json.loads((station.home / "run" / "server.json").read_text())["pid"]
    os.kill(server, signal.SIGKILL)
    outcome = station.wait(run_id, timeout_s=300)
    assert outcome.end is End.MERGED, outcome.sentence
    assert git(at, "rev-list", "--count", "main") == "2"


def test_a_change_cannot_rewrite_the_command_that_judges_it(station: Station, tmp_path: Path) -> None:
    check = "grep -q double sums.py\n"
    at = repository(tmp_path / "sums.git", {**FILES, "check.sh": check})
    cheat = agent(station, tmp_path, "cheats", "echo exit 0 > check.sh")
    outcome = station.wait(station.submit(brief(at, cheat, acceptance={"command": "sh check.sh"})))
    assert outcome.end is End.GAVE_UP, outcome.sentence
    assert "check.sh" in " ".join(outcome.reasons)
    honest = agent(station, tmp_path, "honest", GOOD)
    outcome = station.wait(station.submit(brief(at, honest, acceptance={"command": "sh check.sh"})))
    assert outcome.end is End.MERGED, outcome.sentence


def test_a_file_in_the_place_of_the_contracts_directory_is_refused(station: Station, tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    outcome = station.wait(
        station.submit(brief(at, agent(station, tmp_path, "blocks", f"{GOOD}echo > tests/acceptance")))
    )
    assert outcome.end is End.GAVE_UP, outcome.sentence
    assert "tests/acceptance" in " ".join(outcome.reasons)


def test_a_killed_supervisor_is_replaced_by_the_next_up(station: Station) -> None:
    supervisor = json.loads((station.home / "run" / "supervisor.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    time.sleep(0.5)
    station.lockgate("up", check=True)
    assert int((station.home / "port").read_text()) == station.port
    again = json.loads((station.home / "run" / "supervisor.json").read_text())["pid"]
    assert again != supervisor
    assert station.lockgate("doctor").returncode == 0


def test_unknown_runs_and_environments_are_wrong_use(station: Station) -> None:
    for words in (
        ("status", "nonsense"),
        ("review", "00000000-0000-0000-0000-000000000000"),
        ("verify", "00000000-0000-0000-0000-000000000000"),
        ("bill", "nonsense"),
    ):
        done = station.lockgate(*words)
        assert done.returncode == 2, words
        assert "lockgate:" in done.stderr
        assert "Traceback" not in done.stderr
    done = station.lockgate("rollback", "atlantis")
    assert done.returncode == 4
    assert "atlantis" in done.stdout
