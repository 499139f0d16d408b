"""The wheel, installed as `uv tool install` and pipx do it: into an environment of its own, outside of any checkout."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.briefs import brief, repository
from kits.servers import free_port

PROJECT = Path(__file__).resolve().parents[2]
UV = Path(sys.executable).with_name("uv")


class Installed:
    """The command as it was installed, with a home and an environment that know of no checkout."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.port = folder, folder / "home", free_port()
        uv(folder, "build", "--wheel", "--quiet", "--out-dir", str(folder), str(PROJECT))
        (self.wheel,) = folder.glob("*.whl")
        uv(folder, "venv", "--quiet", "--python", sys.executable, str(folder / "tool"))
        uv(folder, "pip", "install", "--quiet", "--python", str(folder / "tool/bin/python"), str(self.wheel))

    def lockgate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(self.folder / "tool/bin/lockgate"), *words)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_", "http"))}
        env = {
            **kept,
            "HOME": str(self.folder),
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LOCKGATE_HOME": str(self.home),
            "LOCKGATE_PORT": str(self.port),
            "UV_CACHE_DIR": str(cache()),
        }
        return subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, timeout=400)


def uv(folder: Path, *words: str) -> str:
    return subprocess.run([UV, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def cache() -> Path:
    """Where what the checkout was installed from lies: linked from there, an environment costs no download."""
    return Path(uv(PROJECT, "cache", "dir"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    made = Installed(tmp_path_factory.mktemp("wheel"))
    yield made
    made.lockgate("down")


def test_the_wheel_brings_one_name_of_its_own_and_needs_uv_alone(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = {name.partition("/")[0] for name in wheel.namelist()}
        about = wheel.read("lockgate-0.1.0.dist-info/METADATA").decode()
    assert names == {"lockgate", "lockgate-0.1.0.dist-info"}
    assert [line for line in about.splitlines() if line.startswith("Requires-Dist")] == ["Requires-Dist: uv>=0.9"]


def test_the_first_command_makes_the_locked_environment_and_the_next_finds_it(installed: Installed) -> None:
    folders = installed.folder / "tool/share/lockgate"
    left = folders / "environment-of-an-older-version"
    left.mkdir(parents=True)
    first, second = installed.lockgate("--version"), installed.lockgate("--version")
    assert (first.stdout, second.stdout) == ("lockgate 0.1.0\n", "lockgate 0.1.0\n"), first.stderr + second.stderr
    assert "installing its locked environment" in first.stderr
    assert second.stderr == ""
    assert not left.exists() and len(list(folders.glob("environment-*"))) == 1
    assert not installed.home.exists(), "to say the version makes no credentials"


def test_no_package_of_the_lock_has_a_name_of_our_folders(installed: Installed) -> None:
    (packages,) = installed.folder.glob("tool/share/lockgate/environment-*/lib/python*/site-packages")
    ours = {"blocks", "domain", "flows", "kits", "lockgate", "station", "tasks"}
    assert not ours & {path.name.partition(".")[0] for path in packages.iterdir() if not path.name.endswith(".pth")}


def test_a_station_comes_up_from_it_and_nothing_is_missing(installed: Installed, tmp_path: Path) -> None:
    up = installed.lockgate("up")
    assert up.returncode == 0, up.stdout + up.stderr
    said = installed.lockgate("doctor").stdout.splitlines()
    assert [line for line in said if line.startswith("MISSING")] == []
    assert len([line for line in said if line.startswith("ok") and "scanner" in line]) == 7
    (python,) = installed.folder.glob("tool/share/lockgate/environment-*/bin/python")
    agent = "from blocks.agents.command import Command\nCommand(command='/bin/true').keep('default')"
    made = installed.run(str(python), "-P", "-c", f"from station import settings\nsettings.use()\n{agent}")
    assert made.returncode == 0, made.stderr
    vague = brief(repository(tmp_path / "sums.git"), "command/default", goal="make it better")
    (tmp_path / "brief.json").write_text(json.dumps(vague))
    done = installed.lockgate("run", str(tmp_path / "brief.json"), "--wait", "--json")
    assert json.loads(done.stdout)["end"] == "refused", done.stdout + done.stderr
    assert "supervisor" in installed.lockgate("down").stdout
