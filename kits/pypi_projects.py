"""Projects that nobody here wrote: two neighbouring releases of a package, as a repository, a brief and a recording.

The older release is the repository. The newer release's tests are the acceptance. What upstream changed outside its
tests is the change, replayed. Everything is fetched when a test asks for it, pinned by SHA-256, and only ever handled
as data: nothing here unpacks to disk, builds, imports or runs it.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from io import BytesIO
from pathlib import Path

from pydantic import Field

from domain.brief import Acceptance, AcceptanceFile, Brief, Budget, Scope
from domain.paths import matches
from domain.project import ProjectSettings
from domain.task import Plan
from domain.value import Value
from kits import sdists

PYTEST = ("pytest==9.2.0", "iniconfig==2.3.1", "packaging==26.3", "pluggy==1.7.0", "pygments==2.21.0")
"""One pinned pytest for all, so that the projects share an environment wherever they need nothing more."""

NOT_SOURCE = ("PKG-INFO", "*.egg-info/*", ".idea/*", "*.pyc")
"""What a packaging tool or an editor left in the archive; it is not in the repository."""

NOT_RECORDED = ("pyproject.toml", "setup.cfg", "tox.ini", "MANIFEST.in", "Makefile", ".github/*", "docs/conf.py")
"""Housekeeping of a release that has no part in the fix, and that a change may not touch without a person."""


class ReleasePair(Value):
    """Two releases of one package, and the one observable difference that the brief asks for."""

    name: str
    older: str
    newer: str
    older_sha256: str
    newer_sha256: str
    title: str
    goal: str
    acceptance: tuple[str, ...]
    """Paths of the newer release's test files that are added, or put in the place of the older ones."""
    expected_red: tuple[str, ...]
    """Test ids of `acceptance` that fail on the older release; every other one passes on both."""
    requirements: tuple[str, ...] = PYTEST
    environment: dict[str, str] = Field({})
    tests: str = "tests"
    """The directory of the tests: what the test command runs, and never part of the recorded change."""
    known_failures: tuple[str, ...] = ()
    max_changed_lines: int = 400
    has_test_keys: bool = False
    """Its tests carry private keys, which a secret scan of the repository must find."""

    @property
    def test_command(self) -> str:
        return f"python -m pytest {self.tests}"


PROJECTS = (
    ReleasePair(
        name="h11",
        older="0.15.0",
        newer="0.16.0",
        older_sha256="2a7db2d2beffd4e6c6bbe3a64305ab77d89087976e8aed8fdcff4b054744e72f",
        newer_sha256="4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1",
        title="Refuse a chunk that does not end with CRLF",
        goal=r"`ChunkedReader` in `h11/_readers.py` raises `LocalProtocolError` for a chunk that is not followed by "
        r"exactly `\r\n`, such as `3\r\nxxx__1a\r\n`, where it drops any two bytes today.",
        acceptance=("h11/tests/test_io.py",),
        expected_red=("h11/tests/test_io.py::test_ChunkedReader",),
        tests="h11/tests",
    ),
    ReleasePair(
        name="jinja2",
        older="3.1.5",
        newer="3.1.6",
        older_sha256="8fefff8dc3034e27bb80d67c671eb8a9bc424c0ef4c0826edbff304cceff43bb",
        newer_sha256="0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d",
        title="Keep the sandbox closed to str.format through the attr filter",
        goal="In a `SandboxedEnvironment` the `attr` filter looks attributes up through the environment, so that "
        '`"{0.__call__.__builtins__}"|attr("format")(x)` raises `SecurityError` as `"...".format(x)` already does.',
        acceptance=("tests/test_security.py",),
        expected_red=("tests/test_security.py::TestStringFormatMap::test_attr_filter",),
        requirements=(
            *PYTEST, "markupsafe==3.0.2", "trio==0.27.0", "attrs==24.3.0", "idna==3.10", "outcome==1.3.0.post0",
            "sniffio==1.3.1", "sortedcontainers==2.4.0",
        ),
    ),
    ReleasePair(
        name="parse",
        older="1.20.1",
        newer="1.20.2",
        older_sha256="09002ca350ad42e76629995f71f7b518670bcf93548bdde3684fd55d2be51975",
        newer_sha256="b41d604d16503c79d81af5165155c0b20f6c8d6c559efa66b4b695c3e5a0a0ce",
        title="Accept a hyphen in a field name",
        goal='`parse.search("/sub/{user-id}/", "/sub/42/")["user-id"]` is `"42"`: a field name may contain a hyphen, '
        "also beside `{user_id}` and `{user.id}` in the same template.",
        acceptance=("tests/test_parse.py",),
        expected_red=(
            "tests/test_parse.py::test_hyphen_inside_field_name",
            "tests/test_parse.py::test_hyphen_inside_field_name_collision_handling",
        ),
    ),
    ReleasePair(
        name="python-multipart",
        older="0.0.30",
        newer="0.0.31",
        older_sha256="0edfe0475c1f46ddd3ff7785a626f6118af32bdcf359bb21260367313bb32118",
        newer_sha256="fc631183bb13e56db3158a4909908dfb2e23565286744e798241e63750e5d680",
        title="Refuse a negative Content-Length",
        goal="`python_multipart.parse_form` raises `ValueError` with `Content-Length must be non-negative` for the "
        "header `Content-Length: -1`.",
        acceptance=("tests/test_multipart.py",),
        expected_red=("tests/test_multipart.py::TestHelperFunctions::test_parse_form_negative_content_length",),
        requirements=(*PYTEST, "pyyaml==6.0.3"),
    ),
    ReleasePair(
        name="sqlparse",
        older="0.5.1",
        newer="0.5.2",
        older_sha256="bb6b4df465655ef332548e24f08e205afc81b9ab86cb1c45657a7ff173a3a00e",
        newer_sha256="9e37b35e16d1cc652a2545f0997c1deb23ea28fa1f3eefe609eee3063c3b105f",
        title="Keep optimizer hints when comments are stripped",
        goal="`sqlparse.format(sql, strip_comments=True)` keeps optimizer hints such as `select --+full(u)` and "
        "`insert /*+ DIRECT */ into t` as they are, and still strips every other comment.",
        acceptance=("tests/test_format.py",),
        expected_red=("tests/test_format.py::TestFormat::test_strip_comments_preserves_hint",),
    ),
    ReleasePair(
        name="xmltodict",
        older="1.0.2",
        newer="1.0.3",
        older_sha256="54306780b7c2175a3967cad1db92f218207e5bc1aba697d887807c0fb68b7649",
        newer_sha256="3bf1f49c7836df34cf6d9cc7e690c4351f7dfff2ab0b8a1988bba4a9b9474909",
        title="Write None as empty text and empty attributes",
        goal='`xmltodict.unparse({"x": {"@pro": None, "#text": None}}, full_document=False)` gives `<x pro=""></x>`: '
        "`None` is written as nothing, where it is the word None today.",
        acceptance=("tests/test_dicttoxml.py",),
        expected_red=(
            "tests/test_dicttoxml.py::test_non_string_text_with_attributes",
            "tests/test_dicttoxml.py::test_none_attribute_serializes_as_empty_string",
            "tests/test_dicttoxml.py::test_none_text_with_short_empty_elements_and_attributes",
        ),
    ),
    ReleasePair(
        name="pyjwt",
        older="2.10.0",
        newer="2.10.1",
        older_sha256="7628a7eb7938959ac1b26e819a1df0fd3259505627b575e4bad6d08f76db695c",
        newer_sha256="3cc5772eb20009233caf06e9d8a0577824723b44e6648ee0a2aedb6cf9381953",
        title="Compare the whole issuer of a token",
        goal='`jwt.decode(token, key, issuer="urn:expected", algorithms=["HS256"])` raises `InvalidIssuerError` for a '
        "token whose `iss` is only a part of the expected issuer, such as `urn:`.",
        acceptance=("tests/test_api_jwt.py",),
        expected_red=("tests/test_api_jwt.py::TestJWT::test_rasise_exception_on_partial_issuer_match",),
        requirements=(*PYTEST, "cryptography==44.0.0", "cffi==1.17.1", "pycparser==2.22"),
        # it asks a public server for its keys
        known_failures=("tests/test_jwks_client.py::TestPyJWKClient::test_get_jwt_set_sslcontext_default",),
        has_test_keys=True,
    ),
)  # fmt: skip


def fetch(project: ReleasePair) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """The files of the older and of the newer release: POSIX paths → content. Safe to repeat: cached by digest.

    Raises what `sdists.files` raises.
    """
    return sdists.files(project.name, project.older_sha256), sdists.files(project.name, project.newer_sha256)


def repository(project: ReleasePair, at: Path) -> Path:
    """A bare git repository at `at`: the older release as the one commit of `main`. Same project, same commit id."""
    older, _ = fetch(project)
    _bare(at, {"main": _source(older)}, f"{project.name} {project.older}, as released")
    return at


def brief(project: ReleasePair, repository: Path) -> Brief:
    """What a person would ask for: upstream's fix, with upstream's own tests as the acceptance."""
    _, newer = fetch(project)
    return Brief(
        title=project.title,
        goal=project.goal,
        repository=str(repository),
        acceptance=Acceptance(
            files=tuple(AcceptanceFile(path=path, content=newer[path].decode()) for path in project.acceptance)
        ),
        environment=None,
        agent=f"replay/{project.name}",
        budget=Budget(attempts=1),
        scope=Scope(max_changed_lines=project.max_changed_lines),
        project=settings(project),
    )


def settings(project: ReleasePair) -> ProjectSettings:
    """How the project is tested; its whole test directory is locked, not only what is named `test_*.py`."""
    usual = ProjectSettings().test_paths
    return ProjectSettings(
        requirements=project.requirements,
        environment=project.environment,
        test=project.test_command,
        known_failures=project.known_failures,
        test_paths=tuple(dict.fromkeys((*usual, f"{project.tests}/**"))),
    )


def change(project: ReleasePair) -> dict[str, bytes | None]:
    """What upstream changed outside its tests and its housekeeping: path → new content, None if it was removed."""
    older, newer = (_source(files) for files in fetch(project))
    return {
        path: newer.get(path)
        for path in sorted(older.keys() | newer.keys())
        if older.get(path) != newer.get(path)
        and not path.startswith(f"{project.tests}/")
        and not any(fnmatchcase(path, pattern) for pattern in NOT_RECORDED)
        and not matches(path, settings(project).test_paths)
    }


def recorded(project: ReleasePair, at: Path) -> Path:
    """A recording for the replay agent at `at`: `plan.json`, `attempt-1.patch` and `attempt-1.md`."""
    older, changed = _source(fetch(project)[0]), change(project)
    newer = {path: content for path, content in {**older, **changed}.items() if content is not None}
    with tempfile.TemporaryDirectory() as directory:
        bare = Path(directory) / "bare.git"
        _bare(bare, {"older": older, "newer": newer}, f"{project.name}, for one diff")
        patch = _git(bare, "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "older", "newer")
    if b"\nBinary files " in patch:
        raise ValueError(f"{project.name} {project.newer} changed a binary file outside its tests: choose another pair")
    at.mkdir(parents=True, exist_ok=True)
    said = f"This is a recording of upstream's own fix: {project.name} {project.older} to {project.newer}."
    plan = Plan(steps=(said, *(f"Change {path} as upstream did" for path in changed)), paths=tuple(changed))
    (at / "plan.json").write_text(json.dumps(plan.model_dump(mode="json"), indent=2) + "\n")
    (at / "attempt-1.patch").write_bytes(patch)
    (at / "attempt-1.md").write_text(f"{said} No model wrote it.\nUpstream's tests and packaging files are left out.\n")
    return at


def _source(files: Mapping[str, bytes]) -> dict[str, bytes]:
    def is_source(path: str) -> bool:
        return not any(fnmatchcase(path, pattern) or fnmatchcase(path, f"*/{pattern}") for pattern in NOT_SOURCE)

    return {path: content for path, content in sorted(files.items()) if is_source(path)}


def _bare(at: Path, branches: Mapping[str, Mapping[str, bytes]], message: str) -> None:
    """A bare repository with one commit a branch. Through `fast-import`, so git never has a work tree of theirs."""
    at.mkdir(parents=True)
    _git(at, "init", "--quiet", "--bare", f"--initial-branch={next(iter(branches))}", str(at))
    stream = BytesIO()
    for branch, files in branches.items():
        stream.write(f"commit refs/heads/{branch}\ncommitter Upstream <upstream@example.invalid> 0 +0000\n".encode())
        stream.write(b"data %d\n%s\n" % (len(message.encode()), message.encode()))
        for path, content in files.items():
            stream.write(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content))
    _git(at, "fast-import", "--quiet", stdin=stream.getvalue())


def _git(at: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    # from scratch: neither this machine's git configuration nor a surrounding repository has a say
    environment = {"PATH": os.environ["PATH"], "HOME": str(at), "GIT_CONFIG_GLOBAL": os.devnull} | {
        "GIT_CONFIG_NOSYSTEM": "1", "GIT_ATTR_NOSYSTEM": "1", "GIT_DIR": str(at), "LC_ALL": "C",
    }  # fmt: skip
    return subprocess.run(
        ["git", *arguments], input=stdin, capture_output=True, check=True, env=environment, cwd=at
    ).stdout
