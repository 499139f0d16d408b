"""What starts a run and what answers a question: bodies made anew from the few fields that a token may give."""

from collections.abc import Iterator, Mapping
from typing import Any

from domain.access import Token
from domain.policy.reviewers import canonical_name
from station.door.reading import NOTHING, Denied, body_of, inside
from station.door.table import Form

HIDDEN = frozenset({"job_variables", "base_job_template", "pull_steps", "infra_overrides"})
"""Fields of answers that may hold a secret, at any depth: also where an event tells how they changed."""
DECISIONS = ("approve", "ask for changes", "reject")
"""`expired` is for the platform's housekeeping."""
MAX_TEXT = 20_000

Json = dict[str, Any]


def hidden(found: Any) -> Any:
    """An answer of the server without what may hold a secret."""
    if isinstance(found, dict):
        return {name: _empty(value) if name in HIDDEN else hidden(value) for name, value in found.items()}
    return [hidden(each) for each in found] if isinstance(found, list) else found


def _empty(value: Any) -> Any:
    return {} if isinstance(value, dict) else [] if isinstance(value, list) else None


def check_reading(body: Any) -> None:
    """Raises Denied where a question for reading asks for secrets, or has the server fill something in."""
    for found in _objects(body):
        if found.get("include_secrets", False) is not False:
            raise Denied(403, "only who administers may read secrets: leave out include_secrets")
        if found.get("__prefect_kind", "none") not in ("none", "json"):
            raise Denied(403, "variables and templates are not filled in at the door: give plain values")
        if "$ref" in found:
            raise Denied(403, "blocks are not filled in at the door: give plain values")
        if found.get("__prefect_kind") == "json":
            _check_json(found.get("value"))


def _check_json(value: Any) -> None:
    """Raises Denied where JSON in a text holds what may not be asked for in the open. The server reads that text once
    more, and a worker fills in the blocks that it names."""
    if isinstance(value, dict):
        raise Denied(403, "JSON is given as text: what makes that text is not filled in at the door")
    if isinstance(value, str):
        check_reading(body_of(["application/json"], [], value.encode("utf-8", "surrogatepass")))


def start_of(body: Any, deployment: Json, token: Token) -> Json:
    """What starts a run of a deployment. Only its parameters, a time, a name and a key are the caller's."""
    given = _object({} if body is NOTHING else body)
    check_reading(given)
    parameters = _object(given.pop("parameters", None) or {})
    known = (deployment.get("parameter_openapi_schema") or {}).get("properties") or {}
    if unknown := sorted(set(parameters) - set(known)):
        raise Denied(
            403, f"{deployment['name']} has no parameter {unknown[0][:60]!r}; it has {', '.join(known) or 'none'}"
        )
    made: Json = {"parameters": parameters, "state": _scheduled(given.pop("state", None), token)}
    if (key := given.pop("idempotency_key", None)) is not None:
        made["idempotency_key"] = f"{token.name}/{_text('idempotency_key', key)}"  # nobody takes another one's key
    if (name := given.pop("name", None)) is not None:
        made["name"] = _text("name", name)[:200]
    tags = given.pop("tags", None) or []
    if not isinstance(tags, list) or not all(tag in (deployment.get("tags") or []) for tag in tags):
        raise Denied(403, "tags are those of the deployment: leave them out")
    if given.pop("enforce_parameter_schema", None) not in (None, True):
        raise Denied(403, "parameters are always checked: leave out enforce_parameter_schema")
    _check_rest(given, _NEVER, "a token that starts runs may give parameters, and nothing else that matters")
    return {**made, "enforce_parameter_schema": True, "labels": {"lockgate.started-by": token.name}}


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
    said = content.pop(form.name_field, None)
    if said and canonical_name(_text(form.name_field, said)) != canonical_name(token.name):
        raise Denied(403, f"you are signed in as {token.name}: leave {form.name_field} out, or give that name")
    made = {name: _text(name, content.pop(name, None)) for name in form.required}
    made |= {name: _text(name, content.pop(name, None) or "", empty=True) for name in form.optional}
    _check_rest(content, frozenset(), f"this question is answered with {', '.join((*form.required, *form.optional))}")
    if made.get("decision", DECISIONS[0]) not in DECISIONS:
        raise Denied(403, f"decision must be one of: {', '.join(DECISIONS)}")
    if made.get("mark", mark) != mark:
        raise Denied(409, "the change that waits is not the one that you saw: look again, and give its mark")
    return {**made, form.name_field: token.name}


def _scheduled(state: Any, token: Token) -> Json:
    given = _object(state or {})
    details = _object(given.pop("state_details", None) or {})
    made: Json = {"type": "SCHEDULED", "message": f"started by {token.name}, who is signed in"}
    if (at := details.pop("scheduled_time", None)) is not None:
        made["state_details"] = {"scheduled_time": _text("scheduled_time", at)}
    named = (given.pop("type", "SCHEDULED"), given.pop("name", None) or "Scheduled")
    given.pop("message", None)
    if named != ("SCHEDULED", "Scheduled") or any(given.values()) or any(details.values()):
        raise Denied(403, "a run begins as scheduled: leave out its state")
    return made


def _check_rest(given: Mapping[str, Any], empty: frozenset[str], why: str) -> None:
    for name, value in given.items():
        if name not in empty or value not in (None, {}, [], ""):
            raise Denied(403, f"{why}: leave out {name[:60]!r}")


def _object(value: Any) -> Json:
    if not isinstance(value, dict):
        raise Denied(400, f"here must be a JSON object, not {type(value).__name__}")
    return dict(value)


def _text(name: str, value: Any, *, empty: bool = False) -> str:
    if not isinstance(value, str) or not (value.strip() or empty) or len(value) > MAX_TEXT:
        raise Denied(400, f"{name} must be text of 1 to {MAX_TEXT:,} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Denied(400, f"{name} is not Unicode") from None
    return value


def _objects(value: Any) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
    for inner in inside(value):
        yield from _objects(inner)
