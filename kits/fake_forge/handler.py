"""HTTP of the forge: REST, git, GraphQL, pages for people, and the path by which tests administer it."""

import hashlib
import hmac
import json
import re
import socket
import ssl
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler
from typing import IO, Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import kits.fake_forge.endpoints  # noqa: F401 fills the table of routes
from kits.fake_forge import access, git_http, graph, pages
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute, Refusal, not_found
from kits.fake_forge.ask import ROUTES, ForgeRequest
from kits.fake_forge.faults import Fault, Faults
from kits.fake_forge.forge import ForgeState
from kits.fake_forge.limits import SECONDARY
from kits.fake_forge.store import Doc
from kits.fake_forge.views import Views

PREFIX = "/api/v3"
LARGEST = 26 * 1024 * 1024
VERSIONS = ("2022-11-28", "2026-03-10")
NO_CONTENT = (204, 304)


class Cut(Exception):
    """Close the connection, and answer nothing."""


class Dialect(Protocol):
    """REST of another forge, all of it below `prefix`."""

    @property
    def prefix(self) -> str: ...

    @property
    def contents(self) -> str:
        """What a token needs for git, without a level."""

    def dispatch(
        self, actor: access.Actor, method: str, path: str, query: str, body: Any, headers: dict[str, str]
    ) -> tuple[ForgeAnswer, ForgeRoute | None]: ...


class ServedForge(Protocol):
    """The forge that a connection is to: `FakeGitHub`, which has started this server."""

    forge: ForgeState
    faults: Faults
    admin_key: str
    tls: ssl.SSLContext | None
    ended: threading.Event
    dialect: Dialect | None

    @property
    def url(self) -> str: ...

    def note(
        self,
        method: str,
        path: str,
        prefix: str,
        query: dict[str, str],
        body: Any,
        answer: ForgeAnswer,
        route: ForgeRoute | None,
    ) -> None: ...

    def administer(self, name: str, fields: Mapping[str, Any]) -> Any: ...


class ForgeHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "fake-forge"
    sys_version = ""
    timeout = 120
    disable_nagle_algorithm = True
    fake: ServedForge

    def setup(self) -> None:
        context = self.fake.tls
        if context is not None:
            self.request.settimeout(self.timeout)
            self.request = context.wrap_socket(self.request, server_side=True)
        super().setup()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """By the fake's own clock, which may be wrong."""
        return super().date_time_string(self.fake.forge.now().timestamp() if timestamp is None else timestamp)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed; `FakeGitHub.calls` has them."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        with tempfile.SpooledTemporaryFile(max_size=1 << 20) as body:
            try:
                self._read_body(body)
                self._answer(parts.path, parts.query, body)
            except Cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _answer(self, path: str, query: str, body: Any) -> None:
        if path.startswith("/_fake/"):
            return self._administer(unquote(path.removeprefix("/_fake/")), body)
        if found := git_http.PATHS.fullmatch(unquote(path)):
            return self._git(found, query, body)
        if dialect := self.fake.dialect:
            if not path.startswith(f"{dialect.prefix}/"):
                return self._plain(404, "Not found.")
            return self._api(path.removeprefix(dialect.prefix), dialect.prefix, query, body)
        if path in ("/graphql", "/api/graphql"):
            return self._api("/graphql", "/api" if path.startswith("/api/") else "", query, body)
        prefix = PREFIX if path.startswith(PREFIX + "/") or path == PREFIX else ""
        plain = path.removeprefix(prefix) or "/"
        if not prefix and self.command == "GET" and "text/html" in self.headers.get("Accept", ""):
            page = pages.show(self.fake.forge, unquote(plain))
            if page is not None:
                return self._send(
                    page.status, page.html.encode(), {"Content-Type": "text/html; charset=utf-8", **pages.HEADERS}
                )
        return self._api(plain, prefix, query, body)

    # REST and GraphQL

    def _api(self, path: str, prefix: str, query: str, body: Any) -> None:
        fault = self.fake.faults.meet(self.command, path)
        answer = self._faulty(fault, path)
        actor = access.Actor()
        forge = self.fake.forge
        route: ForgeRoute | None = None
        asked: Any = None
        if answer is None:
            try:
                if not self.fake.dialect:
                    self._refuse_client()
                actor = access.authenticate(forge.store, self.headers.get("Authorization"), forge.now())
                if path != "/rate_limit" and not self.fake.dialect:
                    forge.limits.count(actor, "GET" if path == "/graphql" else self.command)
                asked = self._json(body)
                with forge.store.transaction():
                    answer, route = self._dispatch(actor, path, prefix, query, asked)
            except Refusal as refusal:
                answer, route = refusal.answer, getattr(refusal, "route", None)
            except Exception:
                traceback.print_exc()
                answer = ForgeAnswer(500, {"message": "Server Error"})
        if fault and fault.kind == "cut_after_write":
            raise Cut
        headers = {**answer.headers, **self._headers(actor)}
        if answer.status == 200 and self.command == "GET" and not self.fake.dialect:
            tag = 'W/"' + hashlib.sha256(json.dumps(answer.body, sort_keys=True).encode()).hexdigest() + '"'
            headers["ETag"] = tag
            headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
            known = [one.strip() for one in self.headers.get("If-None-Match", "").split(",")]
            if tag in known or tag.removeprefix("W/") in known:
                forge.limits.give_back(actor)
                answer = ForgeAnswer(304)
                headers |= self._headers(actor)
        self.fake.note(self.command, path, prefix, dict(parse_qsl(query)), asked, answer, route)
        content = b""
        if isinstance(answer.body, str):
            content, headers["Content-Type"] = answer.body.encode(), "text/plain; charset=utf-8"
        elif answer.body is not None and answer.status not in NO_CONTENT:
            content, headers["Content-Type"] = json.dumps(answer.body).encode(), "application/json; charset=utf-8"
        if fault and fault.kind == "half_answer":
            self._send(answer.status, content[: len(content) // 2], headers, length=len(content))
            raise Cut
        self._send(answer.status, content, headers)

    def _dispatch(
        self, actor: access.Actor, path: str, prefix: str, query: str, body: Any
    ) -> tuple[ForgeAnswer, ForgeRoute | None]:
        forge = self.fake.forge
        if self.fake.dialect:
            return self.fake.dialect.dispatch(actor, self.command, path, query, body, self._lower())
        if path == "/graphql":
            views = Views(forge.store, forge.git, self.fake.url, PREFIX if prefix else "", actor)
            return graph.answer(ForgeRequest(forge, actor, views, "POST", path, {}, {}, body, self._lower())), None
        plain = self._by_id(path)
        route, values = find_route(self.command, plain)
        refuse_types(body, route)
        views = Views(forge.store, forge.git, self.fake.url, prefix, actor)
        ask = ForgeRequest(
            forge, actor, views, self.command, plain, values, dict(parse_qsl(query)), body, self._lower()
        )
        try:
            repo = self._repository(values, path) if "repo" in values else None
            if repo is not None:
                ask.repo = repo
            access.admit(forge.store, actor, route, repo)
            answer = route.call(ask)
        except Refusal as refusal:
            refusal.route = route  # type: ignore[attr-defined]
            raise
        return answer._replace(headers={**answer.headers, **ask.link()}), route

    def _repository(self, values: Mapping[str, str], path: str) -> Doc:
        """The repository of a path; 301 if it is known by a newer name."""
        forge = self.fake.forge
        found = forge.find_repository(values["owner"], values["repo"])
        if found:
            return found
        moved = forge.store.one("moved", key=f"{values['owner']}/{values['repo']}".lower())
        if moved is None:
            raise not_found()
        rest = path.split("/", 4)[4] if path.count("/") > 3 else ""
        at = f"{self.fake.url}/repositories/{moved['to']}" + (f"/{rest}" if rest else "")
        raise Refusal(301, "Moved Permanently", None, Location=at)

    def _by_id(self, path: str) -> str:
        """/repositories/ID as /repos/OWNER/NAME."""
        match = re.fullmatch(r"/repositories/(\d+)(/.*)?", path)
        repo = self.fake.forge.store.get("repository", int(match[1])) if match else None
        return f"/repos/{repo['owner']}/{repo['name']}{match[2] or ''}" if match and repo else path

    def _faulty(self, fault: Fault | None, path: str) -> ForgeAnswer | None:
        """What a fault answers instead; None: the request goes on."""
        if fault is None:
            return None
        if fault.kind == "status":
            return ForgeAnswer(fault.status, {"message": "Server Error"})
        if fault.kind == "secondary_limit":
            return Refusal(403, SECONDARY, Retry_After=str(int(fault.seconds))).answer
        if fault.kind == "base_moved":
            return Refusal(405, "Base branch was modified. Review and try the merge again.").answer
        if fault.kind == "slow":
            self.fake.ended.wait(fault.seconds)
        if fault.kind == "cut_before":
            raise Cut
        return None

    def _refuse_client(self) -> None:
        if not self.headers.get("User-Agent"):
            raise Refusal(
                403, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header."
            )
        version = self.headers.get("X-GitHub-Api-Version")
        if version and version not in VERSIONS:
            raise Refusal(400, f"'{version}' is not a supported version: {', '.join(VERSIONS)}")

    def _json(self, body: Any) -> Any:
        text = body.read()
        if not text.strip():
            return {}
        try:
            value = json.loads(text)
        except ValueError:
            raise Refusal(400, "Problems parsing JSON") from None
        if not isinstance(value, (dict, list)):
            raise Refusal(400, "Body should be a JSON object")
        return value

    def _headers(self, actor: access.Actor) -> dict[str, str]:
        if self.fake.dialect:
            return {}
        headers = {
            **self.fake.forge.limits.headers(actor),
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-GitHub-Request-Id": f"FAKE:{time.monotonic_ns():X}",
            "X-GitHub-Api-Version-Selected": self.headers.get("X-GitHub-Api-Version") or VERSIONS[0],
            "Vary": "Accept, Authorization, Cookie, X-GitHub-OTP",
        }
        if actor.kind == "classic":
            headers["X-OAuth-Scopes"] = ", ".join(actor.token["scopes"])
        if self.fake.forge.enterprise:
            headers["X-GitHub-Enterprise-Version"] = "3.19.0"
        if actor.token.get("expires_at") and actor.kind in ("classic", "fine"):
            headers["GitHub-Authentication-Token-Expiration"] = (
                actor.token["expires_at"].replace("T", " ").replace("Z", " UTC")
            )
        return headers

    # git

    def _git(self, found: re.Match[str], query: str, body: IO[bytes]) -> None:
        forge, path = self.fake.forge, found[0]
        fault = self.fake.faults.meet(self.command, path)
        answer = self._faulty(fault, path)
        if answer is not None:
            return self._plain(answer.status, str(answer.body["message"]))
        repo = forge.find_repository(found["owner"], found["name"])
        if repo is None:
            moved = forge.store.one("moved", key=f"{found['owner']}/{found['name']}".lower())
            repo = forge.store.get("repository", moved["to"]) if moved else None
        writes = git_http.is_write(path, query)
        try:
            actor = access.authenticate(forge.store, self.headers.get("Authorization"), forge.now())
        except Refusal:
            return self._unauthorized()
        if actor.kind == "app":
            return self._unauthorized()
        if repo is None or not access.can_see(forge.store, actor, repo):
            return self._plain(404, "Repository not found.") if actor.login else self._unauthorized()
        if not actor.login and writes:
            return self._unauthorized()
        contents = self.fake.dialect.contents if self.fake.dialect else "contents"
        role, grant = ("write", f"{contents}:write") if writes else ("read", f"{contents}:read")
        public = not writes and not repo["private"]
        scoped = actor.kind != "classic" or not writes or {"repo", "public_repo"} & set(actor.token["scopes"])
        if not public and not (access.may(forge.store, actor, repo, role, grant) and scoped):
            return self._plain(403, f"Permission to {repo['owner']}/{repo['name']}.git denied to {actor.login}.")
        if writes and repo["archived"]:
            return self._plain(403, "This repository was archived so it is read-only.")
        git, method = forge.git(repo), self.command
        with tempfile.TemporaryFile() as given:
            while chunk := body.read(1 << 20):
                given.write(chunk)
            given.seek(0)
            if path.endswith("/git-receive-pack"):
                with forge.store.transaction():
                    before = git.refs()
                    forge.write_protection(repo, actor)
                    reply = git_http.call(git, found["rest"], query, method, self._lower(), actor.login, given)
                    content = b"".join(reply.body)
                    reply.process.wait()
                    forge.after_push(repo, before, git.refs(), actor)
                if fault and fault.kind == "cut_after_write":
                    raise Cut
                return self._send(reply.status, content, dict(reply.headers))
            reply = git_http.call(git, found["rest"], query, method, self._lower(), actor.login, given)
            try:
                self._stream(reply.status, dict(reply.headers), reply.body)
            finally:
                reply.process.kill()
                reply.process.wait()

    def _unauthorized(self) -> None:
        self._plain(401, "Authentication required", {"WWW-Authenticate": 'Basic realm="GitHub"'})

    def _plain(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, text.encode(), {"Content-Type": "text/plain", **(headers or {})})

    # tests and people

    def _administer(self, name: str, body: Any) -> None:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(key.encode(), self.fake.admin_key.encode()):
            return self._plain(401, "the key that `lockgate fake-forge` printed opens this")
        try:
            result = self.fake.administer(name, json.loads(body.read() or b"{}"))
        except (LookupError, TypeError, ValueError) as err:
            return self._plain(400, f"{name}: {err}")
        return self._send(200, json.dumps(result).encode(), {"Content-Type": "application/json"})

    # the wire

    def _read_body(self, into: Any) -> None:
        """The body, by its length or in chunks. Bodies of git may be large, others not."""
        limit = 1 << 31 if self.path.split("?")[0].endswith("-pack") else LARGEST
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            size = 0
            while length := int(self.rfile.readline().split(b";")[0], 16):
                size += length
                self._copy(into, length, size, limit)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            length = int(self.headers.get("Content-Length") or 0)
            self._copy(into, length, length, limit)
        into.seek(0)

    def _copy(self, into: Any, length: int, size: int, limit: int) -> None:
        if size > limit:
            raise Cut
        while length:
            chunk = self.rfile.read(min(length, 1 << 20))
            if not chunk:
                raise Cut
            into.write(chunk)
            length -= len(chunk)

    def _send(self, status: int, content: bytes, headers: Mapping[str, str], length: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding"):
                self.send_header(name, value)
        if status not in NO_CONTENT:
            self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        if self.command != "HEAD" and status not in NO_CONTENT:
            self.wfile.write(content)

    def _stream(self, status: int, headers: Mapping[str, str], body: Iterator[bytes]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _lower(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}


_LISTS = (
    *("labels", "assignees", "reviewers", "team_reviewers", "events", "comments", "repositories", "repository_ids"),
    "required_contexts",
)
_OBJECTS = ("config", "output", "permissions", "required_status_checks", "required_pull_request_reviews")


def refuse_types(body: Any, route: ForgeRoute) -> None:
    """422 for a body whose parts are of another kind than every endpoint has them."""
    if isinstance(body, list):
        if not route.template.endswith("/labels"):
            raise Refusal(422, "Invalid request.\n\nThe body is not an object.")
        return
    for names, kind, word in ((_LISTS, list, "an array"), (_OBJECTS, dict, "an object")):
        for name in names:
            if not isinstance(body.get(name), (kind, type(None))):
                raise Refusal(422, f"Invalid request.\n\nFor 'properties/{name}', {body[name]!r} is not {word}.")


def find_route(method: str, path: str, routes: Sequence[ForgeRoute] = ROUTES) -> tuple[ForgeRoute, dict[str, str]]:
    """The endpoint of a path, and the values in it. 404 if there is none; the fake says what it does not know."""
    for route in sorted(routes, key=lambda one: "*" in one.template):
        if route.method == method and (match := route.pattern.fullmatch(path)):
            return route, {name: unquote(value) for name, value in match.groupdict().items()}
    raise not_found()
