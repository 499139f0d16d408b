"""Runs inside a sandbox: one call of a project's build backend. https://peps.python.org/pep-0517/

It is given {backend, path, has} as JSON and writes /lockgate/built.json: either {needs}, where the backend wants more
than `has`, or {wheel}, the name of the file that it made in /lockgate/wheel.
"""

import importlib
import json
import os
import re
import sys


def main() -> None:
    told = json.loads(sys.argv[1])
    sys.path[:0] = [os.path.abspath(path) for path in told["path"]]
    module, _, inner = told["backend"].partition(":")
    backend = importlib.import_module(module)
    for name in filter(None, inner.split(".")):
        backend = getattr(backend, name)
    wants = list(getattr(backend, "get_requires_for_build_wheel", lambda settings: [])(None))
    names = [re.split(r"[\s(\[<>=!~;@]", line.strip())[0].lower().replace("_", "-") for line in wants]
    if set(names) - set(told["has"]):
        answer = {"needs": wants}
    else:
        os.makedirs("/lockgate/wheel", exist_ok=True)
        answer = {"wheel": os.path.basename(backend.build_wheel("/lockgate/wheel"))}
    with open("/lockgate/built.json", "w") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
