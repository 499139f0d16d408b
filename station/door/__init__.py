"""The front door: a reverse proxy before Prefect's API and UI that knows people and programs by their tokens.

Prefect's server has one credential that may do everything, so it stays here. `app.py` tells what happens to a request;
`table.py` says who may do what, and what is not in it nobody may do; `reading.py` reads requests strictly, `bodies.py`
what starts a run or answers a question, `guests.py` knows tokens, `upstream.py` asks the server, `sockets.py` is for
events and logs as they happen, `connections.py` bounds what one caller can hold.
"""
