"""The store in an S3 bucket: AWS, or any server that speaks its protocol and knows conditional puts."""

import base64
import functools
import hashlib
import json
import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any, ClassVar

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import Field, SecretStr

from blocks.base import LockgateBlock
from blocks.stores.digests import (
    CLAIMS,
    PIECE,
    checked,
    claim_name,
    digest_of_file,
    incoming,
    is_digest,
    sealed_name,
    write,
)
from blocks.stores.s3_errors import code_of, s3_errors
from domain.errors import LedgerError
from domain.value import canonical

_FRESH_S = 3600.0
"""An object that is put again and is older gets a new date, so that it is not pruned under who has just put it."""
_NO_LOCK = ("ObjectLockConfigurationNotFoundError", "ObjectLockConfigurationNotFound", "NotImplemented")
_LARGEST_SEALED = 100_000
_CONFLICTS = 5
"""Tries of a put while another is under way: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html"""


class S3Store(LockgateBlock):
    """Objects named by the digest of what they hold. A put never changes an object that is right. Safe in parallel."""

    _block_type_name: ClassVar[str] = "Lockgate S3 Store"
    _block_type_slug: ClassVar[str] = "lockgate-s3-store"
    _description: ClassVar[str] = "Locked tests, transcripts, evidence and artifacts in an S3 bucket, by SHA-256."

    bucket: str = Field(min_length=1, description="Name of the bucket, which must exist")
    prefix: str = Field("", description="What every object's name starts with, such as lockgate/")
    endpoint_url: str | None = Field(None, description="Address of a server other than AWS")
    region: str | None = Field(None, description="Empty: as the environment or profile says")
    access_key_id: SecretStr | None = Field(None, description="Empty: as boto3 finds it: environment, profile, role")
    secret_access_key: SecretStr | None = Field(None, description="Belongs to access_key_id")
    session_token: SecretStr | None = Field(None, description="For temporary credentials")
    connect_timeout_s: float = Field(5.0, gt=0, description="Longest wait for a connection")
    read_timeout_s: float = Field(60.0, gt=0, description="Longest wait for an answer")
    attempts: int = Field(4, ge=1, le=10, description="Tries of one request, with growing pauses")
    lock_days: int = Field(
        365, ge=0, description="Days for which a bucket with Object Lock keeps each checkpoint; 0: as the bucket says"
    )

    def put(self, data: bytes) -> str:
        """Keep `data`; its SHA-256 in hexadecimal. Safe to repeat. Raises LedgerError if it cannot be written."""
        return self._put(hashlib.sha256(data).hexdigest(), BytesIO(data))

    def put_file(self, file: Path) -> str:
        """Keep what a file of up to 5 GB holds, which need not fit into memory. Raises LedgerError as `put` does."""
        try:
            with open(file, "rb") as source:
                return self._put(digest_of_file(file), source)
        except OSError as err:
            raise LedgerError(f"the store cannot read {file}: {err.strerror}") from err

    def get(self, digest: str) -> bytes:
        """The bytes with that digest. Raises LedgerError: not a digest, missing, or no longer what was kept."""
        data = b"".join(self._pieces(digest))
        if hashlib.sha256(data).hexdigest() != digest:
            raise self._changed(digest)
        return data

    def get_file(self, digest: str, file: Path) -> None:
        """Write the bytes with that digest to a file, whole or not at all. Raises LedgerError as `get` does."""
        checked(digest)
        try:
            with incoming(file.parent) as (copy, name):
                if write(self._pieces(digest), copy) != digest:
                    raise self._changed(digest)
                os.replace(name, file)
        except OSError as err:
            raise LedgerError(f"{file} cannot be written: {err.strerror}; see its disk and owner") from err

    def put_json(self, data: Any) -> str:
        """Keep JSON data in its canonical form; the digest equals `domain.value.digest_of(data)`."""
        return self.put(canonical(data).encode())

    def get_json(self, digest: str) -> Any:
        """JSON data that `put_json` kept."""
        return json.loads(self.get(digest))

    def prune(self, keep: Collection[str], older_than_s: float) -> tuple[str, ...]:
        """Remove what is not in `keep` and was last put so long ago, by the server's clock; the digests.

        `older_than_s` must be longer than a step takes to name in the ledger what it has put, and at least two hours.
        Safe to repeat.
        """
        removed = []
        with s3_errors(self.bucket, "be pruned"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._start):
                for found in page.get("Contents", ()):
                    digest = found["Key"].rpartition("/")[2]
                    is_ours = is_digest(digest) and found["Key"] == self._key(digest)
                    if not is_ours or digest in keep or _age_s(page, found["LastModified"]) <= older_than_s:
                        continue
                    head = self._head(digest)  # whoever has put it again meanwhile made it new
                    if head and _age_s(head, head["LastModified"]) > older_than_s:
                        self._client.delete_object(Bucket=self.bucket, Key=self._key(digest))
                        removed.append(digest)
        return tuple(removed)

    def holds(self, digest: str) -> bool:
        """Whether something lies under that digest; its content is not looked at."""
        with s3_errors(self.bucket, f"tell of {checked(digest)}"):
            return self._head(digest) is not None

    def is_empty(self) -> bool:
        """Whether nothing was ever put here, or all of it is gone."""
        with s3_errors(self.bucket, "be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._start)
            names = (found["Key"].rpartition("/")[2] for page in pages for found in page.get("Contents", ()))
            return not any(map(is_digest, names))

    def claim(self, ledger: str) -> None:
        """Note that the ledger of that identity refers to what is here. Safe to repeat."""
        with s3_errors(self.bucket, "be claimed"):
            self._client.put_object(Bucket=self.bucket, Key=f"{self._start}{CLAIMS}/{claim_name(ledger)}", Body=b"")

    def claimed(self) -> tuple[str, ...]:
        """Identities of the ledgers that refer to what is here, as they noted it themselves, sorted."""
        place = f"{self._start}{CLAIMS}/"
        with s3_errors(self.bucket, "be listed"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=place)
            return tuple(
                sorted(found["Key"].removeprefix(place) for page in pages for found in page.get("Contents", ()))
            )

    def seal(self, name: str, data: bytes) -> None:
        """Keep a checkpoint under its name, locked where the bucket has Object Lock. What has that name already stays.

        Raises LedgerError if it cannot be written.
        """
        with s3_errors(self.bucket, "keep a checkpoint"):
            try:
                self._client.put_object(
                    Bucket=self.bucket, Key=self._sealed + sealed_name(name), Body=data, IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(), **self._lock(),
                )  # fmt: skip
            except ClientError as err:
                if code_of(err) != "PreconditionFailed":
                    raise

    def sealed(self) -> Iterator[tuple[str, bytes]]:
        """Name and content of each, the last name in the alphabet first; also of those that somebody deleted or wrote
        over, where the bucket keeps versions. Raises LedgerError."""
        found = []
        with s3_errors(self.bucket, "give its checkpoints"):
            for page in self._client.get_paginator("list_object_versions").paginate(
                Bucket=self.bucket, Prefix=self._sealed
            ):
                found += [(one["Key"], one["VersionId"]) for one in page.get("Versions", ())]
        for key, version in sorted(found, reverse=True):
            with s3_errors(self.bucket, "give its checkpoints"):
                data = self._version(key, version)
            yield key.rpartition("/")[2], data

    def _version(self, key: str, version: str) -> bytes:
        chosen = {} if version == "null" else {"VersionId": version}
        data: bytes = self._client.get_object(Bucket=self.bucket, Key=key, **chosen)["Body"].read(_LARGEST_SEALED)
        return data

    def _lock(self) -> dict[str, Any]:
        """How long nobody may remove it. GOVERNANCE: who has s3:BypassGovernanceRetention may, which the platform does
        not need. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html"""
        if not self.lock_days or not self._has_lock():
            return {}
        until = datetime.now(UTC) + timedelta(days=self.lock_days)
        return {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}

    def _has_lock(self) -> bool:
        try:
            said = self._client.get_object_lock_configuration(Bucket=self.bucket)
        except ClientError as err:
            if code_of(err) in _NO_LOCK:
                return False
            raise
        return bool(said.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")

    @property
    def _sealed(self) -> str:
        return f"{self._start}checkpoints/"

    def doctor(self) -> str | None:
        """None if the bucket answers, else what is wrong."""
        try:
            with s3_errors(self.bucket, "be reached"):
                self._client.head_bucket(Bucket=self.bucket)
                self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._start, MaxKeys=1)
        except LedgerError as err:
            return str(err)
        return None

    def _put(self, digest: str, body: IO[bytes]) -> str:
        """With its SHA-256, which the server checks, and only if there is nothing: of two writers one wins."""
        with s3_errors(self.bucket, f"keep {digest}"):
            for turn in range(_CONFLICTS):
                try:
                    self._send(digest, body, IfNoneMatch="*")
                    return digest
                except ClientError as err:
                    if code_of(err) == "PreconditionFailed":
                        break
                    if code_of(err) != "ConditionalRequestConflict" or turn == _CONFLICTS - 1:
                        raise
                    time.sleep(0.1 * 2**turn)
            head = self._head(digest)
            if head is None or not self._is_whole(digest, head):
                self._send(digest, body)
            elif _age_s(head, head["LastModified"]) > _FRESH_S:
                self._renew(digest)
        return digest

    def _send(self, digest: str, body: IO[bytes], **condition: str) -> None:
        body.seek(0)
        checksum = base64.b64encode(bytes.fromhex(digest)).decode()
        self._client.put_object(
            Bucket=self.bucket, Key=self._key(digest), Body=body, ChecksumSHA256=checksum, **condition
        )

    def _is_whole(self, digest: str, head: dict[str, Any]) -> bool:
        """The server's own checksum says so; where it has none, all of it is read."""
        if checksum := head.get("ChecksumSHA256"):
            return bool(checksum == base64.b64encode(bytes.fromhex(digest)).decode())
        seen = hashlib.sha256()
        for piece in self._pieces(digest):
            seen.update(piece)
        return seen.hexdigest() == digest

    def _renew(self, digest: str) -> None:
        """A copy onto itself has a new date; it needs something that changes."""
        self._client.copy_object(
            Bucket=self.bucket,
            Key=self._key(digest),
            CopySource={"Bucket": self.bucket, "Key": self._key(digest)},
            MetadataDirective="REPLACE",
            Metadata={"put-again": datetime.now(UTC).isoformat(timespec="seconds")},
            ChecksumAlgorithm="SHA256",
        )

    def _head(self, digest: str) -> dict[str, Any] | None:
        try:
            head: dict[str, Any] = self._client.head_object(
                Bucket=self.bucket, Key=self._key(digest), ChecksumMode="ENABLED"
            )
        except ClientError as err:
            if code_of(err) in ("404", "NoSuchKey"):
                return None
            raise
        return head

    def _pieces(self, digest: str) -> Iterator[bytes]:
        with s3_errors(self.bucket, f"give {checked(digest)}"):
            # what the server's checksum does not match is our message, not botocore's
            answer = self._client.get_object(Bucket=self.bucket, Key=self._key(digest))
            yield from answer["Body"].iter_chunks(PIECE)

    def _changed(self, digest: str) -> LedgerError:
        return LedgerError(
            f"{self._key(digest)} in the bucket {self.bucket} was changed: its content has another digest; "
            "restore it from a backup"
        )

    @property
    def _start(self) -> str:
        return f"{self.prefix.strip('/')}/" if self.prefix.strip("/") else ""

    def _key(self, digest: str) -> str:
        return f"{self._start}{checked(digest)[:2]}/{digest}"

    @property
    def _client(self) -> Any:
        keys = (self.access_key_id, self.secret_access_key, self.session_token)
        with _making:
            return _client(
                os.getpid(),
                self.endpoint_url,
                self.region,
                keys,
                (self.connect_timeout_s, self.read_timeout_s, self.attempts),
            )


_making = threading.Lock()
"""Clients may be used from threads, and may not be made there:
https://docs.aws.amazon.com/boto3/latest/guide/clients.html"""


@functools.lru_cache(maxsize=8)
def _client(
    pid: int,
    endpoint_url: str | None,
    region: str | None,
    keys: tuple[SecretStr | None, ...],
    patience: tuple[float, float, int],
) -> Any:
    """The client of this process: a forked child never uses its parent's connections."""
    access, secret, token = (key.get_secret_value() if key else None for key in keys)
    connect_timeout_s, read_timeout_s, attempts = patience
    settings = Config(
        connect_timeout=connect_timeout_s,
        read_timeout=read_timeout_s,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        max_pool_connections=32,
        # we check the digest of all of it; what botocore would check in passing has another message
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=settings,
    )


def _age_s(answer: Mapping[str, Any], put: datetime) -> float:
    """Seconds since an object was put, by the clock of the server that answers."""
    return (parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]) - put).total_seconds()
