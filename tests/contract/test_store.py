"""What every store promises: on this machine's disk, and on a real S3 server."""

import contextlib
import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.ledger.ledger import Ledger
from blocks.stores import LocalStore, S3Store, s3
from blocks.workshop import Workshop
from domain.errors import LedgerError
from domain.value import Value, digest_of
from flows import housekeeping
from kits.users import until
from tests.seaweed import KEYS, READER, Seaweed

Store = LocalStore | S3Store
_buckets = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    weed = Seaweed(tmp_path_factory.mktemp("weed"))
    try:
        weed.start()
        yield weed
    finally:
        weed.kill()


def s3_store(server: Seaweed, keys: tuple[str, str] = KEYS, **fields: Any) -> S3Store:
    access, secret = (SecretStr(key) for key in keys)
    fields = {"endpoint_url": server.url, "region": "us-east-1", "prefix": "lockgate", **fields}
    return S3Store(access_key_id=access, secret_access_key=secret, **fields)


@pytest.fixture
def bucket(server: Seaweed) -> S3Store:
    name = f"bucket-{next(_buckets)}"
    server.client().create_bucket(Bucket=name)
    return s3_store(server, bucket=name)


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(root=tmp_path / "store")


@pytest.fixture(params=["local", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    found: Store = request.getfixturevalue("local" if request.param == "local" else "bucket")
    return found


def files(store: Store) -> list[str]:
    """Everything that lies there: paths of files, names of objects."""
    if isinstance(store, LocalStore):
        return [str(path) for path in store.root.rglob("*") if path.is_file() and path.name != ".lock"]
    return [found["Key"] for found in store._client.list_objects_v2(Bucket=store.bucket).get("Contents", ())]


def damage(store: Store, digest: str, data: bytes) -> None:
    if isinstance(store, LocalStore):
        store._path(digest).write_bytes(data)
    else:
        store._client.put_object(Bucket=store.bucket, Key=store._key(digest), Body=data)


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("data", [b"", b"plain", bytes(range(256)), b"x" * 3_000_000])
def test_what_is_put_is_what_is_got(store: Store, data: bytes) -> None:
    digest = store.put(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert store.get(digest) == data


def test_a_file_goes_in_and_out_as_bytes_do(store: Store, tmp_path: Path) -> None:
    data = os.urandom(5_000_001)
    (tmp_path / "in").write_bytes(data)
    digest = store.put_file(tmp_path / "in")
    assert digest == store.put(data) == store.put_file(tmp_path / "in") == hashlib.sha256(data).hexdigest()
    store.get_file(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data
    assert len(files(store)) == 1


def test_putting_twice_keeps_one_file_and_leaves_nothing_else(store: Store) -> None:
    assert store.put(b"same") == store.put(b"same")
    assert len(files(store)) == 1


def test_putting_at_once_keeps_one_whole_file(store: Store) -> None:
    with ThreadPoolExecutor(12) as pool:
        digests = set(pool.map(store.put, [b"same" * 10_000] * 36))
    assert len(digests) == len(files(store)) == 1
    assert store.get(digests.pop()) == b"same" * 10_000


@pytest.mark.parametrize("false", [b"false", b"truth", b""])
def test_a_changed_file_is_not_served_and_putting_mends_it(store: Store, tmp_path: Path, false: bytes) -> None:
    digest = store.put(b"true!")
    damage(store, digest, false)
    with pytest.raises(LedgerError, match="changed"):
        store.get(digest)
    with pytest.raises(LedgerError, match="changed"):
        store.get_file(digest, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == list(tmp_path.glob(".incoming-*")) == []
    store.put(b"true!")
    assert store.get(digest) == b"true!"


def test_what_was_never_put_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="0000"):
        store.get("0" * 64)
    with pytest.raises(LedgerError, match="0000"):
        store.get_file("0" * 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", "a" * 63, "a" * 65, "A" * 64, "a" * 64 + "\n", "/" + "a" * 63, "a" * 62 + "/."]
)
def test_what_is_not_a_digest_touches_no_file(store: Store, digest: str, tmp_path: Path) -> None:
    for read in (lambda: store.get(digest), lambda: store.get_file(digest, tmp_path / "out")):
        with pytest.raises(LedgerError, match="not a SHA-256 digest"):
            read()
    assert not (tmp_path / "out").exists()


def test_json_goes_in_and_out_under_its_canonical_digest(store: Store) -> None:
    data = {"b": [1, None], "a": "é"}
    assert store.put_json(data) == digest_of(data)
    assert store.get_json(digest_of({"a": "é", "b": [1, None]})) == data


def test_pruning_removes_what_nobody_refers_to(store: Store) -> None:
    kept, gone = store.put(b"kept"), store.put(b"gone")
    assert store.prune({kept}, older_than_s=-10) == (gone,)
    assert store.prune({kept}, older_than_s=-10) == ()
    assert store.get(kept) == b"kept"
    with pytest.raises(LedgerError):
        store.get(gone)


def test_pruning_spares_what_is_new(store: Store) -> None:
    digest = store.put(b"not in the ledger yet")
    assert store.prune((), older_than_s=3600) == ()
    assert store.get(digest)


def test_pruning_leaves_alone_what_is_not_the_stores(store: Store) -> None:
    store.put(b"one")
    if isinstance(store, LocalStore):
        (store.root / "notes").write_text("mine")
    else:
        store._client.put_object(Bucket=store.bucket, Key="lockgate/notes", Body=b"mine")
        store._client.put_object(Bucket=store.bucket, Key="other/" + "0" * 64, Body=b"another's")
    others = len(files(store)) - 1
    assert len(store.prune((), older_than_s=-10)) == 1
    assert len(files(store)) == others


def test_pruning_an_empty_store_is_nothing(store: Store) -> None:
    assert store.prune((), older_than_s=0) == ()


def test_a_store_that_works_has_nothing_to_say(store: Store) -> None:
    assert store.doctor() is None


# ── local ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_lies_two_directories_deep_and_only_its_owner_reads_it(local: LocalStore) -> None:
    digest = local.put(b"secret")
    path = local.root / digest[:2] / digest[2:4] / digest
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_store_that_cannot_write_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = LocalStore(root=tmp_path / "file")
    with pytest.raises(LedgerError, match=r"cannot write .*file"):
        store.put(b"data")
    assert "cannot write" in (store.doctor() or "")


def test_putting_an_old_file_again_makes_it_new(local: LocalStore) -> None:
    digest = local.put(b"wanted again")
    os.utime(local._path(digest), (0, 0))
    local.put(b"wanted again")
    assert local.prune((), older_than_s=3600) == ()
    os.utime(local._path(digest), (0, 0))
    assert local.prune((), older_than_s=3600) == (digest,)


def test_what_a_killed_writer_left_is_pruned(local: LocalStore) -> None:
    local.put(b"data")
    old, new = local.root / ".incoming-old", local.root / ".incoming-new"
    old.write_text("half")
    new.write_text("half")
    os.utime(old, (0, 0))
    local.prune((), older_than_s=3600)
    assert not old.exists() and new.exists()


def test_nothing_is_lost_that_is_put_while_it_is_pruned(local: LocalStore) -> None:
    """Old content, put again by one thread while another prunes: after a put, it is there."""
    data, over = b"again and again", threading.Event()

    def prune() -> None:
        while not over.is_set():
            local.prune((), older_than_s=3600)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(prune)
        try:
            for _ in range(300):
                digest = local.put(data)
                assert local.get(digest) == data
                with contextlib.suppress(FileNotFoundError):
                    os.utime(local._path(digest), (0, 0))
        finally:
            over.set()
            done.result()


def test_the_default_store_is_in_lockgates_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    assert LocalStore().root == tmp_path / "store"


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_twelve_puts_at_once_one_writes(bucket: S3Store) -> None:
    answers: list[int] = []
    bucket._client.meta.events.register(
        "after-call.s3.PutObject", lambda http_response, **_: answers.append(http_response.status_code)
    )
    together = threading.Barrier(12)

    def put(_: int) -> str:
        together.wait()
        return bucket.put(b"one of twelve" * 1000)

    with ThreadPoolExecutor(12) as pool:
        digests = set(pool.map(put, range(12)))
    assert len(digests) == 1
    assert sorted(answers) == [200] + [412] * 11
    assert bucket.get(digests.pop()) == b"one of twelve" * 1000


def _is_there(store: S3Store, digest: str) -> bool:
    try:
        return bool(store.get(digest))
    except LedgerError as err:
        if "500" in str(err) or "not reached" in str(err):
            return False
        raise


def test_what_was_put_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    """Puts that returned are there afterwards; the others said so, and what they left is no other content."""
    weed = Seaweed(tmp_path / "weed")
    try:
        weed.start()
        weed.client().create_bucket(Bucket="bucket")
        store = s3_store(weed, bucket="bucket", connect_timeout_s=1, read_timeout_s=60, attempts=2)
        data = [os.urandom(200_000) for _ in range(200)]
        kept: dict[int, str] = {}
        refused: list[int] = []

        def put(number: int) -> None:
            try:
                kept[number] = store.put(data[number])
            except LedgerError:
                refused.append(number)

        with ThreadPoolExecutor(4) as pool:
            puts = [pool.submit(put, number) for number in range(200)]
            while len(kept) < 20:
                time.sleep(0.01)
            weed.kill()
            for each in puts:
                each.result()
        assert kept and refused
        with pytest.raises(LedgerError, match="not reached"):
            store.get(kept[min(kept)])
        weed.start()
        for number, digest in kept.items():
            until(functools.partial(_is_there, store, digest))  # the server answers a little before its volumes do
            assert store.get(digest) == data[number]
        for number in refused:
            assert store.get(store.put(data[number])) == data[number]
    finally:
        weed.kill()


def test_a_bucket_that_is_not_there_is_named(server: Seaweed) -> None:
    store = s3_store(server, bucket="no-such-bucket")
    with pytest.raises(LedgerError, match=r"no-such-bucket .*no such bucket"):
        store.put(b"data")
    assert "no-such-bucket" in (store.doctor() or "")


def test_keys_that_may_not_write_say_what_is_missing(server: Seaweed, bucket: S3Store) -> None:
    digest = bucket.put(b"data")
    reader = s3_store(server, READER, bucket=bucket.bucket)
    assert reader.get(digest) == b"data"
    with pytest.raises(LedgerError, match=r"no permission: .*PutObject"):
        reader.put(b"more")
    with pytest.raises(LedgerError, match="no permission"):
        reader.prune((), older_than_s=-10)
    assert bucket.get(digest) == b"data"


def test_a_wrong_key_is_not_in_the_message(server: Seaweed, bucket: S3Store) -> None:
    store = s3_store(server, ("lockgate", "not-the-secret"), bucket=bucket.bucket)
    with pytest.raises(LedgerError, match="secret access key is wrong") as refused:
        store.put(b"data")
    assert "not-the-secret" not in str(refused.value) + repr(store)


def test_without_keys_boto3_looks_for_them(
    server: Seaweed, bucket: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bare = S3Store(bucket=bucket.bucket, endpoint_url=server.url, region="us-east-1")
    with pytest.raises(LedgerError, match="no credentials"):
        bare.put(b"data")
    s3._client.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEYS[0])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEYS[1])
    assert bare.get(bare.put(b"data")) == b"data"
    s3._client.cache_clear()


def test_a_server_that_is_not_there_is_an_error_after_few_tries() -> None:
    store = S3Store(bucket="bucket", endpoint_url="http://127.0.0.1:9", region="us-east-1", attempts=2,
                    access_key_id=SecretStr("a"), secret_access_key=SecretStr("b"))  # fmt: skip
    for act in (lambda: store.put(b"data"), lambda: store.get("0" * 64), lambda: store.prune((), 0)):
        with pytest.raises(LedgerError, match="not reached"):
            act()
    assert "not reached" in (store.doctor() or "")


def test_putting_an_old_object_again_makes_it_new(bucket: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = bucket.put(b"wanted again")
    before = bucket._head(digest)
    monkeypatch.setattr(s3, "_FRESH_S", -10)
    time.sleep(1.1)  # dates are whole seconds
    bucket.put(b"wanted again")
    after = bucket._head(digest)
    assert before and after and after["LastModified"] > before["LastModified"]
    assert bucket.get(digest) == b"wanted again"


def test_a_store_in_a_block_keeps_its_kind() -> None:
    assert isinstance(S3Store.model_validate({"bucket": "b"}), S3Store)
    with pytest.raises(ValueError, match="bucket"):
        S3Store.model_validate({})


def name_of(number: int) -> str:
    return f"{number:012d}-{'a' * 64}"


def test_a_checkpoint_stays_as_it_was_first_and_is_never_pruned(store: Store) -> None:
    assert list(store.sealed()) == []
    for number in (2, 10, 1):
        store.seal(name_of(number), b"first %d" % number)
    store.seal(name_of(2), b"another")
    store.put(b"an object")
    assert store.prune((), -3600) != ()
    assert list(store.sealed()) == [(name_of(10), b"first 10"), (name_of(2), b"first 2"), (name_of(1), b"first 1")]
    for odd in ("../x", "x", f"{name_of(1)}/x", ""):
        with pytest.raises(LedgerError, match="not the name of a checkpoint"):
            store.seal(odd, b"")


def test_a_bucket_with_object_lock_gives_back_what_was_deleted_and_written_over(server: Seaweed) -> None:
    name, client = f"locked-{next(_buckets)}", server.client()
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    store = s3_store(server, bucket=name)
    store.seal(name_of(1), b"signed")
    key = f"lockgate/checkpoints/{name_of(1)}"
    version = client.head_object(Bucket=name, Key=key)["VersionId"]
    with pytest.raises(Exception, match="AccessDenied"):
        client.delete_object(Bucket=name, Key=key, VersionId=version)
    client.put_object(Bucket=name, Key=key, Body=b"forged")
    assert {data for _, data in store.sealed()} == {b"signed", b"forged"}
    client.delete_object(Bucket=name, Key=key)
    assert b"signed" in {data for _, data in store.sealed()}


# ── whose it is ──


def shop_of(store: Store, ledger: Ledger) -> Workshop:
    return Workshop.model_construct(store=store, ledger=ledger, store_days=1.0, keep_artifacts=5)


def test_a_wrong_or_empty_ledger_prunes_nothing(store: Store, tmp_path: Path) -> None:
    ledgers = {name: Ledger(url=f"sqlite:///{tmp_path}/{name}.db") for name in ("ours", "empty", "other")}  # type: ignore[arg-type]
    ours, empty, other = (shop_of(store, ledger) for ledger in ledgers.values())
    assert store.is_empty() and store.claimed() == () and not store.holds("a" * 64)
    kept, old = store.put(b"named"), store.put(b"not named")
    ours.ledger.record("run", "attempt", "1", Note(digest=kept))
    assert store.holds(kept) and not store.is_empty()
    said = housekeeping.prune(empty)
    assert "refers to nothing that is in the store" in said[0] and store.claimed() == ()
    other.ledger.record("run", "attempt", "1", Note(digest="b" * 64))
    assert "refers to nothing" in housekeeping.prune(other)[0] and store.claimed() == ()
    assert housekeeping.prune(ours) == [], "what was put today stays"
    assert store.claimed() == (ours.ledger.identity(),)
    assert ours.claim_store() is None
    said = housekeeping.prune(other)
    assert f"belongs to the ledger {ours.ledger.identity()}" in said[0]
    assert "also belongs to" in housekeeping.prune(ours)[0], "another workshop refers to it: neither knows of all"
    assert store.holds(old) and store.get(kept) == b"named"
    assert ours.ledger.identity() == Ledger(url=ledgers["ours"].url).identity() != other.ledger.identity()
    with pytest.raises(LedgerError, match="not the identity"):
        store.claim("../x")


def test_an_older_copy_of_the_ledger_prunes_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_of(store, Ledger(url=f"sqlite:///{tmp_path}/ours.db"))  # type: ignore[arg-type]
    shop.ledger.record("run", "attempt", "1", Note(digest=store.put(b"named")))
    assert housekeeping.prune(shop) == []
    monkeypatch.setattr(Ledger, "why_older", lambda self: "an older copy was put back")
    assert housekeeping.prune(shop) == ["nothing was removed from the store: an older copy was put back"]


class Note(Value):
    digest: str
