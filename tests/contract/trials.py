"""What trials are tried with: the shop and a toolchain for it, and a service of a few lines."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement
from uv import find_uv_bin

from blocks.host.processes import RELEASE_UID
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.trees import Tree, TreeEntry

SHOP = Path(__file__).parents[2] / "examples" / "shop" / "repository"
RUN = "python -m uvicorn shop.app:app --host {host} --port {port} --no-access-log"
NEEDED = ("alembic", "psycopg", "psycopg-binary", "sqlalchemy", "starlette", "uvicorn")


def toolchain_at(path: Path) -> Path:
    """A virtual environment with what the shop needs, of the packages that are installed here: no index is asked."""
    command = [find_uv_bin(), "venv", "--quiet", "--offline", "--python", sys.executable, str(path)]
    subprocess.run(command, check=True)
    packages = next(path.glob("lib/python3*/site-packages"))
    for one in _closure(NEEDED).values():
        for file in one.files or ():
            source = Path(str(one.locate_file(file)))
            if ".." not in file.parts and file.suffix != ".pyc" and source.is_file():
                (packages / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, packages / file)
                shutil.copymode(source, packages / file)
    subprocess.run([path / "bin" / "python", "-m", "compileall", "-q", packages], check=True)  # as real toolchains are
    return path


def _closure(names: tuple[str, ...]) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    wanted = list(names)
    while wanted:
        one = distribution(wanted.pop())
        if one.name not in found:
            found[one.name] = one
            needs = map(Requirement, one.requires or ())
            wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return found


def shop() -> Tree:
    return {
        path.relative_to(SHOP).as_posix(): TreeEntry(0o100644, path.read_bytes())
        for path in sorted(SHOP.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def revision(up: str, down: str = "pass") -> Tree:
    """The shop's next alembic revision."""
    text = f"""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0003", "0002", None, None
def upgrade():
    {up}
def downgrade():
    {down}
"""
    return {"migrations/versions/0003_next.py": TreeEntry(0o100644, text.encode())}


def build_of(tree: Tree, toolchain: Path, run: str = RUN, **environment: str) -> ReleaseBuild:
    return ReleaseBuild(
        tree=tree,
        toolchain=toolchain,
        run=run,
        health=HealthCheck(),
        migrate_up=None,
        environment=environment,
        previous=None,
    )


def given(folder: Path) -> None:
    """To whoever releases run as."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, RELEASE_UID, RELEASE_UID, follow_symlinks=False)
