"""The command line: thin, over the Prefect API and the ledger."""

from station.cli import main

if __name__ == "__main__":
    main()
