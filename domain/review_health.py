"""How people review, from the ledger alone: what they were shown, opened and decided, how fast, and what came of it.

It is told with how many cases it is made of, by name and never as a ranking: it shows a team where reviews became a
formality, and nobody who is to blame.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta, tzinfo
from statistics import median
from typing import Any, NamedTuple

from domain.history import OPENED, SHOWN, Asking, Back, GivenAnswer, History, Plant, TaskHistory
from domain.policy.reviewers import canonical_name
from domain.share import Share

WORDS_A_MINUTE = 300
"""Most adults read English at 175 to 300 words a minute, in silence and without code (Brysbaert 2019,
https://doi.org/10.1016/j.jml.2019.104047, over 190 studies). The fastest is taken, so that nobody is called too fast
who is not."""
OUTCOME_DAYS = 14
"""What happens to a change later is put down to other causes."""
NIGHT = (22, 6)
"""From this hour to that one, by the station's clock."""
SIZES = (50, 200, 400)
"""Changed lines up to which a change is of one size."""


class ReviewAnswer(NamedTuple):
    """One answer of one person about one change."""

    run_id: str
    title: str
    by: str
    at: datetime
    answer: str
    lines: int
    files: int
    words: int
    """In what the question showed of the change."""
    seconds: float
    """Since the page was first shown to this person; if that is not on record, since the question was asked."""
    was_shown: bool
    was_opened: bool
    has_comment: bool
    forge: str
    is_own: bool | None
    """The brief was this person's; None: nobody knows whose it was."""
    is_single: bool | None
    """No one else had to approve or did; None: it was no approval, or not the last one."""
    is_at_night: bool
    outcome: str
    """Within `OUTCOME_DAYS`: live, merged, rolled back, reverted, or not merged."""

    @property
    def is_approval(self) -> bool:
        return self.answer == "approve"

    @property
    def reading_s(self) -> float:
        """How long it takes at least to read the change."""
        return 60 * self.words / WORDS_A_MINUTE

    @property
    def is_stamp(self) -> bool | None:
        """A rubber stamp: approved faster than the change can be read, without a comment, by somebody who never opened
        it. None if that cannot be said: it was read elsewhere, say at a forge."""
        if not self.is_approval or self.forge or not self.words:
            return None
        if self.has_comment or self.was_opened:
            return False
        if self.seconds < self.reading_s:
            return True
        return False if self.was_shown else None

    @property
    def was_taken_back(self) -> bool | None:
        """None if nothing went live that could be."""
        return None if self.outcome in ("merged", "not merged") else self.outcome in ("rolled back", "reverted")


class Group(NamedTuple):
    """Some answers together: of a reviewer, of a size, or all."""

    name: str
    answers: int
    approvals: int
    lines: int
    minutes: float | None
    """In the middle: half of the answers took less. None without answers."""
    commented: Share
    opened: Share
    """Of those whose page was shown here."""
    stamps: Share
    """Of the approvals of which it can be said."""
    taken_back: Share

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data."""
        shares = ("commented", "opened", "stamps", "taken_back")
        minutes = None if self.minutes is None else round(self.minutes, 1)
        return {
            "name": self.name, "answers": self.answers, "approvals": self.approvals, "lines": self.lines,
            "median_minutes": minutes, **{name: getattr(self, name).data for name in shares},
        }  # fmt: skip


class ReviewHealth(NamedTuple):
    """How a team reviews."""

    reviews: tuple[ReviewAnswer, ...]
    """Oldest first."""
    whole: Group
    reviewers: tuple[Group, ...]
    """By name."""
    sizes: tuple[Group, ...]
    single: Share
    own: Share
    at_night: Share
    caught: Share
    """Of the planted faults that were answered, those that were not approved."""
    caught_by: tuple[tuple[str, Share], ...]
    """The same of each reviewer, by name."""

    @property
    def data(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "all": self.whole.data,
            "by_reviewer": [each.data for each in self.reviewers],
            "by_size": [each.data for each in self.sizes],
            "single_approver": self.single.data,
            "own_briefs": self.own.data,
            "at_night": self.at_night.data,
            "planted_caught": self.caught.data,
            "planted_caught_by": {name: share.data for name, share in self.caught_by},
            "words_a_minute": WORDS_A_MINUTE,
            "outcome_days": OUTCOME_DAYS,
        }


def health(histories: Iterable[History], zone: tzinfo | None = None) -> ReviewHealth:
    """`zone`: in which it is night; None: this machine's."""
    histories = tuple(histories)
    found = sorted(
        (
            review
            for history in histories
            for task in history.tasks.values()
            for review in _reviews(task, history, zone)
        ),
        key=lambda review: (review.at, review.run_id, review.by),
    )
    names = {canonical_name(each.by): each.by for each in found}
    limits = (0, *SIZES)
    sizes = [
        _group(
            f"{low + 1 if low else 0} to {high} lines",
            [r for r in found if low < r.lines <= high or (r.lines == low == 0)],
        )
        for low, high in zip(limits, SIZES, strict=False)
    ]
    sizes.append(_group(f"more than {SIZES[-1]} lines", [r for r in found if r.lines > SIZES[-1]]))
    approvals = [each for each in found if each.is_approval]
    return ReviewHealth(
        reviews=tuple(found),
        whole=_group("all", found),
        reviewers=tuple(
            _group(names[name], [r for r in found if canonical_name(r.by) == name]) for name in sorted(names)
        ),
        sizes=tuple(sizes),
        single=_share(approvals, lambda each: each.is_single),
        own=_share(approvals, lambda each: each.is_own),
        at_night=_share(found, lambda each: each.is_at_night),
        **_of_planted(histories),
    )


def _of_planted(histories: Sequence[History]) -> dict[str, Any]:
    answered = [one for history in histories for one in history.planted.values() if one.answer is not None]
    names = {canonical_name(one.reviewer): one.reviewer for one in answered}
    by = {
        shown: [one for one in answered if canonical_name(one.reviewer) == name]
        for name, shown in sorted(names.items())
    }
    return {
        "caught": _caught(answered), "caught_by": tuple((name, _caught(mine)) for name, mine in by.items())
    }  # fmt: skip


def _caught(planted: Sequence[Plant]) -> Share:
    return Share(sum(one.answer != "approve" for one in planted), len(planted))


def _reviews(task: TaskHistory, history: History, zone: tzinfo | None) -> Iterable[ReviewAnswer]:
    for given in task.given:
        asked = task.asked.get(given.key)
        if asked is None or not asked.attempt:
            continue  # whether to begin at all: there is no change yet
        who, one = canonical_name(given.by), task.tries.get(asked.attempt)
        shown = task.looks.get((given.key, who, SHOWN))
        opened = task.looks.get((given.key, who, OPENED))
        shown, opened = (at if at and at <= given.at else None for at in (shown, opened))
        approves = given.answer == "approve"
        hour = given.at.astimezone(zone).hour
        yield ReviewAnswer(
            run_id=task.run_id, title=task.title, by=given.by, at=given.at, answer=given.answer,
            lines=one.lines if one else 0, files=one.files if one else 0, words=asked.words,
            seconds=(given.at - (shown or asked.at)).total_seconds(), was_shown=shown is not None,
            was_opened=opened is not None, has_comment=given.has_comment, forge=given.forge,
            is_own=canonical_name(task.asked_by) == who if task.asked_by else None,
            is_single=given.others == 0 if approves and given.is_whole else None,
            is_at_night=hour >= NIGHT[0] or hour < NIGHT[1],
            outcome=_outcome(task, asked, given, history.back),
        )  # fmt: skip


def _outcome(task: TaskHistory, asked: Asking, given: GivenAnswer, back: dict[str, Back]) -> str:
    if task.merged is None or task.judged != asked.commit:
        return "not merged"
    gone = back.get(task.merged)
    if gone and gone.at - given.at <= timedelta(days=OUTCOME_DAYS):
        return "reverted" if gone.is_reverted else "rolled back"
    return "live" if task.live else "merged"


def _group(name: str, reviews: Sequence[ReviewAnswer]) -> Group:
    return Group(
        name=name,
        answers=len(reviews),
        approvals=sum(each.is_approval for each in reviews),
        lines=sum(each.lines for each in reviews),
        minutes=median(each.seconds for each in reviews) / 60 if reviews else None,
        commented=_share(reviews, lambda each: each.has_comment),
        opened=_share([each for each in reviews if each.was_shown], lambda each: each.was_opened),
        stamps=_share(reviews, lambda each: each.is_stamp),
        taken_back=_share([each for each in reviews if each.is_approval], lambda each: each.was_taken_back),
    )


def _share(reviews: Iterable[ReviewAnswer], is_so: Callable[[ReviewAnswer], bool | None]) -> Share:
    """Of those of which it can be said."""
    known = [found for each in reviews if (found := is_so(each)) is not None]
    return Share(sum(known), len(known))
