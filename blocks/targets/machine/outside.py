"""The host's end of a release's ways out: `python -m blocks.targets.machine.outside DESCRIPTOR`.

The descriptor holds a JSON object.
It brings what comes through the release's sockets to the addresses that its environment names, and holds the release's
listener at the egress gateway. It ends when the release does, and the release when it does: each holds one end of a
pair of sockets. It reads nothing of what it carries.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blocks.host.gateway_line import GatewayLine
from blocks.host.relay import Relay, way_of
from domain.errors import GatewayError, InputError

_AGAIN_S = 1.0
_ANSWERS_WITHIN_S = 30.0


def main(descriptor: str) -> None:
    with open(int(descriptor), "rb") as file:
        told: dict[str, Any] = json.load(file)
    if told["gateway"]:
        threading.Thread(target=_hold, args=(told["gateway"],), daemon=True).start()
    Relay([way_of(word) for word in told["ways"]], [told["tie"]]).serve()


def _hold(gateway: Mapping[str, Any]) -> None:
    """A listener at each gateway that comes; while there is none, nothing gets out."""
    asked = {"do": "admit", "id": gateway["id"], "passport": gateway["passport"]}
    said = ""
    while True:
        try:
            line = GatewayLine(Path(gateway["root"]), _ANSWERS_WITHIN_S)
            line.ask(asked)
            said = ""
            line.wait_for_end()
            line.close()
        except (GatewayError, InputError) as err:
            if str(err) != said:
                print(f"no egress: {err}", flush=True)
            said = str(err)
        time.sleep(_AGAIN_S)


if __name__ == "__main__":
    main(sys.argv[1])
