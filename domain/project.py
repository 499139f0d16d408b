"""Project settings: how a repository is tested, built, run and migrated. Read from the base commit, never the head."""

from typing import Annotated

from pydantic import AfterValidator, Field

from domain.egress import EgressRule
from domain.health import HealthCheck
from domain.paths import Glob
from domain.services import Service
from domain.suppressions import Quarantine, Suppression
from domain.value import Value

SENSITIVE_PATHS = (
    "lockgate.toml", ".github/**", ".gitlab-ci.yml", ".circleci/**", "Jenkinsfile", "Dockerfile*", "**/Dockerfile*",
    "docker-compose*", "**/migrations/**", "**/alembic/**", "**/auth/**", "**/auth.py", "**/session*",
    "requirements*.txt", "uv.lock", "poetry.lock", "package-lock.json", "setup.py", "CODEOWNERS", "**/CODEOWNERS",
    "AGENTS.md", "CLAUDE.md", ".claude/**", ".mcp.json", ".cursorrules", ".gitattributes", ".gitmodules",
)  # fmt: skip


def _inside(path: str) -> str:
    plain = path.removeprefix("./").strip("/") if not path.startswith("/") else path
    if plain.startswith("/") or ".." in plain.split("/"):
        raise ValueError(f"{path!r} must be a directory of the repository, relative to its root")
    return "" if plain == "." else plain


class Migrations(Value):
    """Commands that bring the database to the newest schema and one step back."""

    up: str = Field(description="Rehearsed on a copy, then run on the data, before a release starts")
    down: str | None = Field(None, description="One step back: proven on the copy, run by a person's word alone")
    url_variable: str = Field(
        "DATABASE_URL", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Variable that tells a command its database"
    )


class RecordBar(Value):
    """What is asked of an agent's record, by the ledger, before policy trusts it with more."""

    window: Annotated[int, Field(ge=10, le=1000)] = Field(
        30, description="So many of its newest changes that were released are looked at; fewer are not enough"
    )
    rollbacks: int = Field(0, ge=0, description="Of these, so many at most were rolled back, by whomever")
    first_try: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None,
        description="Percent of its newest tasks, `window` of them, whose first attempt no gate refused: surely more "
        "than that, by the lower end of the interval",
    )


SHARED_BRANCHES = (
    "main", "master", "trunk", "dev", "devel", "develop", "development", "integration", "next", "edge", "beta",
    "canary", "test", "testing", "qa", "uat", "stage", "staging", "preview", "prod", "production", "live", "deploy",
    "deploy/**", "env/**", "environments/**", "stable", "stable/**", "stable-*", "*-stable", "release", "release/**",
    "releases/**", "release-*", "support/**", "maintenance/**", "*.x", "gh-pages", "pages",
)  # fmt: skip
"""Names of branches that others build on, whatever their letters' case: nobody's own."""


class ElsewherePolicy(Value):
    """`[elsewhere]`: changes that none of our agents made. It counts in lockgate.toml on the base branch alone."""

    mend: str = Field(
        "",
        description="An agent block, as kind/name: it mends what the gates refuse of a branch, by a commit on "
        "top of it; empty: who made the change does",
    )
    shared: Annotated[tuple[Glob, ...], Field(max_length=200)] = Field(
        (),
        description="Globs of branches that are not one person's, besides those called main, develop, release/1 and "
        "the like: what our agent mends is not put there",
    )


class ReviewPolicy(Value):
    """`[review]`: what may pass without a person. It counts in lockgate.toml on the base branch alone."""

    agent: bool = Field(False, description="A small, plain change passes when the reviewing agent has no concerns")
    agent_lines: Annotated[int, Field(ge=1, le=400, description="Changed lines that `agent` lets pass at most")] = 100
    agents: tuple[str, ...] = Field(
        (), description="Whose review counts, as kind/name; empty: any agent but the one that made the change"
    )
    alone: bool = Field(False, description="A still smaller one passes although nobody reviewed it")
    alone_lines: Annotated[int, Field(ge=1, le=100, description="Changed lines that `alone` lets pass at most")] = 20
    record: RecordBar | None = Field(
        None, description="`agent` and `alone` let pass only changes of an agent whose record is known to be so"
    )
    most_stamps: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None,
        description="A second person must approve unless it is known that at most so many percent of the newest "
        "approvals were rubber stamps",
    )
    least_passing: Annotated[float, Field(ge=0, le=1)] = Field(
        0.5, description="Share of the tests on base that must pass, or a person is asked before the agent starts"
    )
    signed_in: bool = Field(False, description="Only who came in at the door with a token may approve")
    teams: dict[str, tuple[str, ...]] = Field(
        {}, description='Members of the teams and roles that CODEOWNERS names: "@org/web" = ["ann", "bob"]'
    )


class ProjectEgress(Value):
    """What this project's sandboxes may reach besides the package registries and the models."""

    setup: tuple[EgressRule, ...] = Field((), description="While `setup` runs")
    plan: tuple[EgressRule, ...] = Field((), description="While an agent plans")
    edit: tuple[EgressRule, ...] = Field((), description="While an agent edits")
    test: tuple[EgressRule, ...] = Field(
        (), description="Registries are not reached from tests unless they are named here"
    )


class ProjectSettings(Value):
    """The content of `lockgate.toml`."""

    directory: Annotated[str, AfterValidator(_inside)] = Field(
        "",
        description="Directory of the project in its repository, such as services/api: its commands run there, and "
        "`lock` and the other files of its installation are looked for there",
    )
    install: bool = Field(
        False, description="Build the Python project itself in a sandbox, so that its metadata and scripts are there"
    )
    python: str | None = Field(
        None,
        pattern=r"^[0-9<>=!~., *]+$",
        description="The Python it runs on, such as 3.12 or >=3.10,<3.13; default: the worker's own",
    )
    version: str | None = Field(
        None,
        pattern=r"^[0-9A-Za-z.+!-]+$",
        description="What it is built as, where version control tells its version; default: as PKG-INFO says, or 0.0.0",
    )
    requirements: tuple[str, ...] = Field((), description="PEP 508 requirements to install (wheels only)")
    requirement_files: tuple[str, ...] = Field(
        (), description="Requirements files of pip whose lines are installed too"
    )
    lock: str | None = Field(
        None, description="The lock file: uv.lock, poetry.lock, pdm.lock, pylock.toml, Pipfile.lock or requirements.txt"
    )
    sources: tuple[str, ...] = Field(
        (),
        description="Directories that packages are imported from, beside the project's own and its src; `install` "
        "finds them by itself",
    )
    extras: tuple[str, ...] = Field((), description="Extras of the project that its tests need")
    groups: tuple[str, ...] = Field((), description="Dependency groups (PEP 735, poetry, pdm, uv) that its tests need")
    setup: str | None = Field(
        None, description="Run once for each state of the lock files, with the package registries: such as npm ci"
    )
    setup_files: tuple[str, ...] = Field(
        ("**/package.json", "**/package-lock.json", "**/npm-shrinkwrap.json", "**/.npmrc", "**/pnpm-lock.yaml",
         "**/pnpm-workspace.yaml", "**/.pnpmfile.*", "**/yarn.lock", "**/.yarnrc", "**/.yarnrc.yml",
         "**/.yarn/releases/**", "**/.yarn/plugins/**", "**/.yarn/patches/**", "**/patches/**", "**/.nvmrc",
         "**/.corepack.env",
         "**/go.mod", "**/go.sum", "**/go.work", "**/go.work.sum"),
        description="Globs of the files that `setup` sees; it runs again when one of them changes"
    )  # fmt: skip
    image: str | None = Field(None, description="Image for docker sandboxes; default: the base image")
    egress: ProjectEgress = Field(ProjectEgress(), description="What its sandboxes may reach")
    secrets: tuple[str, ...] = Field((), description="Names of secrets that its sandboxes get placeholders for")
    environment: dict[str, str] = Field({}, description="Variables for tests and builds; never secrets")
    test: str = Field("python -m pytest", description="The test command; the known runners are read test by test")
    report: Annotated[str, Field(pattern=r"^(tap|go|cargo|junit:[^/].*)$")] | None = Field(
        None,
        description="What the test command reports, where it starts none of the known runners: tap, go or cargo "
        "(printed), or junit:PATH of the file that it writes",
    )
    services: dict[str, Service] = Field(
        {}, description="`[services.NAME]`: servers that tests need, new and empty for each command"
    )
    known_failures: tuple[str, ...] = Field(
        (),
        description="What fails on base and is not counted: ids of tests, functions without parameters, or files. What "
        "passes on base counts, unless its id or function is named",
    )
    build: str | None = Field(None, description="Must succeed on the change, if it does on base")
    lint: str | None = Field(None, description="Must succeed on the change, if it does on base")
    types: str | None = Field(None, description="Must succeed on the change, if it does on base")
    mutation_s: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        None,
        description="Seconds to try mutants of the changed lines in, with pytest; 0: none are made; default: 3 "
        "and 0.4 of what the tests took",
    )
    run: str | None = Field(None, description="Starts the service; {host}, {port} and {release} are filled in")
    health: HealthCheck = Field(
        HealthCheck(), description="How a release is asked whether it is well: a path, or a table `[health]`"
    )
    migrate: Migrations | None = Field(None, description="How the database follows a release")
    release_environment: dict[str, str] = Field({}, description="Variables for the running release; never secrets")
    test_paths: tuple[str, ...] = Field(
        ("tests/**", "test/**", "**/test_*.py", "**/*_test.py", "**/conftest.py", "conftest.py", "pytest.ini",
         "tox.ini", "setup.cfg", "**/*.test.*", "**/*.spec.*", "**/__tests__/**",
         "**/jest.config.*", "**/vitest.config.*", "**/vitest.workspace.*", "**/.mocharc*", "**/ava.config.*",
         "**/.taprc", "**/*_test.go", "**/testdata/**", "**/tests/**", "**/tests.py"),
        description="What is locked: taken from base whatever the change says"
    )  # fmt: skip
    sensitive_paths: tuple[str, ...] = Field(SENSITIVE_PATHS, description="A change here needs a named reviewer")
    suppress: tuple[Suppression, ...] = Field(
        (), description="Findings that the owners live with: rule, path, reason, owner, until"
    )
    quarantine: tuple[Quarantine, ...] = Field(
        (), description="Tests that fail by chance and are not counted for a while: test, reason, owner, until"
    )
    example_secrets: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")], ...] = Field(
        (), description="Values in documentation that open nothing: the eight hex digits that a finding says of each"
    )
    reviewers: tuple[str, ...] = Field(
        (),
        description="Who may approve what CODEOWNERS leaves open; empty means anyone with a token for `review`, or "
        "with the API credential",
    )
    review: ReviewPolicy = Field(ReviewPolicy(), description="What may pass without a person")
    elsewhere: ElsewherePolicy = Field(ElsewherePolicy(), description="Who mends changes that were made elsewhere")
    test_timeout_s: Annotated[float, Field(gt=0, description="Seconds for each of the commands above")] = 900
