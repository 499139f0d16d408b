"""Makes the archives in `described/` from the official descriptions: run it when a fake knows a new endpoint.

    git clone https://github.com/jarekbird/jira-api-mcp-wrapper
    python -m kits.fake_trackers.extract jira jira-api-mcp-wrapper/swagger-v3.v3.json

    npm pack @atlaskit/adf-schema@57.7.22
    python -m kits.fake_trackers.extract adf atlaskit-adf-schema-57.7.22.tgz

The first file is Atlassian's own, of 2025-12 (Apache 2.0, as it says), unchanged in that repository; no package carries
it. The package is Atlassian's as well (Apache 2.0): the JSON Schema of documents.
"""

import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from kits.fake_forge.extract import operations, read_member
from kits.fake_trackers.jira import OPERATIONS

PLACE = Path(__file__).parent / "described"
DIGESTS = {
    "jira": "1f0911c58a45c712ba748f6b2b71bad688a0d28283296e6d24c7b2cc0d304624",
    "adf": "53693004c8c3d3ccbff2f8dcc172aaf3ef84dae402216fda4602cb1bbe10c62b",
}


def main(kind: str, path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != DIGESTS[kind]:
        sys.exit(f"{path} is another file: its SHA-256 is {found}")
    if kind == "adf":
        write(kind, read_member(path, "package/dist/json-schema/v1/full.json"))
    else:
        write(kind, operations(json.loads(path.read_bytes()), OPERATIONS))


def write(name: str, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    (PLACE / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
