"""What starts a run and what answers a question: bodies made anew from the few fields that a token may give."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from domain.access import STARTED_BY, Token
from domain.brief import Brief
from domain.errors import LedgerError
from domain.paths import is_among
from domain.policy.reviewers import canonical_name
from station.door.reading import NOTHING, DoorDenied, body_of, inside
from station.door.table import Form
from station.scopes import why_outside

HIDDEN = frozenset({"job_variables", "base_job_template", "pull_steps", "infra_overrides"})
"""Fields of answers that may hold a secret, at any depth: also where an event tells how they changed."""
DECISIONS = ("approve", "ask for changes", "reject")
"""`expired` is for the platform's housekeeping."""
MAX_TEXT = 20_000

Json = dict[str, Any]


def hidden(found: Any, token: Token | None, own: Collection[str] = ()) -> Any:
    """An answer of the server without what may hold a secret, and without what is private to others: parameters of
    their runs, and artifacts. `own`: runs that the token has started, as far as the answer names runs."""
    if isinstance(found, list):
        return [hidden(each, token, own) for each in found]
    if not isinstance(found, dict):
        return found
    leave_out = HIDDEN if token and token.sees_all_briefs else HIDDEN | _private_in(found, token, own)
    return {name: _empty(value) if name in leave_out else hidden(value, token, own) for name, value in found.items()}


def runs_of_artifacts(found: Any) -> set[str]:
    """Runs whose artifacts are in an answer."""
    return {str(each["flow_run_id"]) for each in _objects(found) if "data" in each and each.get("flow_run_id")}


def is_own(run: Json, token: Token) -> bool:
    """Whether the token has started a run."""
    return bool((run.get("labels") or {}).get(STARTED_BY) == token.name)


def _private_in(found: Json, token: Token | None, own: Collection[str]) -> set[str]:
    private = set() if token and "parameters" in found and is_own(found, token) else {"parameters"}
    return private if str(found.get("flow_run_id")) in own else private | {"data"}


def _empty(value: Any) -> Any:
    return {} if isinstance(value, dict) else [] if isinstance(value, list) else None


def check_reading(body: Any) -> None:
    """Raises Denied if a question for reading asks for secrets, or has the server fill something in."""
    for found in _objects(body):
        if found.get("include_secrets", False) is not False:
            raise DoorDenied(403, "only who administers may read secrets: leave out include_secrets")
        if found.get("__prefect_kind", "none") not in ("none", "json"):
            raise DoorDenied(403, "variables and templates are not filled in at the door: give plain values")
        if "$ref" in found:
            raise DoorDenied(403, "blocks are not filled in at the door: give plain values")
        if found.get("__prefect_kind") == "json":
            _check_json(found.get("value"))


def _check_json(value: Any) -> None:
    """Raises Denied if JSON in a text holds what may not be asked for in the open. The server reads that text once
    more, and a worker fills in the blocks that it names."""
    if isinstance(value, dict):
        raise DoorDenied(403, "JSON is given as text: what makes that text is not filled in at the door")
    if isinstance(value, str):
        check_reading(body_of(["application/json"], [], value.encode("utf-8", "surrogatepass")))


def start_of(body: Any, deployment: Json, token: Token, name_parameter: str | None = None) -> Json:
    """What starts a run of a deployment. Only its parameters, a time, a name and a key are the caller's. The parameter
    that says who started it is the token's name."""
    given = _object({} if body is NOTHING else body)
    check_reading(given)
    parameters = _object(given.pop("parameters", None) or {})
    known = (deployment.get("parameter_openapi_schema") or {}).get("properties") or {}
    if unknown := sorted(set(parameters) - set(known)):
        raise DoorDenied(
            403, f"{deployment['name']} has no parameter {unknown[0][:60]!r}; it has {', '.join(known) or 'none'}"
        )
    _check_repository(parameters, token)
    if name_parameter is not None:
        parameters[name_parameter] = _own(name_parameter, parameters.get(name_parameter), token)
    made: Json = {"parameters": parameters, "state": _scheduled(given.pop("state", None), token)}
    if (key := given.pop("idempotency_key", None)) is not None:
        made["idempotency_key"] = f"{token.name}/{_text('idempotency_key', key)}"  # nobody takes another one's key
    if (name := given.pop("name", None) or _title_in(parameters)) is not None:
        made["name"] = _text("name", name)[:200]
    tags = given.pop("tags", None) or []
    if not isinstance(tags, list) or not all(tag in (deployment.get("tags") or []) for tag in tags):
        raise DoorDenied(403, "tags are those of the deployment: leave them out")
    if given.pop("enforce_parameter_schema", None) not in (None, True):
        raise DoorDenied(403, "parameters are always checked: leave out enforce_parameter_schema")
    _check_rest(given, _NEVER, "a token that starts runs may give parameters, and nothing else that matters")
    return {**made, "enforce_parameter_schema": True, "labels": {STARTED_BY: token.name}}


def _title_in(parameters: Json) -> str | None:
    """Of a brief: the run's name from the start, and not only once it begins."""
    brief = parameters.get("brief")
    title = brief.get("title") if isinstance(brief, dict) else None
    return title if isinstance(title, str) and title else None


def check_scope(brief: Any) -> None:
    """Raises Denied for a brief that is not for its agents. One that is no brief at all the server refuses."""
    try:
        read = Brief.model_validate(brief)
    except ValidationError:
        return
    try:
        wrong = why_outside(read)
    except LedgerError:
        return  # the run itself looks once more
    if wrong:
        raise DoorDenied(422, "; ".join(one.sentence for one in wrong))


_NEVER = frozenset(
    {
        "job_variables", "labels", "parent_task_run_id", "context", "infrastructure_document_id", "empirical_policy",
        "work_queue_name",
    }
)  # fmt: skip


def answer_of(body: Any, form: Form, mark: str, token: Token) -> dict[str, str]:
    """What answers a question, in every field of its form. The name is the token's, whoever is claimed."""
    given = _object({} if body is NOTHING else body)
    content = _object(given.pop("run_input", None) or {})
    _check_rest(given, frozenset(), "an answer is given as run_input, and as nothing else")
    _own(form.name_field, content.pop(form.name_field, None), token)
    made = {name: _text(name, content.pop(name, None)) for name in form.required}
    made |= {name: _text(name, content.pop(name, None) or "", empty=True) for name in form.optional}
    _check_rest(content, frozenset(), f"this question is answered with {', '.join((*form.required, *form.optional))}")
    if made.get("decision", DECISIONS[0]) not in DECISIONS:
        raise DoorDenied(403, f"decision must be one of: {', '.join(DECISIONS)}")
    if made.get("mark", mark) != mark:
        raise DoorDenied(409, "the change that waits is not the one that you saw: look again, and give its mark")
    return {**made, form.name_field: token.name}


def cancelling(body: Any, token: Token) -> tuple[Json, str] | None:
    """What cancels a run, and why; None if the body asks for another state than cancelled."""
    given = _object({} if body is NOTHING else body)
    state = _object(given.get("state") or {})
    if state.get("type") not in ("CANCELLING", "CANCELLED"):
        return None
    why = _text("message", state.get("message") or "", empty=True)
    said = f"cancelled by {token.name}, who is signed in" + (f": {why}" if why else "")
    return {"state": {"type": "CANCELLING", "name": "Cancelling", "message": said}, "force": False}, why


def reason_of(body: Any) -> str:
    """Why an environment is held or opened, from `{"reason": …}`."""
    given = _object({} if body is NOTHING else body)
    reason = _text("reason", given.pop("reason", None))
    _check_rest(given, frozenset(), "an environment is held and opened with a reason, and nothing else")
    return reason


def _own(field: str, said: Any, token: Token) -> str:
    """The token's name. Raises Denied if somebody else's is given."""
    if said and canonical_name(_text(field, said)) != canonical_name(token.name):
        raise DoorDenied(403, f"you are signed in as {token.name}: leave {field} out, or give that name")
    return token.name


def _check_repository(parameters: Json, token: Token) -> None:
    """Raises Denied if a token that may name some repositories names another, or one that cannot be read here."""
    if not token.repositories or "brief" not in parameters:
        return
    brief = parameters["brief"]
    repository = brief.get("repository") if isinstance(brief, dict) else None
    if any("__prefect_kind" in found for found in _objects(parameters)) or not isinstance(repository, str):
        raise DoorDenied(403, f"{token.name} may name some repositories only: give the brief as plain values")
    if not is_among(repository, token.repositories):
        raise DoorDenied(403, f"{token.name} may not name {repository[:100]!r}, but {', '.join(token.repositories)}")


def _scheduled(state: Any, token: Token) -> Json:
    given = _object(state or {})
    details = _object(given.pop("state_details", None) or {})
    made: Json = {"type": "SCHEDULED", "message": f"started by {token.name}, who is signed in"}
    if (at := details.pop("scheduled_time", None)) is not None:
        made["state_details"] = {"scheduled_time": _text("scheduled_time", at)}
    named = (given.pop("type", "SCHEDULED"), given.pop("name", None) or "Scheduled")
    given.pop("message", None)
    if named != ("SCHEDULED", "Scheduled") or any(given.values()) or any(details.values()):
        raise DoorDenied(403, "a run begins as scheduled: leave out its state")
    return made


def _check_rest(given: Mapping[str, Any], empty: frozenset[str], why: str) -> None:
    for name, value in given.items():
        if name not in empty or value not in (None, {}, [], ""):
            raise DoorDenied(403, f"{why}: leave out {name[:60]!r}")


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise DoorDenied(400, f"here must be a JSON object, not {type(value).__name__}")
    return dict(value)


def _text(name: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value.strip() or empty) or len(value) > MAX_TEXT:
        raise DoorDenied(400, f"{name} must be text of 1 to {MAX_TEXT:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DoorDenied(400, f"{name} is not Unicode") from None
    return value


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for inner in inside(value):
        yield from _objects(inner)
