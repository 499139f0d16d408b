"""Why nobody reaches a service that runs in its container, where that can be seen."""

from blocks.host.docker import Engine

_LISTENING = "0A"  # TCP_LISTEN
_RESOLVER = "0B00007F"
"""127.0.0.11, where the engine's own resolver listens in each container."""
_LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def out_of_reach(engine: Engine, container: str, port: int) -> str | None:
    """None if something in a running container listens on that port for others too, else what is wrong with it."""
    listening = _listening(engine, container)
    if port not in listening:
        others = ", ".join(map(str, sorted(listening)))
        return (
            f"it does not listen on port {port}, which {{port}} and $PORT name{f', but on {others}' if others else ''}"
        )
    if listening[port] <= _LOOPBACK:
        return "it listens on 127.0.0.1 of its container, where nobody reaches it: let it listen on {host} or $HOST"
    return None


def _listening(engine: Engine, container: str) -> dict[int, set[str]]:
    """Ports, and at which addresses, as /proc/net/tcp writes them."""
    with engine.errors("look into a container"):
        made = engine.api.exec_create(container, ["cat", "/proc/net/tcp", "/proc/net/tcp6"], stderr=False)
        said = engine.api.exec_start(made["Id"]).decode(errors="replace")
    found: dict[int, set[str]] = {}
    for fields in (line.split() for line in said.splitlines()):
        if len(fields) > 3 and fields[3] == _LISTENING:
            address, _, port = fields[1].partition(":")
            if address != _RESOLVER:
                found.setdefault(int(port, 16), set()).add(address)
    return found
