"""What people are shown in the Prefect UI: `show.py` writes a page of each step, `bill.py` the bill."""
