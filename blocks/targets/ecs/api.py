"""Amazon ECS by boto3: clients, and its errors as ours."""

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from domain.errors import TargetError

_FIXES = {
    "UnrecognizedClientException": "the access key is not known there: check access_key_id and endpoint_url",
    "InvalidSignatureException": "the secret access key does not belong to the access key, or this clock is wrong",
    "ExpiredTokenException": "the session token has expired: give a new one, or a role",
    "AccessDeniedException": "docs/targets-ecs.md lists the permissions that are needed",
    "ClusterNotFoundException": "check cluster and region",
    "ServiceNotFoundException": "make the service first, see docs/targets-ecs.md",
    "ThrottlingException": "AWS limits the rate of calls: raise poll_s or attempts",
}


@contextlib.contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """What AWS, or the way to it, refuses is TargetError."""
    try:
        yield
    except ClientError as err:
        code, said = err.response["Error"].get("Code", ""), err.response["Error"].get("Message", "")
        fix = f"; {_FIXES[code]}" if code in _FIXES else ""
        raise TargetError(f"ECS cannot {doing}: {code}: {said}{fix}") from err
    except BotoCoreError as err:
        raise TargetError(f"ECS cannot {doing}: {err}") from err


class Access(NamedTuple):
    """How AWS is reached. What is None is found by boto3's own chain: environment, profile, role."""

    endpoint_url: str | None
    region: str | None
    keys: tuple[SecretStr | None, SecretStr | None, SecretStr | None]
    """Access key id, secret access key, session token."""
    attempts: int
    """Tries of one call, with growing pauses."""

    def client(self, name: str) -> Any:
        """A client of this process: a forked child never uses its parent's connections."""
        with aws_errors("be reached"):
            return _client(name, os.getpid(), self)


@functools.lru_cache(maxsize=16)
def _client(name: str, pid: int, access: Access) -> Any:
    key, secret, token = (one.get_secret_value() if one else None for one in access.keys)
    return boto3.session.Session().client(
        name,
        endpoint_url=access.endpoint_url,
        region_name=access.region,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": access.attempts, "mode": "standard"},
        ),
    )
