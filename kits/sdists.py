"""Source archives of releases on the package index, by digest, as data in memory."""

import hashlib
import json
import os
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin
from urllib.request import Request, urlopen


def files(name: str, sha256: str) -> dict[str, bytes]:
    """The files of one source archive: POSIX paths → content. Cached by digest, so safe to repeat.

    The cache is $LOCKGATE_TEST_CACHE, else ~/.cache/lockgate-tests; the index is $PIP_INDEX_URL, else the public one.
    Raises OSError if the index cannot be reached, LookupError if it has no such archive, and ValueError where the
    archive is not the one that was pinned, or holds a path that leads out of it.
    """
    return _unpacked(_archive(name, sha256))


def _archive(name: str, sha256: str) -> bytes:
    """A source archive by its digest, from the cache or else from the package index."""
    cache = Path(os.environ.get("LOCKGATE_TEST_CACHE") or Path.home() / ".cache" / "lockgate-tests")
    kept = cache / f"{name}-{sha256}.tar.gz"
    if kept.is_file() and hashlib.sha256(data := kept.read_bytes()).hexdigest() == sha256:
        return data
    data = _download(name, sha256)
    if (actual := hashlib.sha256(data).hexdigest()) != sha256:
        raise ValueError(f"{name}: the archive has SHA-256 {actual}, not the pinned {sha256}: do not use it")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cache, delete=False) as part:
        part.write(data)
    Path(part.name).replace(kept)  # two test processes may fetch at once: each puts a whole file in place
    return data


def _download(name: str, sha256: str) -> bytes:
    # https://packaging.python.org/en/latest/specifications/simple-repository-api/
    page = f"{os.environ.get('PIP_INDEX_URL', 'https://pypi.org/simple').rstrip('/')}/{name}/"
    with urlopen(Request(page, headers={"Accept": "application/vnd.pypi.simple.v1+json"}), timeout=60) as answer:
        listed = json.load(answer)["files"]
    found = next((file["url"] for file in listed if file["hashes"].get("sha256") == sha256), None)
    if found is None:
        raise LookupError(f"the package index lists no {name} archive with SHA-256 {sha256}")
    with urlopen(urljoin(page, found), timeout=60) as answer:
        return bytes(answer.read())


def _unpacked(archive: bytes) -> dict[str, bytes]:
    """The regular files of an archive, without its one top directory. Links and devices are left out."""
    files: dict[str, bytes] = {}
    with tarfile.open(fileobj=BytesIO(archive), mode="r:gz") as tar:
        for member in tar:
            if not member.isfile() or (content := tar.extractfile(member)) is None:
                continue
            parts = PurePosixPath(member.name).parts
            if len(parts) < 2 or parts[0] == "/" or ".." in parts or set('"\n') & set(member.name):
                raise ValueError(f"{member.name!r} is not a path that belongs in a source archive")
            files["/".join(parts[1:])] = content.read()
    return files
