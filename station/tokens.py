"""Tokens of the front door, from the command line. They lie in the ledger of the default workshop."""

import json
import sys
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from rich.console import Console
from rich.table import Table

from blocks.ledger.tokens import Tokens
from domain.access import Role, Token
from domain.errors import InputError
from station import api


def add(name: str, roles: Collection[str], days: float | None, repositories: Collection[str] = ()) -> None:
    """Print the value of a new token on stdout, and what it is on stderr."""
    new, value = made(name, roles, days, repositories)
    until = f"until {new.expires_at:%Y-%m-%d %H:%M} UTC" if new.expires_at else "until it is revoked"
    print(f"{new.name} may {', '.join(new.roles)} {until}. This is shown once:", file=sys.stderr, flush=True)
    print(value)


def made(
    name: str, roles: Collection[str], days: float | None, repositories: Collection[str] = ()
) -> tuple[Token, str]:
    """A new token, and its value. Raises InputError for one that cannot be."""
    unknown = sorted(set(roles) - set(Role))
    if unknown:
        raise InputError(f"there is no role {unknown[0]!r}: give one or more of {', '.join(Role)}")
    if repositories and Role.SUBMIT not in roles:
        raise InputError("--repository bounds what may be submitted: give --role submit with it")
    if repositories and Role.ADMINISTER in roles:
        raise InputError("who administers may do everything: --repository bounds nothing there")
    expires_at = None
    if days is not None:
        try:
            expires_at = datetime.now(UTC) + timedelta(days=days)
        except (OverflowError, ValueError) as err:
            raise InputError(f"{days} days are no time that a calendar has: {err}") from err
    return _tokens().add(name, [Role(role) for role in roles], expires_at, repositories)


def revoke(name: str) -> None:
    """Print whose it was."""
    print(f"revoked: {_tokens().revoke(name).name} has no token any more")


def show(as_json: bool) -> None:
    """Print all, those that are over too."""
    found = _tokens().all()
    if as_json:
        print(json.dumps([token.model_dump(mode="json") for token in found]))
        return
    if not found:
        print("there is no token: `lockgate token add NAME --role submit` makes one")
        return
    console, now = Console(highlight=False), datetime.now(UTC)
    table = Table("name", "may", "repositories", "since", "until", box=None, pad_edge=False)
    for token in found:
        until = token.why_not(now) or (
            f"{token.expires_at:%Y-%m-%d %H:%M} UTC" if token.expires_at else "it is revoked"
        )
        table.add_row(
            token.name,
            ", ".join(token.roles),
            "\n".join(token.repositories) or "all",
            f"{token.added_at:%Y-%m-%d}",
            until,
        )
    console.print(table)


def _tokens() -> Tokens:
    return Tokens(api.ledger_url())
