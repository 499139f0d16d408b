"""Services that tests need: real servers in the sandbox's own network, empty, without a password, and gone with it."""

import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from pydantic import Field

from domain.value import Value

HOST = "127.0.0.1"


class KnownServer(NamedTuple):
    """A server that sandboxes can start. `asks`: how clients say that nobody is there."""

    title: str
    port: int
    url: str
    package: str
    asks: str


KNOWN = {
    "postgresql": KnownServer(
        "PostgreSQL", 5432, "postgresql://postgres:postgres@{host}:{port}/test", "postgresql",
        r"port 5432|:5432\b|\.s\.PGSQL\.5432|could not translate host name \"(postgres|postgresql|db)\""
        r"|ENOTFOUND (postgres|postgresql|db)\b|psycopg2?\.OperationalError|ECONNREFUSED.*5432",
    ),
    "redis": KnownServer(
        "Redis", 6379, "redis://{host}:{port}/0", "redis-server",
        r"port 6379|:6379\b|redis\.exceptions\.ConnectionError|ENOTFOUND redis\b|Error .* connecting to redis",
    ),
}  # fmt: skip


class Service(Value):
    """`[services.NAME]`: a server for tests and for an agent that edits, started for each command."""

    use: Literal["postgresql", "redis"] = Field(description="Which server")
    variable: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Variable that tells the tests its address")
    url: str | None = Field(
        None, description="Its address as the tests want it, with {host} and {port}: postgresql+asyncpg://postgres@…"
    )
    variables: dict[str, str] = Field({}, description="Further variables, with {host}, {port} and {url}")

    @property
    def environment(self) -> dict[str, str]:
        """What the tests are told."""
        known = KNOWN[self.use]
        url = _filled(self.url or known.url, port=str(known.port))
        rest = {name: _filled(text, port=str(known.port), url=url) for name, text in self.variables.items()}
        return {self.variable: url, **rest}


def _filled(text: str, **values: str) -> str:
    for name, value in {"host": HOST, **values}.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def looked_for(texts: Iterable[str], services: Mapping[str, Service]) -> tuple[str, ...]:
    """What tests look for and nobody named, as sentences that say how to."""
    said = list(texts)
    has = {service.use for service in services.values()}
    return tuple(
        f"tests look for {known.title} and there is none in the sandbox: write `[services.{name}]` with "
        f'`use = "{name}"` and `variable = "…"`, the variable that they read its address from, into lockgate.toml'
        for name, known in KNOWN.items()
        if name not in has and any(re.search(known.asks, text) for text in said)
    )
