"""What happens to a request at the door: read strictly, known by its token, looked up in the table, made anew."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar
from weakref import WeakValueDictionary

import httpx
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from domain.access import START, Cancelled, Role, Token, answer_digest, start_digest
from domain.errors import LockgateError
from station import settings
from station.desk.app import Desk
from station.door import bodies, metrics, sockets, table
from station.door.acts import Acts
from station.door.connections import note_signed
from station.door.forms import SHOWING, Forms
from station.door.guests import Guests
from station.door.reading import MAX_BODY, NOTHING, DoorDenied, body_of, path_of, query_of, segments_of
from station.door.table import Act, RouteRule
from station.door.upstream import Upstream
from station.door.webhooks import Webhooks

log = logging.getLogger("lockgate")
R = TypeVar("R")
BODY_S = 60.0
"""How long a caller may take to send a body."""
ANSWER_S = 120.0
"""How long a caller may take to receive an answer."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
PRIVATE = ("/flow_runs/{id}/input/{key}", "/flow_runs/{id}/input/filter")
"""Routes that show what a run asks: of one's own runs, where a token does not see all."""
MOST_RUNS = 200
"""As many as the server gives at once; it gives no more artifacts either."""
OUTSIDE = ("docs", "redoc", "openapi.json")
"""Pages of the server beside its UI, which nobody needs."""
GIVEN_BACK = ("content-type", "cache-control", "etag", "last-modified", "content-disposition")
SAFE = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "no-referrer",
    "content-security-policy": "frame-ancestors 'none'",
}  # fmt: skip


class DoorRequest(NamedTuple):
    """A request of somebody who may make it."""

    rule: RouteRule
    token: Token
    segments: list[str]
    path: str
    body: Any


NOTED_S = 5.0
"""Whoever starts a run waits so long at most for the ledger to say who it was."""


class Door:
    """The ASGI application."""

    def __init__(
        self, upstream: Upstream, guests: Guests, acts: Acts | None = None, webhooks: Webhooks | None = None
    ) -> None:
        self.webhooks = webhooks or Webhooks()
        self.upstream, self.guests, self.acts, self.forms = upstream, guests, acts or Acts(), Forms()
        self.desk, self.metrics = Desk(guests, self._ask_as), metrics.Metrics()
        self._looking, self._acting = ThreadPoolExecutor(2, "looks"), ThreadPoolExecutor(4, "acts")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await sockets.serve(WebSocket(scope, receive, send), self.upstream, self.guests)
        elif scope["type"] == "http":
            await (await self._answer(Request(scope, receive)))(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        try:
            answer = await self._asked(request)
        except DoorDenied as no:
            answer = JSONResponse({"detail": str(no)}, no.status)
            if no.status == 401:
                answer.headers["www-authenticate"] = 'Bearer realm="Lockgate"'
            if no.status in (429, 503):
                answer.headers["retry-after"] = "60" if no.status == 429 else "1"
        except ClientDisconnect:
            answer = Response(status_code=400)
        for name, value in SAFE.items():
            answer.headers.setdefault(name, value)
        return answer

    async def _asked(self, request: Request) -> Response:
        segments = segments_of(request.scope["raw_path"])
        method, below = request.method, segments[1:]
        if method not in METHODS:
            raise DoorDenied(405, f"the door knows {', '.join(METHODS)}")
        if segments == ["door", "health"]:
            return JSONResponse({"status": "pass"})
        if segments == ["metrics"] and method == "GET":
            if not settings.are_metrics_open():
                await self._guest(request)
            return await self._measured()
        if segments[:2] == ["door", "webhooks"]:
            return await self.webhooks.answer(request, segments[2:])
        if segments[:2] == ["door", "environments"]:
            token = await self._guest(request)
            return await self._environment(request, token, segments[2:], await _content(request))
        if segments[0] == "desk":
            return await self.desk.answer(request, segments[1:], lambda most: _content(request, most))
        if segments[0] != "api":
            return await self._page(request, segments)
        if f"{method} /{'/'.join(below)}" in table.OPEN:
            return await self._passed_on(request, method, path_of(segments), NOTHING, signed=False)
        token = await self._guest(request)
        return await self._let_in(request, token, segments, await _content(request))

    async def _guest(self, request: Request) -> Token:
        address = request.client.host if request.client else ""
        token = await self.guests.known(request.headers.getlist("authorization"), address)
        note_signed(request.scope)
        return token

    async def _page(self, request: Request, segments: list[str]) -> Response:
        """The UI's own files, which hold nothing of anybody, and who is signed in."""
        if request.method != "GET" or segments[0] in OUTSIDE:
            raise DoorDenied(404, "there is no such page")
        if segments == ["door", "me"]:
            token = await self._guest(request)
            return JSONResponse(token.model_dump(mode="json", include={"name", "roles", "expires_at"}))
        if segments == ["ui-settings"]:
            told = await self.upstream.read("/ui-settings", signed=False)
            return JSONResponse({**told, "api_url": "/api"})  # the UI would go past the door, and be turned away
        return await self._passed_on(request, "GET", path_of(segments), NOTHING, signed=False)

    async def _measured(self) -> Response:
        try:
            underway = await self._underway()
        except DoorDenied:
            underway = None  # that is among what it tells
        try:
            text = await self.guests.look(lambda tokens: self.metrics.text(tokens.url, underway))
        except LockgateError as err:
            raise DoorDenied(503, f"the ledger does not answer: {err}") from err
        return Response(text, headers={"content-type": metrics.CONTENT_TYPE_LATEST})

    async def _underway(self) -> metrics.Underway:
        tasks = {"flows": {"name": {"any_": ["agent-task"]}}}
        counts = {}
        for doing, state in metrics.ASKED.items():
            asked = {**tasks, "flow_runs": {"state": state}}
            counts[doing] = int(await self.upstream.read("/api/flow_runs/count", body=asked) or 0)
        waiting = {**tasks, "flow_runs": {"state": metrics.ASKED["waiting_for_a_person"]}, "limit": MOST_RUNS}
        runs = await self.upstream.read("/api/flow_runs/filter", body=waiting)
        return metrics.Underway(counts, metrics.waited_s(runs or []))

    async def _environment(self, request: Request, token: Token, words: list[str], content: bytes) -> Response:
        """Whether an environment is held, by `GET …/NAME`; `POST …/NAME/hold` and `…/open` with a reason."""
        if request.method == "GET" and len(words) == 1:
            return JSONResponse(await _in(self._looking, lambda: self.acts.look(words[0])))
        if request.method != "POST" or len(words) != 2 or words[1] not in table.HOLDING:
            raise DoorDenied(404, f"the door knows {', '.join(table.HOLDING)} of an environment, by POST")
        if not token.may(table.MAY_HOLD):
            raise DoorDenied(403, _lacks(token, table.MAY_HOLD))
        reason = bodies.reason_of(_body(request, content))
        said = await _in(self._acting, lambda: self.acts.hold(words[1], words[0], reason, token))
        log.info("%s (token %s): %s %s: %s", token.name, token.id, words[1], words[0], said)
        return JSONResponse({"message": said})

    async def _let_in(self, request: Request, token: Token, segments: list[str], content: bytes) -> Response:
        """Answers to one run come one after another: of two people, one wins, and the other is told."""
        turn = self._turns.setdefault("/".join(segments).lower(), asyncio.Lock())
        async with turn if segments[-1] == "resume" else contextlib.nullcontext():
            return await self._do(request, token, segments, content)

    async def _do(self, request: Request, token: Token, segments: list[str], content: bytes) -> Response:
        method, below = request.method, segments[1:]
        rule = table.find(method, below)
        if rule is None:
            raise DoorDenied(404, f"the door knows no {method} of this path")
        if not any(token.may(role) for role in rule.roles):
            raise DoorDenied(403, _lacks(token, *rule.roles))
        query = query_of(request.scope["query_string"], rule.query)
        body = _body(request, content)
        if body is not NOTHING and method in ("GET", "DELETE"):
            raise DoorDenied(400, f"{method} has no body")
        path = path_of(segments) + (f"?{query}" if query else "")
        asked = DoorRequest(rule, token, below, path, body)
        match rule.act:
            case Act.READ:
                bodies.check_reading(body)
            case Act.CHECK:
                bodies.check_reading(body)
                self.forms.check(body)
            case Act.START:
                asked = await self._start(asked)
            case Act.ANSWER:
                prepared = await self._prepare_answer(asked)
                if isinstance(prepared, Response):
                    return prepared
                asked = prepared
            case Act.CANCEL:
                prepared = await self._prepare_cancel(asked)
                if isinstance(prepared, Response):
                    return prepared
                asked = prepared
            case Act.ADMINISTER if (method, rule.template) == ("PATCH", table.SCHEDULE):
                asked = asked._replace(body=await self._with_parameters(asked))
        if rule.template in PRIVATE and not token.sees_all_briefs:
            await self._need_own(below[1], token, below[-1])
        shows = rule.template if rule.template in SHOWING else None
        answer = await self._passed_on(
            request, method, path, asked.body, token, shows=shows, whole=rule.act is Act.START
        )
        if rule.act is Act.START and answer.status_code in (200, 201):
            await self._note_start(asked, answer)
        if rule.act not in (Act.READ, Act.CHECK) and method != "GET":
            log.info("%s (token %s): %s %s → %d", token.name, token.id, method, path, answer.status_code)
        return answer

    async def _with_parameters(self, asked: DoorRequest) -> Any:
        """A change of a schedule with the parameters that it has, where it says none: Prefect would empty them, so that
        whoever pauses a schedule in its UI loses the brief."""
        if not isinstance(asked.body, dict) or "parameters" in asked.body:
            return asked.body
        _, deployment, _, schedule = asked.segments
        known = await self.upstream.read(f"/api/deployments/{deployment.lower()}/schedules") or []
        kept: Any = next((one["parameters"] for one in known if one["id"] == schedule.lower()), {})
        return {**asked.body, "parameters": kept}

    async def _ask_as(self, token: Token, method: str, segments: Sequence[str], body: Any) -> tuple[int, Any]:
        """Status and JSON of what somebody gets who is known already, by a session of the desk."""
        content = b"" if body is None else json.dumps(body).encode()
        headers = [(b"content-type", b"application/json")] if content else []
        scope = {
            "type": "http", "method": method, "path": path_of(segments), "query_string": b"", "headers": headers
        }  # fmt: skip
        if segments[:2] == ["door", "environments"]:
            answer = await self._environment(Request(scope), token, list(segments[2:]), content)
        else:
            answer = await self._let_in(Request(scope), token, list(segments), content)
        parts: list[bytes] = []

        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        async def keep(message: Message) -> None:
            parts.append(message.get("body", b""))

        if isinstance(answer, _Streamed):
            parts += [part if isinstance(part, bytes) else str(part).encode() async for part in answer.body_iterator]
        else:
            await answer(scope, nothing, keep)
        told = b"".join(parts)
        return answer.status_code, json.loads(told) if told else None

    async def _start(self, asked: DoorRequest) -> DoorRequest:
        """With a body that starts the deployment and nothing else."""
        name = await self.upstream.which(asked.segments[1])
        if name is None:
            if asked.token.may(Role.ADMINISTER):
                return asked
            raise DoorDenied(403, _lacks(asked.token, Role.ADMINISTER))
        if not asked.token.may(table.STARTS[name]):
            raise DoorDenied(403, _lacks(asked.token, table.STARTS[name]))
        deployment = await self.upstream.read(f"/api/deployments/{asked.segments[1].lower()}")
        if deployment is None:
            raise DoorDenied(404, "there is no such deployment any more")
        body = bodies.start_of(asked.body, deployment, asked.token, table.NAMED.get(name))
        if name == table.BRIEFS:
            await _in(self._looking, lambda: bodies.check_scope(body["parameters"].get("brief")))
        return asked._replace(body=body)

    async def _note_start(self, asked: DoorRequest, answer: Response) -> None:
        """Who has asked for a task, or whose name it is that a run has among its parameters: noted once it is there."""
        name = await self.upstream.which(asked.segments[1])
        if name == table.BRIEFS:
            await self._note_submitted(asked, answer)
        if name not in table.NAMED:
            return
        flow, run_id = name.partition("/")[0], str(json.loads(bytes(answer.body))["id"])
        digest = start_digest(flow, asked.token.name, asked.body["parameters"])
        try:
            await self.guests.look(lambda tokens: tokens.sign(run_id, START, digest, asked.token))
        except LockgateError as err:
            log.warning("run %s goes on, and the name of %s will be a claim: %s", run_id, asked.token.name, err)

    async def _note_submitted(self, asked: DoorRequest, answer: Response) -> None:
        run_id, brief = str(json.loads(bytes(answer.body))["id"]), asked.body["parameters"].get("brief")
        workshop = str(brief.get("workshop") or "default") if isinstance(brief, dict) else "default"
        try:
            noted = _in(self._acting, lambda: self.acts.submitted(run_id, workshop, asked.token))
            await asyncio.wait_for(noted, NOTED_S)
        except (DoorDenied, TimeoutError) as err:
            log.warning("run %s goes on, and nobody will know that %s asked for it: %s", run_id, asked.token.name, err)

    async def _prepare_cancel(self, asked: DoorRequest) -> DoorRequest | Response:
        """With the state that cancels, after it is noted who does. Nothing is stopped in the middle of a release."""
        run_id, token = asked.segments[1].lower(), asked.token
        wanted = bodies.cancelling(asked.body, token)
        if wanted is None:
            if token.may(Role.ADMINISTER):
                return asked
            raise DoorDenied(403, _lacks(token, Role.ADMINISTER))
        run = await self._run(run_id)
        if not token.may(Role.ADMINISTER):
            if await self.upstream.which(str(run.get("deployment_id") or "")) is None:
                raise DoorDenied(403, _lacks(token, Role.ADMINISTER))
            if not (token.may(table.MAY_CANCEL_ANY) or (token.may(table.MAY_CANCEL_OWN) and bodies.is_own(run, token))):
                raise DoorDenied(403, f"{token.name} may cancel runs that {token.name} started, and not this one")
        state = run.get("state") or {}
        if state.get("type") in FINAL:
            reason = f"the run is over: it is {state.get('name')}"
            return JSONResponse({"status": "ABORT", "details": {"type": "abort_details", "reason": reason}})
        body, why = wanted
        who = Cancelled(by=token.name, why=why, signed_in=True, way=token.way)
        await _in(self._acting, lambda: self.acts.cancel(run, who))
        return asked._replace(body=body)

    async def _need_own(self, run_id: str, token: Token, key: str) -> None:
        """Raises Denied if somebody else has started the run, and `key` is no part of a question that waits now, and
        that the token may answer."""
        run = await self._run(run_id.lower())
        details = (run.get("state") or {}).get("state_details") or {}
        form = table.ANSWERS.get(str(details.get("pause_key") or "").partition("-")[0])
        asks_now = form and token.may(form.role) and key in (details.get("run_input_keyset") or {}).values()
        if not (bodies.is_own(run, token) or asks_now):
            raise DoorDenied(403, f"{token.name} may read what runs ask that {token.name} started, and not this one's")

    async def _run(self, run_id: str) -> dict[str, Any]:
        run = await self.upstream.read(f"/api/flow_runs/{run_id}")
        if run is None:
            raise DoorDenied(404, "there is no such run")
        return dict(run)

    async def _prepare_answer(self, asked: DoorRequest) -> DoorRequest | Response:
        """With the answer in its name, which is noted before the run can go on."""
        run_id, token = asked.segments[1].lower(), asked.token
        run = await self._run(run_id)
        state = run.get("state") or {}
        question = str((state.get("state_details") or {}).get("pause_key") or "")
        kind, _, rest = question.partition("-")
        if state.get("type") != "PAUSED":
            reason = f"the run does not wait for an answer: it is {state.get('name')}"
            return JSONResponse({"status": "ABORT", "details": {"type": "abort_details", "reason": reason}})
        form = table.ANSWERS.get(kind)
        if form is None:
            if token.may(Role.ADMINISTER):
                return asked
            raise DoorDenied(403, _lacks(token, Role.ADMINISTER))
        if not token.may(form.role):
            raise DoorDenied(403, _lacks(token, form.role))
        answer = bodies.answer_of(asked.body, form, rest.partition("-")[0], token)
        try:
            await self.guests.look(lambda tokens: tokens.sign(run_id, question, answer_digest(answer), token))
        except LockgateError as err:
            raise DoorDenied(503, f"the answer cannot be noted now, so it was not given: {err}") from err
        return asked._replace(body={"run_input": answer})

    async def _passed_on(
        self,
        request: Request,
        method: str,
        path: str,
        body: Any,
        token: Token | None = None,
        *,
        signed: bool = True,
        shows: str | None = None,
        whole: bool = False,
    ) -> Response:
        """The server's answer, without what the token may not see. `whole`: not as it comes."""
        answer = await self.upstream.ask(method, path, request.headers, body, signed=signed)
        headers = {name: answer.headers[name] for name in GIVEN_BACK if name in answer.headers}
        place = answer.headers.get("location", "")
        if place.startswith("/") and not place.startswith(("//", "/\\")):
            headers["location"] = place
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        hide = is_json and not (token and token.may(Role.ADMINISTER))
        if not (shows or hide or whole):
            return _Streamed(answer, headers)
        try:
            content = await answer.aread()
        except httpx.HTTPError as err:
            raise DoorDenied(503, f"the server behind the door broke off: {type(err).__name__}") from err
        finally:
            await answer.aclose()
        if shows and answer.status_code == 200:
            self.forms.note(shows, content)
        if hide and content:
            found = json.loads(content)
            content = json.dumps(bodies.hidden(found, token, await self._own_in(found, token))).encode()
        return Response(content, answer.status_code, headers)

    async def _own_in(self, found: Any, token: Token | None) -> set[str]:
        """Runs of the token's among those whose artifacts are in an answer."""
        if token is None or token.sees_all_briefs or not (named := bodies.runs_of_artifacts(found)):
            return set()
        wanted = {"flow_runs": {"id": {"any_": sorted(named)}}, "limit": MOST_RUNS}
        runs = await self.upstream.read("/api/flow_runs/filter", body=wanted)
        return {str(run["id"]) for run in runs or [] if bodies.is_own(run, token)}


async def _in(threads: ThreadPoolExecutor, act: Callable[[], R]) -> R:
    """What waits for a ledger or a server, in threads that nothing else needs."""
    return await asyncio.get_running_loop().run_in_executor(threads, act)


def _body(request: Request, content: bytes) -> Any:
    headers = request.headers
    return body_of(headers.getlist("content-type"), headers.getlist("content-encoding"), content)


async def _content(request: Request, most: int = MAX_BODY) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise DoorDenied(413, f"a body may have {most:,} bytes at most")
    except TimeoutError:
        raise DoorDenied(408, f"the body did not come within {BODY_S:.0f} s") from None
    return b"".join(parts)


class _Streamed(StreamingResponse):
    """The server's answer as it comes. Who does not take it in time gets no more, and keeps nobody else from asking."""

    def __init__(self, answer: httpx.Response, headers: dict[str, str]) -> None:
        super().__init__(answer.aiter_bytes(), answer.status_code, headers)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            log.warning("%s was not taken within %.0f s: broken off", scope["path"], ANSWER_S)
        finally:
            await self._answer.aclose()


def _lacks(token: Token, *roles: Role) -> str:
    needed = [role for role in Role if role in roles]
    if len(needed) > 1 and Role.ADMINISTER in needed:
        needed.remove(Role.ADMINISTER)
    return f"{token.name} may {', '.join(token.roles)}; this needs {' or '.join(needed)}"
