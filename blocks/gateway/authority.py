"""The gateway's own certificate authority: made once, its key mode 600 and never where a sandbox sees it."""

import fcntl
import os
import ssl
from pathlib import Path

from mitmproxy.certs import CertStore
from mitmproxy.options import CONF_BASENAME


def own_authority(folder: Path) -> bytes:
    """The public certificate, PEM. Makes key and certificate the first time; safe from two processes at once."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        public = folder / f"{CONF_BASENAME}-ca-cert.pem"
        if not (folder / f"{CONF_BASENAME}-dhparam.pem").exists():  # what is written last
            CertStore.create_store(folder, CONF_BASENAME, 2048, "Lockgate", "Lockgate egress gateway")
        return public.read_bytes()
    finally:
        os.close(held)


def system_store() -> tuple[str | None, str | None]:
    """File and directory of the authorities that this system trusts; $SSL_CERT_FILE and $SSL_CERT_DIR are honoured."""
    paths = ssl.get_default_verify_paths()
    return paths.cafile, paths.capath
