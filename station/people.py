"""People who sign in at the desk by name and password, from the command line."""

import sys
from collections.abc import Collection

from blocks.ledger.passwords import Passwords, why_no_password
from blocks.ledger.tokens import Tokens
from domain.errors import InputError
from station import api, tokens
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
