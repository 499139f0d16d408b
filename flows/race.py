"""A turn of the loop: one attempt, or several side by side of which the smallest that passes every gate goes on.

A change that was made elsewhere is an attempt, too: it is taken as it stands, and waited for if it has to be mended.
"""

from collections.abc import Callable

from prefect.futures import as_completed

from domain.brief import entrants
from domain.task import Attempt, Feedback, Plan, Prepared
from flows.report import Passed
from tasks.edit import edit, stop_others
from tasks.people.elsewhere import take
from tasks.people.mending import mends, put_on_branch, try_to_mend
from tasks.people.questions import helped

Gates = Callable[[Prepared, Attempt, list[Attempt]], Passed | Feedback]


def race(
    prepared: Prepared, intent: Plan, turn: int, feedback: list[Feedback], earlier: list[Attempt], gates: Gates
) -> Passed | list[Feedback]:
    """The change that goes on, or what was wrong with each. Attempts are judged as they come in; once one has passed,
    those that still edit are stopped. Every attempt is added to `earlier`, the one that goes on last."""
    before = list(earlier)
    if prepared.brief.change:
        running = [take.submit(prepared, turn)]
    else:
        running = [
            edit.submit(prepared, intent, number, tuple(feedback), agent)
            for number, agent in entrants(prepared.brief, turn).items()
        ]
    passed: list[Passed] = []
    wrong: list[Feedback] = []
    for future in as_completed(running):
        attempt = future.result()
        earlier.append(attempt)
        seen = gates(prepared, attempt, before)
        if isinstance(seen, Feedback):
            wrong.append(seen)
            continue
        passed.append(seen)
        if len(running) > 1:
            stop_others(prepared, attempt)
    if not passed:
        return sorted(wrong, key=lambda each: each.attempt)
    best = min(passed, key=lambda each: (each.evidence.attempt.changed_lines, each.evidence.attempt.number))
    earlier.remove(best.evidence.attempt)
    earlier.append(best.evidence.attempt)
    return best


def answered(prepared: Prepared, earlier: list[Attempt], feedback: list[Feedback], gates: Gates) -> list[Feedback]:
    """What was wrong in a turn, with people's answers. What may be mended by an agent of ours, though another one made
    it, is on its branch then, if it passes the gates."""
    if len(feedback) == 1 and mends(prepared, earlier[-1], feedback[0]):
        made = try_to_mend(prepared, earlier[-1], feedback[0])
        if isinstance(gates(prepared, made.attempt, []), Passed):
            put_on_branch(prepared, earlier[-1], made)
    return helped(prepared, feedback)
