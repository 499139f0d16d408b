"""A release tried in private, in a sandbox with one database and nothing else: `trial.py` tells the story, `run.py`
has a command at work there, `inside.py` is the first program in there, `door.py` is the way to a PostgreSQL server, and
`database.py` is what the trial sees of a database."""
