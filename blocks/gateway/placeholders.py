"""Placeholders: what stands for a secret in a sandbox, where it may stand, and what takes its place."""

import base64
import binascii
import json
import re
import secrets
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from blocks.gateway.parts import has_too_many_parts
from domain.egress import SecretScope

MARK = re.compile(rb"lockgate-secret-([A-Z][A-Z0-9_]{0,63})-[0-9a-f]{32}")
LONGEST = 16 + 64 + 1 + 32


class HeldSecret(NamedTuple):
    """A secret of one listener."""

    scope: SecretScope
    placeholder: str
    value: str


class Misplaced(ValueError):
    """A placeholder stands where its secret may not go."""


def new_placeholder(name: str) -> str:
    """Random, so that one sandbox's cannot be told from another's: lockgate-secret-NAME- and 32 hexadecimal digits."""
    return f"lockgate-secret-{name}-{secrets.token_hex(16)}"


def found(data: bytes) -> str | None:
    """The name in the first placeholder of any sandbox; None if there is none."""
    mark = MARK.search(data)
    return mark[1].decode() if mark else None


def fill_header(value: str, held: HeldSecret) -> str | None:
    """A header's value with the secret in it, within Basic credentials too; None if its placeholder is not there."""
    if held.placeholder in value:
        return value.replace(held.placeholder, held.value)
    decoded = basic(value)
    if decoded is None or held.placeholder not in decoded:
        return None
    return "Basic " + base64.b64encode(decoded.replace(held.placeholder, held.value).encode()).decode()


def basic(value: str) -> str | None:
    """The user and password of Basic credentials (RFC 7617); None for anything else."""
    scheme, _, encoded = value.strip().partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded.strip() + "==").decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def fill_field(body: bytes, content_type: str, field: str, held: HeldSecret) -> bytes:
    """A JSON or form body with the secret in one top-level field.

    Raises Misplaced if the placeholder stands anywhere else too, or the body is neither.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        filled = _fill_json(body, field, held)
    elif kind == "application/x-www-form-urlencoded":
        pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True)
        swapped = [(k, v.replace(held.placeholder, held.value) if k == field else v) for k, v in pairs]
        filled = urlencode(swapped).encode()
    else:
        raise Misplaced(f"secret {held.scope.name} stands in JSON and form bodies alone")
    if found(filled):
        raise Misplaced(f"secret {held.scope.name} may stand in the field {field} alone")
    return filled


def _fill_json(body: bytes, field: str, held: HeldSecret) -> bytes:
    if has_too_many_parts(body):
        raise Misplaced("the body has too many parts to look into")
    try:
        content = json.loads(body)
    except ValueError:
        raise Misplaced("the body is not the JSON that it says it is") from None
    if not isinstance(content, dict) or not isinstance(content.get(field), str):
        raise Misplaced(f"secret {held.scope.name} may stand in the field {field} alone")
    content[field] = content[field].replace(held.placeholder, held.value)
    return json.dumps(content).encode()
