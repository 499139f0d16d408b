"""People who sign in at the desk, from the command line: their passwords, and who they are at an OpenID provider."""

import sys
from collections.abc import Collection
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from blocks.ledger.identities import Identities
from blocks.ledger.passwords import Passwords, why_no_password
from blocks.ledger.tokens import Tokens
from domain.access import Role
from domain.errors import InputError
from domain.sign_in import OpenId
from domain.text import one_line
from station import api, sign_in, tokens
from station.adding import asked


def add(name: str, roles: Collection[str], days: float | None, with_token: bool = False) -> None:
    """Print what the person may do. Who has a token keeps its roles, and has a password beside it; of a new one the
    value is printed if it is wanted, and is kept by nobody otherwise."""
    ledger = api.ledger_url()
    known = Tokens(ledger).named(name)
    if known and (roles or days is not None or with_token):
        raise InputError(
            f"{name} has a token already, for {', '.join(known.roles)}: leave out --role, --days and --token and it "
            f"gets a password beside it, or take it back first: lockgate token revoke {name}"
        )
    password = asked(f"password of {name}")
    if wrong := why_no_password(name, password):
        raise InputError(wrong)
    made, value = (known, "") if known else tokens.made(name, roles, days)
    Passwords(ledger).set(name, password)
    told = f"{made.name} signs in at the desk by name, and may {', '.join(made.roles)}"
    if with_token:
        print(f"{told}; also by this token, which is shown once:", file=sys.stderr, flush=True)
        print(value)
    else:
        print(told)


def set_password(name: str) -> None:
    """Print that it is set."""
    Passwords(api.ledger_url()).set(name, asked(f"new password of {name}"))
    print(f"{name} has another password; whoever was signed in as {name} is not any more")


def use_provider(issuer: str, client_id: str, address: str, new_people: Collection[str], *, has_secret: bool) -> None:
    """Print what to tell the provider. It is asked first whether it is one."""
    from station.door.openid import why_no_provider

    if unknown := sorted(set(new_people) - set(Role)):
        raise InputError(f"there is no role {unknown[0]!r}: give one or more of {', '.join(Role)}")
    try:
        told = {"issuer": issuer, "client_id": client_id, "address": address}
        openid = OpenId(**_kept(issuer), **told)
        if new_people:
            openid = OpenId(**{**openid.model_dump(), "new_people": tuple(map(Role, new_people))})
    except ValidationError as err:
        raise InputError("; ".join(one["msg"].removeprefix("Value error, ") for one in err.errors())) from err
    if why := why_no_provider(openid):
        raise InputError(why)
    path = sign_in.keep_openid(openid, asked(f"client secret of {client_id}") if has_secret else "")
    print(f"people sign in at {issuer}, as {path} says. Give it this redirect address: {openid.returns_to}")


def _kept(issuer: str) -> dict[str, Any]:
    """What was said before of the people of the same provider: names, and what new ones may."""
    was = sign_in.known().openid
    return was.model_dump(include={"name_claim", "new_people"}) if was and was.issuer == issuer else {}


def set_identity(name: str, subject: str) -> None:
    """Print who that is from now on."""
    openid = sign_in.known().openid
    if openid is None:
        raise InputError("no provider is set up: `lockgate person provider ISSUER CLIENT_ID --address URL` first")
    token = Identities(api.ledger_url()).set(name, openid.issuer, subject)
    print(f"{subject} at {openid.issuer} is {token.name}, and may {', '.join(token.roles)}")


def forget(name: str) -> None:
    """Print what was forgotten."""
    count = Identities(api.ledger_url()).forget(name)
    print(f"{name} signs in at no provider any more" if count else f"{name} is nobody at a provider")


def show() -> None:
    """Print who is who at a provider."""
    found = Identities(api.ledger_url()).all()
    if not found:
        print(
            "nobody is set up at a provider: `lockgate person identity NAME SUBJECT`; for others: lockgate token list"
        )
        return
    table = Table("name", "subject", "at", box=None, pad_edge=False)
    for one in found:
        table.add_row(one.name, Text(one_line(one.subject), overflow="fold"), Text(one.issuer, overflow="fold"))
    Console(highlight=False).print(table)
