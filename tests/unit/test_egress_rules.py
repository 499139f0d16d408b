"""What may leave, by table."""

import pytest

from domain.egress import EgressRule, Passport, SecretScope
from domain.egress_rules import (
    explain,
    forbidden_host,
    is_public,
    is_reachable,
    judge,
    misuse,
    names,
    normal_host,
    readings,
)

NPM = EgressRule(hosts=("registry.npmjs.org",))
API = EgressRule(hosts=("api.example.com", "*.cdn.example.com"), methods=("GET", "POST"), paths=("/v1/**", "/health"))
PLAIN = EgressRule(hosts=("deb.debian.org",), scheme="http")
OWN = EgressRule(hosts=("gitea",), port=3000, private=True)
RULES = (NPM, API, PLAIN, OWN)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("API.Example.COM", "api.example.com"),
        ("api.example.com.", "api.example.com"),
        ("bücher.de", "xn--bcher-kva.de"),
        ("ａｐｉ.example.com", "api.example.com"),
        ("api。example。com", "api.example.com"),
        ("[::1]", "::1"),
        ("_dmarc.example.com", "_dmarc.example.com"),
    ],
)
def test_a_host_has_one_spelling(written: str, host: str) -> None:
    assert normal_host(written) == host


@pytest.mark.parametrize(
    "written",
    ["", ".", "a..b", "a\0b", "a%00b", "user@host", "*", "*.example.com", "a b", "a/b", "a:80", "a\\b", "a\r\nb",
     "-a.com", "a-.com", "a" * 64, ".".join(["a" * 60] * 5), "é" * 80],
)  # fmt: skip
def test_what_is_no_host_is_refused(written: str) -> None:
    with pytest.raises(ValueError):
        normal_host(written)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "8.8.8.8", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "0", "::1",
     "fe80::1%eth0",
     "::ffff:127.0.0.1", "2001:db8::1", "1.2.3.256", "example.0x", "localhost", "a.localhost", "localhost.localdomain",
     "ip6-localhost", "metadata.google.internal", "metadata", "instance-data.ec2.internal"],
)  # fmt: skip
def test_no_rule_can_allow_addresses_localhost_or_metadata(host: str) -> None:
    anything = EgressRule(hosts=(host, "*.localhost"), private=True)
    assert forbidden_host(normal_host(host))
    assert not judge((anything,), "https", "GET", normal_host(host), 443, "/").allowed


@pytest.mark.parametrize(
    ("target", "read"),
    [
        ("/", ("/",)),
        ("/a/b", ("/a/b",)),
        ("/a/", ("/a/",)),
        ("/a?b=/../%00", ("/a",)),
        ("/%61", ("/a",)),
        ("/@types/node", ("/@types/node",)),
        ("/@types%2fnode", ("/@types/node", "/@types%2Fnode")),
        ("/caf%C3%A9", ("/café",)),
        ("/a%20b", ("/a b",)),
        ("/..a/b..", ("/..a/b..",)),
    ],
)
def test_a_path_is_read_in_every_way_that_servers_read_it(target: str, read: tuple[str, ...]) -> None:
    assert readings(target) == read


@pytest.mark.parametrize(
    "target",
    ["", "*", "a", "http://a/", "//a", "/a//b", "/a/../b", "/a/./b", "/..", "/a/%2e%2e/b", "/a/.%2E/b", "/a%2f..%2fb",
     "/a/..%2fb", "/a/..;x/b", "/a/;/b", "/a%00", "/a%0ab", "/a\\b", "/a%5cb", "/a%5c..%5cb", "/a%252e%252e/b", "/%",
     "/%zz", "/a b", "/a\tb", "/a#b", "/ä", "/%ff", "/a/%c0%ae%c0%ae/b", "/a/%ef%bc%8e%ef%bc%8e/b",
     "/a%2f%2fb"],
)  # fmt: skip
def test_a_path_with_two_meanings_is_refused(target: str) -> None:
    with pytest.raises(ValueError):
        readings(target)


@pytest.mark.parametrize(
    ("allowed", "scheme", "method", "host", "port", "target"),
    [
        (True, "https", "GET", "registry.npmjs.org", 443, "/left-pad"),
        (True, "https", "GET", "registry.npmjs.org", 443, "/@types%2fnode"),
        (True, "https", "GET", "registry.npmjs.org", 443, "/"),
        (False, "https", "PUT", "registry.npmjs.org", 443, "/left-pad"),
        (False, "https", "get", "registry.npmjs.org", 443, "/left-pad"),
        (False, "http", "GET", "registry.npmjs.org", 80, "/left-pad"),
        (False, "https", "GET", "registry.npmjs.org", 8443, "/left-pad"),
        (False, "https", "GET", "xregistry.npmjs.org", 443, "/"),
        (False, "https", "GET", "registry.npmjs.org.evil.net", 443, "/"),
        (True, "https", "POST", "api.example.com", 443, "/v1/messages?x=/../y"),
        (True, "https", "GET", "api.example.com", 443, "/health"),
        (False, "https", "GET", "api.example.com", 443, "/health/x"),
        (False, "https", "GET", "api.example.com", 443, "/V1/messages"),
        (False, "https", "GET", "api.example.com", 443, "/v2/messages"),
        (False, "https", "GET", "api.example.com", 443, "/v1"),
        (False, "https", "GET", "api.example.com", 443, "/v2%2fv1/x"),
        (False, "https", "GET", "api.example.com", 443, "/v1%2fx"),
        (True, "https", "GET", "a.b.cdn.example.com", 443, "/v1/x"),
        (False, "https", "GET", "cdn.example.com", 443, "/v1/x"),
        (False, "https", "GET", "xcdn.example.com", 443, "/v1/x"),
        (True, "http", "GET", "deb.debian.org", 80, "/debian/x"),
        (False, "https", "GET", "deb.debian.org", 443, "/debian/x"),
        (True, "https", "GET", "gitea", 3000, "/x"),
        (False, "https", "GET", "gitea", 443, "/x"),
    ],
)
def test_only_what_a_rule_allows_may_leave(
    allowed: bool, scheme: str, method: str, host: str, port: int, target: str
) -> None:
    verdict = judge(RULES, scheme, method, host, port, target)
    assert verdict.allowed is allowed, verdict.reason
    assert verdict.reason


def test_a_bare_name_needs_a_rule_that_says_private() -> None:
    assert not judge((EgressRule(hosts=("intranet",)),), "https", "GET", "intranet", 443, "/").allowed


def test_a_star_alone_names_no_host() -> None:
    assert not names(("*", "*.", "**"), "example.com")


@pytest.mark.parametrize(
    ("address", "public", "private"),
    [
        ("93.184.216.34", True, True),
        ("2606:4700::1111", True, True),
        ("127.0.0.1", False, True),
        ("10.1.2.3", False, True),
        ("192.168.0.1", False, True),
        ("100.64.0.1", False, True),
        ("fd12::1", False, True),
        ("::1", False, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::a00:1", False, True),
        ("2002:a00:1::", False, True),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("fd00:ec2::254", False, False),
        ("168.63.129.16", False, False),
        ("100.100.100.200", False, False),
        ("fe80::1", False, False),
        ("fe80::1%eth0", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
        ("0.0.0.0", False, False),
        ("255.255.255.255", False, True),
    ],
)
def test_private_addresses_need_a_rule_and_metadata_addresses_have_none(
    address: str, public: bool, private: bool
) -> None:
    assert is_public(address) is public
    assert is_reachable(address, private=False) is public
    assert is_reachable(address, private=True) is private


@pytest.mark.parametrize(
    ("fine", "scheme", "method", "host", "path"),
    [
        (True, "https", "POST", "api.example.com", "/v1/x"),
        (False, "http", "POST", "api.example.com", "/v1/x"),
        (False, "https", "TRACE", "api.example.com", "/v1/x"),
        (False, "https", "POST", "evil.example.net", "/v1/x"),
        (False, "https", "POST", "api.example.com", "/v2/x"),
    ],
)
def test_a_secret_goes_only_where_its_scope_says(fine: bool, scheme: str, method: str, host: str, path: str) -> None:
    scope = SecretScope(name="TOKEN", hosts=("api.example.com",), paths=("/v1/**",))
    assert (misuse(scope, scheme, method, host, readings(path)) is None) is fine


@pytest.mark.parametrize(
    ("host", "path", "told"),
    [
        ("API.example.com", "/v1/x", "allowed by rule https GET POST api.example.com"),
        ("api.example.com", "/v2/x", "denied: no rule for api.example.com allows GET on this path"),
        ("api.example.com", "/v1/../x", "denied: the path has dot segments"),
        ("evil.net", "/", "denied: no rule names evil.net"),
        ("169.254.169.254", "/", "denied: addresses are never allowed"),
        ("user@host", "/", "denied: the host has characters"),
        ("anthropic.models.lockgate.internal", "/", "goes to provider anthropic, for anthropic/claude-*"),
        ("openai.models.lockgate.internal", "/", "goes to provider openai, for which no model is allowed"),
    ],
)
def test_explain_says_what_would_happen_and_why(host: str, path: str, told: str) -> None:
    who = Passport(run_id="r", phase="edit", rules=RULES, models=("anthropic/claude-*",))
    allowed, why = explain(who, "get", host, path)
    assert why.startswith(told)
    assert allowed is ("allowed by" in told or "anthropic/" in told)
