"""A private package index with a login, beside a public one: real servers, and uv and the scanner as they ask them."""

import base64
import contextlib
import functools
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr, ValidationError

from blocks.host import run as bounded
from blocks.package_index import PackageIndex, netrc
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.scanners import Dependencies
from blocks.toolchains.wheels import WheelToolchains
from blocks.workshop import Workshop
from domain.errors import InputError
from domain.project import ProjectSettings
from tasks.room.requirements import installation
from tests.unit.policy_cases import tree

TOKEN = "pkg-Zx81kQ04mVt7"


def wheel(name: str, version: str) -> bytes:
    info, content = f"{name}-{version}.dist-info", io.BytesIO()
    files = {
        f"{name}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return content.getvalue()


@contextlib.contextmanager
def index(folder: Path, login: str | None, **packages: str) -> Iterator[tuple[str, list[str]]]:
    """(address, paths that were asked for) of a folder `simple/` that a plain web server shows."""
    for name, version in packages.items():
        place = folder / "simple" / name.replace("_", "-")
        place.mkdir(parents=True)
        file = f"{name}-{version}-py3-none-any.whl"
        (place / file).write_bytes(wheel(name, version))
        (place / "index.html").write_text(f'<a href="{file}">{file}</a>')
    asked: list[str] = []
    wanted = f"Basic {base64.b64encode(login.encode()).decode()}" if login else None

    class Handler(SimpleHTTPRequestHandler):
        def send_head(self) -> Any:
            if wanted and self.headers.get("Authorization") != wanted:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            if not wanted:
                assert not self.headers.get("Authorization"), "a login reached an index that it is not for"
            asked.append(self.path)
            return super().send_head()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{'127.0.0.1' if login else 'localhost'}:{server.server_port}/simple", asked
    finally:
        server.shutdown()
        server.server_close()


def saved(monkeypatch: pytest.MonkeyPatch, **made: PackageIndex) -> None:
    def find(_: type[PackageIndex], name: str) -> PackageIndex:
        if name not in made:
            raise ValueError(f"no block {name}")
        return made[name]

    monkeypatch.setattr(PackageIndex, "saved", classmethod(find))


def test_a_private_index_is_asked_first_and_its_login_is_seen_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = bounded.run

    def watch(argv: Any, *args: Any, **more: Any) -> Any:
        ran.append(f"{argv} {more.get('env')}")
        return run(argv, *args, **more)

    monkeypatch.setattr("blocks.toolchains.wheels.run", watch)
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    sandbox = Bubblewrap(root=tmp_path / "sandboxes")
    with (
        index(tmp_path / "private", f"ci:{TOKEN}", shop_secret="1.0") as (private, _),
        index(tmp_path / "public", None, shop_secret="99.0", other_lib="2.0") as (public, asked),
    ):
        toolchains = WheelToolchains(root=tmp_path / "toolchains", index_url=SecretStr(public), indexes=("acme",))
        saved(monkeypatch, acme=PackageIndex(url=private, username="ci", token=SecretStr(TOKEN)))
        made = toolchains.ensure(["shop-secret", "other-lib"], sandbox)
        (packages,) = made.glob("lib/python3*/site-packages")
        assert "1.0" in (packages / "shop_secret.py").read_text()
        assert (packages / "other_lib.py").exists()
        assert toolchains.knows_index(f"{private}/") and not toolchains.knows_index("https://x.example/simple")

        project = tree({"requirements.txt": "shop-secret==1.0\nother-lib\n"})
        scanner = Dependencies(
            index_url=SecretStr(public), indexes=("acme",), vulnerabilities=public.removesuffix("/simple"), cache_s=0
        )
        scanner.scan({}, project, ["requirements.txt"])

        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another cache"))
        saved(monkeypatch, acme=PackageIndex(url=private, username="ci", token=SecretStr("wrong")))
        with pytest.raises(InputError, match="cannot be installed"):
            WheelToolchains(root=tmp_path / "other", index_url=SecretStr(public), indexes=("acme",)).ensure(
                ["shop-secret"], sandbox
            )
        saved(monkeypatch)
        with pytest.raises(InputError, match="no block package-index/acme"):
            toolchains.ensure(["shop-secret"], sandbox)
    assert any("other-lib" in path for path in asked)
    assert not [path for path in asked if "shop" in path]
    assert any("NETRC" in line for line in ran)
    assert not [line for line in ran if TOKEN in line]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]


def test_an_index_that_a_project_names_and_nobody_set_up_refuses_it() -> None:
    shop = cast(Workshop, SimpleNamespace(toolchains=WheelToolchains()))
    project = tree({"requirements.txt": "--extra-index-url https://me:pw@packages.example.org/simple\nflask\n"})
    with pytest.raises(InputError, match=r"packages\.example\.org.*requirements\.txt.*package index") as refused:
        installation(shop, ProjectSettings(lock="requirements.txt"), project)
    assert "pw" not in str(refused.value)


def test_two_logins_at_one_host_are_refused() -> None:
    logins = [(f"https://x.example/{team}", (team, "pw")) for team in ("a", "b")]
    with pytest.raises(InputError, match="different logins"), netrc(logins):
        pass


@pytest.mark.parametrize(
    "given",
    [{"url": "http://x.example/simple"}, {"url": "https://a:b@x.example/simple"}, {"url": "/srv/simple"},
     {"url": "https://x.example/simple", "token": "two words"}],
)  # fmt: skip
def test_an_index_that_cannot_be_asked_safely_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PackageIndex(**given)
