"""Inside the sandbox: the platform's sitecustomize for the project's commands. The platform itself never imports it.

It stands where the tree's would be found, and puts the tree on `sys.path` behind what is installed: `python -m ruff` is
then the ruff that the project asked for, whatever the tree has under that name.
"""

import json
import os
import re
import sys

with open(os.path.join(os.path.dirname(__file__), "told.json")) as file:
    TOLD = json.load(file)


def _first() -> str:
    """What Python alone would have put first: the script's directory, or where it was started."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in ("-W", "-X", "--check-hash-based-pycs"):
            next(words, None)
        elif re.fullmatch("-|-[A-Za-z]*[cm].*", word):
            break
        elif not word.startswith("-"):
            return os.path.dirname(os.path.realpath(word))
    return os.getcwd()


_PLACES = [place for place in (_first(), *TOLD["roots"]) if f"{place}/".startswith("/work/")]
_PLACES = [place for place in dict.fromkeys(_PLACES) if place not in sys.path]
if TOLD["is_first"]:
    sys.path[:0] = _PLACES
else:
    sys.path += _PLACES
