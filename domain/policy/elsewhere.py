"""Rules over a change that was made elsewhere, by somebody who is none of our agents."""

import re
from collections.abc import Sequence

from domain.brief import AcceptanceFile
from domain.errors import InputError
from domain.paths import matches
from domain.project import ProjectSettings
from domain.trees import LINK, Tree

MOST_TESTS, MOST_BYTES = 100, 500_000
_TEST_FILE = re.compile(r"(?:^|/)test_[^/]+\.\w+$|[._-](?:test|spec)\.\w+$|(?:^|/)tests/[^/]+\.rs$")
MADE_ELSEWHERE = "the change was made elsewhere, and not by an agent of ours: a person answers for it"
ACCEPTED_BY_ITSELF = "the brief names no acceptance: the new tests of the change are it, and who made it wrote them: {}"
NO_TESTS = (
    "nothing says how we will know that it is done: the brief names no test under acceptance, and the change adds no "
    "test file of its own. Add one, open the tests that it alters by may_change_tests (else they are judged as base "
    "has them), or name tests under acceptance"
)

TOO_MANY_TESTS = (
    f"it adds over {MOST_TESTS} test files, or over {MOST_BYTES:,} bytes of them: name those that say that it is done "
    "under acceptance"
)


class Unfit(InputError):
    """What stands there is no attempt, and a push may mend it: nothing is wrong with the brief, nor with base."""


def own_tests(
    base: Tree, head: Tree, settings: ProjectSettings, opened: Sequence[str] = ()
) -> tuple[AcceptanceFile, ...]:
    """The test files that a change adds, as acceptance: red on base, green on the change. One that base has is one of
    them if it is among `opened`: else a change must not alter how it is judged. Raises Unfit: they are too many for an
    acceptance, together too."""
    found, size = list[AcceptanceFile](), 0
    for path, entry in sorted(head.items()):
        if path in base and (base[path] == entry or not matches(path, opened)):
            continue
        if not _TEST_FILE.search(path) or not matches(path, settings.test_paths) or entry.mode == LINK:
            continue
        size += len(entry.content)
        if len(found) == MOST_TESTS or size > MOST_BYTES:
            raise Unfit(TOO_MANY_TESTS)
        try:
            found.append(AcceptanceFile(path=path, content=entry.content.decode()))
        except ValueError:  # not UTF-8, or a path that no brief may name
            continue
    return tuple(found)
