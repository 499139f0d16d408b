"""What agents have spent this week, by the ledger: read without importing Prefect or SQLAlchemy."""

from datetime import UTC, datetime, time

from blocks.ledger.reading import Reader
from domain.agent_scope import SPENDING, spent_in, week_of


def this_week(url: str) -> dict[str, float]:
    """Agent as kind/name → US dollars, in the ledger at a URL. Raises LedgerError if the database does not answer."""
    monday = datetime.combine(week_of(datetime.now(UTC)), time(), UTC)
    return spent_in(Reader(url).entries(kinds=SPENDING, since=monday))
