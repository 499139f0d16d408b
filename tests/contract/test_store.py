"""What every store promises."""

import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.stores import LocalStore
from domain.errors import LedgerError
from domain.value import digest_of


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(root=tmp_path / "store")


def files(store: LocalStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", b"plain", bytes(range(256)), b"x" * 3_000_000])
def test_what_is_put_is_what_is_got(store: LocalStore, data: bytes) -> None:
    digest = store.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.get(digest) == data


def test_putting_twice_keeps_one_file_and_leaves_nothing_else(store: LocalStore) -> None:
    assert store.put(b"same") == store.put(b"same")
    assert len(files(store)) == 1


def test_putting_at_once_keeps_one_whole_file(store: LocalStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(store.put, [b"same" * 10_000] * 32))
    assert len(digests) == len(files(store)) == 1
    assert store.get(digests.pop()) == b"same" * 10_000


def test_a_file_lies_two_directories_deep_and_only_its_owner_reads_it(store: LocalStore) -> None:
    digest = store.put(b"secret")
    path = store.root / digest[:2] / digest[2:4] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_changed_file_is_not_served_and_putting_mends_it(store: LocalStore) -> None:
    digest = store.put(b"true")
    (path,) = files(store)
    path.write_bytes(b"false")
    with pytest.raises(LedgerError, match="changed"):
        store.get(digest)
    store.put(b"true")
    assert store.get(digest) == b"true"


def test_what_was_never_put_is_an_error(store: LocalStore) -> None:
    with pytest.raises(LedgerError, match="0000"):
        store.get("0" * 64)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "a" * 63, "a" * 65, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63, "a" * 62 + "/."]
)
def test_what_is_not_a_digest_touches_no_file(store: LocalStore, digest: str) -> None:
    with pytest.raises(LedgerError, match="not a SHA-256 digest"):
        store.get(digest)
    assert not store.root.exists()


def test_a_store_that_cannot_write_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LedgerError, match=r"cannot write .*file"):
        LocalStore(root=tmp_path / "file").put(b"data")


def test_json_goes_in_and_out_under_its_canonical_digest(store: LocalStore) -> None:
    data = {"b": [1, None], "a": "é"}
    assert store.put_json(data) == digest_of(data)
    assert store.get_json(digest_of({"a": "é", "b": [1, None]})) == data


def test_the_default_store_is_in_lockgates_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    assert LocalStore().root == tmp_path / "store"
