"""What S3 or the way to it refuses, in the store's words."""

import contextlib
from collections.abc import Iterator

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)

from domain.errors import LedgerError

_MEANINGS = {
    "NoSuchBucket": "there is no such bucket: make it, or mend the store's settings",
    "NoSuchKey": "it is not there; is it the right bucket and prefix?",
    "404": "it is not there; is it the right bucket and prefix?",
    "AccessDenied": "no permission: the store needs s3:GetObject, PutObject, DeleteObject and ListBucket",
    "403": "no permission: the store needs s3:GetObject, PutObject, DeleteObject and ListBucket",
    "InvalidAccessKeyId": "the server does not know the access key",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "ExpiredToken": "the credentials have expired",
    "BadDigest": "the data was damaged on its way",
    "XAmzContentChecksumMismatch": "the data was damaged on its way",
    "EntityTooLarge": "it is over the 5 GB of one put",
}
"""https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"""


def code_of(err: ClientError) -> str:
    """The server's word for it, or the HTTP status where it has none."""
    return str(err.response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def s3_errors(bucket: str, doing: str) -> Iterator[None]:
    """What botocore raises is LedgerError, without a key."""
    try:
        yield
    except ClientError as err:
        code = code_of(err)
        status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        why = _MEANINGS.get(code) or f"{code} {status}".strip()
        raise LedgerError(f"the bucket {bucket} cannot {doing}: {why}") from err
    except (NoCredentialsError, PartialCredentialsError) as err:
        raise LedgerError(
            f"the bucket {bucket} cannot {doing}: no credentials; give the store keys, or a role"
        ) from err
    except NoRegionError as err:
        raise LedgerError(f"the bucket {bucket} cannot {doing}: no region; give the store one") from err
    except (EndpointConnectionError, HTTPClientError, IncompleteReadError) as err:
        raise LedgerError(f"the bucket {bucket} cannot {doing}: the server is not reached ({_first(err)})") from err
    except BotoCoreError as err:
        raise LedgerError(f"the bucket {bucket} cannot {doing}: {type(err).__name__}: {_first(err)}") from err


def _first(err: Exception) -> str:
    return str(err).splitlines()[0][:300]
