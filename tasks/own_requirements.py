"""What a change wants installed beside what base has: for its own runs and its release, once no rule refuses it.

Nothing is fetched before that; of what is fetched, wheels alone, nothing runs outside a sandbox.
"""

from blocks.workshop import Workshop
from domain.errors import InputError
from domain.ports import Tree
from domain.task import Attempt, Prepared, Severity
from tasks.requirements import installation, needs_build
from tasks.room import toolchain_of


def with_its_own(shop: Workshop, prepared: Prepared, attempt: Attempt, base: Tree, change: Tree) -> Prepared:
    """The prepared task as the change wants it. Base's, where it wants nothing else, or what a rule refuses.

    Raises InputError where no rule refuses it and it cannot be installed.
    """
    known = prepared.projects
    if known and needs_build(known, prepared.settings, base, change):
        known = ()
    try:
        wanted = installation(shop, prepared.settings, change, known)
    except InputError as err:
        if not known and prepared.projects:
            raise InputError(f"the change cannot be installed: {err}") from err
        return prepared  # the rules say what is wrong with it
    if wanted == (prepared.requirements, prepared.projects):
        return prepared
    scanners = shop.scanners_for(prepared.brief)
    dependencies = next(scanner for scanner in scanners if scanner.name == shop.dependencies.name)
    if any(one.severity is Severity.REFUSE for one in dependencies.scan(base, change, attempt.changed_paths)):
        return prepared
    changed = prepared.model_copy(update={"requirements": wanted.requirements, "projects": wanted.projects})
    toolchain_of(shop, changed)
    return changed
