"""The contract of the Toolchains port: wheels from an index on this machine, in real sandboxes."""

import hashlib
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains import requirements, wheels
from blocks.toolchains.wheels import WheelToolchains
from domain.errors import InputError
from domain.ports import Sandbox


def wheel(index: Path, name: str, files: dict[str, str], version: str = "1.0", needs: str = "") -> str:
    """Put a wheel where uv finds it; its SHA-256."""
    index.mkdir(exist_ok=True)
    path = index / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    content = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        + (f"Requires-Dist: {needs}\n" if needs else ""),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**content, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place that uv may look at."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    wheel(tmp_path / "index", "plain", {"plain/__init__.py": "VALUE = 1\n", "plain/broken.py": "def (:\n"})
    return tmp_path / "index"


@pytest.fixture
def sandbox(tmp_path: Path) -> Bubblewrap:
    return Bubblewrap(root=tmp_path / "sandboxes")


@pytest.fixture
def toolchains(tmp_path: Path) -> Iterator[WheelToolchains]:
    yield WheelToolchains(root=tmp_path / "toolchains")
    assert not list((tmp_path / "sandboxes").glob("*"))


def run(sandbox: Bubblewrap, environment: Path, *argv: str) -> str:
    workspace = sandbox.open({}, label="test", toolchain=environment)
    try:
        done = workspace.run(argv, timeout_s=60)
    finally:
        workspace.close()
    assert done.exit_code == 0, done
    return done.output.strip()


def test_what_was_required_is_there_and_compiled(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    environment = toolchains.ensure(["plain==1.0"], sandbox)
    seen = run(sandbox, environment, "python", "-v", "-c", "import plain, sys; print(plain.VALUE, sys.prefix)")
    assert f"1 {environment}" in seen
    assert f"matches {environment}" in seen  # a compiled file was there, and is still good


def test_the_same_lines_are_the_same_path_and_are_made_once(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap
) -> None:
    wheel(index, "other", {"other.py": ""})
    first = toolchains.ensure(["plain", "other >= 1"], sandbox)
    made = (first / "pyvenv.cfg").stat().st_mtime_ns
    assert toolchains.ensure(["other>=1  # why", "", "plain", "plain"], sandbox) == first
    assert (first / "pyvenv.cfg").stat().st_mtime_ns == made
    assert toolchains.ensure(["plain"], sandbox) != first
    assert toolchains.model_copy(update={"index_url": SecretStr("https://i.invalid")})._key(("plain",)) != first.name


def test_dependencies_come_too_unless_only_the_lines_are_wanted(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap
) -> None:
    wheel(index, "needy", {"needy.py": "VALUE = 2\n"}, needs="plain")
    script = "import importlib.util as u; print(bool(u.find_spec('needy')), bool(u.find_spec('plain')))"
    whole, alone = toolchains.ensure(["needy"], sandbox), toolchains.ensure(["needy"], sandbox, dependencies=False)
    assert run(sandbox, whole, "python", "-c", script) == "True True"
    assert run(sandbox, alone, "python", "-c", script) == "True False"


def test_no_requirements_give_an_empty_environment(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap
) -> None:
    environment = toolchains.ensure([], sandbox)
    assert run(sandbox, environment, "python", "-c", "import sys; print(sys.prefix)") == str(environment)


def test_scripts_find_their_interpreter(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    entry_points = {"tool-1.0.dist-info/entry_points.txt": "[console_scripts]\ntool=tool:main"}
    wheel(index, "tool", {"tool.py": "def main(): print('ran')\n", **entry_points})
    assert run(sandbox, toolchains.ensure(["tool"], sandbox), "tool") == "ran"


def test_what_a_crash_left_is_made_again(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    environment = toolchains.ensure(["plain"], sandbox)
    environment.with_suffix(".complete").unlink()  # it is written last
    (environment / "bin" / "python").unlink()
    assert toolchains.ensure(["plain"], sandbox) == environment
    assert run(sandbox, environment, "python", "-c", "import plain; print(plain.VALUE)") == "1"


MAKER = """
import sys
from pathlib import Path
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
root = Path(sys.argv[1])
environment = WheelToolchains(root=root / "toolchains").ensure(["plain"], Bubblewrap(root=root / "sandboxes"))
print((environment / "pyvenv.cfg").stat().st_mtime_ns)
"""


def test_two_workers_make_it_once_and_a_killed_one_is_replaced(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap, tmp_path: Path
) -> None:
    def start() -> subprocess.Popen[str]:
        argv = [sys.executable, "-c", MAKER, str(tmp_path)]
        return subprocess.Popen(argv, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)

    killed = start()
    while not list(toolchains.root.glob("*/pyvenv.cfg")) and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.communicate()
    makers = [start(), start()]
    said = {maker.communicate(timeout=120)[0] for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0]
    assert len(said) == 1
    sandbox.sweep(lambda label: False)


def test_nothing_of_a_wheel_runs_on_the_host(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap, tmp_path: Path
) -> None:
    touch = f"open({str(tmp_path / 'ran')!r}, 'w')"
    wheel(index, "evil", {"evil.pth": f"import sys; {touch}\n", "sitecustomize.py": touch, "compileall.py": touch})
    toolchains.ensure(["evil"], sandbox)
    assert not (tmp_path / "ran").exists()


def test_nothing_of_a_wheel_runs_on_the_host_when_more_is_installed_after_it(
    tmp_path: Path, index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap
) -> None:
    touch = f"import os; os.path.isdir({str(tmp_path)!r}) and open({str(tmp_path / 'ran')!r}, 'w')\n"
    files = {"evil.pth": touch, "sitecustomize.py": touch, "starts.pth": "import sys; sys.began = 1\n"}
    pin = wheel(index, "evil", files)
    name = "own-1.0-py3-none-any.whl"
    wheel(tmp_path / "own", "own", {"own.py": "", "evil-own.pth": touch})
    own = {name: (tmp_path / "own" / name).read_bytes()}
    wheel(index, "late", {"late.py": ""}, needs="own")
    environment = toolchains.ensure([f"evil==1.0 --hash=sha256:{pin}", "plain", "late"], sandbox, wheels=own)
    assert not (tmp_path / "ran").exists()
    assert run(sandbox, environment, "python", "-c", "import sys, plain, late, own; print(sys.began)") == "1"
    assert not (tmp_path / "ran").exists()


def test_an_own_wheel_replaces_no_file_of_another_package(
    tmp_path: Path, index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap
) -> None:
    name = "own-1.0-py3-none-any.whl"
    wheel(tmp_path / "own", "own", {"plain/__init__.py": "VALUE = 2\n"})
    with pytest.raises(InputError, match=r"replaces plain/__init__\.py of the package plain"):
        toolchains.ensure(["plain"], sandbox, wheels={name: (tmp_path / "own" / name).read_bytes()})
    assert not list(toolchains.root.glob("*/pyvenv.cfg"))


@pytest.mark.parametrize("file", ["pyvenv.cfg", "bin/python"])
def test_a_wheel_does_not_choose_what_a_sandbox_mounts(
    index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap, tmp_path: Path, file: str
) -> None:
    wheel(index, "evil", {f"evil-1.0.data/data/{file}": f"home = {tmp_path}/bin\n"})
    with pytest.raises(InputError, match=r"replaces the environment's|cannot be installed"):
        toolchains.ensure(["evil"], sandbox)
    assert not list(toolchains.root.glob("*/pyvenv.cfg"))


def test_only_wheels_are_installed(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    (index / "source-1.0.tar.gz").write_bytes(b"")
    with pytest.raises(InputError, match=r"(?s)cannot be installed.*source.*Only wheels"):
        toolchains.ensure(["source"], sandbox)


def test_the_index_is_not_in_the_message(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    private = toolchains.model_copy(update={"index_url": SecretStr("https://me:hush-hush@127.0.0.1:9/simple")})
    with pytest.raises(InputError) as refused:
        private.ensure(["nothing-of-the-kind"], sandbox)
    assert "hush" not in str(refused.value)


def test_a_lock_file_with_hashes_is_held_to_them(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    digest = hashlib.sha256((index / "plain-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lock = f"# a lock\nplain==1.0 \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{digest}\n    # via nothing\n"
    environment = toolchains.ensure(lock.splitlines(), sandbox)
    assert run(sandbox, environment, "python", "-c", "import plain; print(plain.VALUE)") == "1"
    with pytest.raises(InputError, match=r"(?i)hash"):
        toolchains.ensure([f"plain==1.0 --hash=sha256:{'0' * 64}"], sandbox)


READ = {
    "plain": ("plain",),
    "Plain[b, a] >=1,<2 ; python_version>'3'": ('Plain[a,b]<2,>=1; python_version > "3"',),
    "b\na # c\n\n# d\na": ("a", "b"),
    f"a==1 --hash=sha256:{'1' * 64}": (f"a==1 --hash=sha256:{'1' * 64}",),
}


@pytest.mark.parametrize("text", READ)
def test_requirements_are_read(text: str) -> None:
    assert requirements.read([text]).lines == READ[text]


REFUSED = {
    "-e .": "is an option",
    "--index-url https://x.invalid": "is an option",
    "-r other.txt": "is an option",
    "a @ https://x.invalid/a-1-py3-none-any.whl": "names an address",
    "a @ file:///etc": "names an address",
    "a @ git+https://x.invalid/a": "names an address",
    "https://x.invalid/a.whl": "cannot be read",
    "./a.whl": "cannot be read",
    "/a.whl": "cannot be read",
    "a==1 --global-option=x": "cannot be read",
    "a==1 --hash=md5:00": "cannot be read",
    "$(id)": "cannot be read",
    "${HOME}": "cannot be read",
    "a b": "cannot be read",
}


@pytest.mark.parametrize("text", REFUSED)
def test_other_lines_are_refused(text: str, toolchains: WheelToolchains, sandbox: Sandbox) -> None:
    with pytest.raises(InputError, match=REFUSED[text]):
        toolchains.ensure([text], sandbox)
    assert not toolchains.root.exists()


def test_a_missing_package_is_said_in_words(index: Path, toolchains: WheelToolchains, sandbox: Bubblewrap) -> None:
    with pytest.raises(InputError) as refused:
        toolchains.ensure(["lockgate-test-no-such-thing"], sandbox)
    assert str(refused.value).startswith("the requirements cannot be installed")
    assert "lockgate-test-no-such-thing" in str(refused.value)


def test_uv_trusts_the_system_where_that_has_certificates_unless_somebody_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_SYSTEM_CERTS", raising=False)
    monkeypatch.setattr(wheels, "_CERTIFICATES", (str(tmp_path / "none"), __file__))
    assert wheels._variables()["UV_SYSTEM_CERTS"] == "true"
    monkeypatch.setenv("UV_SYSTEM_CERTS", "false")
    assert wheels._variables()["UV_SYSTEM_CERTS"] == "false"
    monkeypatch.delenv("UV_SYSTEM_CERTS")
    monkeypatch.setattr(wheels, "_CERTIFICATES", (str(tmp_path / "none"),))
    assert "UV_SYSTEM_CERTS" not in wheels._variables()
