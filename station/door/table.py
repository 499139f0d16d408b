"""Who may do what: role × method × route of Prefect's own OpenAPI. What is not in here nobody may do."""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from domain.access import Role

EVERYBODY = frozenset(Role)
ADMINISTER = frozenset({Role.ADMINISTER})


class Act(StrEnum):
    """What the door does with a request that is allowed."""

    READ = "read"
    CHECK = "check"
    START = "start"
    ANSWER = "answer"
    CANCEL = "cancel"
    ADMINISTER = "administer"


class RouteRule(NamedTuple):
    """A row: one method on one route."""

    method: str
    template: str
    act: Act
    roles: frozenset[Role]
    query: frozenset[str] = frozenset()


BRIEFS = "agent-task/agent-task"
STARTS: dict[str, Role] = {
    BRIEFS: Role.SUBMIT,
    "intake/intake": Role.SUBMIT,
    "rollback/rollback": Role.RELEASE,
    "downgrade/downgrade": Role.RELEASE,
}
"""Deployment, as flow/name → who may start it. Others are for who administers."""

NAMED = {"rollback/rollback": "by", "downgrade/downgrade": "by"}
"""Deployment → the parameter that says who started it: it is the token's name, whoever is claimed."""


class Form(NamedTuple):
    """A question that a run waits with: who may answer it, and what an answer holds."""

    role: Role
    name_field: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


ANSWERS: dict[str, Form] = {
    "review": Form(Role.REVIEW, "reviewer", ("decision", "mark"), ("comment",)),
    "questions": Form(Role.ANSWER, "answered_by", ("answers",)),
    "ready": Form(Role.RELEASE, "mended_by"),
    "window": Form(Role.RELEASE, "opened_by", (), ("why",)),
    "forge": Form(Role.RELEASE, "looked_by"),
    "away": Form(Role.RELEASE, "looked_by"),
    "push": Form(Role.ANSWER, "looked_by", (), ("stop",)),
}
"""How the key of a suspended run begins → its form. Others are for who administers."""

OPEN = ("GET /health", "GET /ready")
"""Nobody needs a token for these."""

READING = """
GET  /admin/version
GET  /artifacts/{id}
GET  /artifacts/{key}/latest
GET  /csrf-token ?client
GET  /deployments/name/{flow_name}/{deployment_name}
GET  /deployments/{id}
GET  /deployments/{id}/schedules
GET  /deployments/{id}/work_queue_check
GET  /events/filter/next ?page-token
GET  /flow_run_states/ ?flow_run_id
GET  /flow_run_states/{id}
GET  /flow_runs/{id}
GET  /flow_runs/{id}/graph
GET  /flow_runs/{id}/graph-v2 ?since
GET  /flow_runs/{id}/input/{key}
GET  /flow_runs/{id}/logs/download
GET  /flows/name/{name}
GET  /flows/{id}
GET  /hello
GET  /task_run_states/ ?task_run_id
GET  /task_run_states/{id}
GET  /task_runs/{id}
GET  /ui/task_runs/{id}
GET  /version
GET  /work_pools/{name}
GET  /work_pools/{work_pool_name}/queues/{name}
GET  /work_queues/name/{name}
GET  /work_queues/{id}
GET  /work_queues/{id}/status
POST /artifacts/count
POST /artifacts/filter
POST /artifacts/latest/count
POST /artifacts/latest/filter
POST /deployments/count
POST /deployments/filter
POST /deployments/paginate
POST /events/count-by/{countable}
POST /events/filter
POST /flow_runs/count
POST /flow_runs/filter
POST /flow_runs/history
POST /flow_runs/lateness
POST /flow_runs/paginate
POST /flow_runs/{id}/input/filter
POST /flows/count
POST /flows/filter
POST /flows/paginate
POST /lockgate/runs/filter
POST /logs/filter
POST /saved_searches/filter
POST /task_runs/count
POST /task_runs/filter
POST /task_runs/history
POST /task_runs/paginate
POST /ui/flow_runs/count-task-runs
POST /ui/flow_runs/history
POST /ui/flows/count-deployments
POST /ui/flows/next-runs
POST /ui/task_runs/count
POST /ui/task_runs/dashboard/counts
POST /work_pools/count
POST /work_pools/filter
POST /work_pools/{name}/concurrency_status
POST /work_pools/{work_pool_name}/queues/filter
POST /work_pools/{work_pool_name}/workers/filter
POST /work_queues/filter
POST /work_queues/{id}/concurrency_status
"""
"""For every token: runs, states, logs, artifacts, flows, deployments, queues, events. What could hold a secret is left
out of the answers, see `bodies.HIDDEN`; blocks, variables, automations and settings are not among them at all."""

CHECKING = "POST /ui/schemas/validate"
"""What is typed into a form of the UI. Only forms that the server has shown are checked, see `forms.py`."""

SCHEDULE = "/deployments/{id}/schedules/{schedule_id}"
STARTING = "POST /deployments/{id}/create_flow_run"
ANSWERING = "POST /flow_runs/{id}/resume"
CANCELLING = "POST /flow_runs/{id}/set_state"
"""To be cancelled, and for who administers to any other state."""
MAY_CANCEL_OWN, MAY_CANCEL_ANY = Role.SUBMIT, Role.RELEASE

HOLDING = ("hold", "open")
MAY_HOLD = Role.RELEASE
"""Who may `POST /door/environments/{name}/hold` and `…/open`, which are the door's own. Everybody may look, by GET."""

ADMINISTERING = """
DELETE /admin/storage
GET    /admin/settings
GET    /admin/storage
PUT    /admin/storage
DELETE /artifacts/{id}
PATCH  /artifacts/{id}
POST   /artifacts/
DELETE /automations/owned-by/{resource_id}
DELETE /automations/{id}
GET    /automations/related-to/{resource_id}
GET    /automations/{id}
PATCH  /automations/{id}
POST   /automations/
POST   /automations/count
POST   /automations/filter
POST   /automations/templates/validate
PUT    /automations/{id}
GET    /block_capabilities/
DELETE /block_documents/{id}
GET    /block_documents/{id} ?include_secrets
PATCH  /block_documents/{id}
POST   /block_documents/
POST   /block_documents/count
POST   /block_documents/filter
DELETE /block_schemas/{id}
GET    /block_schemas/checksum/{checksum} ?version
GET    /block_schemas/{id}
POST   /block_schemas/
POST   /block_schemas/filter
DELETE /block_types/{id}
GET    /block_types/slug/{slug}
GET    /block_types/slug/{slug}/block_documents ?include_secrets
GET    /block_types/slug/{slug}/block_documents/name/{block_document_name} ?include_secrets
GET    /block_types/{id}
PATCH  /block_types/{id}
POST   /block_types/
POST   /block_types/filter
POST   /block_types/install_system_block_types
GET    /collections/views/{view}
DELETE /concurrency_limits/tag/{tag}
DELETE /concurrency_limits/{id}
GET    /concurrency_limits/tag/{tag}
GET    /concurrency_limits/{id}
POST   /concurrency_limits/
POST   /concurrency_limits/decrement
POST   /concurrency_limits/filter
POST   /concurrency_limits/increment
POST   /concurrency_limits/tag/{tag}/reset
DELETE /deployments/{id}
DELETE /deployments/{id}/schedules/{schedule_id}
PATCH  /deployments/{id}
PATCH  /deployments/{id}/schedules/{schedule_id}
POST   /deployments/
POST   /deployments/bulk_delete
POST   /deployments/get_scheduled_flow_runs
POST   /deployments/{id}/create_flow_run/bulk
POST   /deployments/{id}/pause_deployment
POST   /deployments/{id}/resume_deployment
POST   /deployments/{id}/schedule
POST   /deployments/{id}/schedules
POST   /events
DELETE /flow_runs/{id}
DELETE /flow_runs/{id}/input/{key}
PATCH  /flow_runs/{id}
PATCH  /flow_runs/{id}/labels
POST   /flow_runs/
POST   /flow_runs/bulk_delete
POST   /flow_runs/bulk_set_state
POST   /flow_runs/{id}/input
DELETE /flows/{id}
PATCH  /flows/{id}
POST   /flows/
POST   /flows/bulk_delete
POST   /logs/
DELETE /saved_searches/{id}
GET    /saved_searches/{id}
PUT    /saved_searches/
DELETE /task_runs/{id}
PATCH  /task_runs/{id}
POST   /task_runs/
POST   /task_runs/{id}/set_state
POST   /task_workers/filter
POST   /templates/validate
DELETE /v2/concurrency_limits/{id_or_name}
GET    /v2/concurrency_limits/{id_or_name}
PATCH  /v2/concurrency_limits/{id_or_name}
POST   /v2/concurrency_limits/
POST   /v2/concurrency_limits/decrement
POST   /v2/concurrency_limits/decrement-with-lease
POST   /v2/concurrency_limits/filter
POST   /v2/concurrency_limits/increment
POST   /v2/concurrency_limits/increment-with-lease
POST   /v2/concurrency_limits/leases/{lease_id}/renew
DELETE /variables/name/{name}
DELETE /variables/{id}
GET    /variables/name/{name}
GET    /variables/{id}
PATCH  /variables/name/{name}
PATCH  /variables/{id}
POST   /variables/
POST   /variables/count
POST   /variables/filter
DELETE /work_pools/{name}
DELETE /work_pools/{work_pool_name}/queues/{name}
DELETE /work_pools/{work_pool_name}/workers/{name}
PATCH  /work_pools/{name}
PATCH  /work_pools/{work_pool_name}/queues/{name}
POST   /work_pools/
POST   /work_pools/{name}/get_scheduled_flow_runs
POST   /work_pools/{work_pool_name}/queues
POST   /work_pools/{work_pool_name}/workers/heartbeat
DELETE /work_queues/{id}
PATCH  /work_queues/{id}
POST   /work_queues/
POST   /work_queues/{id}/get_runs
"""
"""`POST /templates/validate` and its like are here because they run templates of the caller's."""

SOCKETS: dict[str, frozenset[Role]] = {"/events/out": EVERYBODY, "/logs/out": EVERYBODY, "/events/in": ADMINISTER}
"""Routes that speak WebSocket. A worker uses the server's own address and credential, not the door."""


def find(method: str, segments: Sequence[str]) -> RouteRule | None:
    """The row for a request, by the decoded segments of its path below `/api`; None if there is none."""
    return next((rule for rule, parts in _BY_METHOD.get(method, ()) if _fits(parts, segments)), None)


def rules() -> tuple[RouteRule, ...]:
    """Every row."""
    return _RULES


def _rows(text: str, act: Act, roles: frozenset[Role]) -> Iterator[RouteRule]:
    for line in text.strip().splitlines():
        method, template, *query = line.split()
        yield RouteRule(method, template, act, roles, frozenset(name.removeprefix("?") for name in query))


def _fits(parts: Sequence[str], segments: Sequence[str]) -> bool:
    return len(parts) == len(segments) and all(
        bool(_UUID.fullmatch(given)) if part == "{uuid}" else bool(given) if part == "{}" else part == given
        for part, given in zip(parts, segments, strict=True)
    )


def _parts(template: str) -> tuple[str, ...]:
    """`/flows/{id}` → ("flows", "{uuid}"); a trailing slash is a last, empty segment."""
    return tuple(_part(part) for part in template.removeprefix("/").split("/"))


def _part(part: str) -> str:
    if not part.startswith("{"):
        return part
    name = part.strip("{}")
    return "{uuid}" if name == "id" or (name.endswith("_id") and name != "resource_id") else "{}"


def _by_method(rules: Iterable[RouteRule]) -> dict[str, list[tuple[RouteRule, tuple[str, ...]]]]:
    """Routes with fewer placeholders first, so that `/flows/count` is never a flow that is called so."""
    found: dict[str, list[tuple[RouteRule, tuple[str, ...]]]] = {}
    for rule in sorted(rules, key=lambda rule: rule.template.count("{")):
        found.setdefault(rule.method, []).append((rule, _parts(rule.template)))
    return found


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_RULES = (
    *_rows(READING, Act.READ, EVERYBODY),
    *_rows(CHECKING, Act.CHECK, EVERYBODY),
    *_rows(STARTING, Act.START, frozenset(STARTS.values()) | ADMINISTER),
    *_rows(ANSWERING, Act.ANSWER, frozenset(form.role for form in ANSWERS.values()) | ADMINISTER),
    *_rows(CANCELLING, Act.CANCEL, frozenset({MAY_CANCEL_OWN, MAY_CANCEL_ANY}) | ADMINISTER),
    *_rows(ADMINISTERING, Act.ADMINISTER, ADMINISTER),
)
_BY_METHOD = _by_method(_RULES)
