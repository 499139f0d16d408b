"""The brief: what a person wants changed, how they will know, and what it may cost."""

import re
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from domain.paths import Glob
from domain.project import ProjectSettings
from domain.value import Value, digest_of


def _inside(path: str) -> str:
    from domain.trees import check_path  # trees are made of what briefs name

    pure = str(PurePosixPath(path))
    if problem := check_path(pure):
        raise ValueError(f"{path!r} must be a relative path inside the repository: {problem}")
    return pure


RepositoryPath = Annotated[str, AfterValidator(_inside)]
"""A POSIX path relative to the repository root: not absolute, no `..`, nothing under `.git`."""


PLAIN_ADDRESS = (
    r"^(?!\s)"
    r"(?![hH][tT][tT][pP][sS]?:/*.*@)"  # a name alone is often a token
    r"(?![A-Za-z][A-Za-z0-9+.-]*:/+[^/@]*:[^/@]*@)"
    r"(?![A-Za-z][A-Za-z0-9+.-]*:/+[^/]*%(?:3[aA]|40))"  # the same, percent-encoded
    r"(?![A-Za-z][A-Za-z0-9+.-]*:/+[^?#]*[?#])"
    r"(?![^/@]+:[^/@]+@)"
    r"(?!.*(?:gh[opsur]_|github_pat_|glpat-|lockgate_)[A-Za-z0-9_-]{16})"
)
"""A repository without user, password or query. Also in the schema, so that the server keeps no such parameter."""


def _without_secret(repository: str) -> str:
    if not re.match(PLAIN_ADDRESS, repository):
        raise ValueError(
            "a URL may hold no user with password or token, no query, and no blank before it: everybody who sees this "
            "run would read it. Leave it out, and keep the token in a `repository-credential` block "
            "(docs/repositories.md)"
        )
    return repository


Repository = Annotated[
    str, Field(min_length=1), AfterValidator(_without_secret), Field(json_schema_extra={"pattern": PLAIN_ADDRESS})
]

_PULL = re.compile(r"refs/pull/([1-9][0-9]{0,9})/head")


def _named(change: str) -> str:
    name = change.removeprefix("refs/heads/")
    if not name or _PULL.fullmatch(name):
        return name
    is_ref = name.startswith(("-", "/", "refs/")) or name.endswith(("/", ".lock", ".")) or ".." in name or "@{" in name
    if is_ref or not name.isprintable() or re.search(r"[\s~^:?*\[\\]", name):
        raise ValueError(f"{change!r} is neither a branch nor refs/pull/NUMBER/head")
    return name


Change = Annotated[str, Field(max_length=255), AfterValidator(_named)]
"""A branch, without `refs/heads/`; or `refs/pull/NUMBER/head`, as GitHub names what a pull request holds."""

NpmName = Annotated[str, Field(pattern=r"^(@[a-z0-9~._-]+/)?[a-z0-9~._-]+$", max_length=214)]
"""https://docs.npmjs.com/cli/configuring-npm/package-json#name"""


class AcceptanceFile(Value):
    """A test file that the person who briefs adds. The agent may read it and can never change it."""

    path: RepositoryPath = Field(description="Where it goes in the repository")
    content: str = Field(description="The whole file")
    keep: bool = Field(
        True, description="It is merged with the change, as it is here; false: the agent never sees it, nor the branch"
    )


class Acceptance(Value):
    """How we will know that it is done: red on the base commit, green on the change."""

    tests: tuple[str, ...] = Field((), description="Test ids, such as tests/test_search.py::test_empty_query")
    files: tuple[AcceptanceFile, ...] = Field((), description="Test files to add; every test in them must pass")
    command: str | None = Field(None, description="A command that must fail on base and succeed on the change")

    @property
    def is_empty(self) -> bool:
        return not (self.tests or self.files or self.command)


class Budget(Value):
    """What the task may use before it gives up."""

    usd: Annotated[float, Field(ge=0, description="Model spend, in US dollars")] = 5.0
    attempts: Annotated[int, Field(ge=1, le=20, description="Tries of the agent")] = 3
    minutes: Annotated[float, Field(gt=0, le=24 * 60, description="Work time; waiting for people is not counted")] = 60


class Scope(Value):
    """Where the change may be, and how large."""

    paths: Annotated[tuple[Glob, ...], Field(max_length=200)] = Field(
        (), description="Globs of paths that may change; empty means anywhere"
    )
    max_changed_lines: Annotated[int, Field(ge=1, description="Added plus removed lines")] = 400


class Kind(StrEnum):
    """What sort of change a brief asks for, as who briefs says it. Agents may be for some of them alone."""

    FEATURE = "feature"
    FIX = "fix"
    REFACTORING = "refactoring"
    TESTS = "tests"
    DOCS = "docs"
    DEPENDENCIES = "dependencies"
    OTHER = "other"


class Roles(Value):
    """Who does what, as kind/name of agent blocks. Empty: the brief's `agent`."""

    plan: str | None = Field(None, description="Plans the change")
    edit: tuple[str, ...] = Field((), description="Several take turns in a race")
    review: str | None = Field(None, description="Reads the change and tells the reviewers what it thinks of it")


class Brief(Value):
    """One small, well-scoped change, as a person asks for it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    title: Annotated[str, Field(min_length=3, max_length=120, description="Subject of the commit")]
    goal: Annotated[str, Field(min_length=1, max_length=20_000, description="What should be true afterwards")]
    repository: Repository = Field(description="A path on the worker's machine or a git URL, without user or token")
    acceptance: Acceptance = Field(description="How we will know that it is done")
    environment: str | None = Field(None, description="Where to release it; empty ends with a merge")
    agent: str = Field("", description="An agent block, as kind/name, such as claude-code/mine")
    change: Change = Field(
        "",
        description="A branch with a change that was made elsewhere, or refs/pull/NUMBER/head: it is judged as it is, "
        "and no agent works on it; empty: the agent makes the change",
    )
    roles: Roles = Field(Roles(), description="Other agents for single steps")
    race: Annotated[int, Field(ge=1, le=8, description="Tries side by side; the smallest that passes wins")] = 1
    branch: str = Field("", description="The branch to change; empty: the default branch of the repository")
    workshop: str = Field("default", description="The workshop block: sandbox, forge, scanners and targets")
    kind: Kind = Field(
        Kind.OTHER, description="What sort of change it is; one of `docs` or `tests` may change nothing else"
    )
    budget: Budget = Field(Budget(), description="What it may use")
    scope: Scope = Field(Scope(), description="Where the change may be, and how large")
    project: ProjectSettings | str | None = Field(
        None, description="Project settings, or the name of a settings block, for a repository without lockgate.toml"
    )
    may_change_tests: Annotated[tuple[Glob, ...], Field(max_length=200)] = Field(
        (), description="Globs of existing tests that this change may alter"
    )
    propose_acceptance: bool = Field(
        False,
        description="The acceptance is empty, and the agent proposes a test for it: it has to be red on base, and a "
        "person approves it before any code is written",
    )
    may_run_scripts: tuple[NpmName, ...] = Field(
        (), description="npm packages that may bring install scripts; a reviewer must still agree"
    )

    @model_validator(mode="before")
    @classmethod
    def _says_no_acceptance(cls, data: Any) -> Any:
        is_to_propose = isinstance(data, dict) and data.get("propose_acceptance") is True
        return {"acceptance": {}, **data} if is_to_propose else data

    @model_validator(mode="after")
    def _is_one_change(self) -> Self:
        if self.change and self.race > 1:
            raise ValueError("`race` is for agents: a `change` that was made elsewhere is one")
        if self.change and self.change == self.branch:
            raise ValueError(f"`change` and `branch` are both {self.change!r}: name the branch that it goes to")
        return self

    @property
    def digest(self) -> str:
        """Without a field that says nothing and came later: briefs from before there was any keep theirs."""
        silent = {"kind"} if self.kind is Kind.OTHER else set()
        silent |= {name for name in ("change", "propose_acceptance") if not getattr(self, name)}
        return digest_of(self.model_dump(mode="json", exclude=silent))

    @property
    def is_to_propose(self) -> bool:
        """Whether an agent is asked for the acceptance first."""
        return self.propose_acceptance and self.acceptance.is_empty and not self.change

    @property
    def pull(self) -> int | None:
        """The number of the pull request that holds the change; None: a branch does, or an agent makes it."""
        found = _PULL.fullmatch(self.change)
        return int(found[1]) if found else None


Part = Literal["plan", "edit", "review"]


def parts_of(brief: Brief) -> tuple[tuple[Part, str], ...]:
    """(step, agent block) for every piece of work that the brief gives to an agent. A change that was made elsewhere is
    reviewed by one at most."""
    roles = brief.roles
    edits: list[tuple[Part, str]] = [("edit", each) for each in roles.edit or (brief.agent,)]
    reviews: list[tuple[Part, str]] = [("review", roles.review)] if roles.review else []
    if brief.change:
        return tuple(reviews)
    return (("plan", roles.plan or brief.agent), *edits, *reviews)


def agents_of(brief: Brief) -> tuple[str, ...]:
    """Every agent block that a brief names, each once."""
    return tuple(dict.fromkeys(reference for _, reference in parts_of(brief)))


def entrants(brief: Brief, turn: int) -> dict[int, str]:
    """Attempt number → agent, for one turn: `race` attempts side by side, agents taken in turns. Numbers go on."""
    agents = brief.roles.edit or (brief.agent,)
    first = (turn - 1) * brief.race + 1
    return {number: agents[(number - 1) % len(agents)] for number in range(first, first + brief.race)}
