"""What the gateway decides by: one spelling of a host, every reading of a path, and the rules. Pure, deny by default.

What servers could read in two ways is denied unless every reading is allowed.
"""

import functools
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from domain.egress import MODEL_HOSTS, EgressRule, Passport, SecretScope
from domain.paths import matches

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
LOCAL_NAMES = ("localhost", "localdomain", "ip6-localhost", "ip6-loopback")
METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal",
     "metadata.azure.internal", "metadata.azure.com", "metadata.tencentyun.com", "metadata.packet.net",
     "metadata.platformequinix.com"}
)  # fmt: skip
METADATA_ADDRESSES = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)  # AWS and most, Azure's WireServer, Alibaba, AWS and Google on IPv6
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_PORTS = {"https": 443, "http": 80}


class Judgement(NamedTuple):
    """Whether a request may leave, and the rule that says so, or why not."""

    allowed: bool
    reason: str
    private: bool = False
    """The rule lets the name resolve to an address of one's own network."""


def normal_host(text: str) -> str:
    """A host in its one spelling: lower case, A-labels, no dot at the end. Raises ValueError for what is no host."""
    try:
        name = (text if text.isascii() else text.encode("idna").decode("ascii")).lower().removesuffix(".")
    except UnicodeError:
        raise ValueError("the host is not a name that can be looked up") from None
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise ValueError("the host has characters that no host name has")
    return name


def forbidden_host(host: str) -> str | None:
    """Why no rule can ever allow this (normal) host; None if one could."""
    if ":" in host or _NUMBER.fullmatch(host.rpartition(".")[2]):  # also 127.1, 0x7f000001 and 2130706433
        return "addresses are never allowed, only names"
    if host in LOCAL_NAMES or host.endswith(tuple(f".{name}" for name in LOCAL_NAMES)):
        return "localhost is never allowed"
    if host in METADATA_NAMES:
        return "metadata services are never allowed"
    return None


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet, seen through every way to embed IPv4 into IPv6."""
    ip = _innermost(address)
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip in METADATA_ADDRESSES)


def is_reachable(address: str, private: bool) -> bool:
    """Whether the gateway may connect there. Link-local, metadata and multicast addresses are never reached."""
    ip = _innermost(address)
    never = ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in METADATA_ADDRESSES
    return is_public(address) or (private and not never)


def _innermost(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    return ip.ipv4_mapped or ip.sixtofour or (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else ip)


def readings(target: str) -> tuple[str, ...]:
    """The path of a request target, decoded, in each way that servers read it. Raises ValueError if that is unclear.

    One reading, or two where an encoded slash may or may not part segments (npm asks for /@scope%2fname).
    """
    path = target.partition("?")[0]
    if not path.startswith("/"):
        raise ValueError("the path does not begin with a slash")
    if re.search(r"[^!-~]|[\\#]|%(?![0-9A-Fa-f]{2})", path):
        raise ValueError("the path has characters that must be encoded")
    try:
        decoded = unquote_to_bytes(path).decode()
    except UnicodeDecodeError:
        raise ValueError("the path is not UTF-8") from None
    if re.search(r"[\x00-\x1f\x7f\\]", decoded):
        raise ValueError("the path has an encoded control character or backslash")
    if re.search(r"%[0-9A-Fa-f]{2}", decoded):
        raise ValueError("the path is encoded twice")
    for text in (decoded, unicodedata.normalize("NFKC", decoded)):
        segments = [segment.partition(";")[0] for segment in text.split("/")[1:]]  # /..;/ is .. to some servers
        if {".", ".."} & set(segments) or "" in segments[:-1] or "\\" in text:
            raise ValueError("the path has dot segments or empty segments")
    opaque = unquote_to_bytes(re.sub("%2[Ff]", "%252F", path)).decode()
    return (decoded,) if opaque == decoded else (decoded, opaque)


def names(patterns: Sequence[str], host: str) -> bool:
    """Whether one of the names, or *.name for every name below it, is this (normal) host."""
    return any(_names(pattern, host) for pattern in patterns)


@functools.lru_cache(maxsize=4096)
def _names(pattern: str, host: str) -> bool:
    try:
        if pattern.startswith("*."):
            return host.endswith("." + normal_host(pattern[2:]))
        return normal_host(pattern) == host
    except ValueError:
        return False


def covers(globs: Sequence[str], paths: Sequence[str]) -> bool:
    """Whether every reading of a path matches one of the globs."""
    return all(matches(path[1:], globs) or (path == "/" and "/" in globs) for path in paths)


def reach(rules: Sequence[EgressRule], scheme: str, host: str, port: int) -> tuple[Judgement, tuple[EgressRule, ...]]:
    """Whether any request to a (normal) host and port could be allowed, and the rules that could do so."""
    if problem := forbidden_host(host):
        return Judgement(False, problem), ()
    named = [rule for rule in rules if names(rule.hosts, host)]
    if not named:
        return Judgement(False, f"no rule names {host}"), ()
    fit = tuple(rule for rule in named if rule.scheme == scheme and (rule.port or _PORTS[rule.scheme]) == port)
    if not fit:
        return Judgement(False, f"no rule for {host} allows {scheme} on port {port}"), ()
    if "." not in host and not any(rule.private for rule in fit):
        return Judgement(False, f"{host} is a name of one's own network, and no rule for it says private"), ()
    return Judgement(True, _told(fit[0]), any(rule.private for rule in fit)), fit


def judge(rules: Sequence[EgressRule], scheme: str, method: str, host: str, port: int, target: str) -> Judgement:
    """Whether a request may leave. `host` is normal; `target` is path and query as they were sent.

    Raises ValueError for a path that can be read in more than one way.
    """
    paths = readings(target)
    judgement, fit = reach(rules, scheme, host, port)
    if not judgement.allowed:
        return judgement
    able = [rule for rule in fit if method in rule.methods]
    if not able:
        return Judgement(False, f"no rule for {host} allows {method}")
    for rule in able:
        if covers(rule.paths, paths):
            return Judgement(True, _told(rule), rule.private)
    return Judgement(False, f"no rule for {host} allows {method} on this path")


def misuse(scope: SecretScope, scheme: str, method: str, host: str, paths: Sequence[str]) -> str | None:
    """Why a secret may not go with a request; None if it may. Where in the request it stands is not asked here."""
    if not names(scope.hosts, host):
        return f"secret {scope.name} may not go to {host}"
    if scheme != "https":
        return f"secret {scope.name} goes over https alone"
    if method not in scope.methods:
        return f"secret {scope.name} may not go with {method}"
    if not covers(scope.paths, paths):
        return f"secret {scope.name} may not go to this path"
    return None


def is_model_host(host: str) -> bool:
    """Whether a (normal) host stands for a model provider."""
    return host.endswith(f".{MODEL_HOSTS}")


def explain(passport: Passport, method: str, host: str, path: str = "/", scheme: str = "https") -> tuple[bool, str]:
    """Whether the gateway would let a request out, and why, as one sentence for a person."""
    try:
        name = normal_host(host)
        if is_model_host(name):
            provider = name.removesuffix(f".{MODEL_HOSTS}")
            allowed = ", ".join(m for m in passport.models if matches(provider, [m.partition("/")[0]]))
            return bool(allowed), f"goes to provider {provider}, for {allowed or 'which no model is allowed'}"
        verdict = judge(passport.rules, scheme, method.upper(), name, _PORTS[scheme], path)
    except ValueError as err:
        return False, f"denied: {err}"
    if not verdict.allowed:
        return False, f"denied: {verdict.reason}"
    private = "" if verdict.private else ", unless the name resolves to an address that is not public"
    return True, f"allowed by {verdict.reason}{private}"


def _told(rule: EgressRule) -> str:
    port = f":{rule.port}" if rule.port else ""
    return f"rule {rule.scheme} {' '.join(rule.methods)} {' '.join(rule.hosts)}{port} {' '.join(rule.paths)}"
