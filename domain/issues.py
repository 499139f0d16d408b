"""Issues of a hosted forge and tickets of a tracker: what it says of them, and how the text of one becomes a brief.

An issue's text is data, whoever wrote it. It names neither the repository nor the agent, nor what a run may cost: a
person has set that up (`Intake`).
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from pydantic import Field, ValidationError, model_validator

from domain.brief import Brief, Budget, Repository
from domain.paths import Glob
from domain.pull_request import Person
from domain.text import one_line
from domain.value import Value

COMMAND = "/lockgate run"
"""A comment that is this, alone on its first line, starts a run as the label does. The version of a text may stand
behind it: then it is that text that is asked for, and no other."""
COMMANDS = "/lockgate"
"""How every command in a comment begins: that one, and those of `domain/proposal.py`."""
_COMMAND = re.compile(rf"{COMMAND}(?:[^\S\n]+([0-9a-f]{{40}}))?", re.IGNORECASE)
LONGEST = 65_536
"""Characters of a body at GitHub."""
MOST_ATTEMPTS = 20
"""So often a pull request may be pushed to."""
MOST_SHOWN = 5
"""Hidden passages that are shown to people."""


class Intake(Value):
    """What is worked on where somebody asks for a run, and what it may cost: set up by a person, never by a ticket."""

    repository: Repository = Field(description="Its address, such as https://github.com/acme/shop.git")
    agent: str = Field(min_length=1, description="Who works on them: an agent block, as kind/name")
    label: str = Field("lockgate", min_length=1, max_length=50, description="The label that starts a run")
    environment: str | None = Field(None, description="Where a change is released whose issue names no environment")
    environments: tuple[str, ...] = Field((), description="What an issue may name under Environment")
    branch: str = Field("", description="The branch to change; empty: the default branch of the repository")
    budget: Budget = Field(Budget(), description="What each run may use")
    max_changed_lines: int = Field(400, ge=1, description="The most that an issue may ask for, and the default")
    confidential: bool = Field(
        False,
        description="Confidential issues of GitLab, and tickets of Jira with a security level, start runs, too: "
        "whoever may see the repository reads them then",
    )
    assigned: bool = Field(True, description="Assigning an issue to the platform's own user starts a run, too")

    @property
    def place(self) -> str:
        """What is looked at."""
        return self.repository

    @property
    def only(self) -> tuple[str, ...]:
        """Who alone may ask, by id; empty: the place's own rule."""
        return ()

    @property
    def part_of_it(self) -> str:
        """Which of its tickets are meant; empty: all."""
        return ""

    @property
    def takes_pulls(self) -> bool:
        return False

    @property
    def closes_it(self) -> bool:
        return False

    @property
    def tests_to_change(self) -> tuple[str, ...]:
        return ()

    @property
    def proposes(self) -> bool:
        """Whether an agent may propose a test where none is named."""
        return False


class IssueIntake(Intake):
    """One repository whose issues become runs, when somebody who may write there says so by a label."""

    closes: bool = Field(False, description="The merge of the pull request closes the issue")
    propose_acceptance: bool = Field(
        False,
        description="For an issue that names no acceptance the agent proposes a test, which somebody who may write "
        "there approves before any code is written",
    )
    pull_requests: bool = Field(True, description="The label or command at a pull request has it judged as it is")
    may_change_tests: tuple[Glob, ...] = Field(
        (), max_length=200, description="Globs of existing tests that a pull request may alter; a person sees each"
    )

    @property
    def takes_pulls(self) -> bool:
        return self.pull_requests

    @property
    def proposes(self) -> bool:
        return self.propose_acceptance

    @property
    def closes_it(self) -> bool:
        return self.closes

    @property
    def tests_to_change(self) -> tuple[str, ...]:
        return self.may_change_tests


EVERYBODY = "*"


class TicketIntake(Intake):
    """One project of a tracker whose tickets become runs in one repository."""

    tracker: str = Field(
        pattern=r"^(jira|linear)/.+$", description="Where the tickets are: a block, as jira/acme or linear/acme"
    )
    project: str = Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        max_length=60,
        description="The key of the project or team there, such as SHOP",
    )
    part: str = Field(
        "",
        max_length=200,
        description="Only tickets of this component (Jira) or with this label besides (Linear); empty: all",
    )
    people: tuple[str, ...] = Field(
        min_length=1,
        description="Who may start runs, by account id (Jira) or member id (Linear); `*` alone: whoever may edit issues"
        " of the project (Jira tells that to its administrators alone), or every member of the team (Linear)",
    )

    @model_validator(mode="after")
    def _names_people_or_everybody(self) -> Self:
        if EVERYBODY in self.people and len(self.people) > 1:
            raise ValueError("`people` names people, or is `*` alone")
        return self

    @property
    def place(self) -> str:
        return f"{self.tracker}: {self.project}" + (f", {self.part}" if self.part else "")

    @property
    def only(self) -> tuple[str, ...]:
        return self.people

    @property
    def part_of_it(self) -> str:
        return self.part


class Issue(Value):
    """An issue, or a pull request, as a list tells it."""

    number: int
    url: str = Field(description="Its page, for people")
    name: str = Field("", description="How it is written there, as SHOP-12; empty: # and the number")
    is_open: bool
    labels: tuple[str, ...] = ()
    updated_at: datetime
    by: Person | None = Field(None, description="Who opened it; None: a user who is gone")
    is_pull: bool = Field(False, description="It is a pull request")
    is_merged: bool = Field(False, description="It is one, and was merged")
    is_confidential: bool = Field(False, description="Not all may see it who may see the repository")


class IssueText(Value):
    """What an issue says at one moment, and when that was last edited."""

    title: str
    body: str
    edited_at: datetime | None = Field(None, description="Of the body; None: never, or an event tells it")
    is_edit_told: bool = Field(True, description="The forge says when a text was edited")
    is_confidential: bool = Field(False, description="Not all may see it who may see the repository")
    is_unseen_in_part: bool = Field(False, description="Some of it has a colour in which nobody reads it")
    changed_at: datetime | None = Field(None, description="When anything of the issue changed last, its text or not")
    read_at: datetime | None = Field(None, description="Now, by the forge's clock, where edits are noted late")
    noted_until: datetime | None = Field(
        None, description="Edits up to then are surely among its events; None: all that were made"
    )

    @property
    def version(self) -> str:
        """What a command names where nobody could say otherwise which text it means."""
        return hashlib.sha256(f"{self.title}\0{self.body}".encode()).hexdigest()[:40]


class IssueEvent(Value):
    """Something that happened to an issue. `id` grows."""

    id: int
    kind: str = Field(
        description="labeled, unlabeled, assigned, unassigned, renamed, edited, moved (to another project), "
        "sorted (into a part), closed and others"
    )
    by: Person | None = Field(description="None: a user who is gone")
    at: datetime
    label: str = ""
    assignee: str = Field("", description="The login of who was assigned, or is not any more")
    is_by_app: bool = Field(False, description="Done by an app in somebody's name")


class IssueComment(Value):
    """What somebody said at an issue or a pull request."""

    id: int
    number: int = Field(description="Of the issue")
    by: Person | None
    text: str
    at: datetime
    updated_at: datetime
    is_by_app: bool = False
    is_pull: bool = Field(False, description="At a pull request, where the forge says so")

    @property
    def is_command(self) -> bool:
        """Whether it asks for a run. One that was edited does not: nobody knows who made it what it is."""
        return self.updated_at == self.at and self._said is not None

    @property
    def version(self) -> str:
        """Of the text that it asks for; empty: it names none."""
        return (self._said[1] or "").lower() if self._said else ""

    @property
    def _said(self) -> re.Match[str] | None:
        return _COMMAND.fullmatch(self.text.strip().partition("\n")[0].strip())


class Trigger(Value):
    """What asks for a run: a label that was put on, an assignment to us, or a command in a comment."""

    key: str = Field(description="label-ID or assigned-ID of the event, or comment-ID: one run each, whoever looks")
    id: int
    by: Person
    at: datetime
    is_by_app: bool = False
    version: str = Field(
        "", description="Of the text that is asked for; empty: the one that stood there at that moment"
    )

    @property
    def is_comment(self) -> bool:
        return self.key.startswith("comment-")

    @property
    def is_assignment(self) -> bool:
        return self.key.startswith("assigned-")


class TriggerOutcome(StrEnum):
    """What became of a trigger."""

    RUN = "run"
    REFUSED = "refused"
    OVERTAKEN = "overtaken"
    NOBODY = "nobody"


class Decided(Value):
    """What was made of a trigger, from the text as it was at that moment; on record before anything is started."""

    trigger: Trigger
    answer: TriggerOutcome
    workshop: str
    number: int
    url: str
    name: str = Field("", description="How it is written there, as SHOP-12; empty: # and the number")
    part: str = Field("", description="The part of its project that is looked at")
    is_pull: bool = False
    brief: Brief | None = Field(None, description="What is worked on, where it is a run")
    reasons: tuple[str, ...] = Field((), description="Why it is none")
    hidden: tuple[str, ...] = ()
    shown: str = Field("", description="The whole text, where people have to say that they mean it")


class IssueRun(Value):
    """The run that a trigger became."""

    run_id: str


class IssueTold(Value):
    """The last word of our comment was said: nothing is to be told any more."""


class IssueMark(Value):
    """Up to where the issues of a repository were looked through. The first one is when that was switched on; ones
    of their own say so of pull requests and of assignments."""

    at: datetime


class AskedFor(Value):
    """Where a run was asked for."""

    repository: str
    number: int
    url: str
    by: Person
    closes: bool = Field(False, description="The merge closes it")
    name: str = Field("", description="How it is written there, as !5; empty: # and the number")


def of_pull(brief: Brief, number: int, may_change_tests: tuple[str, ...]) -> Brief:
    """The brief that a pull request's text is: its change is what it holds, no agent works on it, and what is pushed
    costs nothing but the time of the gates."""
    files = tuple(file.model_copy(update={"keep": False}) for file in brief.acceptance.files)
    changed = {
        "change": f"refs/pull/{number}/head",
        "agent": "",
        "acceptance": brief.acceptance.model_copy(update={"files": files}),
        "may_change_tests": may_change_tests,
        "budget": brief.budget.model_copy(update={"attempts": MOST_ATTEMPTS}),
    }
    return Brief.model_validate(brief.model_copy(update=changed).model_dump())


class ReadIssue(NamedTuple):
    """A brief, or why there is none; and what nobody would have seen of the text, which is left out of it."""

    brief: Brief | None
    reasons: tuple[str, ...]
    hidden: tuple[str, ...]


def read_issue(
    text: IssueText,
    intake: Intake,
    workshop: str,
    lint: Callable[[Brief], tuple[str, ...]],
    pull: int | None = None,
) -> ReadIssue:
    """The brief that an issue is, as a form's headings or free text; or a pull request, by its number. `lint` says what
    else speaks against it."""
    if len(text.body) > LONGEST:
        return ReadIssue(None, (f"its text has {len(text.body):,} characters, and {LONGEST:,} are read",), ())
    if _DISGUISED.search(text.title) or _DISGUISED.search(text.body):
        why = "it holds characters that hide text or turn its order around: write it without them"
        return ReadIssue(None, (why,), ())
    if text.is_unseen_in_part:
        why = "some of its text has a colour, or stands on one, in which it is not read: take the colour away"
        return ReadIssue(None, (why,), ())
    hidden: list[str] = []
    lines = list(_lines(text.body.replace("\r\n", "\n").replace("\r", "\n"), hidden))
    sections, twice = _sections(lines)
    reasons = [f"the heading {name} stands twice: which one counts?" for name in twice]
    fields: dict[str, Any] = {"title": " ".join(text.title.split())}
    asked = sections.get("acceptance")
    done = _acceptance(asked if asked is not None else [], is_named=True)
    rest, words = sections["goal"], done.rest
    if asked is None:
        done = _acceptance(rest, is_named=False)
        rest, words = done.rest, []
    reasons += done.wrong
    goal = _text(rest)
    if told := _text(words):
        goal = f"{goal}\n\nDone when:\n\n{told}".strip()
    fields["goal"] = goal or fields["title"]
    fields["acceptance"] = {"files": done.files, "tests": done.tests, "command": done.command}
    paths, wrong = _globs(sections.get("scope", []))
    most, said = intake.max_changed_lines, _text(sections.get("changed lines", []))
    if said and not re.fullmatch(r"[0-9]{1,6}", said):
        wrong.append(f"Changed lines is a number, not {one_line(said, 60)!r}")
    elif said:
        most = int(said)
    if most > intake.max_changed_lines:
        wrong.append(f"{most} changed lines are too many here: {intake.max_changed_lines} at most")
    environment, why_not = _environment(_text(sections.get("environment", [])), intake)
    reasons += [*wrong, *([why_not] if why_not else [])]
    fields |= {
        "scope": {"paths": paths, "max_changed_lines": max(1, most)},
        "environment": environment,
        "repository": intake.repository,
        "agent": intake.agent,
        "branch": intake.branch,
        "budget": intake.budget,
        "workshop": workshop,
        "propose_acceptance": intake.proposes and pull is None and not done.says,
    }
    try:
        brief = Brief.model_validate(fields)
        brief = brief if pull is None else of_pull(brief, pull, intake.tests_to_change)
    except ValidationError as err:
        return ReadIssue(None, (*reasons, *_problems(err)), tuple(hidden))
    if brief.acceptance.is_empty and not (brief.change or brief.is_to_propose):
        names = [one_line(name, 60) for name in _ATTACHED.findall(text.body) if "test" in name.lower()]
        told = "is attached, and attachments are not read: put its text into a code block under Acceptance"
        reasons += [f"{name} {told}" for name in names[:3]]
    reasons += lint(brief)
    return ReadIssue(None if reasons else brief, tuple(reasons), tuple(hidden))


# ── what people see of it ──

_DISGUISED = re.compile("[\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f\0]|[\u200b-\u200d\u2060-\u2064\ufeff]{3,}")
_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})([^\n]*)$")
_UNSEEN_LINE = re.compile(r"^ {0,3}\[(?://|comment|_|\^?#)\]:", re.IGNORECASE)


class _Line(NamedTuple):
    """One line. `fence` counts the code blocks; 0: it is in none. `info` is what stands at the block's beginning."""

    text: str
    fence: int = 0
    info: str = ""


def _lines(body: str, hidden: list[str]) -> Iterator[_Line]:
    """The lines that a page shows: without HTML comments, which go to `hidden`. One in a code block is seen by all.

    The marks of a block are an empty line: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
    """
    number, mark, info, indent = 0, "", "", 0
    secret: list[str] | None = None
    for line in body.split("\n"):
        found = _FENCE.match(line) if secret is None else None
        if not mark and found and not (found[2][0] == "`" and "`" in found[3]):
            number, mark, info, indent = number + 1, found[2], found[3].strip(), len(found[1])
            yield _Line("", number, info)
        elif mark and found and found[2].startswith(mark) and not found[3].strip():
            mark = ""
        elif mark:
            yield _Line(line[min(indent, len(line) - len(line.lstrip())) :], number, info)
        else:
            shown, secret = _shown(line, secret, hidden)
            yield _Line(shown)
    if secret is not None:
        _keep(secret, hidden)


def _shown(line: str, secret: list[str] | None, hidden: list[str]) -> tuple[str, list[str] | None]:
    """(what is seen of a line, the comment that goes on behind it). `secret`: the one that began before it."""
    spans = _code_spans(line)
    shown, at = "", 0
    while True:
        if secret is not None:
            end = line.find("-->", at)
            secret.append(line[at:] if end < 0 else line[at:end])
            if end < 0:
                return shown, secret
            _keep(secret, hidden)
            secret, at = None, end + 3
        place = line.find("<!--", at)
        while place >= 0 and any(begin <= place < end for begin, end in spans):
            place = line.find("<!--", place + 4)
        shown += line[at:] if place < 0 else line[at:place]
        if place < 0:
            break
        secret, at = [], place + 4
    if _UNSEEN_LINE.match(shown):
        _keep([shown], hidden)
        return "", None
    return shown, None


def _code_spans(text: str) -> list[tuple[int, int]]:
    runs = [(run.start(), run.end()) for run in re.finditer(r"`+", text)][:200]
    spans: list[tuple[int, int]] = []
    at = 0
    while at < len(runs):
        size = runs[at][1] - runs[at][0]
        close = next((n for n in range(at + 1, len(runs)) if runs[n][1] - runs[n][0] == size), None)
        if close is not None:
            spans.append((runs[at][0], runs[close][1]))
        at = at + 1 if close is None else close + 1
    return spans


def _keep(passage: list[str], hidden: list[str]) -> None:
    line = one_line(" ".join(" ".join(passage).split()), 200)
    if line and len(hidden) < MOST_SHOWN:
        hidden.append(line)


# ── its headings ──

_HEADING = re.compile(r"^ {0,3}#{1,6}(?:[^\S\n]+(.*?))?(?:[^\S\n]+#+)?[^\S\n]*$")
_NAMES = {
    "goal": "goal", "what should be true afterwards": "goal", "description": "goal", "summary": "goal",
    "acceptance": "acceptance", "acceptance criteria": "acceptance", "acceptance test": "acceptance",
    "acceptance tests": "acceptance", "scope": "scope", "paths": "scope", "changed lines": "changed lines",
    "environment": "environment",
}  # fmt: skip
_NOTHING = "_No response_"
"""What GitHub writes for a field that was left empty."""
_TICKED = re.compile(r"^\s*[-*] \[[xX]\] ")


def _sections(lines: list[_Line]) -> tuple[dict[str, list[_Line]], list[str]]:
    """Section → its lines, and the headings of ours that stand more than once. What stands under any other heading is
    part of the goal, heading and all, unless it holds boxes that were ticked and nothing else."""
    found: dict[str, list[_Line]] = {"goal": []}
    seen: set[str] = set()
    twice: list[str] = []
    for heading, inside in _parts(lines):
        title = re.sub(r"^\W+", "", heading).strip().strip("*").strip().rstrip(":")  # a picture before it, too
        name = _NAMES.get(title.casefold())
        if name == "environment" and not _is_name(_text(inside)):
            name = None  # of a report: an operating system, a browser
        if name is not None and title.casefold() in seen:
            twice.append(title)
        if name is not None:
            seen.add(title.casefold())
        if not _text(inside):
            continue
        if name in (None, "goal"):
            if _is_ticked(inside):
                continue
            is_plain = not heading or title.casefold() == "goal"
            found["goal"] += [*([] if is_plain else [_Line(""), _Line(f"### {heading.strip()}")]), *inside]
        elif name is not None:
            found.setdefault(name, []).extend(inside)
    return found, twice


def _parts(lines: list[_Line]) -> Iterator[tuple[str, list[_Line]]]:
    heading, inside = "", list[_Line]()
    for line in lines:
        begins = None if line.fence else _HEADING.match(line.text)
        if begins:
            yield heading, inside
            heading, inside = begins[1] or "", []
        else:
            inside.append(line)
    yield heading, inside


def _text(lines: list[_Line]) -> str:
    """The text again, code blocks in fences. Empty for what nobody filled in."""
    out: list[str] = []
    fence = 0
    for line in lines:
        if line.fence != fence:
            out += ["```"] if fence else []
            fence = line.fence
            if fence:
                out.append(f"```{line.info}")
                continue
        out.append(line.text.rstrip())
    text = re.sub(r"\n{3,}", "\n\n", "\n".join([*out, *(["```"] if fence else [])])).strip()
    return "" if text == _NOTHING or not text.replace("`", "").strip() else text


def _is_ticked(lines: list[_Line]) -> bool:
    return all(_TICKED.match(line.text) for line in lines if line.text.strip())


# ── its fields ──

_PATH = re.compile(r"[\w@.+-]+(?:/[\w@.+-]+)*\.\w{1,8}")
_COMMENTED = re.compile(r"^\s*(?:#|//|--|;|/\*|<!--)\s*(\S+?)\s*(?:\*/|-->)?\s*$")
_ATTACHED = re.compile(
    r"(?<!!)\[([^\]\n]{1,200})\]\((?:https?://[^)\s]{1,200})?/"
    r"(?:user-attachments/files|[\w./-]{1,200}/files/[0-9]+|uploads|(?:[\w./-]{1,200}/)?attachments)/[^)\s]{1,300}\)"
)
"""A file that somebody dropped on the page: of GitHub, older and newer; of GitLab; of Forgejo and Gitea. A picture
is none."""
_TEST_ID = re.compile(r"[\w@.+/-]+\.\w{1,8}::\S.*")
_TEST_PATH = re.compile(r"(?:^|/)(?:tests?|__tests__|spec)/|(?:^|/)test_[^/]*$|[._](?:test|spec)\.\w+$|_test\.\w+$")
_BULLET = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?")
_NAME = re.compile(r"[\w.-]{1,60}")


_SHELLS = ("sh", "bash", "shell", "console")


class _Done(NamedTuple):
    """How it will be known that it is done; what says nothing of that; and what is wrong."""

    files: list[dict[str, str]]
    tests: list[str]
    command: str | None
    rest: list[_Line]
    wrong: list[str]

    @property
    def says(self) -> bool:
        return bool(self.files or self.tests or self.command)


def _acceptance(lines: list[_Line], *, is_named: bool) -> _Done:
    """`is_named`: it stands under its own heading, where ids of tests and a command are read, too.

    A file is merged as it stands here, so its name must be a test's: nobody's product comes in by an issue's text.
    """
    commands: list[str] = []
    files: list[dict[str, str]] = []
    tests: list[str] = []
    rest: list[_Line] = []
    wrong: list[str] = []
    for block in _blocks(lines):
        if not block[0].fence:
            for line in block:
                test = _BULLET.sub("", line.text).strip().strip("`").strip()
                if is_named and _TEST_ID.fullmatch(test):
                    tests.append(test)
                else:
                    rest.append(line)
            continue
        content = [line.text for line in block[1:]]
        path = _path_in(block[0].info) or (_path_of(content[0]) if content else None)
        said = [line.strip() for line in content if line.strip()]
        if path is None and is_named and block[0].info in _SHELLS and said:
            commands += [line.removeprefix("$ ") for line in said]
        elif path is None and is_named and any(line.strip() for line in content):
            wrong.append(
                "a code block under Acceptance names no file: write its path into the first line, as in "
                "`# tests/acceptance/test_search.py`; or mark it as `sh` if it is a command"
            )
        elif path is None or not (is_named or _TEST_PATH.search(path)):
            rest += block
        elif not _TEST_PATH.search(path):
            wrong.append(f"{path} is no test file by its name: an issue adds tests and nothing else")
        else:
            files.append({"path": path, "content": "\n".join(content).rstrip("\n") + "\n"})
    names = [file["path"] for file in files]
    wrong += [f"the file {name} is there twice" for name in dict.fromkeys(names) if names.count(name) > 1]
    if len(commands) > 1:
        wrong.append("Acceptance has more than one command: put them into one, or into a test")
    return _Done(files, tests, commands[0] if commands else None, rest, wrong)


def _blocks(lines: list[_Line]) -> Iterator[list[_Line]]:
    block: list[_Line] = []
    for line in lines:
        if block and line.fence != block[0].fence:
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _path_in(info: str) -> str | None:
    """The path in a code block's info: ```python tests/test_a.py, or title="tests/test_a.py"."""
    for word in info.split():
        named = re.fullmatch(r"(?:title|path|file|filename)=[\"']?([^\"']+)[\"']?", word)
        candidate = named[1] if named else word
        if _PATH.fullmatch(candidate):
            return candidate
    return None


def _path_of(first: str) -> str | None:
    found = _COMMENTED.match(first)
    return found[1] if found and _PATH.fullmatch(found[1]) else None


def _globs(lines: list[_Line]) -> tuple[list[str], list[str]]:
    """(globs, what is none). One a line, or with commas between."""
    globs: list[str] = []
    wrong: list[str] = []
    text = _text(lines)
    for line in text.split("\n") if text else ():
        if line.startswith("```"):
            continue
        for one in _BULLET.sub("", line).split(","):
            glob = one.strip().strip("`").strip()
            if glob.casefold() in ("", "anywhere", "any"):
                continue
            if re.search(r"\s", glob) or "`" in glob:
                wrong.append(f"Scope holds paths, one a line, such as `app/**`; {one_line(glob, 60)!r} is none")
            else:
                globs.append(glob)
    return globs, wrong[:3]


def _is_name(text: str) -> bool:
    return not text or _NAME.fullmatch(text.strip("`")) is not None


def _environment(said: str, intake: Intake) -> tuple[str | None, str | None]:
    """(environment, why not)."""
    name = said.strip("`")
    if not name:
        return intake.environment, None
    if name.casefold() in ("none", "no", "-"):
        return None, None
    if name == intake.environment or name in intake.environments:
        return name, None
    known = ", ".join(dict.fromkeys([*([intake.environment] if intake.environment else []), *intake.environments]))
    return None, f"issues here may not name the environment {name!r} (they may name: {known or 'none'})"


def _problems(err: ValidationError) -> Iterator[str]:
    for each in err.errors():
        place = ".".join(str(part) for part in each["loc"])
        yield f"{place}: {each['msg'].removeprefix('Value error, ')}"
