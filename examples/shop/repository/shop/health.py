"""`GET /health`, as application/health+json: https://datatracker.ietf.org/doc/draft-inadarei-api-health-check/"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import JSONResponse

from shop import __version__

Check = Callable[[], str | None]
"""Says what is wrong; None where all is well."""


def health(request: Request) -> JSONResponse:
    """200 and `pass` where every check passes, else 503 and `fail` with each check's output."""
    checks: Mapping[str, Check] = request.app.state.checks
    details = {name: [_detail(check())] for name, check in checks.items()}
    passed = all(detail["status"] == "pass" for [detail] in details.values())
    body = {
        "status": "pass" if passed else "fail",
        "version": __version__,
        "releaseId": request.app.state.settings.release_id,
        "checks": details,
    }
    return JSONResponse(
        body,
        status_code=200 if passed else 503,
        media_type="application/health+json",
        headers={"Cache-Control": "no-store"},
    )


def _detail(problem: str | None) -> dict[str, str]:
    time = datetime.now(UTC).isoformat(timespec="seconds")
    if problem is None:
        return {"status": "pass", "time": time}
    return {"status": "fail", "time": time, "output": problem}
