"""Suppressions: what the owners of a project looked at and live with, for a while. From lockgate.toml on base alone."""

import datetime

from pydantic import Field

from domain.value import Value

MAX_DAYS = 366
"""Further away is no end."""


class _Word(Value):
    """A person's word, with an end. Without a reason, an owner and an end date it does not count."""

    reason: str = Field("", description="Why this is no danger here")
    owner: str = Field("", description="Who looked at it and answers for it")
    until: datetime.date | None = Field(None, description="Last day that it counts; at most a year ahead")

    def problem(self, today: datetime.date) -> str | None:
        """None if it counts, else why not."""
        for name, value in (("reason", self.reason), ("owner", self.owner)):
            if not value.strip():
                return f"it has no {name}"
        if self.until is None:
            return "it has no end date"
        if self.until < today:
            return f"it ended on {self.until}"
        if self.until > today + datetime.timedelta(days=MAX_DAYS):
            return f"it ends on {self.until}, more than {MAX_DAYS} days ahead"
        return None


class Suppression(_Word):
    """One `[[suppress]]` of lockgate.toml."""

    rule: str = Field(description="Name of a rule, such as semgrep/container-engine-socket; bandit/* for all of a tool")
    path: str = Field(description="Glob of the files that it is about")

    def problem(self, today: datetime.date) -> str | None:
        """None if it counts, else why not."""
        if self.rule.startswith(("*", "?", "[")) or not self.rule.strip():
            return "the rule is not named"
        return super().problem(today)


class Quarantine(_Word):
    """One `[[quarantine]]` of lockgate.toml: a test that fails by chance, and is not counted until it is mended."""

    test: str = Field(min_length=1, description="Id of a test, or of its function, class or file")
