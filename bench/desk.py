"""How long people wait for the desk and the inbox where a thousand tasks wait for them, and what a large ledger costs.

    make bench-desk

A station with `PARKED` suspended runs and a ledger of `ENTRIES` entries. Each screen is asked for at the door as a
browser does, once for its first time and then `ROUNDS` times; a screen's figure is the median of these, with what the
server behind the door takes. Then each duty over the whole ledger, in a process of its own: seconds, and by how many MB
it grew. The last line is one JSON object.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import httpx

from bench import desk_load
from kits.briefs import FILES, git, repository
from kits.product.station import Station

PARKED = int(os.environ.get("PARKED", "1000"))
ENTRIES = int(os.environ.get("ENTRIES", "100000"))
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SCREENS = {"waiting": "/", "tasks": "/tasks", "environments": "/environments", "team": "/team", "brief": "/brief"}
DUTIES = {
    "verify": "assert shop.ledger.verify() is None",
    "prune": "from flows.housekeeping import prune; prune(shop)",
    "expire_reviews": "from flows.housekeeping import expire_reviews; expire_reviews(client, shop)",
    "open_windows": "from flows.housekeeping import open_windows; open_windows(client, shop)",
}
"""What looks at the whole ledger → how it is called."""
# Not by ru_maxrss: a child of a large process begins with that one's peak, and adds nothing until it has passed it.
DUTY = """
import json, time
from prefect.client.orchestration import get_client
from blocks.workshop import workshop
import flows.housekeeping
shop = workshop("default")
def peak(): return next(int(one.split()[1]) for one in open("/proc/self/status") if one.startswith("VmHWM")) / 1024
with get_client(sync_client=True) as client:
    shop.ledger.last_number()
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew, at what the process has now
    before, begun = peak(), time.monotonic()
    {duty}
    print(json.dumps({{"s": round(time.monotonic() - begun, 2), "mb": round(peak() - before)}}))
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        station = Station(Path(folder) / "home")
        station.home.mkdir()
        print("starting a station …", flush=True)
        station.up()
        try:
            run_id, told = fill(station, Path(folder))
            told |= screens(station, run_id) | inbox(station)
            told["ledger"] = {name: alone(station, duty) for name, duty in DUTIES.items()}
        finally:
            station.down()
    for name, one in told["ledger"].items():
        print(f"{name:<16}{one['s']:>8.2f} s {one['mb']:>6} MB more")
    print(json.dumps({**told, "load": round(os.getloadavg()[0], 1)}))


def fill(station: Station, folder: Path) -> tuple[str, dict[str, Any]]:
    """Runs that wait, and the ledger; the id of one of them, and what there is."""
    deployment = station.api("GET", "/deployments/name/agent-task/agent-task")
    station.target("shop", 18080)
    for name in ("housekeeping", "intake"):
        found = station.api("GET", f"/deployments/name/{name}/{name}")
        station.api("PATCH", f"/deployments/{found['id']}", {"paused": True})  # their schedules would come between
    at = repository(folder / "shop.git", {**FILES, "search.py": "".join(f"line_{n} = {n}\n" for n in range(200))})
    work = folder / "shop.git-work"
    base = git(work, "rev-parse", "HEAD")
    (work / "search.py").write_text("".join(f"line_{n} = {n + n % 5}\n" for n in range(200)))
    git(work, "commit", "--quiet", "--all", "--message", "a change")
    git(work, "push", "--quiet", str(at), "HEAD:refs/heads/change")
    head = git(work, "rev-parse", "HEAD")
    parked = [park(station, deployment, number, str(at)) for number in range(PARKED)]
    print(f"{PARKED} runs wait", flush=True)
    ledger = station.home / "ledger.db"
    count = desk_load.fill(ledger, str(at), base, head, parked=parked, entries=ENTRIES)
    size = ledger.stat().st_size // 1_000_000
    print(f"a ledger of {count} entries, {size} MB", flush=True)
    return parked[0], {"parked": PARKED, "entries": count, "ledger_mb": size}


def park(station: Station, deployment: dict[str, Any], number: int, at: str) -> str:
    """The id of a new run that is as one that waits for its review."""
    brief = desk_load.brief_of(number, at).model_dump(mode="json")
    run = {
        "name": brief["title"], "deployment_id": deployment["id"], "flow_id": deployment["flow_id"],
        "tags": ["lockgate"], "parameters": {"brief": brief},
    }  # fmt: skip
    id_ = str(station.api("POST", "/flow_runs/", run)["id"])
    key = f"review-{desk_load.digest('mark', id_)[:16]}-0"
    details = {"pause_key": key, "pause_timeout": (datetime.now(UTC) + timedelta(days=99)).isoformat()}
    state = {"type": "PAUSED", "name": "Suspended", "state_details": details}
    station.api("POST", f"/flow_runs/{id_}/set_state", {"state": state, "force": True})
    return id_


def screens(station: Station, run_id: str) -> dict[str, Any]:
    """Milliseconds of each screen, as somebody sees it who may do everything."""
    token = station.lockgate("token", "add", "ann", "--role", "administer", check=True).stdout.strip()
    door = f"http://127.0.0.1:{(station.home / 'run' / 'door-port').read_text()}"
    took: dict[str, list[float]] = {}
    with httpx.Client(timeout=120) as browser:
        form = browser.get(f"{door}/desk/sign-in").text
        fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form))
        time.sleep(3)  # nobody pastes a token faster, and the door imports what pages need meanwhile
        signed = browser.post(f"{door}/desk/sign-in", data={**fields, "token": token}, headers={"origin": door})
        desk = door + signed.headers["location"].rstrip("/")
        pages = {**SCREENS, "review": f"/review/{run_id}", "task": f"/task/{run_id}"}
        for _ in range(ROUNDS + 1):
            for name, path in pages.items():
                begun = time.monotonic()
                answer = browser.get(desk + path)
                took.setdefault(name, []).append(1000 * (time.monotonic() - begun))
                if answer.status_code != 200:
                    raise SystemExit(f"{name} answered {answer.status_code}: {answer.text[:2000]}")
    median = {name: round(statistics.median(each[1:])) for name, each in took.items()}
    for name, each in took.items():
        print(f"{name:<16}{median[name]:>6} ms, the first time {each[0]:.0f} ms, at worst {max(each[1:]):.0f} ms")
    return {"slowest_screen_ms": max(median.values()), "screens_ms": median,
            "first_look_ms": {name: round(each[0]) for name, each in took.items()}}  # fmt: skip


def inbox(station: Station) -> dict[str, Any]:
    """Seconds of `lockgate inbox`, from its start to its end."""
    took = []
    for _ in range(ROUNDS):
        begun = time.monotonic()
        lines = station.lockgate("inbox", "--json", check=True).stdout
        took.append(time.monotonic() - begun)
        if len(json.loads(lines)) != PARKED:
            raise SystemExit(f"the inbox has {len(json.loads(lines))} runs")
    print(f"{'lockgate inbox':<16}{1000 * statistics.median(took):>6.0f} ms")
    return {"inbox_s": round(statistics.median(took), 2)}


def alone(station: Station, call: str) -> dict[str, float]:
    """A duty in a process of its own, which has imported everything before it begins."""
    path = station.home / "duty.py"
    path.write_text(DUTY.format(duty=call))
    code = "import json\nfrom station import settings\nprint(json.dumps(settings.client_environment()))"
    env = {**station.env, **json.loads(station.python(code)), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, str(path)], env=env, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


if __name__ == "__main__":
    main()
