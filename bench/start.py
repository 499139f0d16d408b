"""How long a flow run takes to start: Prefect's own way against the zygote's, side by side.

    make bench-start

One station, two work pools: Lockgate's, and one as Prefect makes it (two interpreters in a row import everything). The
same flow (`intake`, with nothing in the inbox) is run through both in turn, so that both meet the same load. Counted is
the time from the worker's taking the run (Pending) to the first line of the flow (Running). The last line is one JSON
object.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from kits.product.station import Station

RUNS = int(os.environ.get("RUNS", "9"))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="lockgate-bench-") as folder:
        station = Station(Path(folder) / "home")
        station.home.mkdir()
        print("starting a station …", flush=True)
        station.up()
        try:
            compare(station)
        finally:
            station.down()


def compare(station: Station) -> None:
    """Both ways in turn, after one of each that is not counted; prints the table and the JSON line."""
    warm = station.api("GET", "/deployments/name/intake/intake")
    station.api("PATCH", f"/deployments/{warm['id']}", {"paused": True})  # its schedule would come between
    station.api("POST", "/work_pools/", {"name": "stock", "type": "process"})
    asked = {name: warm[name] for name in ("flow_id", "entrypoint", "path", "pull_steps")}
    stock = station.api("POST", "/deployments/", {**asked, "name": "stock", "work_pool_name": "stock"})
    worker = stock_worker(station)
    try:
        seconds: dict[str, list[float]] = {"stock": [], "warm": []}
        for number in range(RUNS + 1):
            for way, deployment in (("stock", stock), ("warm", warm)):
                taken = start_seconds(station, deployment["id"])
                print(f"{way:<6}{taken:>7.2f} s{'' if number else '   (not counted)'}", flush=True)
                if number:
                    seconds[way].append(taken)
    finally:
        worker.terminate()
        worker.wait()
    stock_s, warm_s = (statistics.median(seconds[way]) for way in ("stock", "warm"))
    print(json.dumps({"stock_s": round(stock_s, 2), "warm_s": round(warm_s, 2), "ratio": round(stock_s / warm_s, 1)}))


def stock_worker(station: Station) -> "subprocess.Popen[bytes]":
    """A worker of the pool that is as Prefect makes it, with the station's settings."""
    told = station.python("import json\nfrom station import settings\nprint(json.dumps(settings.client_environment()))")
    argv = [str(Path(sys.executable).with_name("prefect")), "worker", "start", "--pool", "stock", "--name", "stock"]
    log = (station.home / "run" / "stock.log").open("wb")
    return subprocess.Popen(argv, env={**station.env, **json.loads(told)}, cwd=PROJECT, stdout=log, stderr=log)


def start_seconds(station: Station, deployment: str) -> float:
    """From the worker's taking a new run to its first line."""
    run = station.api("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})["id"]
    until = time.monotonic() + 180
    while station.run(run)["state"]["type"] != "COMPLETED":
        if time.monotonic() > until:
            raise SystemExit(f"run {run} is still {station.run(run)['state']}")
        time.sleep(0.3)
    states: list[dict[str, Any]] = station.api("GET", f"/flow_run_states/?flow_run_id={run}")
    at = {state["type"]: datetime.fromisoformat(state["timestamp"]) for state in states}
    return (at["RUNNING"] - at["PENDING"]).total_seconds()


if __name__ == "__main__":
    main()
