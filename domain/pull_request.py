"""What a hosted forge says of the one pull request of a run, and what we say there."""

from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from domain.value import Value


class PullState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class Person(Value):
    """A user of a hosted forge or a tracker. A login can be given up and taken by another; the id stays."""

    login: str
    id: int | str
    is_bot: bool = False
    name: str = Field("", description="How people call them, where the login is a mere id")

    @property
    def shown(self) -> str:
        return self.name or self.login


class PullRequest(Value):
    """A pull request as it stands now."""

    number: int
    url: str = Field(description="Its page, for people")
    node: str = Field("", description="Its id for calls that know no number")
    branch: str = Field(description="Where it comes from")
    base: str = Field(description="The branch it goes to")
    head: str = Field(description="Commit id at the tip of `branch`")
    state: PullState
    is_draft: bool = False
    merged_commit: str | None = Field(None, description="What was merged became this commit on `base`")
    by: Person | None = Field(None, description="Who opened it; None: a user who is gone")
    ended_by: Person | None = Field(None, description="Who merged or closed it; None: nobody, or it is not said")
    is_branch_gone: bool = Field(False, description="It was closed, and `branch` is not there any more")


class ReviewState(StrEnum):
    APPROVED = "APPROVED"
    CHANGES_REQUESTED = "CHANGES_REQUESTED"
    COMMENTED = "COMMENTED"
    DISMISSED = "DISMISSED"
    PENDING = "PENDING"


class PullReview(Value):
    """One review. Its text is a person's, and data."""

    id: int
    by: Person
    state: ReviewState
    commit: str = Field(description="Commit id that was the head when it was given; empty: the forge does not say")
    text: str = ""


class Remark(Value):
    """What one person wrote at a line."""

    by: Person
    text: str


class Thread(Value):
    """Remarks at one line of the change."""

    path: str
    line: int | None = Field(None, description="None: the line is in the newest change no more")
    is_resolved: bool = False
    remarks: tuple[Remark, ...]


class StatusState(StrEnum):
    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


class Level(StrEnum):
    NOTICE = "notice"
    WARNING = "warning"
    FAILURE = "failure"


class Annotation(Value):
    """What a gate says of one line."""

    path: str
    line: int = Field(ge=1)
    level: Level
    title: str
    message: str


class LineRemark(Value):
    """What the gates say of one line, as Markdown in which nothing of others' text has an effect."""

    path: str
    line: int = Field(ge=1)
    where: str = Field(description="Path and line, as that Markdown")
    text: str
    is_as_judged: bool = Field(True, description="The file at the head is the judged one, so its lines are the same")


class Status(Value):
    """What one gate says of a commit."""

    context: str = Field(description="Its name, such as lockgate/tests: required checks name it")
    state: StatusState
    sentence: str = ""
    text: str = Field("", description="More of it, as Markdown, where the forge has room for it")
    annotations: tuple[Annotation, ...] = Field((), description="At lines of the change, where the forge shows them")


class DeploymentState(StrEnum):
    IN_PROGRESS = "in_progress"
    SUCCESS = "success"
    FAILURE = "failure"
    INACTIVE = "inactive"


class MergeAnswer(NamedTuple):
    """The commit on the base branch; or why the forge did not merge."""

    commit: str | None
    reason: str = ""
    is_moved: bool = False
    """It is not what was judged and approved: another head, or a draft again."""
    may_pass: bool = False
    """It was refused for the state that things are in, which may be another one in a moment."""


class Reverting(Value):
    """The commit that takes a merge back, before anything of it was pushed."""

    commit: str


class Proposed(Value):
    """The pull request of a run, as it was when the change was judged; on record."""

    host: str = Field(description="The forge, such as github.com")
    repository: str
    number: int
    url: str
    branch: str
    head: str = Field(description="The judged commit: approvals of another one do not count")
    base: str = Field("", description="The branch that it has to lead to; empty: written by an older Lockgate")
    judged: str = Field("", description="That commit on base, where the pull request is somebody else's; empty: ours")
    by: str = Field("", description="Who opened it, if that is not us: their own approval does not count")
    after: int = Field(0, description="The newest review when the gates had spoken: approvals up to it do not count")
