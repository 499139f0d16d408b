"""Who may do what at the front door: roles, tokens, and what a signed-in answer is known by."""

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import Field

from domain.known_by import Way
from domain.policy.reviewers import POLICY, canonical_name
from domain.value import Value, digest_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+@-]{0,62}")
"""As forges and CODEOWNERS call people: a login or an address."""


class Role(StrEnum):
    """What a token is for. Each may also read runs, logs and artifacts, without secrets."""

    SUBMIT = "submit"
    ANSWER = "answer"
    REVIEW = "review"
    RELEASE = "release"
    ADMINISTER = "administer"


class Token(Value):
    """A person's or a program's key to the door. Its value is nowhere: only the hash is kept."""

    id: str
    name: str
    roles: tuple[Role, ...]
    added_at: datetime
    expires_at: datetime | None = Field(None, description="None: it does not expire")
    revoked_at: datetime | None = None
    repositories: tuple[str, ...] = Field((), description="Those that a brief may name; empty: all")
    way: Way = Field(Way.TOKEN, description="How it was shown this time: a token is not the only way to show one")

    def may(self, role: Role) -> bool:
        """Who administers may do everything."""
        return role in self.roles or Role.ADMINISTER in self.roles

    @property
    def sees_all_briefs(self) -> bool:
        """Whether it may read what others have submitted. A brief may be private; who judges has to know it."""
        return any(self.may(role) for role in (Role.REVIEW, Role.ANSWER))

    def why_not(self, now: datetime) -> str | None:
        """Why it opens nothing any more; None if it does."""
        if self.revoked_at is not None:
            return f"was revoked on {self.revoked_at:%Y-%m-%d}"
        if self.expires_at is not None and self.expires_at <= now:
            return f"expired on {self.expires_at:%Y-%m-%d}"
        return None


def why_no_name(name: str) -> str | None:
    """Why nobody can be called so; None if it is a name."""
    if not NAME.fullmatch(name):
        return f"{name!r} is no name for a token: 1 to 63 letters, digits and . _ + @ -, a letter or digit first"
    if canonical_name(name) == POLICY:
        return f"nobody may be called {POLICY!r}: that is who approves where no person is asked"
    return None


def answer_digest(answer: Mapping[str, str]) -> str:
    """What an answer says, for telling whether it is the one that somebody gave at the door."""
    return digest_of(dict(answer))


SIGNED_STARTS: dict[str, tuple[str, ...]] = {
    "rollback": ("environment", "revision"),
    "downgrade": ("environment", "accept"),
}
"""Flow that a person starts by name → those of its parameters that say what is done."""


def start_digest(flow: str, by: str, parameters: Mapping[str, Any]) -> str:
    """What a person has started, for telling whether it is what somebody asked for at the door."""
    return digest_of([flow, by, {name: parameters.get(name) or None for name in SIGNED_STARTS[flow]}])


STARTED_BY = "lockgate.started-by"
"""The label of a run that says whose token started it. Who administers alone could change it."""
START = "start"
"""Under this a start is noted, where an answer is noted under its question."""


class Holding(Value):
    """Why an environment is held or opened, and by whom."""

    environment: str
    reason: str
    by: str
    signed_in: bool = Field(False, description="The name is that of the token it came in with; false: it is a claim")
    way: str = Field("", description="How, if it came in at the door: see `Way` in `domain/known_by.py`")


class Cancelled(Value):
    """Who has cancelled a run."""

    by: str
    why: str = ""
    signed_in: bool = False
    way: str = ""


class NotCancelled(Value):
    """Why a request to cancel was refused after it was noted: it does not stand."""

    by: str
    reason: str
