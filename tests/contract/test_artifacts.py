"""What every artifact promises: of real toolchains, on a real engine. The same commit is the same digest."""

import base64
import contextlib
import io
import json
import os
import platform
import resource
import secrets
import shutil
import socket
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import docker
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from prefect.client.orchestration import get_client
from pydantic import SecretStr
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner, SSlibKey

from blocks.artifacts import archive, engine, python
from blocks.artifacts.builder import ReleaseBuilder
from blocks.artifacts.sbom import sbom_of
from blocks.artifacts.signing_key import SigningKey
from blocks.artifacts.statement import PAYLOAD_TYPE, sign, verify
from blocks.artifacts.tars import Member, write_tar
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.stores import LocalStore
from blocks.targets.artifact import artifact_of
from blocks.toolchains.wheels import WheelToolchains
from domain.artifact import Artifact, ArtifactKind, Provenance, digest_of_files, outdated, referred_to
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.trees import FILE, LINK, PROGRAM, Tree, TreeEntry
from domain.value import canonical
from tests.contract.test_toolchain import wheel
from tests.engine import engine_socket
from tests.prefect_server import prefect_server

TREE: Tree = {
    "main.py": TreeEntry(FILE, b"import os, plain\nprint(plain.VALUE, os.getuid(), os.getcwd(), os.environ['PORT'])\n"),
    "bin/start": TreeEntry(PROGRAM, b"#!/bin/sh\n"),
    "start": TreeEntry(LINK, b"bin/start"),
    "docs/a b/café": TreeEntry(FILE, b""),
}
KEY = SigningKey()


@pytest.fixture(scope="module")
def toolchains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WheelToolchains]:
    """A place under a directory that everybody may pass, as a station's home."""
    root = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("UV_OFFLINE", "1")
        patched.setenv("UV_FIND_LINKS", str(root / "index"))
        patched.setenv("UV_CACHE_DIR", str(root / "cache"))
        entry_points = {"plain-1.0.dist-info/entry_points.txt": "[console_scripts]\nplain=plain:main"}
        module = {"plain/__init__.py": "VALUE = 1\ndef main(): print('ran', __cached__)\n"}
        wheel(root / "index", "plain", {**module, **entry_points}, needs="other>=1")
        wheel(root / "index", "other", {"other.py": "NAMES = {'a', 'b', 'c', 'd'}\nFOUND = 'e' in {'x', 'y', 'z'}\n"})
        yield WheelToolchains(root=root / "toolchains")


@pytest.fixture(scope="module")
def toolchain(toolchains: WheelToolchains, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toolchains.ensure(["plain==1.0"], Bubblewrap(root=tmp_path_factory.mktemp("sandboxes")))


@pytest.fixture
def build(toolchain: Path) -> ReleaseBuild:
    return ReleaseBuild(
        tree=TREE,
        toolchain=toolchain,
        run="python main.py {port} {release}",
        health=HealthCheck(),
        migrate_up=None,
        environment={"MODE": "production"},
        previous=None,
    )


@pytest.fixture
def about() -> Provenance:
    return Provenance(
        run_id="run-1",
        repository="https://me:hush@git.example/shop.git",
        revision=secrets.token_hex(20),
        base="b" * 40,
        brief="1" * 64,
        evidence="2" * 64,
        approval="3" * 64,
        reviewer="ada",
        environment="shop",
        committed_s=1_700_000_000,
        builder="0.1.0",
    )


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=tmp_path / "store")


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[ReleaseBuilder]:
    made = ReleaseBuilder(root=tmp_path / "building")
    yield made
    assert not made.root.exists() or list(made.root.iterdir()) == []


class Engine:
    """The engine, as a person would ask it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.api: Any = docker.APIClient(f"unix://{path}", version="auto")

    def run(self, name: str, command: list[str] | None = None) -> str:
        """What a container of the image prints, to its end."""
        host = self.api.create_host_config(network_mode="none")
        container = self.api.create_container(name, command, host_config=host)["Id"]
        try:
            self.api.start(container)
            status = self.api.wait(container, timeout=60)["StatusCode"]
            printed: bytes = self.api.logs(container)
            assert status == 0, printed
            return printed.decode().strip()
        finally:
            self.api.remove_container(container, force=True)

    def names(self, repository: str = "lockgate-release") -> set[str]:
        return {name for found in self.api.images(repository) for name in found["RepoTags"] or ()}

    def forget(self, name: str) -> None:
        with contextlib.suppress(docker.errors.ImageNotFound):
            self.api.remove_image(name, force=True)


@pytest.fixture
def docker_engine(builder: ReleaseBuilder, about: Provenance) -> Iterator[Engine]:
    found = Engine(engine_socket())
    builder.socket = found.path
    yield found
    found.forget(f"lockgate-release:{about.revision}")


# ── archives ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_commit_is_the_same_archive(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, tmp_path: Path
) -> None:
    first = builder.archive(build, about, store, KEY)
    before = os.umask(0o077)
    try:
        turned = build._replace(tree=dict(reversed(TREE.items())))
        again = ReleaseBuilder(root=tmp_path / "elsewhere").archive(turned, about, store, KEY)
    finally:
        os.umask(before)
    assert again == first
    assert (first.kind, first.revision) == (ArtifactKind.ARCHIVE, about.revision)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "python other.py"},
        {"environment": {"MODE": "test"}},
        {"tree": {**TREE, "main.py": TreeEntry(FILE, b"")}},
        {"tree": {**TREE, "main.py": TreeEntry(PROGRAM, TREE["main.py"].content)}},
        {"tree": {path: entry for path, entry in TREE.items() if path != "start"}},
    ],
)
def test_another_release_is_another_archive(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, change: dict[str, Any]
) -> None:
    made = builder.archive(build, about, store, KEY)
    other = builder.archive(build._replace(**change), about, store, KEY)
    assert other.id != made.id


def test_an_archive_tells_nothing_of_who_packed_it(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    data = store.get(builder.archive(build, about, store, KEY).id)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)
    assert {(entry.uid, entry.gid, entry.uname, entry.gname) for entry in entries} == {(0, 0, "", "")}
    assert {entry.mtime for entry in entries} == {1_700_000_000}
    modes = {entry.name: entry.mode for entry in entries}
    assert (modes["app"], modes["app/main.py"], modes["app/bin/start"]) == (0o755, 0o644, 0o755)


def test_an_archive_gives_back_the_release_that_went_in(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    tree, told = archive.read(store.get(builder.archive(build, about, store, KEY).id))
    assert tree == TREE
    known = build._replace(tree=tree, run=told["run"], toolchain=Path(told["toolchain"]))
    assert artifact_of(known) == artifact_of(build)


@pytest.mark.parametrize("data", [b"", b"x" * 600, b"\0" * 10240])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(TargetError, match="no release archive"):
        archive.read(data)


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", ".git/hooks/post-checkout", "a\nb"])
def test_a_tree_that_cannot_be_written_is_not_packed(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, path: str
) -> None:
    with pytest.raises(TargetError, match="cannot be packed"):
        builder.archive(build._replace(tree={path: TreeEntry(FILE, b"")}), about, store, KEY)


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_commit_is_the_same_image_in_two_builds(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore,
    tmp_path: Path,
) -> None:  # fmt: skip
    first = builder.image(build, about, store, KEY)
    assert docker_engine.api.inspect_image(first.image)["Id"] == f"sha256:{first.id}"
    docker_engine.forget(str(first.image))
    builder.root = tmp_path / "elsewhere"
    again = builder.image(build, about, LocalStore(root=tmp_path / "other"), KEY)
    assert again == first
    assert docker_engine.api.inspect_image(first.image)["Id"] == f"sha256:{first.id}"


def test_a_toolchain_that_was_made_again_is_the_same_layer(
    toolchains: WheelToolchains, toolchain: Path, tmp_path: Path
) -> None:
    def content() -> dict[str, object]:
        members = python.environment_of(toolchain)
        return {
            path: (mode, held.read_bytes() if isinstance(held, Path) else held, link)
            for path, (mode, held, link, _) in members.items()
        }

    first = content()
    assert any(path.endswith(".pyc") for path in first)
    toolchain.with_suffix(".complete").unlink()
    shutil.rmtree(toolchain)
    assert toolchains.ensure(["plain==1.0"], Bubblewrap(root=tmp_path / "sandboxes")) == toolchain
    assert content() == first


def test_a_release_runs_as_nobody_in_its_image_with_its_toolchain(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    name = str(builder.image(build, about, store, KEY).image)
    assert docker_engine.run(name) == "1 10001 /app 8000"
    script = docker_engine.run(name, ["plain"])
    assert script.startswith("ran ") and "__pycache__" in script
    looked = docker_engine.run(name, ["python", "-v", "-c", "import plain, json, ssl, sqlite3"])
    for module in ("plain/__init__.py", "json/__init__.py"):
        assert any("matches" in line and module in line for line in looked.splitlines()), module
    assert "stale" not in looked


def test_a_release_writes_to_its_data_and_nowhere_else(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    name = str(builder.image(build, about, store, KEY).image)
    places = ["/app/x", "/app/main.py", "/data/x", "/tmp/x", f"{build.toolchain}/x", f"{build.toolchain}/pyvenv.cfg"]
    tried = "; ".join(f"({{ : >> {place}; }} 2>/dev/null && echo {place})" for place in places)
    assert docker_engine.run(name, ["sh", "-c", f"{tried}; true"]).split() == ["/data/x", "/tmp/x"]


def test_an_image_says_what_it_is(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    made = builder.image(build, about, store, KEY)
    found = docker_engine.api.inspect_image(made.image)
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == about.revision
    assert labels["org.opencontainers.image.source"] == "https://git.example/shop.git"
    assert labels["org.opencontainers.image.created"] == found["Created"] == "2023-11-14T22:13:20Z"
    assert (labels["io.lockgate.brief"], labels["io.lockgate.environment"]) == ("1" * 64, "shop")
    assert found["Config"]["User"] == "10001:10001"
    assert {"MODE=production", f"RELEASE_ID={about.revision}", "DATA_DIR=/data"} <= set(found["Config"]["Env"])
    assert [f"sha256:{layer}" for layer in made.layers] == found["RootFS"]["Layers"][-len(made.layers) :]
    assert len(docker_engine.api.history(made.image)) == len(found["RootFS"]["Layers"])


def test_an_image_that_is_there_is_not_loaded_again(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = builder.image(build, about, store, KEY)
    docker_engine.api.tag(made.image, "lockgate-release", "other-name")
    docker_engine.api.remove_image(made.image)
    monkeypatch.setattr(engine.ImageEngine, "load", None)
    try:
        assert builder.image(build, about, store, KEY) == made
        assert builder.load_image(made, store) == made.image
        assert made.image in docker_engine.names()
    finally:
        docker_engine.forget("lockgate-release:other-name")


def test_an_image_comes_back_from_the_store_alone(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    made = builder.image(build, about, store, KEY)
    docker_engine.forget(str(made.image))
    assert builder.load_image(made, store) == made.image
    assert docker_engine.run(str(made.image)) == "1 10001 /app 8000"


def test_images_of_old_releases_go_unless_something_runs_on_them(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    builder.repository = f"lockgate-test-{about.revision[:8]}"
    kept, runs, gone = (
        builder.image(build, about.model_copy(update={"revision": digit * 40}), store, KEY) for digit in "123"
    )
    container = docker_engine.api.create_container(runs.image)["Id"]
    left = builder.root / "building-killed"
    left.mkdir()
    os.utime(left, (0, 0))
    try:
        assert builder.prune({kept.revision}) == (gone.image,)
        assert docker_engine.names(builder.repository) == {kept.image, runs.image}
        assert not left.exists()
        docker_engine.api.remove_container(container)
        assert builder.prune(()) == (kept.image, runs.image)
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            docker_engine.api.remove_container(container)
        for made in (kept, runs, gone):
            docker_engine.forget(str(made.image))


def test_layers_of_a_toolchain_are_kept_once(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    first = builder.image(build, about, store, KEY)
    changed = build._replace(tree={**TREE, "main.py": TreeEntry(FILE, b"")})
    second = builder.image(changed, about, store, KEY)
    assert second.layers[:-1] == first.layers[:-1] and second.layers[-1] != first.layers[-1]
    docker_engine.forget(f"sha256:{first.id}")


def test_a_base_that_is_not_there_is_named_with_the_fix(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    with pytest.raises(TargetError, match=r"no-such-image.*lockgate image build"):
        builder.image(build, about, store, KEY, base="no-such-image:1")
    assert "lockgate image build" in (builder.model_copy(update={"base": "no-such-image:1"}).doctor() or "")
    assert builder.doctor() is None


def test_without_an_engine_there_is_a_clear_error(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, tmp_path: Path
) -> None:
    builder.socket = str(tmp_path / "docker.sock")
    with pytest.raises(TargetError, match="no Docker Engine at"):
        builder.image(build, about, store, KEY)


class Broken:
    """A way to the engine that ends after so many bytes of one connection."""

    def __init__(self, path: Path, engine_path: str, most: int) -> None:
        self._engine, self._most = engine_path, most
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._engine)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while passed < self._most and (piece := source.recv(65536)):
                target.sendall(piece)
                passed += len(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()


def test_an_engine_that_goes_away_while_loading_leaves_nothing_half(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore,
    tmp_path: Path,
) -> None:  # fmt: skip
    tree = {**TREE, "large": TreeEntry(FILE, os.urandom(8_000_000))}
    way = Broken(tmp_path / "engine.sock", docker_engine.path, most=3_000_000)
    try:
        cut = builder.model_copy(update={"socket": str(tmp_path / "engine.sock")})
        with pytest.raises(TargetError, match=r"the engine (does not answer|cannot load)"):
            cut.image(build._replace(tree=tree), about, store, KEY)
    finally:
        way.close()
    name = f"lockgate-release:{about.revision}"
    assert name not in docker_engine.names()
    assert builder.image(build._replace(tree=tree), about, store, KEY).image == name
    assert docker_engine.run(name) == "1 10001 /app 8000"


@pytest.mark.parametrize("kind", ["archive", "image"])
def test_a_disk_that_is_full_while_building_leaves_nothing_half(
    docker_engine: Engine, builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, kind: str
) -> None:
    tree = {**TREE, "large": TreeEntry(FILE, os.urandom(2_000_000))}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(TargetError, match=r"cannot be built in .*see its disk"):
            getattr(builder, kind)(build._replace(tree=tree), about, store, KEY)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(builder.root.iterdir()) == []
    assert not store.root.exists() or [path for path in store.root.rglob("*") if path.is_file()] == []
    assert f"lockgate-release:{about.revision}" not in docker_engine.names()


def test_an_interpreter_comes_with_all_of_its_byte_code_or_with_none(tmp_path: Path) -> None:
    """What is compiled on first use would make another image every day."""
    library = tmp_path / "python" / "lib" / "python3.11"
    (library / "__pycache__").mkdir(parents=True)
    (library / "one.py").write_text("1")
    (library / "two.py").write_text("2")
    info = (library / "one.py").stat()
    header = bytes(8) + int(info.st_mtime).to_bytes(4, "little") + info.st_size.to_bytes(4, "little")
    (library / "__pycache__" / "one.cpython-311.pyc").write_bytes(header + b"code")
    part = {path.rpartition("/")[2] for path, _ in python._installation(library.parent.parent)}
    assert part == {"one.py", "two.py"}
    (library / "two.py").unlink()
    whole = dict(python._installation(library.parent.parent))
    (code,) = [member.content for path, member in whole.items() if path.endswith(".pyc")]
    assert code == bytes(12) + header[12:] + b"code"


def test_byte_code_of_another_source_is_left_out(toolchain: Path) -> None:
    source = next(toolchain.glob("lib/python3*/site-packages/plain/__init__.py"))
    info = source.stat()
    try:
        os.utime(source, (1, 1))
        assert not any("plain/__pycache__/" in path for path in python.environment_of(toolchain))
    finally:
        os.utime(source, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_a_toolchain_below_tmp_leaves_tmp_to_everybody(tmp_path: Path) -> None:
    file = io.BytesIO()
    write_tar({"tmp/a/b": Member(0o644, b"")}, file)
    file.seek(0)
    with tarfile.open(fileobj=file) as tar:
        assert {entry.name: entry.mode for entry in tar} == {"tmp": 0o1777, "tmp/a": 0o755, "tmp/a/b": 0o644}


# ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────────────

LOCK = {
    "lockfileVersion": 3,
    "packages": {
        "": {"name": "shop"},
        "node_modules/@scope/one": {"version": "1.0.0", "integrity": f"sha512-{'A' * 86}==", "license": "MIT"},
        "node_modules/two": {"version": "2.0.0", "dev": True, "license": {"type": "odd"}},
        "node_modules/two/node_modules/three": {"version": "3.0.0", "integrity": "sha1-AAAA"},
        "node_modules/linked": {"link": True},
    },
}
OLD_LOCK = {"lockfileVersion": 1, "dependencies": {"four": {"version": "4.0.0", "dependencies": {"five": {}}}}}


def contents(build: ReleaseBuild, about: Provenance, **files: str) -> dict[str, Any]:
    tree = {path.replace("__", "/") + ".json": TreeEntry(FILE, text.encode()) for path, text in files.items()}
    data = sbom_of({name.replace("_", "-"): entry for name, entry in tree.items()}, build.toolchain, about)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    told: dict[str, Any] = json.loads(data)
    return told


def test_an_sbom_names_every_distribution_and_what_it_needs(build: ReleaseBuild, about: Provenance) -> None:
    told = contents(build, about)
    python_version = f"pkg:generic/python@{platform.python_version()}"
    purls = {component["purl"] for component in told["components"]}
    assert purls == {"pkg:pypi/plain@1.0", "pkg:pypi/other@1.0", python_version}
    needs = {each["ref"]: each.get("dependsOn", []) for each in told["dependencies"]}
    assert needs["pkg:pypi/plain@1.0"] == ["pkg:pypi/other@1.0"]
    assert set(needs["release"]) == purls
    assert told["metadata"]["component"]["name"] == "shop"
    assert told["metadata"]["component"]["version"] == about.revision


def test_the_same_release_has_the_same_sbom(build: ReleaseBuild, about: Provenance) -> None:
    first, again = (sbom_of(TREE, build.toolchain, about) for _ in range(2))
    assert first == again
    told = json.loads(first)
    assert "serialNumber" not in told and "timestamp" not in told["metadata"]


def test_an_sbom_has_the_packages_of_npms_locks(build: ReleaseBuild, about: Provenance) -> None:
    told = contents(build, about, package_lock=json.dumps(LOCK), web__package_lock=json.dumps(OLD_LOCK))
    npm = {each["purl"]: each for each in told["components"] if each["purl"].startswith("pkg:npm")}
    assert set(npm) == {
        "pkg:npm/%40scope/one@1.0.0",
        "pkg:npm/two@2.0.0",
        "pkg:npm/three@3.0.0",
        "pkg:npm/four@4.0.0",
        "pkg:npm/five",
    }
    assert npm["pkg:npm/%40scope/one@1.0.0"]["hashes"] == [{"alg": "SHA-512", "content": "00" * 64}]
    assert npm["pkg:npm/two@2.0.0"]["properties"][0]["name"] == "cdx:npm:package:development"


@pytest.mark.parametrize("text", ["[", "[]", '{"packages": []}', '{"packages": {"node_modules/a": 1}}', "[" * 100_000])
def test_a_lock_that_cannot_be_read_is_said(build: ReleaseBuild, about: Provenance, text: str) -> None:
    told = contents(build, about, package_lock=text)
    assert {"name": "lockgate:unreadable", "value": "package-lock.json"} in told["metadata"]["properties"]


# ── where it comes from ──────────────────────────────────────────────────────────────────────────────────────────────


class Stated(NamedTuple):
    """An envelope, the digests it is about, and what is bound to them."""

    envelope: bytes
    artifact: str
    sbom: str
    about: Provenance


@pytest.fixture
def stated(builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore) -> Stated:
    made = builder.archive(build, about, store, KEY)
    known = about.model_copy(update={"files": digest_of_files(build.tree)})
    return Stated(store.get(made.statement), made.id, made.sbom, known)


def test_a_statement_holds_for_what_it_was_made_of(stated: Stated) -> None:
    assert verify(stated.envelope, KEY.public_key(), stated.artifact, stated.about, stated.sbom) is None


def test_the_same_facts_are_the_same_statement(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore, stated: Stated
) -> None:
    assert store.get(builder.archive(build, about, store, KEY).statement) == stated.envelope


def test_a_statement_is_in_toto_with_slsa_provenance(stated: Stated) -> None:
    envelope = json.loads(stated.envelope)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert [subject["digest"] for subject in statement["subject"]] == [{"sha256": stated.artifact}]
    assert b"hush" not in base64.b64decode(envelope["payload"])


OTHER = {
    "run_id": "another",
    "repository": "https://git.example/other.git",
    "revision": "c" * 40,
    "files": "9" * 64,
    "base": "c" * 40,
    "brief": "9" * 64,
    "evidence": "9" * 64,
    "approval": "9" * 64,
    "reviewer": "mallory",
    "environment": "other",
    "committed_s": 1,
    "builder": "9.9.9",
}


def test_every_bound_field_is_tried() -> None:
    assert set(OTHER) == set(Provenance.model_fields)


@pytest.mark.parametrize("field", OTHER)
def test_a_statement_with_a_field_changed_is_refused(stated: Stated, field: str) -> None:
    """In the payload, the signature no longer fits; signed again by another, it is not our key."""
    other = stated.about.model_copy(update={field: OTHER[field]})
    forged = json.loads(stated.envelope)
    mallory = json.loads(sign(other, ArtifactKind.ARCHIVE, stated.artifact, stated.sbom, SigningKey()))
    forged["payload"] = mallory["payload"]
    changed = canonical(forged).encode()
    assert "not signed by this key" in (verify(changed, KEY.public_key(), stated.artifact) or "")
    resigned = canonical(mallory).encode()
    assert "not signed by this key" in (verify(resigned, KEY.public_key(), stated.artifact) or "")
    under_our_name = {**mallory, "signatures": [{**mallory["signatures"][0], "keyid": _keyid(stated)}]}
    assert "not signed" in (verify(canonical(under_our_name).encode(), KEY.public_key(), stated.artifact) or "")


@pytest.mark.parametrize("field", OTHER)
def test_a_true_statement_about_something_else_is_refused_by_name(stated: Stated, field: str) -> None:
    known = stated.about.model_copy(update={field: OTHER[field]})
    reason = verify(stated.envelope, KEY.public_key(), stated.artifact, known) or ""
    assert f"says {field} " in reason and repr(OTHER[field]) in reason


def test_a_statement_about_another_artifact_is_refused(stated: Stated) -> None:
    assert "not about" in (verify(stated.envelope, KEY.public_key(), "9" * 64) or "")
    reason = verify(stated.envelope, KEY.public_key(), stated.artifact, stated.about, sbom="9" * 64)
    assert "SBOM" in (reason or "")


def test_a_statement_of_another_type_is_refused(stated: Stated) -> None:
    """Our own key signs nothing else; if it did, it would not pass for a statement."""
    private = KEY.key()
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key()))
    for payload, kind in (
        (b"{}", PAYLOAD_TYPE),
        (b"[1]", PAYLOAD_TYPE),
        (b"\xff", PAYLOAD_TYPE),
        (b"{}", "text/plain"),
    ):
        envelope = Envelope(payload, kind, {})
        envelope.sign(signer)
        reason = verify(canonical(envelope.to_dict()).encode(), KEY.public_key(), stated.artifact)
        assert reason and ("none about a release" in reason or "text/plain" in reason)


@pytest.mark.parametrize(
    "envelope",
    [b"", b"{}", b"[]", b"null", b'"x"', b"\xff", b'{"payload": 1, "payloadType": "x", "signatures": []}',
     b'{"payload": "!", "payloadType": "x", "signatures": [{}]}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_envelope_is_refused(envelope: bytes) -> None:
    assert "no DSSE envelope" in (verify(envelope, KEY.public_key(), "0" * 64) or "")


def test_an_envelope_without_signatures_is_refused(stated: Stated) -> None:
    bare = canonical({**json.loads(stated.envelope), "signatures": []}).encode()
    assert "not signed" in (verify(bare, KEY.public_key(), stated.artifact) or "")


def test_a_public_key_that_is_none_is_said(stated: Stated) -> None:
    assert "public key cannot be read" in (verify(stated.envelope, "not a key", stated.artifact) or "")


def _keyid(stated: Stated) -> str:
    return str(json.loads(stated.envelope)["signatures"][0]["keyid"])


# ── the key ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_never_shown() -> None:
    key = SigningKey()
    secret = key.private_key.get_secret_value()
    inside = "".join(secret.splitlines()[1:-1])
    for shown in (repr(key), str(key), key.model_dump_json(), key.public_key()):
        assert inside not in shown
    assert SigningKey().public_key() != key.public_key()


@pytest.mark.parametrize("pem", ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_what_is_no_key_is_refused(pem: str) -> None:
    with pytest.raises(ValueError, match="no Ed25519 private key in PEM"):
        SigningKey(private_key=SecretStr(pem))


def test_a_key_that_is_refused_is_not_in_the_message() -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="no Ed25519 private key") as refused:
        SigningKey.model_validate({"private_key": pem.decode()})
    assert "PRIVATE KEY-----" not in str(refused.value)


def test_a_key_is_made_once_and_kept_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    with prefect_server(), ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: SigningKey.ensure("release"), range(4)))
        assert len({key.public_key() for key in made}) == 1
        assert SigningKey.saved("release").private_key == made[0].private_key
        with get_client(sync_client=True) as client:
            document = client.read_block_document_by_name("release", SigningKey._block_type_slug, include_secrets=False)
        assert "BEGIN PRIVATE KEY" not in document.model_dump_json()


# ── what is referred to ──────────────────────────────────────────────────────────────────────────────────────────────


def test_digests_are_found_wherever_they_stand() -> None:
    a, b, c, d = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)
    body = {
        "one": a,
        "deep": [{"two": f"artifact {b}, written"}],
        c: (f"sha256:{d}",),
        "not": "e" * 63 + " " + "f" * 65,
    }
    assert referred_to([canonical(body), "null", "1", '"x"']) == {a, b, c, d}


@pytest.mark.parametrize("before", ["\b", "\f", "\n", "\x1b", "\\", "\\b\\", '"', "é", "", "\u2028"])
def test_digests_are_found_whatever_stands_before_them(before: str) -> None:
    """JSON writes some characters with letters that a digest could go on with."""
    assert referred_to([canonical({"said": f"{before}{'a' * 64}\b"})]) == {"a" * 64}


def test_all_parts_of_an_artifact_are_referred_to(
    builder: ReleaseBuilder, build: ReleaseBuild, about: Provenance, store: LocalStore
) -> None:
    made = builder.archive(build, about, store, KEY)
    keep = referred_to([canonical(made.model_dump(mode="json"))])
    assert set(made.parts) <= keep
    orphan = store.put(b"nobody's")
    assert store.prune(keep, older_than_s=-10) == (orphan,)


def test_only_large_parts_of_old_artifacts_are_outdated() -> None:
    def made(number: int, *layers: str) -> Artifact:
        digests = {"id": f"{number}" * 64, "sbom": "e" * 64, "statement": "f" * 64}
        return Artifact(kind=ArtifactKind.IMAGE, revision=f"{number}", layers=layers, **digests)

    python, old, new = "a" * 64, "b" * 64, "c" * 64
    released = [made(1, python, old), made(2, python, new)]
    assert outdated(released, {"2"}) == {old}
    assert outdated(released, {"1", "2"}) == outdated([], ()) == set()
    archived = [each.model_copy(update={"kind": ArtifactKind.ARCHIVE, "layers": ()}) for each in released]
    assert outdated(archived, {"2"}) == {"1" * 64}
