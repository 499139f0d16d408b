"""One station for the end-to-end tests of a worker; it costs about 20 s, and is stopped after the last of them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.product.station import Station
from tests.made_once import toolchains


@pytest.fixture(scope="package")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """Server, worker and supervisor in a home of their own, stopped at the end."""
    home = tmp_path_factory.mktemp("station") / "home"
    made = Station(home, probe=Path(__file__).with_name("killer.py"), toolchains=toolchains().root)
    made.home.mkdir()
    try:
        made.up()
        yield made
    finally:
        made.down()


@pytest.fixture
def shop(station: Station, tmp_path: Path) -> Path:
    """The example as a fresh bare repository."""
    at = tmp_path / "shop.git"
    station.python(
        f"from pathlib import Path\nfrom station.demo import make_repository\nmake_repository(Path({str(at)!r}))"
    )
    return at
