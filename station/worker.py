"""Prefect's worker, `python -m station.worker start …`."""

import sys

if __name__ == "__main__":
    from prefect.cli import app

    sys.argv = ["prefect", "worker", *sys.argv[1:]]
    app()
