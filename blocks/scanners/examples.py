"""Values that look like secrets and are none: what vendors print in their documentation, and what a project lists."""

import hashlib
import re

KNOWN = frozenset((
    "1a5d44a2dca19669d72edf4c4f1c27c4c1ca4b4408fbb17f6ce4ad452d78ddb3",  # AWS documentation
    "78314b11be2e581549ac1c4f616563fad3fdf0c3b71678f6e2299182080e0598",  # AWS documentation
    "c6ea27c534f993d31f0aef882e3d200e7b87470c379ae79c8f9b19d3bd363dc9",  # AWS documentation
    "e21b597ba6b9cafa59d9ebc4d65c0385f5eb3fa56abab2607fa76589ad849a33",  # AWS documentation
    "cb20d34a7adda2f5d2043836051e242fd4c2b233e02c80c91fe9d5af9b100574",  # AWS documentation
    "2cafc0970149a84f3b9e62eaf169f36f59907a3b3e31f7b82e68c69cd27f7326",  # Stripe's documentation
    "b1471f544ceeea31333bde7e1ecbaad6eac0d4a749412ad29bd66ef895b81c6b",  # Stripe's documentation
    "f2d6ca16515033e5dce14eba840b979d27b5cbae24bb3e5bf484339667f86397",  # Stripe's documentation
    "7f75367e7881255134e1375e723d1dea8ad5f6a4fdb79d938df1f1754a830606",  # jwt.io
    "f5c388734d28087b33b453e43c4383711da5a9948dcbb607b7bdbebc176ab7d8",  # Slack's documentation
    "3543c50b0cb9cea8e55eb1f529b79f043cb250d485fde7b66cabbb5183add7da",  # GitHub's REST documentation
    "797c0ce414586cc8eb6929afe947c720e3e4d351dd070a6fe39f630beaab3054",  # GitHub's REST documentation
    "bc3ae723f57c6b9e3fd80b699fcc420f6074b0b1718039669d22631d508ac0a7",  # GitHub's REST documentation
    "0011cc25eb4320717494d2703e8cba85743e71b500283c21c8b88147992f9059",  # Azurite's well-known account
    "26a35c280731b72b0c64606543df3e0f70e03679f24133b0f5f932cf92d373d4",  # the Azure Cosmos DB emulator's well-known key
    "df452eef23e8cf2c74af54c0c7419c05a5ec70ef4d5c2eb04082b02af8c55598",  # play.min.io, MinIO's public server
))  # fmt: skip
"""SHA-256 of each value, for a scanner of this file would find the value itself.
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html, https://docs.stripe.com/keys,
https://jwt.io, https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
https://docs.github.com/en/rest/apps/apps, https://learn.microsoft.com/azure/storage/common/storage-connect-azurite,
https://learn.microsoft.com/azure/cosmos-db/emulator"""

_MADE_UP = re.compile(rb"[A-Za-z0-9+/_-]{0,60}EXAMPLE(?:KEY)?|[!-~]{0,80}(?:[xX]{12}|\*{12})[xX*._-]*")
"""How vendors mark what nobody can use: an end that says so, or one that is a row of x, X or stars. In the middle of a
key or an address it says nothing."""


def mark_of(value: bytes) -> str:
    """What a finding says in place of the value: the first eight hex digits of its SHA-256."""
    return hashlib.sha256(value).hexdigest()[:8]


def is_example(value: bytes, listed: tuple[str, ...] = ()) -> bool:
    """Whether a value is known to open nothing. `listed`: marks that a project names in its settings."""
    digest = hashlib.sha256(value).hexdigest()
    return digest in KNOWN or digest[:8] in listed or bool(_MADE_UP.fullmatch(value))
