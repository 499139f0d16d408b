"""What all hosted forges share: which repositories a block is for, one client for its API, the one comment of a run,
and what an answer means that is no success. A forge is one file on top of it; who may let a change pass is in
domain/policy/pull_review.py, for all of them.

Plain httpx: a client library repeats writes by itself, and here nothing is written that was not looked for first.
"""

import functools
import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar, NamedTuple, Self
from urllib.parse import quote, unquote, urlsplit

import httpx
from pydantic import Field, SecretStr, model_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from blocks.forges.credential import RepositoryCredential
from domain.brief import Repository
from domain.errors import ForgeError, InputError, NotYet
from domain.pull_request import LineRemark, MergeAnswer, Person, PullRequest, PullReview, PullState, Status

MAX_BODY = 65_000
"""Characters of a body or comment; GitHub takes 65,536, and others more."""
MAX_SENTENCE = 140
"""Characters of a status or deployment: https://docs.github.com/en/rest/commits/statuses#create-a-commit-status"""
LONGEST_WAIT_S = 120.0
"""How long a call waits where a forge says when it may come again; the step is tried again after that."""
LEAST_SECRET = 16
PER_PAGE = 100
MOST_REMARKS = 30
"""At lines, and as many besides in the summary: people get a mail with all of them."""
MOST_PASSES = 4
"""So often a list without an order is read for one answer."""
sleep = time.sleep


class ForgePage(NamedTuple):
    """One answer that a forge gave, and the mark by which it says that nothing changed since (304)."""

    etag: str
    body: Any
    following: str | None
    total: int | None = None
    """How many there are on all pages, where it says so."""


class ForgeComment(NamedTuple):
    """A comment at a pull request."""

    id: int
    login: str
    text: str


class HostedBlock(LockgateBlock):
    """A hosted forge, for the repositories below `url`."""

    url: Repository = Field(description="What its repositories begin with, such as https://git.example.org/acme")
    api_url: str = Field("", description="Empty: where such a forge has its API")
    token: SecretStr | None = Field(None, description="A token of the platform's own user")
    webhook_secret: SecretStr | None = Field(
        None, description="Of webhooks to /door/webhooks/KIND/NAME of this block; empty: none are taken"
    )
    desk_url: str = Field("", description="The desk as your people open it; pull requests link to it")
    certificate: str = Field("", description="The authority's certificate (PEM) of a host with one of its own")
    timeout_s: float = Field(30, gt=0, description="Longest time for one call, in seconds")

    _size: ClassVar[str] = "per_page"
    """What a query calls the length of a page."""

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.webhook_secret and len(self.webhook_secret.get_secret_value()) < LEAST_SECRET:
            raise ValueError(f"a webhook_secret has {LEAST_SECRET} characters at least: whoever guesses it is believed")
        for address in (self.url, self._api):
            site = urlsplit(address)
            if site.scheme not in ("https", "http") or not site.hostname or site.query or "@" in site.netloc:
                raise ValueError(f"{address!r} is not an address that begins with https:// and names a host")
            if site.scheme == "http" and site.hostname not in THIS_MACHINE:
                raise ValueError("a token is not sent over http: use https")
        return self

    # ── who and where ──

    @property
    def host(self) -> str:
        """Its name, such as github.com."""
        return urlsplit(self.url).netloc

    def is_for(self, repository: str) -> bool:
        """Whether the repository is `url`, or one below it, in whatever case: to a forge that is the same."""
        if any(part in (".", "..") for part in unquote(repository).split("/")):
            return False
        return f"{repository.rstrip('/')}/".casefold().startswith(f"{self.url.rstrip('/')}/".casefold())

    def credential(self, repository: str) -> RepositoryCredential:
        """What opens this repository for git: the same token, through a pipe."""
        return RepositoryCredential(url=repository, token=SecretStr(self._token(repository)))

    def forget_token(self, repository: str, token: str | None = None) -> bool:
        """The token that it had was not taken; whether the next call gets a new one."""
        return False

    def me(self, repository: str) -> str:
        """The login that the platform writes as."""
        return str(self._get(repository, "/user")["login"])

    def moment(self, repository: str) -> datetime:
        """What its clock says. All times that it tells are of that clock."""
        said = self._signed_call(repository, "GET", self._at(repository)).headers.get("date", "")
        try:
            return parsedate_to_datetime(said).astimezone(UTC)
        except ValueError:
            raise ForgeError(f"{self.host} does not say what time it is") from None

    def place_id(self, repository: str) -> int:
        """The repository's number, which stays where it is renamed."""
        return int(self._shown(repository)["id"])

    def may_ask(self, repository: str, person: Person, only: Sequence[str] = ()) -> bool:
        """Whether this user may ask for a run: whoever may write, and is among `only` if anybody is."""
        return (not only or str(person.id) in only) and self.may_write(repository, person)

    def may_write(self, repository: str, person: Person) -> bool:
        """Whether this user, known by id, may write there now."""
        raise NotImplementedError

    def ref_of(self, number: int) -> str:
        """What git there has the head of a pull request under, a fork's as well."""
        return f"refs/pull/{number}/head"

    def name_of(self, number: int, *, is_pull: bool) -> str:
        """Its number: issues and pull requests are counted together."""
        return str(number)

    def is_protected(self, repository: str, branch: str) -> bool:
        """What is not said is yes. Raises Missing for a branch that is not there."""
        return self._branch(repository, branch).get("protected") is not False

    def why_over(self, repository: str) -> str | None:
        """Why nothing can be done there any more; None if it can."""
        try:
            one = self._shown(repository)
        except Moved as err:
            return str(err)
        if one.get("archived"):
            return f"{repository} was archived at {self.host}: unarchive it, and send the brief anew"
        return None

    def is_answering(self, repository: str) -> bool:
        """Whether it answers at all; with a refusal, too."""
        try:
            self._shown(repository)
        except NotYet:
            return False
        except (ForgeError, InputError):
            return True  # the run is told the same, and says it
        return True

    def doctor(self, repository: str) -> str | None:
        """None if the token works for this repository, else what is missing."""
        try:
            self._shown(repository)
            self.me(repository)
        except (ForgeError, InputError) as err:
            return str(err)
        return None

    # ── what is written once ──

    def scan_results(self, repository: str, commit: str, ref: str, sarif: bytes) -> str | None:
        """There is no list of findings here."""
        return None

    def has_said(self, repository: str, reviews: Iterable[PullReview], mark: str) -> bool:
        """Whether one of these is ours with that mark: another's is none."""
        me = self.me(repository).casefold()
        return any(one.by.login.casefold() == me and one.text.startswith(mark) for one in reviews)

    def comment(self, repository: str, number: int, marker: str, body: str, *, is_issue: bool = False) -> None:
        """The one comment of ours that begins with the hidden marker; others' comments are never touched."""
        mark, me = f"<!-- {marker} -->", self.me(repository).casefold()
        text, at = bounded(f"{mark}\n{body}"), self._talk(repository, number, is_issue=is_issue)
        for one in self._comments(repository, at):
            if one.login.casefold() == me and one.text.startswith(mark):
                if one.text != text:
                    self._write_comment(repository, at, one.id, text)
                return
        self._write_comment(repository, at, None, text)

    def _talk(self, repository: str, number: int, *, is_issue: bool) -> str:
        """Where what is said at an issue or pull request is."""
        return f"{self._at(repository)}/issues/{number}"

    def _comments(self, repository: str, at: str) -> Iterable[ForgeComment]:
        raise NotImplementedError

    def _write_comment(self, repository: str, at: str, known: int | None, text: str) -> None:
        """`known`: the one to replace."""
        where = f"{self._at(repository)}/issues"
        if known is None:
            self._send(repository, "POST", f"{at}/comments", {"body": text})
        else:
            self._send(repository, "PATCH", f"{where}/comments/{known}", {"body": text})

    # ── one client ──

    @property
    def _api(self) -> str:
        """Where its API begins."""
        raise NotImplementedError

    def _at(self, repository: str) -> str:
        """Where its API has the repository."""
        raise NotImplementedError

    def _shown(self, repository: str) -> Any:
        """What it says of the repository itself."""
        return self._get(repository, self._at(repository))

    def _branch(self, repository: str, branch: str) -> Any:
        """What it says of a branch."""
        return self._get(repository, f"{self._at(repository)}/branches/{quote(branch, safe='/')}")

    def _headers(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    def _token(self, repository: str) -> str:
        return self.token.get_secret_value() if self.token else ""

    @property
    def _identity(self) -> str:
        """Whose answers are remembered together."""
        return str(hash(self._token(self.url)))

    def _get(self, repository: str, path: str) -> Any:
        return self._page(repository, path).body

    def _all(self, repository: str, path: str, name: str = "") -> list[Any]:
        """Every page of a list, or of the list called `name` in it. One that breaks is an error, never a shorter list.

        A page that is still as it was says nothing of a next one that came since: after a full one, it is asked for.
        """
        first = f"{path}{'&' if '?' in path else '?'}{self._size}={PER_PAGE}"
        found: list[Any] = []
        following: str | None = first
        number = 1
        while following is not None:
            page = self._page(repository, following)
            items = page.body[name] if name else page.body
            found += items
            number += 1
            following = page.following or (f"{first}&page={number}" if self._goes_on(items) else None)
        return found

    def _since(self, repository: str, path: str, query: str, since: datetime, name: str = "since") -> list[Any]:
        """All of a list that changed since then, each once. `query`: what orders it by the oldest change, if it can be;
        `name`: what the forge calls `since`.

        What changes while it is read moves to the end, and what follows it onto an earlier page, past which a reader of
        pages would go. So each question begins where the last answer ended, a second earlier; a list that has another
        order is read until nothing but news came to it. A page that breaks is an error, never a shorter list.
        """
        found: dict[int, Any] = {}
        before, seen = dict[int, datetime](), dict[int, datetime]()
        number, is_ordered, passes = 1, True, 1
        while True:
            stamp = quote(f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}", safe="")
            asked = f"{path}?{query}&" if query else f"{path}?"
            page = self._page(repository, f"{asked}{name}={stamp}&{self._size}={PER_PAGE}&page={number}")
            found |= {one["id"]: one for one in page.body}
            times = [datetime.fromisoformat(one["updated_at"]) for one in page.body]
            seen |= {one["id"]: at for one, at in zip(page.body, times, strict=True)}
            is_ordered = is_ordered and times == sorted(times)
            is_whole = number == 1 and page.total is not None and len(page.body) >= page.total
            if is_whole or (page.following is None and not self._goes_on(page.body)):
                if number == 1 or is_ordered or (passes > 1 and _only_grew(before, seen)):
                    return sorted(found.values(), key=lambda one: (one["updated_at"], one["id"]))
                if passes == MOST_PASSES:
                    raise NotYet(f"{self.host}: {path} changes while it is read")
                before, seen, number, passes = seen, {}, 1, passes + 1
            elif is_ordered and times and times[-1] - timedelta(seconds=1) > since:
                since, number = times[-1] - timedelta(seconds=1), 1
            else:
                number += 1

    def _goes_on(self, items: Sequence[Any]) -> bool:
        """Whether there may be a page after this one, of which nothing was said."""
        return len(items) >= PER_PAGE

    def _page(self, repository: str, path: str) -> ForgePage:
        """One answer; from memory where the forge says that it is still so."""
        key = (self._api, self._identity, path)
        known = _pages.get(key)
        answer = self._signed_call(repository, "GET", path, etag=known.etag if known else "")
        if answer.status_code == 304 and known:
            return known
        total = answer.headers.get("x-total-count", "")
        count = int(total) if total.isascii() and total.isdigit() else None
        page = ForgePage(answer.headers.get("etag", ""), json_of(answer), self._following(answer), count)
        if page.etag:
            if len(_pages) > 2000:
                _pages.clear()
            _pages[key] = page
        return page

    def _following(self, answer: httpx.Response) -> str | None:
        address = answer.links.get("next", {}).get("url")
        if address is None:
            return None
        if not address.startswith(f"{self._api}/"):
            raise ForgeError(f"{self.host}: the next page is at another address: the token is not sent there")
        return str(address[len(self._api) :])

    def _send(self, repository: str, method: str, path: str, body: Mapping[str, Any]) -> Any:
        return json_of(self._signed_call(repository, method, path, body))

    def _signed_call(
        self, repository: str, method: str, path: str, body: Mapping[str, Any] | None = None, *, etag: str = ""
    ) -> httpx.Response:
        """One request with our token. One that is not taken any more is replaced once, where there can be another."""
        token = self._token(repository)
        try:
            return self._call(method, path, token, body, etag=etag)
        except Unsigned:  # nothing was done
            if not self.forget_token(repository, token):
                raise
        return self._call(method, path, self._token(repository), body, etag=etag)

    def _call(
        self, method: str, path: str, token: str, body: Mapping[str, Any] | None = None, *, etag: str = ""
    ) -> httpx.Response:
        """One request. A read is tried again; a write never is, for it may have been done."""
        address = path if "://" in path else f"{self._api}{path}"
        headers = self._headers(token) | ({"If-None-Match": etag} if etag else {})
        last = ""
        for turn in range(4):
            try:
                answer = _client(self.certificate).request(
                    method, address, json=body, headers=headers, timeout=self.timeout_s
                )
            except httpx.HTTPError as err:
                last = f"{self.host} does not answer: {type(err).__name__}"
                if method != "GET":
                    raise NotYet(last) from None  # an error of httpx holds the request, and with it the token
            else:
                wait_s = _wait_s(answer)
                if wait_s is None and (answer.status_code < 500 or method != "GET"):
                    return self._accepted(answer, method, path)
                last = f"{self.host} answered {answer.status_code} to {method} {_plain(path)}"
                if wait_s is not None:
                    if wait_s > LONGEST_WAIT_S or turn == 3:
                        raise NotYet(f"{last}: too many requests, try again in {wait_s:.0f} s")
                    sleep(wait_s)
                    continue
            sleep(0.5 * (turn + 1))
        raise NotYet(last)

    def _accepted(self, answer: httpx.Response, method: str, path: str) -> httpx.Response:
        code = answer.status_code
        if code < 300 or code == 304:
            return answer
        said = f"{self.host} answered {code} to {method} {_plain(path)}: {_message(answer)}"
        if 300 <= code < 400:
            raise Moved(f"{said}: it was renamed or moved; name its new address, and send the brief anew")
        if code == 401:
            raise Unsigned(f"{said}: the token ran out or was taken back; save a new one in the block")
        if code == 404:
            raise NotAtForge(f"{said}: it is gone, or the token may not see it")
        if code >= 500:
            raise NotYet(said)
        raise ForgeRefusal(said, _message(answer), code)


class NotAtForge(InputError):
    """It is not there, or the token may not see it."""


class Unsigned(InputError):
    """The token is not taken."""


class Moved(InputError):
    """It has another address now."""


class ForgeRefusal(ForgeError):
    """The forge understood, and said no."""

    def __init__(self, text: str, said: str, code: int) -> None:
        super().__init__(text)
        self.said, self.code = said, code


_pages: dict[tuple[str, str, str], ForgePage] = {}


def _only_grew(before: Mapping[int, datetime], after: Mapping[int, datetime]) -> bool:
    """Whether a list lost nothing between two readings, and got nothing but what changed after the first one."""
    newest = max(before.values(), default=datetime.min.replace(tzinfo=UTC))
    return before.keys() <= after.keys() and all(at >= newest for one, at in after.items() if one not in before)


@functools.lru_cache(maxsize=4)
def _client(certificate: str) -> httpx.Client:
    """One for all: it follows no redirect, so no token goes to where a host points."""
    context = ssl.create_default_context(cadata=certificate or None)
    headers = {"Accept": "application/json", "User-Agent": "lockgate"}
    return httpx.Client(verify=context, headers=headers, follow_redirects=False)


def changed(statuses: Sequence[Status], said: Mapping[str, tuple[str, str]]) -> Sequence[Status]:
    """Those that do not say the same already. `said`: name → (state, sentence) of the newest of each."""
    return [one for one in statuses if said.get(one.context) != (one.state.value, short(one.sentence))]


def lines_mark(head: str) -> str:
    """How the review begins that says something at lines of a head: by it, it is found again."""
    return f"<!-- lockgate:lines/{head} -->"


def at_lines(remarks: Sequence[LineRemark], has_line: Callable[[LineRemark], bool]) -> tuple[list[LineRemark], str]:
    """Those that are said at their lines; and what stands above them, with those that have no place there."""
    shown = [one for one in remarks if one.is_as_judged and has_line(one)][:MOST_REMARKS]
    rest = [one for one in remarks if one not in shown]
    listed = "".join(f"\n- {one.where}: {one.text}" for one in rest[:MOST_REMARKS])
    more = f"\n- … and {len(rest) - MOST_REMARKS} more" if len(rest) > MOST_REMARKS else ""
    besides = f"\n\nBesides:\n{listed}{more}" if rest else ""
    return shown, f"What the gates say at {len(shown)} lines. This decides nothing.{besides}"


def bounded(text: str) -> str:
    return text if len(text) <= MAX_BODY else f"{text[:MAX_BODY]}\n\n… cut here; the desk has all of it"


def short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SENTENCE else f"{line[: MAX_SENTENCE - 1]}…"


def json_of(answer: httpx.Response) -> Any:
    try:
        return answer.json() if answer.content else {}
    except ValueError:
        raise ForgeError(f"{answer.url.host} answered something that is no JSON") from None


def _wait_s(answer: httpx.Response) -> float | None:
    """How long a forge wants to be left alone; None if it does not.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api#exceeding-the-rate-limit
    """
    if answer.status_code not in (403, 429):
        return None
    after = answer.headers.get("retry-after", "")
    if after.isdigit():
        return float(after)
    if answer.headers.get("x-ratelimit-remaining") == "0":
        reset = answer.headers.get("x-ratelimit-reset", "")
        return max(1.0, float(reset) - time.time()) if reset.isdigit() else 60.0
    return 60.0 if answer.status_code == 429 or "secondary rate limit" in answer.text.lower() else None


def _message(answer: httpx.Response) -> str:
    """What it says, on one line, bounded."""
    try:
        said = answer.json()
        errors = said.get("errors") or ()
        more = [
            str(one.get("message") or one.get("code") or "") if isinstance(one, dict) else str(one) for one in errors
        ]
        first = said.get("message") or said.get("error_description") or said.get("error") or ""
        text = ": ".join(part for part in (str(first), "; ".join(filter(None, more))) if part)
    except (ValueError, AttributeError):
        text = answer.text
    return " ".join(text.split())[:300]


def _plain(path: str) -> str:
    return urlsplit(path).path


def without_merge(now: PullRequest, judged: PullRequest, head: str, what: str = "pull request") -> MergeAnswer | None:
    """The answer to a merge that is not asked of the forge: it is done, or `now` is not what was judged. None if it is
    asked. `what`: the forge's word for it."""
    if now.state is PullState.MERGED:
        return MergeAnswer(now.merged_commit)
    if now.state is PullState.CLOSED:
        return MergeAnswer(None, f"the {what} was closed")
    if now.head != head:
        return MergeAnswer(None, f"its head is {now.head[:12]}, which nobody judged", is_moved=True)
    if now.base != judged.base:
        return MergeAnswer(None, f"it leads to {now.base} now, and {judged.base} was judged", is_moved=True)
    if now.is_draft:
        return MergeAnswer(None, "somebody made it a draft again", is_moved=True)
    return None
