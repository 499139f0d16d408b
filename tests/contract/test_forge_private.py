"""Private repositories over http with a token and ssh with a deploy key, and that neither is seen anywhere."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from blocks.forges import LocalForge
from blocks.forges import git as runner
from blocks.forges.credential import RepositoryCredential
from domain.errors import InputError
from tests.contract.private_hosts import http_host, ssh_host
from tests.contract.test_forge import Person, change, person

TOKEN = "ghp_Zx81kQ04mVt7"
KEY = SecretStr("-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\n")


def credentials(monkeypatch: pytest.MonkeyPatch, **made: RepositoryCredential) -> None:
    def saved(_: type[RepositoryCredential], name: str) -> RepositoryCredential:
        if name not in made:
            raise ValueError(f"no block {name}")
        return made[name]

    monkeypatch.setattr(RepositoryCredential, "saved", classmethod(saved))


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Command lines and environments of every git from now on, and what they said."""
    seen: list[str] = []
    run = runner.run

    def watch(argv: Sequence[str], environment: Mapping[str, str], *more: Any) -> runner.GitRun:
        ran = run(argv, environment, *more)
        seen.append(f"{argv} {environment} {ran}")
        return ran

    monkeypatch.setattr(runner, "run", watch)
    return seen


def ships(forge: LocalForge, ann: Person, address: str) -> None:
    """A change goes all the way and back."""
    base = ann.commits({"a.txt": "1\n"})
    there = Person(ann.copy, address, ann.bare)
    assert forge.default_branch(address) == "main"
    assert forge.base(address, "main") == base
    _, commit = change(forge, there, {"a.txt": "2\n"}, base)
    assert forge.merge(address, "main", base, commit) is None
    revert = forge.revert(address, "main", commit, "slow")
    assert ann.history == [revert, commit, base]


def test_a_token_opens_a_repository_over_http_and_is_seen_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(tmp_path, bare=True)
    forge = LocalForge(root=tmp_path / "forge", credentials=("shared",), git_timeout_s=60)
    with http_host(tmp_path / "shared", "x-access-token", TOKEN) as url:
        address, seen = f"{url}/shop.git", watched(monkeypatch)
        credentials(monkeypatch, shared=RepositoryCredential(url=url, token=SecretStr(TOKEN)))
        ships(forge, ann, address)
        with pytest.raises(InputError, match="check the address"):
            forge.base(f"{url}/missing.git", "main")

        credentials(monkeypatch, shared=RepositoryCredential(url=url, token=SecretStr(TOKEN + "x")))
        with pytest.raises(InputError, match=r"check the address.*Authentication failed"):
            forge.base(address, "main")
        credentials(monkeypatch, shared=RepositoryCredential(url=f"{url}/other", token=SecretStr(TOKEN)))
        with pytest.raises(InputError, match="check the address"):
            forge.base(address, "main")
        credentials(monkeypatch)
        with pytest.raises(InputError, match="no block repository-credential/shared"):
            forge.base(address, "main")
    assert any("cat /dev/fd/" in line for line in seen)
    assert not [line for line in seen if TOKEN in line]
    written = [path for path in (tmp_path / "forge").rglob("*") if path.is_file()]
    assert written and not [path for path in written if TOKEN.encode() in path.read_bytes()]


def test_a_deploy_key_opens_a_repository_over_ssh_and_is_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(tmp_path, bare=True)
    forge = LocalForge(root=tmp_path / "forge", credentials=("key",), git_timeout_s=60)
    with ssh_host(tmp_path) as (url, key, known):
        address, seen = f"{url}{tmp_path}/shared/shop.git", watched(monkeypatch)
        credentials(monkeypatch, key=RepositoryCredential(url=url, private_key=SecretStr(key), known_hosts=known))
        (tmp_path / "deploy").unlink()
        ships(forge, ann, address)
        secret = key.splitlines()[2]
        assert not [line for line in seen if secret in line]
        assert any("/proc/" in line and "StrictHostKeyChecking=yes" in line for line in seen)

        other = f"{known.rpartition(' ')[0]} AAAAC3NzaC1lZDI1NTE5AAAAIJTnJ7cJc3N6QkY1v4zZ2m1n9v8Q0o2b8kYwq0mJt3xA"
        credentials(monkeypatch, key=RepositoryCredential(url=url, private_key=SecretStr(key), known_hosts=other))
        with pytest.raises(InputError, match="Host key verification failed"):
            forge.base(address, "main")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "wrong")], check=True)
        wrong = SecretStr((tmp_path / "wrong").read_text())
        credentials(monkeypatch, key=RepositoryCredential(url=url, private_key=wrong, known_hosts=known))
        with pytest.raises(InputError, match="Permission denied"):
            forge.base(address, "main")


def test_nothing_of_a_credential_stays_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    https = RepositoryCredential(url="https://example.org/team", token=SecretStr(TOKEN))
    ssh = RepositoryCredential(
        url="ssh://git@example.org/team", private_key=KEY, known_hosts="example.org ssh-ed25519 A"
    )
    for credential in (https, ssh):
        with pytest.raises(RuntimeError), credential.given():
            raise RuntimeError
    assert len(os.listdir("/proc/self/fd")) == before
    assert TOKEN not in repr(https)


@pytest.mark.parametrize(
    ("address", "is_for"),
    [
        ("https://example.org/team/shop.git", True),
        ("https://example.org/team", True),
        ("https://example.org/team2/shop.git", False),
        ("https://example.org/team/../other/shop.git", False),
        ("https://example.org/team/%2e%2e/other/shop.git", False),
        ("https://example.org.evil.example/team/shop.git", False),
        ("https://example.org:8443/team/shop.git", False),
        ("http://example.org/team/shop.git", False),
        ("ssh://git@example.org/team/shop.git", False),
    ],
)
def test_a_token_is_used_below_its_url_and_nowhere_else(address: str, is_for: bool) -> None:
    assert RepositoryCredential(url="https://example.org/team", token=SecretStr(TOKEN)).is_for(address) == is_for


def test_the_short_form_of_an_ssh_address_is_the_long_one() -> None:
    ssh = RepositoryCredential(
        url="ssh://git@example.org/team", private_key=KEY, known_hosts="example.org ssh-ed25519 A"
    )
    assert ssh.is_for("git@example.org:team/shop.git")
    assert not ssh.is_for("git@example.org:other/shop.git")
    assert not ssh.is_for("ann@example.org:team/shop.git")


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "https://example.org"},
        {"url": "https://example.org", "private_key": KEY},
        {"url": "http://example.org", "token": TOKEN},
        {"url": "https://x:y@example.org", "token": TOKEN},
        {"url": "https://example.org", "token": "two\nlines"},
        {"url": "ssh://git@example.org", "token": TOKEN},
        {"url": "ssh://git@example.org", "private_key": KEY},
        {"url": "/srv/git", "token": TOKEN},
    ],
)
def test_a_credential_that_cannot_work_is_refused_when_it_is_saved(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        RepositoryCredential(**fields)
