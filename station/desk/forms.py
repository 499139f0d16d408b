"""Reads what a form of the desk sent: once, strictly, and only if it came from a page of the desk."""

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from starlette.datastructures import Headers

from station.door.reading import DoorDenied

MOST_FIELDS = 500


def form_of(headers: Headers, content: bytes) -> dict[str, str]:
    """Field → value, with plain line ends. Raises Denied for what two readers could read differently."""
    kinds = headers.getlist("content-type")
    kind = kinds[0].partition(";")[0].strip().lower() if len(kinds) == 1 else ""
    if kind != "application/x-www-form-urlencoded" or headers.getlist("content-encoding"):
        raise DoorDenied(415, "a form of the desk is sent as application/x-www-form-urlencoded")
    try:
        pairs = parse_qsl(
            content.decode("ascii"), keep_blank_values=True, strict_parsing=bool(content), errors="strict",
            max_num_fields=MOST_FIELDS,
        )  # fmt: skip
    except ValueError:
        raise DoorDenied(400, "the form cannot be read") from None
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DoorDenied(400, "a field stands twice in the form")
    return {name: value.replace("\r\n", "\n") for name, value in found.items()}


def check_origin(headers: Headers) -> None:
    """Raises Denied if a browser says that the form is another site's."""
    host, origins = headers.get("host", ""), headers.getlist("origin")
    if any(urlsplit(origin).netloc.lower() != host.lower() for origin in origins):
        raise DoorDenied(403, "this form came from another site")
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise DoorDenied(403, "this form came from another site")


def check_csrf(form: Mapping[str, str], wanted: str) -> None:
    """Raises Denied if the form does not carry what its page was given."""
    if not wanted or not hmac.compare_digest(form.get("csrf", "").encode(), wanted.encode()):
        raise DoorDenied(403, "this form is too old, or not from this page: load the page again")


def cookies_of(headers: Headers) -> dict[str, str]:
    """Name → value. Where a name stands twice, nobody can say which one is ours: it is left out."""
    found: dict[str, list[str]] = {}
    for line in headers.getlist("cookie"):
        for part in line.split(";"):
            name, _, value = part.strip().partition("=")
            found.setdefault(name, []).append(value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def cookie(
    name: str, value: str, path: str, *, secure: bool, ends: bool = False, days: int = 0, is_led_back: bool = False
) -> str:
    """A `Set-Cookie` that no script reads and no other site sends, for a path and what is below it; until the browser
    ends, or for so many days. `is_led_back`: also sent when another site leads the browser to that path."""
    site = "Lax" if is_led_back else "Strict"
    age = f"; Max-Age={days * 86_400}" if ends or days else ""
    return f"{name}={value}; Path={path}; HttpOnly; SameSite={site}{'; Secure' * secure}{age}"
