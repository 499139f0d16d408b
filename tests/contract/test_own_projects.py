"""A repository's own projects: built in a real sandbox, installed with their metadata, imported from the tree."""

from pathlib import Path

import pytest

from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
from domain.detect.asked import exported, uv_words
from domain.detect.reading import View
from domain.errors import InputError
from domain.project import ProjectSettings
from domain.trees import Tree
from domain.wheels import split
from tests.unit.policy_cases import tree

# A build backend of the project's own, which needs no other package: it asks the environment for the version, as those
# that ask version control do, and writes a file beside the code.
BACKEND = """
import os, zipfile
def build_wheel(directory, settings=None, metadata=None):
    version = os.environ["SETUPTOOLS_SCM_PRETEND_VERSION"]
    assert os.path.exists("src/shop/__init__.py") and not os.environ.get("HTTPS_PROXY")
    info, files = f"shop-{version}.dist-info", {}
    files["shop/__init__.py"] = open("src/shop/__init__.py").read()
    files["shop/_version.py"] = f"version = {version!r}"
    files["shop.pth"] = "import os"
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\\nName: shop\\nVersion: {version}\\nRequires-Dist: flask\\n" \\
        "Provides-Extra: test\\nRequires-Dist: x>1 ; (sys_platform == 'linux') and extra == 'test'\\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: own\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{info}/entry_points.txt"] = "[console_scripts]\\nshop=shop:main\\n"
    files[f"{info}/RECORD"] = ""
    name = f"shop-{version}-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return name
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "own"\nbackend-path = ["backend"]\n'
PROJECT: Tree = tree(
    {
        "api/pyproject.toml": PYPROJECT,
        "api/backend/own.py": BACKEND,
        "api/src/shop/__init__.py": "from shop._version import version\ndef main(): print('shop', version)\n",
        "api/PKG-INFO": "Metadata-Version: 2.1\nName: shop\nVersion: 1.5\n",
    }
)
SEES = "import importlib.metadata as m, shop; print(m.version('shop'), shop.version, shop.__file__)"


@pytest.fixture
def toolchains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WheelToolchains:
    monkeypatch.setenv("UV_OFFLINE", "1")
    return WheelToolchains(root=tmp_path / "toolchains")


def test_a_project_is_built_without_a_network_and_its_code_comes_from_the_tree(
    tmp_path: Path, toolchains: WheelToolchains
) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    made = toolchains.wheel(PROJECT, "api", sandbox, python=None, version=None)
    assert (made.name, made.filename) == ("shop", "shop-1.5-py3-none-any.whl")  # as PKG-INFO says
    parts = split(made.content, PROJECT.keys(), "api")
    assert dict(parts.beside) == {"api/src/shop/_version.py": b"version = '1.5'"}  # and no .pth
    assert (parts.roots, parts.sources) == (("api/src",), ("api/src/shop/__init__.py",))
    assert parts.metadata.dependencies == ("flask",)
    assert parts.metadata.extras == {"test": ('x>1 ; sys_platform == "linux"',)} or "linux" in str(
        parts.metadata.extras
    )

    environment = toolchains.ensure((), sandbox, wheels={made.filename: parts.wheel})
    laid = {**PROJECT, **tree(dict(parts.beside))}
    workspace = sandbox.open(laid, label="test", toolchain=environment)
    try:
        env = {"PYTHONPATH": "/work/api/src"}
        done = workspace.run(["python", "-c", SEES], timeout_s=60, env=env)
        script = workspace.run(["shop"], timeout_s=60, env=env)
        bare = workspace.run(["env", "-u", "PYTHONPATH", "python", "-c", SEES], timeout_s=60)
        safe = workspace.run(["python", "-c", SEES], timeout_s=60, env={"PYTHONSAFEPATH": "1"})
    finally:
        workspace.close()
    assert done.output.split() == ["1.5", "1.5", "/work/api/src/shop/__init__.py"]
    assert script.output.strip() == "shop 1.5"
    assert bare.output == done.output, "a Python that tests start finds the project by itself"
    assert "No module named 'shop'" in safe.output, "and the one that runs the tests finds nothing of the tree"


LOCK = """version = 1
requires-python = ">=3.9"
[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
[package.dev-dependencies]
dev = [{ name = "plain" }]
docs = [{ name = "other" }]
[package.metadata]
[package.metadata.requires-dev]
dev = [{ name = "plain" }]
docs = [{ name = "other" }]
[[package]]
name = "plain"
version = "1.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://example.com/plain-1.0-py3-none-any.whl", hash = "sha256:HASH", size = 1 }]
[[package]]
name = "other"
version = "2.0"
source = { registry = "https://pypi.org/simple" }
wheels = [{ url = "https://example.com/other-2.0-py3-none-any.whl", hash = "sha256:HASH", size = 1 }]
""".replace("HASH", "a" * 64)


def test_uv_exports_its_lock_in_a_sandbox_and_refuses_a_broken_one(tmp_path: Path, toolchains: WheelToolchains) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    pyproject = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.9"\n'
    pyproject += '[dependency-groups]\ndev = ["plain"]\ndocs = ["other"]\n'
    files = tree({"pyproject.toml": pyproject, "uv.lock": LOCK})
    pin = f"--hash=sha256:{'a' * 64}"
    for groups, wanted in ((), [f"plain==1.0 {pin}"]), (("docs",), [f"other==2.0 {pin}", f"plain==1.0 {pin}"]):
        words = uv_words(ProjectSettings(groups=groups))
        lines = toolchains.export(files, "uv.lock", sandbox, words=words, python=None)
        assert sorted(exported(View(files), lines).lines) == wanted
    with pytest.raises(InputError, match=r"uv\.lock cannot be used"):
        toolchains.export({**files, **tree({"uv.lock": "version ="})}, "uv.lock", sandbox, words=(), python=None)


def test_what_cannot_be_built_or_is_not_on_this_machine_says_why(tmp_path: Path, toolchains: WheelToolchains) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    with pytest.raises(InputError, match=r"has no \[build-system\]"):
        toolchains.wheel(tree({"a.py": ""}), "", sandbox, python=None, version=None)
    broken = tree({"pyproject.toml": PYPROJECT, "backend/own.py": "1/0"})
    with pytest.raises(InputError, match=r"(?s)cannot be built in a sandbox: exit code 1: .*ZeroDivisionError"):
        toolchains.wheel(broken, "", sandbox, python=None, version=None)
    with pytest.raises(InputError, match=r"no Python 3\.99, .*`uv python install 3\.99`"):
        toolchains.ensure((), sandbox, python="3.99")


def test_a_changes_build_backend_makes_nobody_ask_for_a_name_of_its_own(
    tmp_path: Path, toolchains: WheelToolchains
) -> None:
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    for computed in ('["shop-key-12345"]', '["wheel\\nshop-key-12345"]'):
        asks = f"\ndef get_requires_for_build_wheel(settings=None):\n    return {computed}\n"
        changed = {**PROJECT, **tree({"api/backend/own.py": BACKEND + asks})}
        given = {"python": None, "version": None}
        with pytest.raises(InputError, match="computes that it needs shop-key-12345"):
            toolchains.wheel(changed, "api", sandbox, **given, may_compute=("wheel",))
    with pytest.raises(InputError, match="cannot be installed"):  # base's may: it is asked for, and there is no index
        toolchains.wheel(changed, "api", sandbox, **given)
