"""Runs in the sandbox in place of an agent: puts the case's files into /work, then runs its script. Python alone."""

import base64
import json
import os
import pathlib
import subprocess
import sys

case = json.loads(pathlib.Path("/case/change.json").read_text())
for path, content in case["files"].items():
    name = os.fsencode(path)
    if content is None:
        os.unlink(name)
        continue
    os.makedirs(os.path.dirname(name) or b".", exist_ok=True)
    with open(name, "wb") as file:
        file.write(base64.b64decode(content))
sys.exit(subprocess.call(["/bin/sh", "-ec", case["script"]]) if case["script"] else 0)
