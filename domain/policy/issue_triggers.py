"""Which label or command at an issue asks for a run, and whether the text is still the one it was put on."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from domain.issues import COMMAND, IssueComment, IssueEvent, IssueText, Trigger
from domain.policy.reviewers import canonical_name


def triggers(
    events: Iterable[IssueEvent],
    comments: Iterable[IssueComment],
    label: str,
    after: datetime,
    me: str = "",
    assigned_after: datetime | None = None,
) -> tuple[Trigger, ...]:
    """All since `after`, the oldest first. A label that was taken away again asks for nothing, and neither does an
    assignment to `me` that was. Assignments from before `assigned_after` are none; None: no assignment is one."""
    events = sorted(events, key=lambda one: one.id)
    gone = max((one.id for one in events if is_of(one, "unlabeled", label)), default=0)
    let_go = max((one.id for one in events if is_to(one, "unassigned", me)), default=0)
    found = [
        Trigger(key=f"label-{one.id}", id=one.id, by=one.by, at=one.at, is_by_app=one.is_by_app)
        for one in events
        if is_of(one, "labeled", label) and one.id > gone and one.at >= after and one.by
    ]
    found += [
        Trigger(key=f"assigned-{one.id}", id=one.id, by=one.by, at=one.at, is_by_app=one.is_by_app)
        for one in events
        if is_to(one, "assigned", me) and one.id > let_go and assigned_after and one.at >= assigned_after and one.by
    ]
    found += [
        Trigger(key=f"comment-{one.id}", id=one.id, by=one.by, at=one.at, is_by_app=one.is_by_app, version=one.version)
        for one in comments
        if one.is_command and one.at >= after and one.by
    ]
    return tuple(sorted(found, key=lambda one: (one.at, one.key)))


def is_of(event: IssueEvent, kind: str, label: str) -> bool:
    """Whether the event is of that kind and label; to a forge, capital letters of a label are all one."""
    return event.kind == kind and event.label.casefold() == label.casefold()


def is_to(event: IssueEvent, kind: str, login: str) -> bool:
    """Whether the event is of that kind, about this user."""
    return event.kind == kind and bool(login) and canonical_name(event.assignee) == canonical_name(login)


def is_a_person(trigger: Trigger, me: str) -> bool:
    """Not a bot, not an app in somebody's name, not the platform itself. Whether they may write is asked elsewhere."""
    by = trigger.by
    return not (by.is_bot or trigger.is_by_app or canonical_name(by.login) == canonical_name(me))


def why_changed(trigger: Trigger, text: IssueText, events: Iterable[IssueEvent]) -> str | None:
    """Why the text, or the repository, may be another one than whoever asked meant; None if it is the same.

    The forge's clock counts seconds: an edit in the same one is a later one. `events` were read after `text`.
    """
    later = [one for one in events if (one.at >= trigger.at if trigger.is_comment else one.id > trigger.id)]
    if any(one.kind == "moved" or (one.kind == "sorted" and not _is_by_same(one, trigger)) for one in later):
        return (
            "it came here after that, from another project or part: nobody has asked for a run in this repository. "
            f"Take the label off and put it on again, or write `{COMMAND}` in a new comment"
        )
    if trigger.version:
        return None  # it says itself which text it means
    is_changed = any(one.kind in ("renamed", "edited") for one in later)
    if is_changed or (text.edited_at is not None and text.edited_at >= trigger.at):
        return (
            "its text was edited after that: nobody has asked for what it says now. Read it, take the label off and "
            f"put it on again, or write `{COMMAND}` in a new comment"
        )
    return None


def _is_by_same(event: IssueEvent, trigger: Trigger) -> bool:
    return event.by is not None and event.by.id == trigger.by.id and not event.is_by_app


def why_unsure(trigger: Trigger, text: IssueText, *, is_by_writers: bool) -> str | None:
    """Why it is not known whether the text is the one that was asked for; None if it is. The forge may not say when a
    text was edited, and somebody may edit this one who may not ask for a run: its author; or, at Forgejo, a team that
    has issues alone, if anything changed since. Or the command names another text."""
    is_as_it_was = text.changed_at is not None and text.changed_at <= trigger.at
    is_sure = text.is_edit_told or (is_by_writers and is_as_it_was)
    if trigger.version == text.version or (not trigger.version and is_sure):
        return None
    if trigger.version:
        why = "the command names another text than the one that stands here now"
    elif not is_by_writers:
        why = "this forge does not say when a text was edited, and who wrote this one may not write here"
    else:
        why = "something changed here after that, and this forge does not say whether it was the text"
    return (
        f"{why}. Read it as it stands below, and write `{COMMAND} {text.version}` in a new comment, which asks for "
        "exactly this text"
    )


def why_stopped(
    trigger: Trigger, events: Sequence[IssueEvent], label: str, *, is_open: bool, me: str = ""
) -> str | None:
    """Why nobody wants the run any more; None if they do."""
    if not is_open:
        return "it was closed"
    if trigger.is_assignment:
        is_let_go = any(is_to(one, "unassigned", me) and one.id > trigger.id for one in events)
        return "it is not assigned to the platform any more" if is_let_go else None
    taken = [one for one in events if is_of(one, "unlabeled", label)]
    if any(one.at > trigger.at if trigger.is_comment else one.id > trigger.id for one in taken):
        return "the label was taken away"
    return None
