"""Secrets that sandboxes use without seeing them."""

from typing import ClassVar, Self

from pydantic import Field, SecretStr, model_validator

from blocks.base import LockgateBlock
from blocks.gateway.aws_secret import AwsSecret
from domain.egress import Passport, SecretScope
from domain.errors import InputError
from domain.paths import matches

SHORTEST = 8
"""Characters. Shorter values stand in too many answers by chance to be redacted."""


class Secret(LockgateBlock):
    """A value and where it may go. The sandbox gets a placeholder; the gateway puts the value in its place."""

    _block_type_name: ClassVar[str] = "Lockgate secret"
    _block_type_slug: ClassVar[str] = "lockgate-secret"
    _description: ClassVar[str] = "A value that only the gateway sees, and the requests that it may go with."

    scope: SecretScope = Field(description="Its name, and the requests that it may go with")
    value: SecretStr | None = Field(None, description="The value itself, kept encrypted by the server")
    aws: AwsSecret | None = Field(None, description="Or where it is in AWS Secrets Manager")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.value is None) == (self.aws is None):
            raise ValueError(f"secret {self.scope.name} needs a value or an AWS reference, and not both")
        if self.scope.header is None and self.scope.field is None:
            raise ValueError(f"secret {self.scope.name} needs a header or a field to stand in")
        return self

    @classmethod
    def named(cls, name: str) -> Self:
        """The saved secret of that name: NPM_TOKEN is the block npm-token. Raises InputError if there is none."""
        block = name.lower().replace("_", "-")
        try:
            secret = cls.saved(block)
        except ValueError as err:
            raise InputError(f"there is no secret {name}: make the block lockgate-secret/{block}") from err
        if secret.scope.name != name:
            raise InputError(f"the block lockgate-secret/{block} is named {secret.scope.name}, not {name}")
        return secret

    def reveal(self) -> str:
        """The value. Raises InputError for one that cannot be sent or hidden, GatewayError where AWS fails."""
        value = self.aws.read() if self.aws else self.value.get_secret_value() if self.value else ""
        if len(value) < SHORTEST or not value.isascii() or not value.isprintable():
            raise InputError(
                f"secret {self.scope.name} must be at least {SHORTEST} printable ASCII characters on one line"
            )
        return value

    def is_for(self, passport: Passport) -> bool:
        """Whether a sandbox gets its placeholder. Raises InputError for a repository that may not use it."""
        if not matches(passport.repository.lstrip("/"), self.scope.repositories):
            raise InputError(
                f"{passport.repository} may not use secret {self.scope.name}: add it to the secret's repositories"
            )
        return passport.phase in self.scope.phases
