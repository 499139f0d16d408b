"""Detection: how a repository is installed and tested, read from its tree as data. Nothing of it is run.

`detect` looks for one language after another, in the order of `LANGUAGES`; the first that knows how the tests are run
tells the settings. `prepare` uses them if there is no lockgate.toml, and `lockgate init` writes them into one.

- `reading.py` has what every language needs: `Detected`, and files of a tree as text, TOML or JSON.
- `python.py`, `node.py`, `other.py` each have one function, `detect(view) → Detected | None`.
"""

from collections.abc import Callable

from domain.detect import node, other, python
from domain.detect.reading import Detected, Found, Missing, View
from domain.trees import Tree

__all__ = ["Detected", "Found", "Missing", "View", "detect"]

LANGUAGES: tuple[Callable[[View], Detected | None], ...] = (python.detect, node.detect, other.detect)
"""The first that answers wins."""


def detect(tree: Tree, directory: str = "") -> Detected:
    """How the project in `directory` (POSIX, relative to the root; empty: the root) is installed and tested.

    If nothing tells how it is tested, `settings` are the default and `missing` says what to write.
    """
    view = View(tree, directory)
    found = next((found for language in LANGUAGES if (found := language(view))), None)
    return other.with_services(view, found) if found else NOTHING


NOTHING = Detected(
    missing=(
        Missing(
            what="how it is tested",
            how='write `test = "COMMAND"` into lockgate.toml at the root of the repository; if the project is in a '
            'directory of it, `directory = "PATH"` too',
        ),
    )
)
