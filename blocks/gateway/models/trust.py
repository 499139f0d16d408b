"""TLS to a provider that has a certificate authority of its own: trusted for that provider, and for nothing else."""

import ipaddress
from typing import Any

from OpenSSL import SSL, _util

NO_PARTIAL_WILDCARDS = 0x4 | 0x20
"""X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | NEVER_CHECK_SUBJECT: https://docs.openssl.org/3.0/man3/X509_check_host/"""


def connection(host: str, ca_file: str) -> SSL.Connection:
    """A client's side of TLS that takes only a certificate for `host` by the authorities in the PEM file."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.load_verify_locations(ca_file)
    context.set_verify(SSL.VERIFY_PEER)
    made = SSL.Connection(context)
    lib: Any = _util.lib  # pyOpenSSL has no public way to check a name
    param = lib.SSL_get0_param(made._ssl)
    lib.X509_VERIFY_PARAM_set_hostflags(param, NO_PARTIAL_WILDCARDS)
    try:
        address = ipaddress.ip_address(host).packed
        accepted = lib.X509_VERIFY_PARAM_set1_ip(param, address, len(address))
    except ValueError:
        name = host.encode("idna")
        made.set_tlsext_host_name(name)
        accepted = lib.X509_VERIFY_PARAM_set1_host(param, name, len(name))
    if accepted != 1:
        raise ValueError(f"{host!r} cannot be checked in a certificate")
    made.set_alpn_protos([b"http/1.1"])
    made.set_connect_state()
    return made
