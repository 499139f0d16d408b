"""What a target's database promises."""

from collections.abc import Callable, Sequence
from typing import Protocol

from domain.migration import Applied, Migrate, MigrationBudget, Rehearsal, Serves


class Database(Protocol):
    """A target's database: its migrations are rehearsed on copies, then applied."""

    budget: MigrationBudget

    def rehearse(
        self,
        up: Migrate,
        down: Migrate | None,
        serves: Serves,
        *,
        queries: Sequence[str] | None = None,
        stop: Callable[[], None] = ...,
        say: Callable[[str], None] = ...,
    ) -> Rehearsal:
        """Run a migration on copies and measure; `findings_of` says what follows. Nothing is left of the copies.

        `queries`: statements of the running release; None: what the database knows. `stop` ends what works on a copy,
        where that outgrows the budget. Raises DatabaseError if it
        could not be rehearsed.
        """

    def apply(self, up: Migrate, rehearsal: Rehearsal) -> Applied:
        """Run a rehearsed migration on the database itself, every try with a lock timeout. Safe to repeat."""

    def try_on_copy(self, serves: Serves) -> str | None:
        """Try a release on a copy of the database as it is: None if it is well there, else why not."""

    def current_schema(self) -> str:
        """Fingerprint of the schema. Raises DatabaseError if it cannot be read."""

    def sweep(self) -> tuple[str, ...]:
        """Remove copies that nobody works on any more; their names. Safe to repeat."""

    def doctor(self) -> str | None:
        """None if migrations can be rehearsed, else what is missing and the fix."""
