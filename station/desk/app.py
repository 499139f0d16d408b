"""What happens to a request for a page of the desk: who is it, which screen, and what does it ask of the door.

The desk decides nothing. What changes something goes through the door as the person's own request, with its roles, its
notes of who answered, and its log.
"""

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from blocks import kept
from domain.access import Role, Token
from domain.brief import Kind
from domain.errors import InputError, LockgateError
from domain.known_by import Way
from domain.ports import Forge
from station import api, scopes
from station.desk import briefs, forms, pages, planted, reviews, schedules, tasks
from station.desk.answers import answer_of
from station.desk.environments import environments
from station.desk.health_now import Asker
from station.desk.moves import Moves, Stand
from station.desk.reviews import ForgeOf
from station.desk.sessions import Session, Sessions
from station.desk.signing_in import COOKIE, WITHIN, BodyOf, SigningIn
from station.desk.team import Books
from station.desk.waiting import waiting, with_costs
from station.door.connections import note_signed
from station.door.guests import Guests
from station.door.reading import MAX_BODY, DoorDenied
from station.door.table import ANSWERS, BRIEFS, MAY_HOLD, STARTS

R = TypeVar("R")
SCREENS = (
    ("/", "Waiting"),
    ("/tasks", "Tasks"),
    ("/environments", "Environments"),
    ("/team", "Team"),
    ("/brief", "New brief"),
)
BOOKS_S = 5.0
"""So long after signing in the record of the team is read: the first look at what waits does not wait for it."""
LOOKS = 4
"""So many pages are made at once: those that wait for a server that hangs keep no thread of the door's own."""

AskAs = Callable[[Token, str, Sequence[str], Any], Awaitable[tuple[int, Any]]]
"""(token, method, segments, body) → status and JSON of the door's answer."""


class Visit(NamedTuple):
    """A request of somebody who is signed in."""

    request: Request
    session: Session
    token: Token

    @property
    def desk(self) -> str:
        """Where the desk is for this session."""
        return f"/desk/{self.session.place}"


class Desk:
    """The pages below `/desk`."""

    def __init__(self, guests: Guests, ask_as: AskAs) -> None:
        self._guests, self._ask_as = guests, ask_as
        self.sessions = Sessions()
        self.forge_of: ForgeOf = _forge_of
        self.books, self.moves, self.health = Books(), Moves(), Asker()
        self.signing_in = SigningIn(guests, self.sessions, self._began)
        self._threads = ThreadPoolExecutor(LOOKS, "desk")
        self._imports: Future[None] | None = None

    async def answer(self, request: Request, words: Sequence[str], body_of: BodyOf) -> Response:
        """The answer to a request below `/desk`, as HTML whatever happens. A body is read once it is known who sends
        it; of who signs in, a short one."""
        visit = None
        try:
            if words[:1] == ["static"]:
                return _static(request, words)
            if words[:1] == ["sign-in"]:
                self._prepare()
                return await self.signing_in.answer(request, words[1:], body_of)
            place = words[0] if words and words[0].startswith("at-") else ""
            words = words[1:] if place else words
            visit = await self._visit(request, place)
            if visit is None:
                return self._to_sign_in(request, words)
            note_signed(request.scope)
            if request.method == "GET":
                return await self._shown(visit, words)
            if request.method == "POST":
                return await self._done(visit, words, self._form(visit, await body_of(MAX_BODY)))
            raise DoorDenied(405, "pages are read by GET, and forms are sent by POST")
        except DoorDenied as no:
            return self._told(visit, no.status, str(no))
        except InputError as err:
            return self._told(visit, 404, str(err))
        except LockgateError as err:
            return self._told(visit, 503, str(err))
        except ValidationError:
            return self._told(visit, 503, "This Lockgate cannot read what stands on record: another version wrote it.")

    async def _shown(self, visit: Visit, words: Sequence[str]) -> Response:
        """A screen. Nothing is decided here."""
        match words:
            case [] | [""]:
                found, problems, more = await self._look(
                    lambda: waiting(visit.token.sees_all_briefs or visit.token.may(Role.RELEASE))
                )
                found += await self._look(lambda: planted.waits(visit.token))
                found = await self._look(lambda: with_costs(sorted(found, key=lambda one: one.since)))
                mine = [one for one in found if one.may_be_answered_by(visit.token)]
                others = [one for one in found if one not in mine]
                return self._page(
                    "waiting.html", visit, "/", found=found, mine=mine, others=others, problems=problems, more=more
                )
            case ["review", run_id]:
                return await self._review(visit, run_id)
            case ["task", run_id]:
                if here := await self._look(lambda: planted.find(run_id, visit.token)):
                    task = await self._look(lambda: planted.task_of(here, visit.token))
                    return await self._look(lambda: self._page("task.html", visit, of=task, steps=tasks.STEPS))
                run = await self._look(lambda: reviews.known(run_id, visit.token))
                task = await self._look(lambda: tasks.task_of(run, visit.token))
                return await self._look(lambda: self._page("task.html", visit, of=task, steps=tasks.STEPS))
            case ["task", run_id, "moves"]:
                return await self._moves(visit, run_id)
            case ["brief"]:
                return await self._new_brief(visit, {}, {})
            case ["tasks"]:
                runs = await self._look(tasks.newest)
                return self._page("tasks.html", visit, "/tasks", found=runs)
            case ["team"]:
                if not visit.token.sees_all_briefs:
                    raise DoorDenied(403, "the record of agents and reviews is for who reviews or answers")
                team = await asyncio.shield(asyncio.wrap_future(self.books.team()))  # others may wait for it, too
                bounds = await self._look(scopes.bounds)
                return await self._look(lambda: self._page("team.html", visit, "/team", of=team, bounds=bounds))
            case ["environments"]:
                serving = await self._look(environments)
                may = visit.token.may(MAY_HOLD)
                return self._page("environments.html", visit, "/environments", found=serving, may=may)
            case ["environments", "health"]:
                return JSONResponse(await self.health.ask(await self._look(environments)), headers=pages.HEADERS)
        raise DoorDenied(404, "there is no such page")

    async def _done(self, visit: Visit, words: Sequence[str], form: Mapping[str, str]) -> Response:
        """What a form asks for."""
        match words:
            case ["sign-out"]:
                self.sessions.end(forms.cookies_of(visit.request.headers).get(COOKIE))
                gone = _redirect("/desk/sign-in" + "?signed-out=1" * (visit.session.way is Way.PROXY))
                secure = self.signing_in.is_secure(visit.request)
                gone.headers.append("set-cookie", forms.cookie(COOKIE, "", visit.desk, secure=secure, ends=True))
                return gone
            case ["review", run_id]:
                return await self._answered(visit, run_id, form)
            case ["review", run_id, "looked"] if await self._look(lambda: planted.find(run_id, visit.token)):
                return Response(status_code=204, headers=pages.HEADERS)
            case ["review", run_id, "looked"]:
                await self._look(
                    lambda: reviews.note_look(run_id, visit.token, form.get("mark", ""), form.get("what", ""))
                )
                return Response(status_code=204, headers=pages.HEADERS)
            case ["task", run_id]:
                state = {"type": "CANCELLING", "message": form.get("why", "")}
                await self._act(visit, ["api", "flow_runs", run_id, "set_state"], {"state": state})
                return _redirect(visit.desk + f"/task/{run_id}")
            case ["brief"]:
                return await self._submitted(visit, form)
            case ["brief", "schedules", schedule, ("pause" | "resume" | "remove") as word]:
                return await self._reschedule(visit, schedule, word)
            case ["brief", "lint"]:
                wrong = (await self._look(lambda: briefs.read(form, briefs.set_up()))).wrong
                wrong |= schedules.read(form)[1]
                return JSONResponse(wrong, headers=pages.HEADERS)
            case ["environments", name, "rollback"]:
                if visit.token.may(STARTS["rollback/rollback"]):
                    await self._check_serving(name, form.get("serving", ""))
                wanted = {
                    "environment": name, "revision": form.get("revision") or None, "reason": form.get("reason", "")
                }  # fmt: skip
                return _redirect(visit.desk + f"/task/{await self._started(visit, 'rollback', wanted)}")
            case ["environments", name, ("hold" | "open") as word]:
                await self._act(visit, ["door", "environments", name, word], {"reason": form.get("reason", "")})
                return _redirect(visit.desk + "/environments")
        raise DoorDenied(404, "there is no such form")

    async def _moves(self, visit: Visit, run_id: str) -> Response:
        """What tells the page of a task that something moved, for as long as the person is signed in."""
        seen = visit.request.headers.get("last-event-id") or visit.request.query_params.get("seen", "")
        here = await self._look(lambda: planted.find(run_id, visit.token))
        if here:
            mark = (await self._look(lambda: planted.task_of(here, visit.token))).mark
        else:
            await self._look(lambda: reviews.known(run_id, visit.token))

        def look() -> Stand:
            return Stand(mark, False) if here else tasks.stand_of(reviews.known(run_id, visit.token))

        async def still_in() -> bool:
            try:
                return await self._visit(visit.request, visit.session.place) is not None
            except LockgateError:
                return False  # the browser comes again

        return self.moves.stream(run_id.lower(), visit.token.id, seen, look, still_in)

    # ── what waits for an answer ──

    async def _review(self, visit: Visit, run_id: str) -> Response:
        if here := await self._look(lambda: planted.find(run_id, visit.token)):
            found = await self._look(lambda: planted.review_of(here, self.forge_of))
            return await self._look(lambda: self._review_page(visit, found, may=True))
        run = await self._look(lambda: reviews.known(run_id, visit.token, to_answer=True))
        kind, mark = await self._look(lambda: reviews.waits_for(run))
        if kind == "review":
            found = await self._look(lambda: reviews.review_of(run, mark, self.forge_of))
            may = visit.token.may(Role.REVIEW)
            return await self._look(lambda: self._review_page(visit, found, may=may))
        form = ANSWERS.get(kind)
        if form is None:
            raise DoorDenied(404, "this question is not answered at the desk")
        asked = await self._look(lambda: reviews.asked_of(run, kind))
        return self._page("asked.html", visit, of=asked, may=visit.token.may(form.role), role=form.role)

    def _review_page(self, visit: Visit, found: reviews.WaitingReview, *, may: bool) -> Response:
        is_split = visit.request.query_params.get("view") == "side-by-side"
        return self._page("review.html", visit, of=found, may=may, is_split=is_split)

    async def _answered(self, visit: Visit, run_id: str, form: Mapping[str, str]) -> Response:
        """The answer, by the door's own way: it checks the role and the mark, and notes whose answer it is."""
        if here := await self._look(lambda: planted.find(run_id, visit.token)):
            title, why = await self._look(lambda: planted.answered(here, visit.token, form))
            return self._page("told.html", visit, title=title, why=why, links=[("/", "What else waits")])
        given = answer_of(form)
        status, told = await self._ask_as(
            visit.token, "POST", ["api", "flow_runs", run_id, "resume"], {"run_input": given}
        )
        if status >= 400 or (told or {}).get("status") != "ACCEPT":
            reason = ((told or {}).get("details") or {}).get("reason") or f"the server answered {status}"
            late = await self._look(lambda: reviews.last_answer(run_id))
            raise DoorDenied(409, f"Your answer was not taken: {reason}. {late}".strip())
        said = given.get("decision", "answered")
        why = f"You said: {said}. The run goes on." + (f"\n\n{given['comment']}" if given.get("comment") else "")
        return self._page("told.html", visit, title="Your answer is given", why=why, links=[("/", "What else waits")])

    # ── a new brief ──

    async def _new_brief(self, visit: Visit, given: Mapping[str, str], wrong: Mapping[str, list[str]]) -> Response:
        may, repeats = visit.token.may(STARTS[BRIEFS]), visit.token.may(Role.ADMINISTER)
        offered = await self._look(lambda: briefs.choices(visit.token))
        shown = {**briefs.FIELDS, **schedules.FIELDS, "hidden": "", "propose": "", **given}
        key = given.get("key") or secrets.token_urlsafe(16)
        scheduled = await self._look(schedules.found) if visit.token.sees_all_briefs else []
        return self._page(
            "brief.html", visit, "/brief", 422 if wrong else 200, given=shown, wrong=wrong, offered=offered, may=may,
            key=key, kinds=[*Kind], repeats=schedules.CHOICES if repeats else (), scheduled=scheduled,
        )  # fmt: skip

    async def _submitted(self, visit: Visit, form: Mapping[str, str]) -> Response:
        """A run of the brief, or its schedule; or the form once more, with what is wrong. Sent twice, it is one."""
        offered = await self._look(lambda: briefs.choices(visit.token))
        read = briefs.read(form, offered)
        when, not_when = schedules.read(form)
        if read.brief is None or not_when:
            return await self._new_brief(visit, form, {**read.wrong, **not_when})
        wanted, key = {"brief": read.brief.model_dump(mode="json")}, form.get("key", "")
        try:
            if when:
                await self._schedule(visit, when, wanted, schedules.slug_of(read.brief.title, key))
                return _redirect(visit.desk + "/brief#schedules")
            run_id = await self._started(visit, "agent-task", wanted, key)
        except DoorDenied as no:
            return await self._new_brief(visit, form, {"cron" if when and no.status == 422 else "": [str(no)]})
        return _redirect(visit.desk + f"/task/{run_id}")

    async def _schedule(self, visit: Visit, when: schedules.When, parameters: Mapping[str, Any], slug: str) -> None:
        """A schedule with this brief, made in the person's name; one that is there already is left."""
        deployment = await self._deployment(BRIEFS)
        if any(one.get("slug") == slug for one in deployment.get("schedules") or ()):
            return
        wanted = {"schedule": when.schedule, "parameters": parameters, "active": True, "slug": slug}
        await self._act(visit, ["api", "deployments", str(deployment["id"]), "schedules"], [wanted])

    async def _reschedule(self, visit: Visit, schedule: str, word: str) -> Response:
        """A schedule is paused, goes on, or is removed."""
        way = ["api", "deployments", str((await self._deployment(BRIEFS))["id"]), "schedules", schedule]
        if word == "remove":
            await self._act(visit, way, None, "DELETE")
        else:
            await self._act(visit, way, {"active": word == "resume"}, "PATCH")
        return _redirect(visit.desk + "/brief#schedules")

    # ── what is asked of the door ──

    async def _act(self, visit: Visit, segments: Sequence[str], body: Any, method: str = "POST") -> Any:
        """What the door says to what was asked of it. Raises Denied if it was not done."""
        status, told = await self._ask_as(visit.token, method, segments, body)
        said = told if isinstance(told, dict) else {}
        word = str(said.get("status") or "ACCEPT")
        if (said.get("state") or {}).get("type") == "CANCELLED":
            word = "ACCEPT"  # of a suspended run Prefect refuses "being cancelled", for it is cancelled at once
        if status >= 400 or word != "ACCEPT":
            wrong = [one.get("msg") for one in said.get("exception_detail") or () if one.get("type") == "value_error"]
            reason = (said.get("details") or {}).get("reason") or said.get("detail") or "; ".join(wrong) or word
            raise DoorDenied(status if status >= 400 else 409, f"It was not done: {reason}")
        return said

    async def _check_serving(self, name: str, seen: str) -> None:
        """Raises Denied if something else serves than the page said."""
        serving = {one.name: one.revision or "" for one in await self._look(environments)}
        if serving.get(name) != seen:
            now = serving.get(name) or "nothing"
            raise DoorDenied(409, f"{name} serves {now[:12]} now, and not what the page said: look at it again")

    async def _started(self, visit: Visit, deployment: str, parameters: dict[str, Any], key: str = "") -> str:
        """The id of a run that was started in the person's name."""
        found = await self._deployment(f"{deployment}/{deployment}")
        way = ["api", "deployments", str(found["id"]), "create_flow_run"]
        body = {"parameters": parameters, **({"idempotency_key": key} if key else {})}
        return str((await self._act(visit, way, body))["id"])

    async def _deployment(self, name: str) -> dict[str, Any]:
        """As the server has it."""
        found = await self._look(lambda: api.get(f"/deployments/name/{name}"))
        if not found:
            raise DoorDenied(503, f"the server has no deployment {name.partition('/')[0]}: run `lockgate up`")
        return dict(found)

    # ── who it is ──

    async def _visit(self, request: Request, place: str) -> Visit | None:
        """Who is signed in, if that session stands."""
        value = forms.cookies_of(request.headers).get(COOKIE)
        session = self.sessions.find(value, place)
        if session is None:
            return None
        token = await self.signing_in.still_in(request, session)
        if token is None:
            self.sessions.end(value)
            return None
        return Visit(request, session, token)

    def _began(self, token: Token) -> None:
        if token.sees_all_briefs:  # for its page: a large ledger takes seconds the first time, and keeps others waiting
            asyncio.get_running_loop().call_later(BOOKS_S, self.books.team)

    def _prepare(self) -> None:
        if not self._imports:
            self._imports = self._threads.submit(_import_blocks)

    def _to_sign_in(self, request: Request, words: Sequence[str]) -> Response:
        if request.method != "GET":
            raise DoorDenied(401, "you are not signed in any more: sign in, and send it again")
        place = "/desk/" + "/".join(words)
        return _redirect(f"/desk/sign-in?next={place}" if WITHIN.fullmatch(place) else "/desk/sign-in")

    def _form(self, visit: Visit, content: bytes) -> dict[str, str]:
        """What a form of the desk's own page sent."""
        forms.check_origin(visit.request.headers)
        form = forms.form_of(visit.request.headers, content)
        forms.check_csrf(form, visit.session.csrf)
        return form

    # ── pages ──

    def _page(self, template: str, visit: Visit, here: str = "", status: int = 200, **values: Any) -> Response:
        return pages.page(
            template,
            status,
            who=visit.token,
            desk=visit.desk,
            csrf=visit.session.csrf,
            screens=SCREENS,
            here=here,
            **values,
        )

    def _told(self, visit: Visit | None, status: int, why: str) -> Response:
        titles = {401: "Sign in", 403: "You may not do this", 404: "There is nothing here", 409: "Somebody was faster"}
        said = {"title": titles.get(status, "This did not work"), "why": why}
        if visit:
            return self._page("told.html", visit, status=status, links=[("/", "What waits")], **said)
        return pages.page("told.html", status, who=None, desk="/desk", links=[("/sign-in", "Sign in")], **said)

    async def _look(self, look: Callable[[], R]) -> R:
        """What is read from the server, the ledger or a repository."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, look)


def _static(request: Request, words: Sequence[str]) -> Response:
    if request.method != "GET" or len(words) != 2 or words[1] not in pages.STATIC:
        raise DoorDenied(404, "there is no such file")
    return pages.static(words[1])


def _redirect(place: str) -> Response:
    return RedirectResponse(place, 303, pages.HEADERS)


def _forge_of(workshop: str) -> Forge:
    """From the copy of the blocks: a page waits for no server."""
    with kept.used():
        return _forge_in(workshop, kept.version())


@functools.lru_cache(maxsize=8)
def _forge_in(name: str, version: int | None) -> Forge:
    """As it is in this version of the copy."""
    from blocks.workshop import Workshop

    try:
        return Workshop.saved(name).forge
    except ValueError as err:
        raise InputError(f"there is no workshop block {name!r}") from err


def _import_blocks() -> None:
    """While a person looks for their token, so that no page waits for it."""
    import blocks.catalogue
    import blocks.workshop  # noqa: F401
