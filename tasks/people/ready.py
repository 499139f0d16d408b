"""Waits, before the merge, until everything that merge and release need is there, and the environment is open."""

from prefect.input import RunInput
from pydantic import Field

from blocks.workshop import workshop_of
from domain.errors import LockgateError, NotYet
from domain.notices import Class
from domain.records import LACKING, MERGED, READY
from domain.task import Approval, Evidence, Merged, Prepared
from domain.value import Value
from tasks.pages.show import quote
from tasks.people.asking import answered, known_by
from tasks.people.pager import page
from tasks.people.window import until_open
from tasks.pull_request import until_allowed
from tasks.review_gate import fingerprint, taken_back


class Mended(RunInput):
    """The form in the UI under ⋮ → Resume."""

    mended_by: str = Field(min_length=1, description="Your name, for the record: it is looked at again")


class Lacking(Value):
    """An approved change waits: merge or release would fail."""

    environment: str | None
    reason: str


class Ready(Value):
    """Who said that what was lacking is there again."""

    by: str
    signed_in: bool = False
    way: str = ""


def until_ready(prepared: Prepared, evidence: Evidence, approval: Approval) -> None:
    """Suspend while the environment is frozen, and while merge or release would fail for want of something; a person is
    paged then. Raises Held if nothing may be released there at all."""
    brief, run = prepared.brief, prepared.run_id
    shop = workshop_of(brief)
    merges = [Merged.model_validate(entry.body) for entry in shop.ledger.entries(run_id=run, kind=MERGED.kind)]
    if any(merged.judged == evidence.attempt.commit for merged in merges):
        return  # this run was here before, and was killed after its merge
    mark = fingerprint(prepared, evidence)
    until_allowed(prepared, mark, lambda: taken_back(shop, run, approval) is None)
    for turn in range(100):
        if taken_back(shop, run, approval):
            return  # `merge` asks again, at once and not when the window opens
        until_open(prepared, evidence)
        if (why := lacking(prepared)) is None:
            return
        key = f"ready-{mark[:16]}-{turn}"
        if shop.ledger.find(run, *LACKING.at(key), Lacking) is None and not shop.notices.route(Class.FROZEN):
            page(shop.pager, f"Lockgate: {brief.title}", f"approved, and cannot be merged yet: {why}")
        shop.ledger.record(run, *LACKING.at(key), Lacking(environment=brief.environment, reason=why))
        text = (
            f"# {quote(brief.title)}: approved, and cannot be merged yet\n\n{quote(why)}\n\nNothing was merged. Mend "
            "that, then resume."
        )
        if form := answered(Mended, text, key):
            shop.ledger.record(run, *READY.at(key), Ready(by=form.mended_by, **known_by(run, key, form)._asdict()))
    raise RuntimeError("a hundred times something was lacking; the run stops waiting")


def lacking(prepared: Prepared) -> str | None:
    """Why merge or release would fail now; None if all that they need is there."""
    brief, settings = prepared.brief, prepared.settings
    shop = workshop_of(brief)
    try:
        shop.forge.base(brief.repository, brief.branch)
        if brief.environment is None:
            return None
        target = shop.target(brief.environment)
        if problem := target.preflight():
            return problem
        if settings.migrate and not target.migrates and shop.database(brief.environment) is None:
            return (
                f"the project has migrations, and the target of {brief.environment!r} has no way to run one: name its "
                "database in the workshop's `databases`"
            )
        shop.database(brief.environment)
    except NotYet:
        raise  # the supervisor asks it, and no person
    except LockgateError as err:
        return str(err)
    return None
