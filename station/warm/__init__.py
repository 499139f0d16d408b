"""Warm starts: a flow run begins as a fork of a process that has imported the flows already.

`zygote.py` is that process, one a machine. `client.py` is what the worker starts for each run: it asks the zygote for a
fork and stands for it, with its output, signals and exit code. If no zygote answers, the client starts the run by
itself (`flow_run.py`), as Prefect would.

    worker ── client (stands for the run) ── socket ── zygote
                 │ pipe: if the client dies,              └─ keeper (waits for the run, tells its exit)
                 └────── the kernel kills the run ────────────── └─ run: dies with its keeper

`ahead.py` does the same for the programs of a station, the zygote among them: they begin as forks of its supervisor.
`on_disk.py` tells whether the code is still what they have imported.
"""
