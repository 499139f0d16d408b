"""Makes HTML of values. Everything that is put into a page is escaped: what agents and repositories wrote is text."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from domain.bill import dollars, unmetered
from domain.text import block
from station.desk.pictures import bar, columns, picture

HERE = Path(__file__).parent
CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP, "cache-control": "no-store", "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "same-origin",  # with no-referrer a browser says of its own forms that they come from nowhere
    "cross-origin-resource-policy": "same-origin", "permissions-policy": "camera=(), geolocation=(), microphone=()",
}  # fmt: skip
STATIC = {
    "desk.css": "text/css; charset=utf-8",
    "desk.js": "text/javascript; charset=utf-8",
    "desk.svg": "image/svg+xml",
}


def age(since: datetime, now: datetime | None = None) -> str:
    """How long ago, in one word: `3 min`, `5 h`, `4 days`."""
    minutes = max(0, int(((now or datetime.now(UTC)) - since).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"


def plain(text: object) -> str:
    """Text without characters that are not shown, or turn the order of what is shown around."""
    return block(str(text))


def _shown(value: Any) -> Any:
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=_shown,
    )  # fmt: skip
    made.filters.update(age=age, short=lambda commit: str(commit or "nothing")[:12])
    made.filters.update(picture=picture, columns=columns, bar=bar, dollars=dollars, unmetered=unmetered)
    made.filters["time"] = lambda at: at.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    return made


_TEMPLATES = _environment()


def page(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page; `who` is the token that is signed in, None for nobody."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(values), status, HEADERS)


def static(name: str) -> Response:
    """One of the desk's own three files."""
    return Response((HERE / "static" / name).read_bytes(), 200, {**HEADERS, "content-type": STATIC[name]})
