"""What `make install` makes once, `python -m station.at_install`, so that no home of this machine makes it again."""

from station import first_database

if __name__ == "__main__":
    first_database.make()  # first of all: Prefect reads its settings once, when it is imported
    from blocks.scanners.kingfisher import Kingfisher

    Kingfisher().prepare()
