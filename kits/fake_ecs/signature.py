"""Who signs a request: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html"""

import hmac
import re
from collections.abc import Mapping

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from kits.fake_ecs.refusal import EcsRefusal

_FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, ?"
    r"SignedHeaders=(?P<signed>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)


def check(url: str, headers: Mapping[str, str], body: bytes, key: str, secret: str) -> None:
    """Raises Refusal if the request is not signed with that key."""
    found = _FORM.fullmatch(headers.get("Authorization", ""))
    if found is None:
        raise EcsRefusal("Missing Authentication Token", "MissingAuthenticationTokenException")
    if found["key"] != key:
        raise EcsRefusal("The security token included in the request is invalid.", "UnrecognizedClientException")
    signed = {name: value for name, value in headers.items() if name.lower() in found["signed"].split(";")}
    request = AWSRequest(method="POST", url=url, headers=signed, data=body)
    request.context["timestamp"] = headers.get("X-Amz-Date", "")
    auth = SigV4Auth(Credentials(key, secret), found["service"], found["region"])
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    if not hmac.compare_digest(signature, found["signature"]):
        raise EcsRefusal(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method.",
            "InvalidSignatureException",
        )
