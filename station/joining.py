"""Another machine works for a station: it runs tasks, with a gateway and sandboxes of its own. The station's own
machine keeps server, desk, schedules and whatever lives in its home.
"""

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from blocks.home import JOINED, MARK, home, machine
from domain.errors import InputError, LockgateError
from station import api, credentials, registered, settings

ONLINE_S = 60
OF_ONE_MACHINE = ("process-target/", "docker-host-target/")
"""Their releases live on one machine, and with them what is known of them."""


def join(url: str, credential: str) -> str:
    """Check that this machine can work for the station whose server is at `url`, and remember that it does; what was
    done, as a sentence. Raises InputError with all that is in the way."""
    address, _, rest = url.rstrip("/").removesuffix("/api").partition("?")
    if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).hostname or rest:
        raise InputError(f"{url!r} is not the address of a station's server: give http://HOST:PORT, or https://")
    if (home() / "prefect" / "prefect.db").exists():
        raise InputError(f"{home()} is a station of its own: set LOCKGATE_HOME to an empty place for this")
    if ":" not in credential:
        raise InputError("the credential is user:password, as the station keeps it in credentials/api-credential")
    os.environ |= {"PREFECT_API_URL": f"{address}/api", "PREFECT_API_AUTH_STRING": credential.strip()}
    if wrong := problems():
        raise InputError("this machine cannot join:\n- " + "\n- ".join(wrong))
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials.keep_api_credential(credential.strip())
    credentials.encryption_key()  # of this home's copy of the blocks; the server's own stays where it is
    (home() / JOINED).write_text(f"{address}\n")
    return f"{machine()} works for the station at {address} once `{settings.COMMAND} up` has started it"


def problems() -> list[str]:
    """Why this machine cannot work for the station that this process talks to; each with what to do."""
    documents = api.blocks()
    shops = {of.partition("/")[2]: data for of, data in documents.items() if of.startswith("lockgate-workshop/")}
    if not shops:
        return ["the station has no workshop yet: `lockgate up` there makes it"]
    wrong = [
        line
        for name, shop in sorted(shops.items())
        for line in (*_of_one_machine(name, shop), *_targets_of_one_machine(name, shop, documents))
    ]
    beats = {
        one["name"]: one["last_heartbeat_time"] for one in api.post(f"/work_pools/{settings.POOL}/workers/filter", {})
    }
    if machine() in beats and not (home() / JOINED).exists() and _is_recent(beats[machine()]):
        wrong.append(f"another machine is called {machine()} too: set LOCKGATE_MACHINE to a name of this one's own")
    wrong += [line for line in [other_code()] if line]
    return wrong or _not_the_same(shops)


def other_code() -> str | None:
    """Why this machine may take no runs of the station: its code is not the same. None if it is."""
    there, mine = (api.get(f"/variables/name/{registered.CODE}") or {}).get("value"), registered.code()
    if there == mine:
        return None
    return (
        f"this machine has other code than the station ({mine}, and {there or 'none that is known'} there): install "
        "the same version on both, and run `lockgate up` there first. Runs that wait for a person wait on meanwhile"
    )


def _of_one_machine(name: str, shop: Mapping[str, Any]) -> list[str]:
    wrong = []
    if str(shop["ledger"]["url"]).startswith("sqlite"):
        wrong.append(
            f"the ledger of workshop {name} is a SQLite file, which is on one machine: give it a PostgreSQL database "
            "(Blocks → Lockgate Ledger, `url`)"
        )
    if str(shop["store"].get("root", "")).startswith(MARK):
        wrong.append(
            f"the store of workshop {name} is in the home of one machine: give it a bucket (Lockgate S3 Store), or a "
            "`root` on a disk that all machines have at the same path"
        )
    for part, fields in shop.items():
        root = fields.get("root") if isinstance(fields, dict) and part != "store" else None
        if root and not str(root).startswith(MARK) and not Path(root).parent.is_dir():
            wrong.append(f"`{part}` of workshop {name} names {root}, which is not here: write {MARK}/{Path(root).name}")
    return wrong


def _targets_of_one_machine(name: str, shop: Mapping[str, Any], documents: Mapping[str, Any]) -> list[str]:
    wrong = []
    for environment, reference in sorted(shop["targets"].items()):
        if reference.startswith(OF_ONE_MACHINE):
            continue  # each task for it goes on there
        if str(documents.get(f"lockgate-{reference}", {}).get("root", "")).startswith(MARK):
            wrong.append(
                f"what is known of releases of {environment} in workshop {name} lies in the home of one machine "
                f"({reference}): give it a `root` on a disk that all machines have at the same path"
            )
    return wrong


def _not_the_same(shops: Mapping[str, Any]) -> list[str]:
    """Ledgers and stores that cannot be reached from here, or are others than the station's."""
    from blocks.workshop import Workshop

    wrong = []
    for name in sorted(shops):
        shop = Workshop.model_validate(shops[name])
        try:
            if shop.ledger.identity() not in shop.store.claimed():
                wrong.append(
                    f"the store of workshop {name}, seen from here, is not the one that its ledger refers to: mount "
                    "the same disk at the same path. If no task has run there yet, `lockgate up` there claims it"
                )
        except LockgateError as err:
            wrong.append(f"workshop {name}: {err}")
    return wrong


def _is_recent(heartbeat: str) -> bool:
    return (datetime.now(UTC) - datetime.fromisoformat(heartbeat.replace("Z", "+00:00"))).total_seconds() < ONLINE_S
