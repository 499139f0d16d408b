"""What a change wants installed beside what base has: for its own runs and its release, once no rule refuses it.

Nothing is fetched before that; of what is fetched, wheels alone, nothing runs outside a sandbox.
"""

from blocks.workshop import Workshop
from domain.errors import InputError
from domain.ports import Tree
from domain.task import Attempt, Prepared, Severity
from tasks.requirements import project_requirements


def with_its_own(shop: Workshop, prepared: Prepared, attempt: Attempt, base: Tree, change: Tree) -> Prepared:
    """The prepared task as the change wants it. Base's, where it wants nothing else, or what a rule refuses.

    Raises InputError where no rule refuses it and it cannot be installed.
    """
    try:
        wanted = project_requirements(prepared.settings, change)
    except InputError:
        return prepared  # the rules say what is wrong with it
    if set(wanted) == set(prepared.requirements):
        return prepared
    scanners = shop.scanners_for(prepared.brief)
    dependencies = next(scanner for scanner in scanners if scanner.name == shop.dependencies.name)
    if any(one.severity is Severity.REFUSE for one in dependencies.scan(base, change, attempt.changed_paths)):
        return prepared
    shop.toolchains.ensure(wanted, shop.sandbox)
    return prepared.model_copy(update={"requirements": wanted})
