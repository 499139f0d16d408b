"""Databases of targets: copied, their migrations rehearsed and measured, then applied. One adapter an engine.

rehearse.py is the story of a rehearsal and patience.py of one migration with its tries; both know no engine.
postgres.py and sqlite.py are the blocks. For PostgreSQL: postgres_server.py has the accounts of copies and sweeps
them, postgres_copying.py makes them, postgres_dump.py for a database in use, postgres_copy.py is one of them;
postgres_catalog.py reads schema and rows, postgres_load.py asks every table for reads and writes, postgres_watch.py
sees who holds and waits for locks. SQLite files are touched by sqlite_worker.py alone, a program of its own.

What runs on a copy was written by an agent. So a copy belongs to a role of its own that can do nothing elsewhere, and
after the first migration the platform too connects to it as that role alone.
"""
