"""What the people at a hosted forge have decided about a pull request. Read anew each time it is needed.

An approval counts for one commit: that which was judged. Whoever gave it is known by the forge's user id, and may write
there now; a bot's never counts, nor our own, nor one by whom base's policy does not name.
"""

from collections.abc import Callable, Sequence

from pydantic import Field

from domain.policy.reviewers import canonical_name, may_approve, missing
from domain.pull_request import Person, Proposed, PullRequest, PullReview, PullState, ReviewState, Thread
from domain.task import Answer, Question
from domain.value import Value

MAX_POINTS = 50
MAX_TEXT = 2000
BY_HAND = "it was merged at the forge by hand, and nothing was released from it"


class Heard(Value):
    """What they have decided, or why it is nothing yet."""

    answer: Answer | None = Field(description="None: nothing yet; see `waits_for`")
    by: tuple[Person, ...] = ()
    comment: str = ""
    points: tuple[str, ...] = Field((), description="What was said at lines, path and line first")
    waits_for: tuple[str, ...] = Field((), description="What is missing, and which approvals do not count and why")


def hear(
    question: Question,
    proposed: Proposed,
    pull: PullRequest,
    reviews: Sequence[PullReview],
    threads: Sequence[Thread],
    *,
    may_write: Callable[[Person], bool],
    me: str,
    given: Sequence[str] = (),
) -> Heard:
    """`given`: who approved exactly this elsewhere."""
    if pull.state is PullState.CLOSED:
        return Heard(answer=Answer.REJECT, comment=_why_closed(pull), by=_ended_by(pull))
    is_merged = pull.state is PullState.MERGED
    if why := _why_another(proposed, pull):
        if is_merged:
            return Heard(answer=Answer.REJECT, comment=f"{BY_HAND}; {why}", by=_ended_by(pull))
        if proposed.judged and pull.head != proposed.head:  # of people whose branch it is: the next attempt
            return Heard(answer=Answer.CHANGES, comment=f"it was pushed to, so {pull.head[:12]} is judged instead")
        return Heard(answer=None, waits_for=(why,))
    waits: list[str] = []
    approved: list[Person] = []
    wishes: list[PullReview] = []
    undated: list[PullReview] = []
    for review in _newest(reviews):
        is_wish = review.state is ReviewState.CHANGES_REQUESTED
        is_undated = is_wish and not review.commit
        why_not = (
            _why_nobody(review.by, me, may_write) if is_undated else _why_not(review, proposed.head, me, may_write)
        )
        if not why_not and not is_wish and _is_same(review.by, pull.by):
            why_not = "opened the pull request"
        if not why_not and not is_wish and review.id <= proposed.after:
            why_not = "approved it before the gates had spoken, and has to do so again"
        if not why_not and not is_wish and not may_approve(question.needs, review.by.login):
            why_not = "is not among those whom the base branch names"
        if why_not:
            waits.append(f"the review of {review.by.login} does not count: {review.by.login} {why_not}")
        elif is_undated:  # it may be of this commit, so it holds back, as an open conversation does
            undated.append(review)
            name = review.by.login
            waits.append(f"{name} asks for changes in an unknown commit: {name} has to approve, or to take that back")
        elif is_wish:
            wishes.append(review)
        else:
            approved.append(review.by)
    talking = [thread for thread in threads if not thread.is_resolved and _counts(thread, me, may_write)]
    if is_merged:
        if standing := [*wishes, *undated]:
            why = f"{standing[0].by.login} had asked for changes"
            return Heard(answer=Answer.REJECT, comment=f"{BY_HAND}: {why}", by=_ended_by(pull))
        return _merged_by_hand(question, pull, approved, given, me, may_write)
    if wishes:
        points = tuple(_point(thread, me, may_write) for thread in talking[:MAX_POINTS])
        comment = "\n\n".join(f"{one.by.login}: {one.text[:MAX_TEXT]}" if one.text else "" for one in wishes).strip()
        return Heard(answer=Answer.CHANGES, by=tuple(one.by for one in wishes), comment=comment, points=points)
    names = [*given, *(person.login for person in approved)]
    waits += [need.sentence for need in missing(question.needs, names)]
    if not question.needs and not approved:
        waits.append("an approval by somebody who may write there")
    elif not approved:
        waits.append("an approval there")
    if talking:
        waits.append(f"{len(talking)} conversations are not resolved, the first at {_place(talking[0])}")
    if pull.is_draft:
        waits.append("somebody made it a draft again: mark it as ready for review")
    is_held = bool(undated or talking or pull.is_draft or missing(question.needs, names))
    if approved and not is_held:
        return Heard(answer=Answer.APPROVE, by=tuple(approved))
    return Heard(answer=None, by=tuple(approved), waits_for=tuple(dict.fromkeys(waits)))


def _why_another(proposed: Proposed, pull: PullRequest) -> str | None:
    """Why the pull request is not what was judged; None if it is."""
    if pull.head != proposed.head:
        moved = "it stood" if pull.state is PullState.MERGED else "the branch was moved"
        at = "at" if pull.state is PullState.MERGED else "to"
        return f"{moved} {at} {pull.head[:12]}, which nobody judged; {proposed.head[:12]} was judged"
    if proposed.base and pull.base != proposed.base:
        return f"it leads to {pull.base} now, and {proposed.base} was judged"
    return None


def _why_closed(pull: PullRequest) -> str:
    if pull.is_branch_gone:
        return f"its pull request was closed without a merge: its branch {pull.branch} was deleted"
    return "its pull request was closed without a merge"


def _merged_by_hand(
    question: Question,
    pull: PullRequest,
    approved: Sequence[Person],
    given: Sequence[str],
    me: str,
    may_write: Callable[[Person], bool],
) -> Heard:
    """Who merges exactly what was judged approves it, if their approval would count. If not, nothing is released."""
    by = pull.ended_by
    why = _why_nobody(by, me, may_write) if by else None
    if why is None and _is_same(by, pull.by):
        why = "opened the pull request"
    if by and why is None and may_approve(question.needs, by.login):
        approved = [*(one for one in approved if one.id != by.id), by]
    lacking = [need.sentence for need in missing(question.needs, [*given, *(one.login for one in approved)])]
    if approved and not lacking:
        return Heard(answer=Answer.APPROVE, by=tuple(approved), comment="merged there by hand")
    lacking = lacking or [f"{by.login} {why}" if by and why else "nobody approved it there"]
    return Heard(answer=Answer.REJECT, comment=f"{BY_HAND}: {'; '.join(lacking)}", by=_ended_by(pull))


def _is_same(person: Person | None, other: Person | None) -> bool:
    return person is not None and other is not None and person.id == other.id


def _newest(reviews: Sequence[PullReview]) -> list[PullReview]:
    """The last word of each person; a mere comment takes nothing back, and what was dismissed is gone."""
    last: dict[int | str, PullReview] = {}
    for review in sorted(reviews, key=lambda one: one.id):
        if review.state in (ReviewState.COMMENTED, ReviewState.PENDING):
            continue
        last[review.by.id] = review
    return [one for one in last.values() if one.state is not ReviewState.DISMISSED]


def _why_not(review: PullReview, head: str, me: str, may_write: Callable[[Person], bool]) -> str | None:
    if review.commit != head:
        return f"saw {review.commit[:12] or 'an unknown commit'}, and {head[:12]} was judged"
    return _why_nobody(review.by, me, may_write)


def _why_nobody(person: Person, me: str, may_write: Callable[[Person], bool]) -> str | None:
    if person.is_bot:
        return "is a bot"
    if canonical_name(person.login) == canonical_name(me):
        return "is the platform itself"
    return None if may_write(person) else "may not write there"


def _counts(thread: Thread, me: str, may_write: Callable[[Person], bool]) -> bool:
    """Whether somebody who may write said something in it. What outsiders say is no order to an agent."""
    return any(_why_nobody(remark.by, me, may_write) is None for remark in thread.remarks)


def _point(thread: Thread, me: str, may_write: Callable[[Person], bool]) -> str:
    said = [one for one in thread.remarks if _why_nobody(one.by, me, may_write) is None]
    return f"{_place(thread)}: " + " / ".join(f"{one.by.login}: {one.text[:MAX_TEXT]}" for one in said)


def _place(thread: Thread) -> str:
    return f"{thread.path}:{thread.line}" if thread.line else thread.path


def _ended_by(pull: PullRequest) -> tuple[Person, ...]:
    return (pull.ended_by,) if pull.ended_by else ()
