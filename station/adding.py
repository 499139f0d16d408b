"""Makes blocks from the command line: an agent, a provider of models, a secret. A value that is secret comes from a
prompt or from stdin, never from a command line, which every process of the machine can read."""

import json
import sys
from collections.abc import Sequence
from getpass import getpass
from typing import Any

from pydantic import SecretStr, ValidationError

from blocks.base import LockgateBlock
from blocks.workshop import KINDS
from domain.errors import InputError


def add_agent(kind: str, name: str, given: Sequence[str]) -> str:
    """Save an agent, and the name by which briefs call it."""
    kinds = {key: block for key, block in KINDS.items() if block.__module__.startswith("blocks.agents.")}
    if kind not in kinds:
        raise InputError(f"there is no agent of kind {kind!r}: it is one of {', '.join(sorted(kinds))}")
    _check_free(kinds[kind], name)
    _keep(kinds[kind], name, _fields(given))
    return f"{kind}/{name} is there: a brief calls it by this name"


def add_provider(name: str, api: str, base_url: str, has_key: bool) -> str:
    """Save a provider of models, with its key."""
    _check_free(KINDS["provider"], name)
    fields: dict[str, Any] = {"api": api, "base_url": base_url}
    if has_key:
        fields["key"] = SecretStr(asked(f"key of {name}"))
    _keep(KINDS["provider"], name, fields)
    return f"the provider {name} is there: agents name its models as {name}/MODEL"


def add_secret(name: str, hosts: Sequence[str], header: str, phases: Sequence[str], paths: Sequence[str]) -> str:
    """Save a secret, and where it may go."""
    scope: dict[str, Any] = {"name": name, "hosts": tuple(hosts), "header": header}
    scope |= {key: tuple(found) for key, found in (("phases", phases), ("paths", paths)) if found}
    block = name.lower().replace("_", "-")
    _check_free(KINDS["secret"], block)
    _keep(KINDS["secret"], block, {"scope": scope, "value": SecretStr(asked(name))})
    return f"the secret {name} is there: it goes to {', '.join(hosts)} in the header {header}, and nowhere else"


def _check_free(kind: type[LockgateBlock], name: str) -> None:
    try:
        kind.saved(name)
    except ValueError:
        pass
    else:
        raise InputError(f"there is a block {name!r} of this kind already: change it in the UI under Blocks")


def _keep(kind: type[LockgateBlock], name: str, fields: dict[str, Any]) -> None:
    """Raises InputError for fields that the block does not take."""
    try:
        kind.model_validate(fields).keep(name)
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or kind.__name__}: {one['msg']}" for one in err.errors())
        raise InputError(f"that cannot be saved: {wrong}") from None  # what was given may be in the error
    except ValueError as err:
        raise InputError(f"that cannot be saved as {name!r}: {err}") from None


def _fields(given: Sequence[str]) -> dict[str, Any]:
    """`NAME=VALUE` → fields. A value that reads as JSON is that, all else is text."""
    found: dict[str, Any] = {}
    for one in given:
        name, is_there, value = one.partition("=")
        if not is_there or not name:
            raise InputError(f"{one!r} is no field: write NAME=VALUE, such as model=anthropic/claude-sonnet-5")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def asked(what: str) -> str:
    """What a person types without an echo, or what is piped in. Raises InputError for nothing."""
    value = getpass(f"{what}: ") if sys.stdin.isatty() else sys.stdin.read()
    value = value.rstrip("\r\n")
    if not value:
        raise InputError(
            f'no value was given: type it at the prompt, or pipe it in: printf %s "$VALUE" | lockgate … ({what})'
        )
    return value
