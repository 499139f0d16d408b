"""What goes from step to step: commit ids and values, never a directory."""

from enum import StrEnum

from pydantic import Field

from domain.brief import Acceptance, Brief
from domain.checks import Problem
from domain.health import IdentitySource
from domain.project import ProjectSettings
from domain.toolchain import BuiltProject
from domain.value import Value


class CaseOutcome(StrEnum):
    """How one test ended. `missing`: it was not reported at all."""

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    MISSING = "missing"


class Suite(Value):
    """One run of the tests in a fresh sandbox."""

    cases: dict[str, CaseOutcome] = Field(description="Test id → outcome")
    messages: dict[str, str] = Field({}, description="Test id → why it failed, shortened")
    exit_code: int
    checks: dict[str, int] = Field({}, description="build, lint, types, acceptance command → exit code")
    problems: dict[str, tuple[Problem, ...]] = Field({}, description="build, lint, types → what it says, line by line")
    problem: str | None = Field(None, description="Why the run itself cannot be believed")
    runner: str = Field("", description="What ran the tests, as it was read: pytest, unittest, …, exit code")
    canaries: dict[str, str] = Field({}, description="The platform's own tests among them → how each ended")
    rewritten: tuple[str, ...] = Field((), description="On base: files of the tests that the run itself writes anew")
    output: str = Field("", description="Digest in the store of the full output")
    sandbox: str = ""
    seconds: float = 0.0


class Prepared(Value):
    """A task that may start: the base commit and the contract are fixed from here on."""

    run_id: str
    brief: Brief
    base: str = Field(description="Commit id the work starts from")
    settings: ProjectSettings
    settings_source: str = Field(description="lockgate.toml, brief, block NAME, or detected")
    contract: str = Field(description="Digest in the store of the locked tests, configuration and acceptance")
    requirements: tuple[str, ...] = Field(description="Requirement lines to install, resolved from the settings")
    projects: tuple[BuiltProject, ...] = Field((), description="The repository's own projects, as they are installed")
    baseline: Suite | None = Field(None, description="Acceptance and existing tests as they are on base")
    refusals: tuple[str, ...] = Field((), description="Why the brief cannot be worked on; empty means go")
    warnings: tuple[str, ...] = ()
    source: str | None = Field(None, description="Where the brief's `change` stood; None: an agent makes the change")
    own_tests: bool = Field(False, description="The brief names no acceptance: the change's own new tests are it")
    unfit: str = Field("", description="Why what stands at `source` is no attempt, which the next push may mend")

    @property
    def asked(self) -> Brief:
        """The brief as it was asked for, with its branch: the next attempt may bring other tests of its own."""
        return self.brief.model_copy(update={"acceptance": Acceptance()}) if self.own_tests else self.brief


class Plan(Value):
    """What the agent intends, judged before it edits."""

    steps: tuple[str, ...]
    paths: tuple[str, ...] = ()
    dependencies: tuple[str, ...] = ()
    migrations: tuple[str, ...] = ()
    questions: tuple[str, ...] = Field((), description="What only a person can answer; the run waits for it")


NO_PLAN = Plan(steps=())
"""Of a change that was made elsewhere."""


class Opinion(Value):
    """What a reviewing agent says of another's change. It informs the person who decides, and decides nothing."""

    summary: str
    concerns: tuple[str, ...] = Field((), description="What a person should look at, most important first")


class Feedback(Value):
    """Why the last attempt did not get through, in the order to mend it."""

    attempt: int
    source: str = Field(description="policy, tests, reviewer, merge or production")
    points: tuple[str, ...]
    last_commit: str | None = Field(None, description="The attempt's commit, as a starting point")


ELSEWHERE = "elsewhere"
"""Who made a change, where none of our agents did: `elsewhere: NAME`."""


class Attempt(Value):
    """One change by the agent, or one that was made elsewhere, as a commit that the platform made."""

    number: int
    base: str
    commit: str | None = Field(description="None: no usable change; see `problem`")
    tree: str | None = None
    changed_paths: tuple[str, ...] = ()
    added_lines: int = Field(0, description="As git counts them, without the acceptance files that the brief gives")
    removed_lines: int = 0
    problem: str | None = Field(None, description="Why there is no usable change")
    help: str | None = Field(None, description="What the agent needs a person for; it stopped there")
    agent: str = Field("", description="Who made it, as kind/name of the agent block, or `elsewhere: NAME`")
    source: str | None = Field(None, description="The commit elsewhere that this is on base; None: an agent made it")
    bounds: tuple[str, ...] = Field((), description="Globs of the paths that this agent's scope allows; empty: any")
    version: str = Field("", description="Of the agent's program, as it is pinned; empty: nobody knows")
    transcript: str | None = Field(None, description="Digest in the store of the agent's output")
    seconds: float = 0.0

    @property
    def changed_lines(self) -> int:
        return self.added_lines + self.removed_lines


class Packed(Value):
    """A change that a run made, in the store: whatever machine goes on with the run has it from there."""

    repository: str
    branch: str
    base: str
    commit: str
    pack: str = Field(description="Digest in the store of what git sends for the commit beyond base")


class Severity(StrEnum):
    """How much a finding weighs: `refuse` stops the change, `person` asks someone, `note` is shown."""

    REFUSE = "refuse"
    PERSON = "person"
    NOTE = "note"


class Finding(Value):
    """One thing that a gate saw."""

    gate: str
    rule: str
    severity: Severity
    message: str
    path: str | None = None
    line: int | None = None
    fix: str | None = None

    @property
    def sentence(self) -> str:
        """One line: where, what, and how to mend it."""
        where = f"{self.path}:{self.line}: " if self.path and self.line else f"{self.path}: " if self.path else ""
        return f"{where}{self.message}" + (f" ({self.fix})" if self.fix else "")


class CaseRow(Value):
    """One test on base and on the change."""

    test: str
    kind: str = Field(description="acceptance, existing, new or command")
    base: CaseOutcome
    head: CaseOutcome
    message: str = ""
    is_flaky: bool = Field(False, description="Two runs of one tree disagree, or it is in quarantine: not counted")


class Survivor(Value):
    """A line of the change, made wrong, and no test failed."""

    path: str
    line: int
    before: str = Field(description="The line as it is in the change, shortened")
    after: str = Field(description="The same line as it was tried")
    is_run: bool = Field(True, description="False: no test runs this line at all")


class Mutation(Value):
    """Changed lines made wrong one at a time, under the same tests: a good test fails."""

    made: int = 0
    tried: int = 0
    survivors: tuple[Survivor, ...] = ()
    left_out: str = Field("", description="Why none were made: not Python, not pytest, switched off")
    problem: str | None = Field(None, description="Why it is not known what the tests would have said")
    is_late: bool = Field(False, description="The time was up before any was made")
    seconds: float = 0.0

    @property
    def sentence(self) -> str:
        """One line: how many were tried, and how many of them a test noticed."""
        if self.is_late and not self.made:
            return "no mutants: there was no time to make them"
        if self.left_out or not self.made:
            return f"no mutants: {self.problem or self.left_out or 'nothing in the changed lines can be made wrong'}"
        noticed = self.tried - len(self.survivors)
        cut = "" if self.tried == self.made else "; there was no time for the others"
        return f"tried {self.tried} of {self.made} mutants of the changed lines, tests notice {noticed}" + (
            f"; {self.problem}" if self.problem else cut
        )


class DiffCoverage(Value):
    """Which lines of the change the tests run. Lines without a statement are not counted."""

    lines: int
    uncovered: dict[str, tuple[int, ...]] = Field({}, description="Path → changed lines that no test runs, sorted")
    tests: int = Field(0, description="Tests that were watched")
    is_whole: bool = Field(True, description="False: there was no time to watch all of them")

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means all."""
        missed = sum(map(len, self.uncovered.values()))
        return 100 * (self.lines - missed) // self.lines if self.lines else 100

    @property
    def sentence(self) -> str:
        """One line: how many of the changed lines, by how many tests."""
        whole = "" if self.is_whole else ", as many as there was time for"
        return f"{self.percent} % of {self.lines} changed lines are run by a test ({self.tests} watched{whole})"


class Tested(Value):
    """Evidence of the test step."""

    commit: str
    rows: tuple[CaseRow, ...]
    findings: tuple[Finding, ...] = ()
    mutation: Mutation | None = Field(None, description="None: the tests did not pass, so nothing was tried")
    coverage: DiffCoverage | None = None
    sandbox: str = Field(description="Which kind of sandbox ran it")
    seconds: float = 0.0
    output: str | None = Field(None, description="Digest in the store of the full output")


class Scanned(Value):
    """Evidence of the security scan."""

    commit: str
    findings: tuple[Finding, ...]
    suppressed: tuple[str, ...] = Field((), description="What does not count, and by whose word")
    scanners: tuple[str, ...] = Field(description="Which scanners ran, with version")
    seconds: float = 0.0


class Rehearsed(Value):
    """Evidence of a migration's rehearsal on copies of the environment's database."""

    commit: str
    environment: str
    migration_class: str = Field(description="expand, contract or forward-only")
    findings: tuple[Finding, ...]
    report: str = Field(description="Digest of the rehearsal, which the ledger holds whole")


class Evidence(Value):
    """Everything the judge decides on."""

    attempt: Attempt
    tested: Tested
    scanned: Scanned
    rehearsed: Rehearsed | None = Field(None, description="None: the environment has no database, or nothing migrates")
    opinion: Opinion | None = Field(None, description="What a reviewing agent said; it decides nothing")


class Decision(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"
    NEEDS_PERSON = "needs a person"


class Verdict(Value):
    """The judge's decision, with the rules that made it."""

    decision: Decision
    reasons: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        return self.decision is Decision.REFUSED


class Answer(StrEnum):
    APPROVE = "approve"
    CHANGES = "ask for changes"
    REJECT = "reject"
    EXPIRED = "expired"


AGAIN = "#"
"""Between a question's fingerprint and how often it is asked, in the key of each asking but the first."""


def asking_key(fingerprint: str, turn: int) -> str:
    """The ledger's key of a question as it is asked for the `turn`th time, and of its answer."""
    return fingerprint if turn == 1 else f"{fingerprint}{AGAIN}{turn}"


class Approval(Value):
    """What a person answered, bound to exactly what they saw; or the policy, by a rule that the base branch allows."""

    answer: Answer
    reviewer: str
    comment: str = ""
    fingerprint: str = Field(description="Digest of brief, tree and evidence")
    rule: str | None = Field(None, description="The policy's rule that let it pass; None: a person answered")
    others: tuple[str, ...] = Field((), description="Who approved it before, where one person is not enough")
    waits_for: tuple[str, ...] = Field((), description="Whose approvals are still missing; empty: it is whole")
    signed_in: bool = Field(False, description="The name is that of the token it came in with; false: it is a claim")
    way: str = Field("", description="How, if it came in at the door: see `Way` in `domain/known_by.py`")
    forge: str = Field("", description="The hosted forge whose users the names are, such as github.com; empty: none")
    asking: int = Field(1, ge=1, description="How often it had been asked: what is taken back there is asked again")
    points: tuple[str, ...] = Field((), description="What was said at lines, path and line first")

    @property
    def is_approved(self) -> bool:
        return self.answer is Answer.APPROVE and not self.waits_for


class Merged(Value):
    """The change on the branch, or why it is not there."""

    commit: str | None = Field(description="None: the branch moved and the change must be made or tested again")
    new_base: str | None = Field(None, description="Where the branch stands now, when it moved")
    reason: str = ""
    evidence: str | None = Field(None, description="Digest of what tests and scans saw of it")
    approval: str | None = Field(None, description="Digest of the approval")
    reviewer: str | None = Field(None, description="Who approved it")
    head: str | None = Field(None, description="The judged commit, where a hosted forge made another one of it")

    @property
    def asks_again(self) -> bool:
        """What was approved does not stand at its forge any more: the review is open again."""
        return self.commit is None and self.new_base is None

    @property
    def judged(self) -> str | None:
        """The commit that was tested and approved; its tree is that of `commit`."""
        return self.head or self.commit


class Release(Value):
    """One commit, built and started in one environment."""

    environment: str
    revision: str = Field(description="Commit id; the service says it as releaseId")
    artifact: str = Field(description="Digest of the built release")
    url: str = Field(description="Public address")
    previous: str | None = Field(None, description="Revision that served before")
    problem: str | None = Field(None, description="Why it never started; None: it took the traffic")
    timeline: tuple[str, ...] = ()


class Health(Value):
    """What was observed on the public address."""

    revision: str
    healthy: bool
    reason: str
    observations: int
    identity: IdentitySource | None = Field(
        None, description="How it was known that the release itself answered; None: it was not"
    )
    timeline: tuple[str, ...] = ()
    log_tail: str = ""


class RolledBack(Value):
    """Traffic is back on the previous release, as observed, and the merge is reverted."""

    environment: str
    failed: str
    serving: str | None = Field(description="Revision observed serving; None: nothing serves (there was none before)")
    revert: str | None = Field(description="Commit that reverts the merge; None: nothing was, or a pull request will")
    revert_pull: str | None = Field(
        None, description="Page of the pull request that reverts it, if the branch needs one"
    )
    bundle: str = Field(description="Digest in the store of the failure bundle")
    timeline: tuple[str, ...] = ()
    is_asked_for: bool = Field(False, description="A person asked for it: it says nothing of the release that left")
    by_itself: str | None = Field(None, description="Why, where it was live, and neither its run nor a person did it")
    by: str | None = Field(None, description="The person who did it; None: its run, the platform, or nobody said")
    signed_in: bool = Field(False, description="The name is that of the token it came in with; false: it is a claim")
    way: str = Field("", description="How, if it came in at the door: see `Way` in `domain/known_by.py`")


class End(StrEnum):
    """The words for how a task ends. `live` and `merged` are observations."""

    LIVE = "live"
    MERGED = "merged"
    DECLINED = "declined"
    GAVE_UP = "gave_up"
    FROZEN = "frozen"
    REFUSED = "refused"

    @property
    def exit_code(self) -> int:
        return {"live": 0, "merged": 0, "declined": 1, "refused": 2, "gave_up": 3, "frozen": 4}[self.value]


class Outcome(Value):
    """How a task ended, in the words that the UI and the CLI both show."""

    run_id: str
    title: str
    end: End
    sentence: str
    reasons: tuple[str, ...] = ()
    attempts: int = 0
    commit: str | None = None
    url: str | None = None
    environment: str | None = None
    usd: float = 0.0


class BillLine(Value):
    """What one step used. Money is metered by the platform, never taken from the agent's report."""

    run_id: str
    step: str
    attempt: int
    agent: str | None = None
    model: str | None = None
    usd: float = 0.0
    sandbox_s: float = Field(0.0, description="Seconds of sandbox time")


class Scratchpad(Value):
    """The agent's own notes or session, carried from attempt to attempt."""

    attempt: int
    content: str = Field(description="Digest in the store")
    agent: str = Field("", description="Whose it is, as kind/name")
    given: str | None = Field(None, description="Digest of what stood there when the attempt began")


class Raced(Value):
    """Attempts ran side by side, and one passed every gate: the others may stop."""

    turn: int
    passed: int = Field(description="Number of the attempt that passed first")


class Need(Value):
    """Some changed paths, and whose approval they need."""

    names: tuple[str, ...] = Field(description="Any of them; empty: any people at all")
    count: int = Field(1, description="How many of them")
    why: str = Field(description="Where it is written, such as CODEOWNERS line 3")
    paths: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """One line: who, for what, and by whose word."""
        who = f"{self.count} of {', '.join(self.names)}" if self.count > 1 else " or ".join(self.names)
        who = who if self.names else f"{self.count} people"
        more = f" and {len(self.paths) - 3} more" if len(self.paths) > 3 else ""
        return f"{who} must approve {', '.join(self.paths[:3])}{more} ({self.why})"


class Question(Value):
    """What a person is asked, and about exactly what."""

    fingerprint: str
    attempt: int
    commit: str
    text: str = Field(description="Markdown: verdict, tests, findings, diff")
    reviewers: tuple[str, ...] = Field((), description="Everybody whose approval counts; empty: anyone")
    needs: tuple[Need, ...] = Field((), description="Who must approve what; empty: one approval, by anyone")
    signed_in: bool = Field(False, description="Only who is signed in at the door may approve")
    again: str = Field("", description="Why it is asked once more; empty: it is asked for the first time")
    made_by: tuple[str, ...] = Field((), description="Who made the change elsewhere: their own approval does not count")
