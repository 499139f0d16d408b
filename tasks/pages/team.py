"""What agents did and how people review, as Markdown in the Prefect UI."""

from prefect.artifacts import create_markdown_artifact

from domain.history import History
from domain.review_health import Group, ReviewHealth, health
from domain.track_record import TrackRecord, records, total
from tasks.pages.show import quote


def publish(history: History) -> None:
    """As the artifact `team` of the run that calls it."""
    create_markdown_artifact(
        key="team", markdown=markdown(history), description="What agents did, and how people review"
    )


def markdown(history: History) -> str:
    """Tables with the n of each share, by name."""
    whole, agents, reviews = total([history]), records([history]), health([history])
    if whole is None:
        return "# Team\n\nNo agent has been asked for anything yet."
    parts = ["# Team", "## Agents", _table(AGENTS, [*map(_agent, agents), _agent(whole)])]
    refused = [f"- {quote(one.line.agent)}: " + ", ".join(f"{quote(r.rule)} {r.times} ×" for r in one.reasons)
               for one in agents if one.reasons]  # fmt: skip
    if refused:
        parts += ["What refused their attempts most often:", "\n".join(refused)]
    if reviews.reviews:
        parts += [
            "## Reviews",
            _table(REVIEWS, [*map(_group, reviews.reviewers), _group(reviews.whole)]),
            _sentence(reviews),
        ]
    parts.append(
        "Shares are in percent from ten cases on, with the interval in which the truth lies in 95 of 100 cases "
        "(Wilson). Nothing here is a ranking: what has fewer than 20 cases, or overlaps, is not told apart. Deleted "
        "runs are counted."
    )
    return "\n\n".join(parts)


AGENTS = (
    "Agent",
    "Asked",
    "Attempts",
    "Passed at first try",
    "Merged",
    "Live",
    "Rolled back, of all released",
    "Reverted",
    "A live change costs",
)
REVIEWS = (
    "Who", "Answers", "Changed lines", "Took, in the middle", "With a comment", "Opened the change", "Rubber stamps",
    "Taken back in 14 days",
)  # fmt: skip


def _agent(one: TrackRecord) -> tuple[str, ...]:
    usd, minutes = one.usd_per_live, one.minutes_per_live
    costs = "–" if usd is None or minutes is None else f"${usd:.2f}, {minutes:.1f} min"
    named = " ".join(quote(part) for part in one.line if part)
    return (
        named, f"{one.asked}", f"{one.attempts}", one.first_try.shown, f"{one.merged}", f"{one.live}",
        one.taken_back.shown, f"{one.reverted}", costs,
    )  # fmt: skip


def _group(one: Group) -> tuple[str, ...]:
    minutes = "–" if one.minutes is None else f"{one.minutes:.1f} min"
    shares = (one.commented.shown, one.opened.shown, one.stamps.shown, one.taken_back.shown)
    return (quote(one.name), f"{one.answers}", f"{one.lines}", minutes, *shares)


def _sentence(found: ReviewHealth) -> str:
    return (
        f"One approver alone: {found.single.shown}. Of one's own brief: {found.own.shown}. "
        f"Between 22 and 6 h: {found.at_night.shown}."
        + (f" Planted faults that were caught: {found.caught.shown}." if found.caught.of else "")
    )


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
