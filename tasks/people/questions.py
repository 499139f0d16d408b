"""A plan that policy lets pass and whose questions a person has answered. While they are open, nothing runs."""

from collections.abc import Sequence

from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import workshop_of
from domain.errors import AgentError
from domain.policy import judge_plan
from domain.records import ANSWERS
from domain.task import NO_PLAN, Feedback, Plan, Prepared, Severity
from tasks.pages.show import bullets, quote
from tasks.people.asking import answered, known_by
from tasks.plan import plan


class Answers(RunInput):
    """The form in the UI under ⋮ → Resume."""

    answers: str = Field(min_length=1, description="Answers to the questions above")
    answered_by: str = Field(min_length=1, description="Your name, for the record")


HELP = "help"
"""Source of a feedback that is the agent's own call for a person."""


def questions_answered(prepared: Prepared, questions: Sequence[str], key: str, attempt: int = 0) -> Feedback:
    """Suspend until somebody answers. The answer is in the ledger before the run goes on; nothing is asked twice."""
    ledger = workshop_of(prepared.brief).ledger
    for turn in range(100):
        known = ledger.find(prepared.run_id, *ANSWERS.at(key), Feedback)
        if known:
            return known
        text = f"# {quote(prepared.brief.title)}: the agent asks\n\n{bullets(questions)}"
        asked = f"questions-{key}-{turn}"
        form = answered(Answers, text, asked)
        if form is None:
            continue
        by = f"{form.answered_by} ({known_by(prepared.run_id, asked, form)})"
        points = (f"asked: {'; '.join(questions)}", f"{by} answered: {form.answers}")
        answer = Feedback(attempt=attempt, source="reviewer", points=points)
        return ledger.record(prepared.run_id, *ANSWERS.at(key), answer)
    raise RuntimeError("a hundred answers were not usable; the run stops asking")


def helped(prepared: Prepared, feedback: Sequence[Feedback]) -> list[Feedback]:
    """The feedback of one turn, with a person's answer in place of each call for help."""
    return [
        questions_answered(prepared, each.points, f"help-{each.attempt}", each.attempt) if each.source == HELP else each
        for each in feedback
    ]


def agreed_plan(prepared: Prepared) -> Plan:
    """The agent's plan, in three tries at most. Raises AgentError if none of them can be followed. A change that was
    made elsewhere has none."""
    if prepared.brief.change:
        return NO_PLAN
    answers: tuple[Feedback, ...] = ()
    for asked in range(1, 4):
        intent = plan(prepared, answers, asked)
        if intent.questions:
            answers += (questions_answered(prepared, intent.questions, str(asked)),)
        elif wrong := tuple(f.sentence for f in judge_plan(intent, prepared) if f.severity is Severity.REFUSE):
            answers += (Feedback(attempt=0, source="policy", points=wrong),)
        else:
            return intent
    raise AgentError(f"no plan in three tries: {answers[-1].points[-1]}")
