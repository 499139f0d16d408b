"""What is in a release: a CycloneDX SBOM of the toolchain's distributions and of npm's lock. All of it read as data."""

import base64
import binascii
import email.parser
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception import CycloneDxException
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from domain.artifact import Provenance
from domain.trees import Tree
from domain.value import canonical

_LOCK = "package-lock.json"
_LICENSE = LicenseFactory()


def sbom_of(tree: Tree, toolchain: Path, about: Provenance) -> bytes:
    """CycloneDX 1.6 as canonical JSON: the same toolchain and tree give the same bytes.

    A lock file that cannot be read is named in the property lockgate:unreadable.
    """
    name = about.repository.rstrip("/").rpartition("/")[2].removesuffix(".git") or "release"
    release = Component(name=name, version=about.revision, type=ComponentType.APPLICATION, bom_ref="release")
    bom = Bom()
    bom.metadata.component = release
    python, distributions = _python(toolchain), dict(_distributions(toolchain))
    components = [*python, *(component for component, _ in distributions.values())]
    npm, unreadable = _npm(tree)
    for component in (*components, *npm):
        bom.components.add(component)
    for component, needs in distributions.values():
        bom.register_dependency(component, [distributions[name][0] for name in needs if name in distributions])
    bom.register_dependency(release, [*components, *npm])
    bom.metadata.properties.update(Property(name="lockgate:unreadable", value=path) for path in unreadable)
    data = json.loads(JsonV1Dot6(bom).output_as_string())
    del data["serialNumber"], data["metadata"]["timestamp"]
    return canonical(data).encode()


def _python(toolchain: Path) -> list[Component]:
    found = re.search(r"^version_info\s*=\s*(\d\S*)", (toolchain / "pyvenv.cfg").read_text(), re.MULTILINE)
    if found is None:
        return []
    purl = PackageURL("generic", None, "python", found[1])
    return [Component(name="python", version=found[1], type=ComponentType.PLATFORM, purl=purl, bom_ref=str(purl))]


# ── Python ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _distributions(toolchain: Path) -> Iterator[tuple[str, tuple[Component, set[str]]]]:
    """Name → component, and the names of what it needs."""
    for file in sorted(toolchain.glob("lib/python3*/site-packages/*.dist-info/METADATA")):
        told = email.parser.Parser().parsestr(file.read_text(errors="replace"), headersonly=True)
        name, version = str(told["Name"] or file.parent.name), str(told["Version"] or "")
        key = canonicalize_name(name)
        purl = PackageURL("pypi", None, key, version)
        component = Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl))
        component.licenses.update(_licenses(told.get("License-Expression"), told.get("License")))
        yield key, (component, set(_needs(told.get_all("Requires-Dist", []))) - {key})


def _needs(lines: list[str]) -> Iterator[str]:
    """Names, those that only an extra wants left out."""
    for line in lines:
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            continue
        if "extra" not in str(wanted.marker or ""):
            yield canonicalize_name(wanted.name)


def _licenses(expression: str | None, text: str | None) -> list[License]:
    """One license at most; whole texts, as some packages have them there, are left out."""
    said = (expression or text or "").strip()
    if not said or len(said) > 100 or "\n" in said or said.upper() == "UNKNOWN":
        return []
    try:
        return [_LICENSE.make_from_string(said)]
    except CycloneDxException:
        return []


# ── npm ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _npm(tree: Tree) -> tuple[list[Component], list[str]]:
    """Packages of every lock file of the tree, and the lock files that cannot be read."""
    found: dict[str, Component] = {}
    unreadable = []
    for path in sorted(path for path in tree if path.rpartition("/")[2] == _LOCK):
        try:
            lock = json.loads(tree[path].content)
            packages = list(_packages(lock))
        except (ValueError, RecursionError, AttributeError, TypeError):
            unreadable.append(path)
            continue
        for name, told in packages:
            component = _package(name, told)
            found.setdefault(str(component.bom_ref.value), component)
    return list(found.values()), unreadable


def _packages(lock: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """https://docs.npmjs.com/cli/configuring-npm/package-lock-json: `packages` since npm 7, `dependencies` before."""
    if "packages" in lock:
        for place, told in lock["packages"].items():
            if "node_modules/" in place and not told.get("link"):
                yield str(told.get("name") or place.rpartition("node_modules/")[2]), told
        return
    waiting = [lock.get("dependencies", {})]
    while waiting:
        for name, told in waiting.pop().items():
            yield name, told
            waiting.append(told.get("dependencies", {}))


def _package(name: str, told: Mapping[str, Any]) -> Component:
    space, _, last = name.rpartition("/")
    version = str(told.get("version", ""))
    purl = PackageURL("npm", space or None, last, version)
    component = Component(
        name=last, group=space or None, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl)
    )
    if told.get("dev"):
        component.properties.add(Property(name="cdx:npm:package:development", value="true"))
    if digest := _sha512(str(told.get("integrity", ""))):
        component.hashes.add(HashType(alg=HashAlgorithm.SHA_512, content=digest))
    said = told.get("license")
    component.licenses.update(_licenses(None, said if isinstance(said, str) else None))
    return component


def _sha512(integrity: str) -> str | None:
    kind, _, value = integrity.partition("-")
    try:
        digest = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if kind == "sha512" and len(digest) == 64 else None
