from pathlib import Path

import sqlalchemy as sa
from alembic import command

from shop.database import Catalogue
from shop.settings import Settings
from tests.conftest import migrations


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    command.upgrade(migrations(url), "head")
    command.upgrade(migrations(url), "head")
    assert len(Catalogue(url).search("")) == 20


def test_every_migration_can_be_undone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    command.upgrade(migrations(url), "head")
    command.downgrade(migrations(url), "base")
    assert sa.inspect(sa.create_engine(url)).get_table_names() == ["alembic_version"]


def test_the_database_is_a_file_in_the_data_directory() -> None:
    assert Settings.from_environment({"DATA_DIR": "/data"}).database_url == "sqlite:////data/shop.db"
    assert Settings.from_environment({}).database_url == "sqlite:///shop.db"
