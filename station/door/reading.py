"""Reads requests strictly, and once: what is decided on is what the request to the server is made of."""

import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from domain.errors import InputError
from domain.text import one_line

MAX_BODY = 4_000_000
"""Bytes. A brief with its acceptance files is far smaller."""
MAX_PATH = 2_000
MAX_DEPTH = 60
NOTHING = object()
"""There was no body."""


class DoorDenied(InputError):
    """The door does not let it through: an HTTP status, and a sentence that says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def segments_of(raw_path: bytes) -> list[str]:
    """The decoded segments of a path, `/a/b` → ["a", "b"]. Raises Denied for one that could be read in two ways."""
    if not raw_path.startswith(b"/") or len(raw_path) > MAX_PATH or b"\\" in raw_path:
        raise DoorDenied(400, "the path must begin with / and hold no backslash")
    try:
        segments = [unquote_to_bytes(part).decode() for part in raw_path[1:].split(b"/")]
    except UnicodeDecodeError:
        raise DoorDenied(400, "the path is not UTF-8") from None
    for number, segment in enumerate(segments):
        if segment in (".", "..") or any(c in "/\\%" or not c.isprintable() for c in segment):
            raise DoorDenied(
                400, "the path holds dots, slashes, percent signs or controls that could be read in two ways"
            )
        if not segment and number < len(segments) - 1:
            raise DoorDenied(400, "the path holds two slashes in a row")
    return segments


def path_of(segments: Iterable[str]) -> str:
    """The path that the server is asked for."""
    return "/" + "/".join(quote(segment, safe="") for segment in segments)


def query_of(raw: bytes, allowed: frozenset[str]) -> str:
    """The query, made anew. Raises Denied for names that are not allowed, or given twice."""
    try:
        pairs = (
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict") if raw else []
        )
    except ValueError:
        raise DoorDenied(400, "the query cannot be read: give name=value pairs") from None
    names = [name for name, _ in pairs]
    if wrong := sorted(set(names) - allowed):
        raise DoorDenied(403, f"your token may not ask with ?{one_line(wrong[0][:60])}= here")
    if len(set(names)) != len(names):
        raise DoorDenied(400, "a name stands twice in the query")
    return urlencode(pairs)


def body_of(content_types: list[str], encodings: list[str], content: bytes) -> Any:
    """The JSON in a body; NOTHING where there is none. Raises Denied for what two readers could read differently."""
    if not content:
        return NOTHING
    kind, _, parameters = (content_types[0] if len(content_types) == 1 else "").partition(";")
    plain = parameters.replace(" ", "").lower() in ("", "charset=utf-8", 'charset="utf-8"')
    if encodings or kind.strip().lower() != "application/json" or not plain:
        raise DoorDenied(415, "a body must be JSON in UTF-8, and say so: content-type: application/json")
    try:
        found = json.loads(content.decode(), object_pairs_hook=_once_each, parse_constant=_no_constant)
        json.dumps(
            found, allow_nan=False, ensure_ascii=False
        ).encode()  # 1e999, half a character: it cannot be passed on
    except RecursionError:
        raise DoorDenied(400, "the body is nested too deep") from None
    except ValueError as err:
        raise DoorDenied(400, f"the body is not JSON as the door takes it: {err}") from None
    _check_depth(found)
    return found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check_depth(found: Any) -> None:
    level, depth = [found], 0
    while level := [inner for each in level for inner in inside(each)]:
        depth += 1
        if depth > MAX_DEPTH:
            raise DoorDenied(400, "the body is nested too deep")


def inside(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
