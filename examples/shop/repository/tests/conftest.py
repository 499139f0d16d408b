"""A migrated database for all tests, and a client of a service that reads it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from starlette.testclient import TestClient

import shop
from shop.app import create_app
from shop.settings import Settings

ROOT = Path(shop.__file__).parents[1]


def migrations(url: str) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("sqlalchemy.url", url)
    return config


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('database')}/shop.db"
    command.upgrade(migrations(url), "head")
    return url


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(database_url, release_id="abc123"))) as client:
        yield client
