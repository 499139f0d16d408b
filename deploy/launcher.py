"""The wheel's `lockgate` package, and its command. In a checkout nothing uses this.

A wheel cannot carry a lock: whoever installs it gets the newest of everything, and two of our parts (mitmproxy and
semgrep) pin others so that no resolver finds a way. So the wheel needs `uv` alone, and carries the project: below this
package lies all that a checkout has, with pyproject.toml and uv.lock. The first command makes the locked environment,
beside the one that the wheel is in, and every command then runs there.

Imports the standard library and uv, for nothing else is there.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

PROJECT = Path(__file__).resolve().parent
KEPT = Path(sys.prefix) / "share" / "lockgate"
SYSTEM_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def main() -> None:
    """Never returns."""
    if any(os.path.exists(path) for path in SYSTEM_CERTIFICATES):  # as in the Makefile
        os.environ.setdefault("UV_SYSTEM_CERTS", "true")
    try:
        python = str(environment() / "bin" / "python")
    except (OSError, subprocess.CalledProcessError) as err:
        sys.exit(
            f"lockgate: its environment cannot be made in {KEPT}: {err}. It is made by the first command after an "
            "installation, which needs the package index, and leave to write there: let who installed it run "
            "`lockgate --version`"
        )
    os.execv(python, [python, "-P", "-m", "lockgate", *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def environment() -> Path:
    """Where this version's environment is; made if it is not there. Safe to repeat, and for two at once.

    Raises OSError or CalledProcessError if it cannot be made.
    """
    wanted = KEPT / f"environment-{_digest()}"
    if not (wanted / "ready").exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        with _alone():
            if not (wanted / "ready").exists():
                print("lockgate: installing its locked environment (once for each version)", file=sys.stderr)
                _make(wanted)
                _remove_old(wanted)
    return wanted


def _digest() -> str:
    """What an environment depends on: our version, the lock, and the Python."""
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    whole = hashlib.sha256(f"{version} {sys.version} {PROJECT}".encode() + (PROJECT / "uv.lock").read_bytes())
    return whole.hexdigest()[:12]


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with open(KEPT / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path) -> None:
    """From the lock and nothing else: each file is checked against its hash there."""
    from uv import find_uv_bin

    shutil.rmtree(folder, ignore_errors=True)  # of one that did not come to its end
    env = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    env["UV_PROJECT_ENVIRONMENT"] = str(folder)
    python = getattr(sys, "_base_executable", sys.executable)
    sync = ["sync", "--locked", "--quiet", "--no-default-groups", "--group", "platform", "--no-install-project"]
    subprocess.run([find_uv_bin(), *sync, "--project", str(PROJECT), "--python", python], env=env, check=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    (packages / "lockgate.pth").write_text(f"{PROJECT}\n")
    own = distribution("lockgate")  # what we say of our version; without a list of files, nothing can uninstall us
    about = packages / f"lockgate-{own.version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(own.read_text("METADATA") or "")
    subprocess.run([folder / "bin" / "python", "-P", "-m", "station.first_database"], cwd=PROJECT, check=True)
    (folder / "ready").touch()


def _remove_old(new: Path) -> None:
    """Environments of other versions, but for those in which something still runs."""
    commands = b""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            commands += (process / "cmdline").read_bytes()
    for old in KEPT.glob("environment-*"):
        if old != new and os.fsencode(old) not in commands:
            shutil.rmtree(old, ignore_errors=True)
