"""The server: HTTP/1.1 on loopback, a thread a connection."""

import contextlib
import datetime
import secrets
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from domain.errors import InputError
from kits import certificate
from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, ForgeRoute
from kits.fake_forge.faults import Fault, Faults
from kits.fake_forge.forge import ForgeState
from kits.fake_forge.handler import Dialect, ForgeHandler
from kits.fake_forge.sending import Sender
from kits.fake_forge.store import Doc

ALL = dict.fromkeys(
    (
        *("actions", "administration", "checks", "contents", "deployments", "issues", "members", "metadata"),
        *("pull_requests", "repository_hooks", "security_events", "statuses"),
    ),
    "write",
)


class FakeGitHub:
    """A GitHub on 127.0.0.1, as a context manager.

    `directory`: where it remembers; one that was killed goes on there. None: a temporary one. `port` 0: a free one.
    `tls_dir`: speak TLS; its `ca.pem` is what clients shall trust. `enterprise`: say to be an Enterprise Server; REST
    is at both `/` and `/api/v3` either way.
    """

    dialect: Dialect | None = None
    """Another forge than GitHub."""

    def __init__(
        self,
        directory: Path | None = None,
        *,
        port: int = 0,
        tls_dir: Path | None = None,
        names: Sequence[str] = (),
        enterprise: bool = False,
        admin_key: str | None = None,
    ) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="fake-forge-") if directory is None else None
        self.forge = ForgeState(
            directory or Path(self._temporary.name if self._temporary else ""), enterprise=enterprise
        )
        self.faults = Faults()
        self.admin_key = admin_key or secrets.token_hex(16)
        self.ca = tls_dir / "ca.pem" if tls_dir else None
        self.tls: ssl.SSLContext | None = certificate.make(tls_dir, names) if tls_dir else None
        self.ended = threading.Event()
        self.calls: list[tuple[str, str, int]] = []
        """What was answered, in order: method, path, status."""
        self.watchers: list[Any] = []
        """Called with every request and answer: see `kits.fake_forge.description`."""
        handler = type("BoundHandler", (ForgeHandler,), {"fake": self})
        try:
            self._server = _Server(("127.0.0.1", port), handler)
        except OSError as err:
            raise InputError(f"port {port} of 127.0.0.1 cannot be listened on ({err}): choose another one") from err
        self.forge.site = self.url
        self._sender = Sender(self.forge)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its address: REST of github.com, git and pages."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def enterprise_url(self) -> str:
        """REST as an Enterprise Server has it."""
        return self.url + "/api/v3"

    @property
    def graphql_url(self) -> str:
        return self.url + "/api/graphql"

    # what a test or a user sets up

    def user(self, login: str, *, role: str | None = None, repository: str | None = None) -> str:
        """A person; with `role` a collaborator of `repository` ("owner/name"). Returns the login."""
        with self.forge.store.transaction():
            self.forge.add_user(login)
            if role and repository:
                self.collaborator(repository, login, role)
        return login

    def organization(self, login: str, members: Mapping[str, str] | None = None) -> str:
        """`members`: login → member or admin."""
        with self.forge.store.transaction():
            self.forge.add_user(login, "Organization")
            for member, role in (members or {}).items():
                self.forge.add_user(member)
                self.forge.store.add("membership", key=member, org=login, role=role)
        return login

    def team(
        self, organization: str, slug: str, members: Sequence[str] = (), repositories: Mapping[str, str] | None = None
    ) -> int:
        """A team; `repositories`: "owner/name" → the role that it gives. Returns its id."""
        with self.forge.store.transaction():
            team = self.forge.store.add("team", key=slug, slug=slug, name=slug, org=organization)
            for member in members:
                self.forge.add_user(member)
                self.forge.store.add("team_member", key=member, team=team["id"])
            for name, role in (repositories or {}).items():
                self.forge.store.add("team_repository", repo=self._repository(name)["id"], key=team["id"], role=role)
        return int(team["id"])

    def repository(
        self, name: str, *, private: bool = False, branch: str = "main", files: Mapping[str, str] | None = None
    ) -> str:
        """ "owner/name", with one commit of `files` if there are any. Returns its clone address."""
        owner, _, short = name.partition("/")
        with self.forge.store.transaction():
            repo = self.forge.add_repository(owner, short, private=private, branch=branch)
            tip, git = None, self.forge.git(repo)
            for path, text in (files or {}).items():
                tip = git.write_file(tip, path, text.encode(), f"Add {path}", self.forge.who(owner))
            if tip:
                git.set(f"refs/heads/{branch}", tip)
        return f"{self.url}/{name}.git"

    def collaborator(self, repository: str, login: str, role: str) -> None:
        """Give somebody a role: read, triage, write, maintain, admin; none takes it back."""
        with self.forge.store.transaction():
            repo = self._repository(repository)
            old = self.forge.store.one("collaborator", repo=repo["id"], key=login)
            if old:
                self.forge.store.remove(old)
            if role != "none":
                self.forge.add_user(login)
                self.forge.store.add("collaborator", repo=repo["id"], key=login, role=role)

    def token(
        self,
        login: str,
        *,
        scopes: Sequence[str] = ("repo",),
        permissions: Mapping[str, str] | None = None,
        repositories: Sequence[str] | None = None,
        expires_in_s: float | None = None,
    ) -> str:
        """A classic token; with `permissions` a fine-grained one, for `repositories` as "owner/name". Returns it."""
        expires = None
        if expires_in_s is not None:
            expires = access.stamp(self.forge.now() + datetime.timedelta(seconds=expires_in_s))
        with self.forge.store.transaction():
            self.forge.add_user(login)
            if permissions is None:
                return access.issue_token(self.forge.store, login, "classic", expires, scopes=list(scopes))[0]
            chosen = None if repositories is None else [self._repository(name)["id"] for name in repositories]
            more = {"permissions": dict(permissions), "repositories": chosen}
            return access.issue_token(self.forge.store, login, "fine", expires, **more)[0]

    def app(
        self,
        slug: str,
        account: str,
        *,
        permissions: Mapping[str, str] | None = None,
        events: Sequence[str] = (),
        repositories: Sequence[str] | None = None,
        hook_url: str | None = None,
        hook_secret: str | None = None,
    ) -> Doc:
        """A GitHub App, installed at an account. Returns `id`, `client_id`, `private_key`, `installation_id`."""
        with self.forge.store.transaction():
            app, private = self.forge.add_app(
                slug, account, dict(ALL if permissions is None else permissions), list(events)
            )
            app |= {"hook_url": hook_url, "hook_secret": hook_secret}
            self.forge.store.save(app)
            chosen = None if repositories is None else [self._repository(name)["id"] for name in repositories]
            installation = self.forge.install(app, account, chosen)
        return {
            "id": app["id"],
            "client_id": app["client_id"],
            "private_key": private,
            "installation_id": installation["id"],
        }

    def expire(self, token: str) -> None:
        """From now on this token is answered with 401."""
        with self.forge.store.transaction():
            doc = self.forge.store.one("token", key=access.digest(token))
            if doc is None:
                raise LookupError("there is no such token")
            doc["expires_at"] = access.stamp(self.forge.now())
            self.forge.store.save(doc)

    def expire_all(self, login: str) -> int:
        """The same for all tokens of somebody ("slug[bot]" for an app's); returns how many."""
        with self.forge.store.transaction():
            docs = self.forge.store.find("token", login=login)
            for doc in docs:
                self.forge.store.save({**doc, "expires_at": access.stamp(self.forge.now())})
        return len(docs)

    def fault(self, kind: str, **fields: Any) -> None:
        """Something goes wrong with the next requests: see `Fault`."""
        self.faults.add(Fault.model_validate({"kind": kind, **fields}))

    def mend(self) -> None:
        """No more faults."""
        self.faults.clear()

    def spend(self, login: str, remaining: int = 0, reset_s: int = 60) -> None:
        """Leave somebody so many requests, until so many seconds from now."""
        self.forge.limits.spend(login, remaining, reset_s)

    def limits(self, hourly: int = 5000, writes_a_minute: int = 80) -> None:
        """How many requests an hour, and how many writes a minute, are let through."""
        self.forge.limits.hourly, self.forge.limits.writes_a_minute = hourly, writes_a_minute

    def skew(self, seconds: float) -> None:
        """Its clock goes so many seconds before (or behind) this machine's."""
        self.forge.skew_s = seconds

    def issues(self, repository: str, login: str, count: int) -> int:
        """A backlog of so many issues by somebody, without a webhook; returns the last one's number."""
        with self.forge.store.transaction():
            repo, now = self._repository(repository), self.forge.stamp()
            for _ in range(count):
                number = self.forge.next_number(repo)
                self.forge.store.add(
                    "issue",
                    repo=repo["id"],
                    number=number,
                    title=f"Issue {number}",
                    body=None,
                    user=login,
                    app=None,
                    state="open",
                    pull=False,
                    labels=[],
                    assignees=[],
                    created_at=now,
                    updated_at=now,
                )
        return int(repo["numbers"])

    def administer(self, name: str, fields: Mapping[str, Any]) -> Any:
        """The same for other processes: POST /_fake/NAME with keyword arguments as JSON. Raises LookupError."""
        if name not in ADMINISTRATION:
            raise LookupError(f"unknown; there are {', '.join(sorted(ADMINISTRATION))}")
        return getattr(self, name)(**fields)

    # what is seen

    def note(
        self,
        method: str,
        path: str,
        prefix: str,
        query: dict[str, str],
        body: Any,
        answer: ForgeAnswer,
        route: ForgeRoute | None,
    ) -> None:
        self.calls.append((method, path, answer.status))
        for watch in self.watchers:
            watch(method, route.template if route else None, prefix, query, body, answer)

    def stop(self) -> None:
        """End it, with every connection. Safe to repeat."""
        if self.ended.is_set():
            return
        self.ended.set()
        self._server.stop(self._thread)
        self._sender.stop()
        self.forge.store.close()
        if self._temporary:
            self._temporary.cleanup()

    def __enter__(self) -> "FakeGitHub":
        self.forge.catch_up()
        self._sender.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _repository(self, name: str) -> Doc:
        owner, _, short = name.partition("/")
        found = self.forge.find_repository(owner, short)
        if found is None:
            raise LookupError(f"there is no repository {name}")
        return found


ADMINISTRATION = frozenset(
    (
        *("user", "organization", "team", "repository", "collaborator", "token", "app", "issues"),
        *("expire", "expire_all", "fault", "mend", "spend", "limits", "skew"),
    )
)


def serve(fake: FakeGitHub, login: str = "demo") -> None:
    """Serve until interrupted."""
    with fake:
        where = fake.url + fake.dialect.prefix if fake.dialect else f"as an Enterprise Server at {fake.enterprise_url}"
        print(f"fake forge at {fake.url} ({where})")
        if fake.ca:
            print(f"clients shall trust {fake.ca}")
        print(f"token of {login}: {fake.token(login, scopes=('repo', 'read:org', 'admin:repo_hook'))}")
        print(f"key of {fake.url}/_fake/: {fake.admin_key}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients leave when they like; anything else is an error of ours, and is printed."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self, serving: threading.Thread) -> None:
        """No more connections, and none that is left open."""
        if serving.is_alive():
            self.shutdown()
            serving.join()
        for connection in list(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()
