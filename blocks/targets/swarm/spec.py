"""What a release's service is to be, as the engine's API says it: recorded by what it is made of, applied as often as
it takes. https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Service/operation/ServiceCreate
"""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from blocks.targets.machine import sealed
from blocks.targets.machine.confinement import APP
from blocks.targets.machine.containers import PORT
from blocks.targets.swarm.releases import SwarmDeployment
from domain.errors import TargetError

ANYWHERE = "0.0.0.0"  # noqa: S104  # of the container alone
_SECOND = 1_000_000_000
_USER = "10001"  # as in the image
_READ = f'. {sealed.INSIDE}; exec /bin/sh -c "$1"'

_CHECK = """import http.client, json, os, sys
path, headers, wanted = json.loads(sys.argv[1])
try:
    line = http.client.HTTPConnection("127.0.0.1", int(os.environ["PORT"]), timeout=5)
    line.request("GET", path, headers=headers)
    answer = line.getresponse()
    said = answer.read(2000).decode(errors="replace")
except OSError as err:
    sys.exit(str(err))
is_well = answer.status in wanted if wanted else answer.status < 400
print(said) if is_well else sys.exit("HTTP %d: %s" % (answer.status, said))
"""
"""What the engine runs inside each task to see whether it is well; a sick one is replaced, wherever it runs."""


@dataclass(frozen=True)
class ServiceOptions:
    """What every release of a target is given."""

    network: str
    replicas: int
    constraints: tuple[str, ...]
    node: Callable[[], str] | None
    """The one node that has the images; None: all of them can get them."""
    memory_mb: int
    cpus: float
    grace_s: float
    start_timeout_s: float


def spec_of(
    deployment: SwarmDeployment,
    options: ServiceOptions,
    network: str,
    secret: tuple[str, str],
    marks: Mapping[str, str],
) -> dict[str, Any]:
    """`network`: its id. `secret`: name and id of the one that holds its environment."""
    run = deployment.run.replace("{port}", str(PORT)).replace("{host}", ANYWHERE)
    command = run.replace("{release}", deployment.revision)
    health = deployment.health
    asked = json.dumps([health.path, health.headers, health.status])
    check = ["CMD", "/bin/sh", "-c", f'. {sealed.INSIDE}; exec python3 -c "$0" "$1"', _CHECK, asked]
    file = {"Name": sealed.INSIDE, "UID": _USER, "GID": _USER, "Mode": 0o400}
    here = [f"node.id=={options.node()}"] if options.node else []
    container = {
        "Image": deployment.image,
        "Command": ["/bin/sh", "-c", _READ, "release", command],
        "Dir": APP,
        "User": f"{_USER}:{_USER}",
        "Init": True,
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Mounts": [{"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"Mode": 0o1777}}],  # noqa: S108
        "Secrets": [{"SecretID": secret[1], "SecretName": secret[0], "File": file}],
        "StopGracePeriod": int(max(1.0, options.grace_s) * _SECOND),
        "Healthcheck": {
            "Test": check,
            "Interval": 2 * _SECOND,
            "Timeout": 10 * _SECOND,
            "Retries": 5,
            "StartPeriod": int(health.starts_within_s(options.start_timeout_s) * _SECOND),
        },
    }
    return {
        "Labels": dict(marks),
        "TaskTemplate": {
            "ContainerSpec": container,
            "Resources": {"Limits": {"MemoryBytes": options.memory_mb << 20, "NanoCPUs": int(options.cpus * 1e9)}},
            "RestartPolicy": {"Condition": "any", "Delay": _SECOND},
            "Placement": {"Constraints": [*options.constraints, *here]},
            "Networks": [{"Target": network}],
            "LogDriver": {"Name": "json-file", "Options": {"max-size": "5m", "max-file": "2"}},
        },
        "Mode": {"Replicated": {"Replicas": options.replicas}},
        "UpdateConfig": {"Parallelism": 1, "Order": "start-first", "FailureAction": "rollback"},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def exports(environment: Mapping[str, str]) -> bytes:
    """The release's environment, for its shell to read. It is one secret of the Swarm: in no `docker inspect`, and on
    no disk that is not encrypted. Raises TargetError for what no shell could set.
    """
    for name, value in environment.items():
        if not name.isidentifier() or not name.isascii() or "\0" in value:
            raise TargetError(f"environment variable {name!r} has no usable name or value: use letters, digits and _")
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in sorted(environment.items()))
    return "".join(lines).encode(errors="surrogateescape")
