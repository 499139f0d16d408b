"""The gateway's process, `python -m station.gateway`: it alone reads secrets and keys from Prefect."""

import asyncio
import logging
import os
import resource
import signal
import sys

from station import settings

FILES = 65_536
"""Open files that it may have: a sandbox may hold 128 connections, each with one to a server."""


async def serve() -> None:
    """Until SIGTERM or SIGINT."""
    from blocks.gateway.secret import Secret
    from blocks.gateway.service import GatewayService
    from blocks.home import home
    from station.gateway_blocks import GatewayBlocks

    blocks = GatewayBlocks()
    service = GatewayService(
        home() / "gateway", record=blocks.record, secret=Secret.named, admitted=blocks.admitted, addons=(blocks,)
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, service.stop)
    await service.run(lambda: logging.getLogger("lockgate").info("the gateway is ready"))


if __name__ == "__main__":
    settings.use()  # before prefect is imported
    for name in ("SSLKEYLOGFILE", "MITMPROXY_SSLKEYLOGFILE"):  # before mitmproxy is: it would write TLS keys there
        os.environ.pop(name, None)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    for name in ("httpx", "alembic", "botocore"):
        logging.getLogger(name).setLevel(logging.WARNING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = FILES if most == resource.RLIM_INFINITY else min(most, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    asyncio.run(serve())
