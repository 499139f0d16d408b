"""Checkpoints of the ledger, signed: DSSE envelopes as statements are, and the keys that this station trusts.

The keys lie beside the credentials, in neither database: who writes to one of these cannot make a key of his own count.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey  # type: ignore[attr-defined]

from blocks.artifacts.signing_key import SigningKey
from blocks.home import home
from domain.checkpoint import Checkpoint, KeptCheckpoints
from domain.value import canonical

PAYLOAD_TYPE = "application/vnd.lockgate.checkpoint+json"
_END = "-----END PUBLIC KEY-----"


def sign(checkpoint: Checkpoint, key: SigningKey) -> bytes:
    """The envelope as JSON, on one line."""
    envelope = Envelope(canonical(checkpoint.model_dump(mode="json")).encode(), PAYLOAD_TYPE, {})
    private = key.key()
    envelope.sign(CryptoSigner(private, SSlibKey.from_crypto(private.public_key())))
    return canonical(envelope.to_dict()).encode()


def read(envelope: bytes, where: str, name: str, trusted: Iterable[str]) -> KeptCheckpoints:
    """What it says, and whether one of the `trusted` keys signed it. Never raises."""
    nothing = KeptCheckpoints(where=where, name=name, checkpoint=None)
    try:
        signed = Envelope.from_dict(json.loads(envelope))
        said = Checkpoint.model_validate_json(signed.payload)
        signed.verify([SSlibKey.from_crypto(load_pem_public_key(said.key.encode()))], threshold=1)
    except (Error, VerificationError, ValidationError, UnsupportedAlgorithm, ValueError, KeyError, TypeError):
        return nothing
    except (AttributeError, RecursionError):
        return nothing
    if signed.payload_type != PAYLOAD_TYPE:
        return nothing
    known = {fingerprint(pem) for pem in trusted}
    mark = fingerprint(said.key)
    return KeptCheckpoints(where=where, name=said.name, checkpoint=said, unknown_key=None if mark in known else mark)


def fingerprint(pem: str) -> str:
    """16 hexadecimal digits by which people call a public key."""
    return hashlib.sha256(pem.strip().encode()).hexdigest()[:16]


def trusted() -> tuple[str, ...]:
    """Public keys whose checkpoints count on this station; empty: it has never signed one."""
    try:
        text = _file().read_text()
    except FileNotFoundError:
        return ()
    return tuple(f"{part.strip()}\n{_END}\n" for part in text.split(_END) if part.strip())


def since() -> datetime | None:
    """When the newest of these keys began to count; None: this station has never signed one."""
    try:
        return datetime.fromtimestamp(_file().stat().st_mtime, UTC)
    except FileNotFoundError:
        return None


def trust(pem: str) -> None:
    """From now on its checkpoints count. Safe to repeat."""
    keys = trusted()
    if fingerprint(pem) in map(fingerprint, keys):
        return
    _file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _file().with_name(f".{_file().name}.{os.getpid()}")
    draft.write_text("".join((*keys, f"{pem.strip()}\n")))
    draft.replace(_file())


def _file() -> Path:
    return home() / "credentials" / "checkpoint-keys.pem"
