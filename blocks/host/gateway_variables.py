"""What programs in a sandbox are told, so that they find the way out and trust it."""

from collections.abc import Mapping

from domain.ports import RELAY_PORT

INSIDE = "/run/lockgate"
"""Where a sandbox sees its listener's directory."""
_CERTIFICATES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO", "npm_config_cafile", "AWS_CA_BUNDLE", "PIP_CERT",
    "YARN_HTTPS_CA_FILE_PATH",
)  # fmt: skip


def variables(placeholders: Mapping[str, str]) -> dict[str, str]:
    """Proxy and certificate variables in every spelling that programs read, and the placeholders of secrets."""
    proxy = f"http://127.0.0.1:{RELAY_PORT}"
    here = "localhost,127.0.0.1,::1"
    told = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": here}
    told |= {name.lower(): value for name, value in told.items()}
    return {
        **told,
        "NODE_USE_ENV_PROXY": "1",  # Node's fetch ignores proxies otherwise
        **dict.fromkeys(("YARN_HTTP_PROXY", "YARN_HTTPS_PROXY"), proxy),  # yarn 2 and newer know no other
        **dict.fromkeys(_CERTIFICATES, f"{INSIDE}/ca.pem"),
        **placeholders,
    }
