"""A release archive: a tar with the commit's files below app/, and release.json, which says how they are run."""

import json
import os
import tarfile
from io import BytesIO
from typing import Any

from blocks.artifacts.tars import Member, members_of
from domain.errors import TargetError
from domain.ports import ReleaseBuild
from domain.trees import FILE, LINK, PROGRAM, Tree, TreeEntry, check_tree
from domain.value import canonical

_APP, _TOLD = "app", "release.json"


def files_of(build: ReleaseBuild) -> dict[str, Member]:
    """Everything that goes in. The toolchain is named alone; what is in it says the SBOM."""
    told = {
        "run": build.run,
        "health": str(build.health),
        "toolchain": build.toolchain.name,
        "migrate_up": build.migrate_up,
        "environment": dict(build.environment),
    }
    return {**members_of(build.tree, _APP), _TOLD: Member(0o644, canonical(told).encode())}


def read(archive: bytes) -> tuple[Tree, dict[str, Any]]:
    """The commit's files and what release.json says. Raises TargetError for what is no release archive."""
    tree: Tree = {}
    told: dict[str, Any] = {}
    try:
        with tarfile.open(fileobj=BytesIO(archive), mode="r:") as tar:
            for entry in tar:
                file = tar.extractfile(entry) if entry.isreg() else None
                content = file.read() if file else b""
                path = entry.name.removeprefix(f"{_APP}/")
                if entry.name == _TOLD:
                    told = json.loads(content)
                elif entry.issym():
                    tree[path] = TreeEntry(LINK, os.fsencode(entry.linkname))
                elif file:
                    tree[path] = TreeEntry(PROGRAM if entry.mode & 0o100 else FILE, content)
    except (tarfile.TarError, EOFError, ValueError) as err:
        raise TargetError(f"this is no release archive: {err}") from err
    if not told or check_tree(tree, known=tree):
        raise TargetError(f"this is no release archive: {check_tree(tree, known=tree) or f'it has no {_TOLD}'}")
    return tree, told
