"""Amazon ECR: who pushes to it, by a token for twelve hours.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
"""

import base64
import re
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from pydantic import SecretStr

from blocks.artifacts.registry import RegistryLogin
from domain.errors import TargetError

_HOST = re.compile(r"^\d{12}\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.(?:amazonaws\.com(?:\.cn)?|on\.aws)/")


def region_of(repository: str) -> str | None:
    """The region of a repository of Amazon ECR; None for any other."""
    found = _HOST.match(repository)
    return found[1] if found else None


def login_of(ecr: Any) -> RegistryLogin:
    """A token by boto3's `ecr` client. Raises TargetError if AWS gives none."""
    try:
        given = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        username, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except ClientError as err:
        code, said = err.response["Error"].get("Code", ""), err.response["Error"].get("Message", "")
        raise TargetError(
            f"Amazon ECR gives no token: {code}: {said}; check the keys, and that they may ecr:GetAuthorizationToken"
        ) from err
    except BotoCoreError as err:
        raise TargetError(f"Amazon ECR cannot be asked for a token: {err}; check region and network") from err
    except (LookupError, ValueError):  # whose message may have the token
        raise TargetError("Amazon ECR gives a token that is none: is ecr_endpoint_url an ECR?") from None
    return RegistryLogin(username, SecretStr(password))
