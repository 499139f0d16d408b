"""The key that statements are signed with."""

import contextlib
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from prefect.exceptions import ObjectAlreadyExists
from pydantic import ConfigDict, Field, SecretStr, field_validator

from blocks.base import LockgateBlock

_TRIES = 5


def _new_key() -> SecretStr:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SecretStr(pem.decode())


def _read(pem: SecretStr) -> Ed25519PrivateKey | None:
    try:
        key = load_pem_private_key(pem.get_secret_value().encode(), password=None)
    except (ValueError, TypeError):
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


class SigningKey(LockgateBlock):
    """An Ed25519 key, made by itself, that the server keeps encrypted. Only its public half is ever shown."""

    model_config = ConfigDict(hide_input_in_errors=True)
    _block_type_name: ClassVar[str] = "Lockgate signing key"
    _block_type_slug: ClassVar[str] = "lockgate-signing-key"
    _description: ClassVar[str] = "Signs what the platform states about a release; anybody can check it."

    private_key: SecretStr = Field(
        default_factory=_new_key, description="Ed25519 in PEM (PKCS 8), kept encrypted by the server; empty: a new one"
    )

    @field_validator("private_key")
    @classmethod
    def _is_ed25519(cls, pem: SecretStr) -> SecretStr:
        if _read(pem) is None:
            raise ValueError("this is no Ed25519 private key in PEM: openssl genpkey -algorithm ed25519 makes one")
        return pem

    @classmethod
    def ensure(cls, name: str = "default") -> Self:
        """The saved key of that name, made where there is none. Safe to repeat; of two at once, both get the first."""
        for _ in range(_TRIES):
            try:
                return cls.saved(name)
            except ValueError:
                # whoever is faster makes the block type, and the block
                with contextlib.suppress(ValueError, ObjectAlreadyExists):
                    cls().save(name, overwrite=False)
        return cls.saved(name)

    def key(self) -> Ed25519PrivateKey:
        """To sign with; never to show."""
        key = _read(self.private_key)
        assert key is not None  # noqa: S101 (it was validated)
        return key

    def public_key(self) -> str:
        """The half that everybody may have, in PEM: statements are checked with it."""
        pem = self.key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem.decode()
