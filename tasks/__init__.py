"""The steps of the pipeline, one a file. A step takes commit ids and values and returns commit ids and values.

Each is a Prefect task, safe to repeat: its result is stored under its name, its inputs and the run, and what it did
to the world is looked for before it is done again. `retries` are for the platform's own trouble; the agent's next try
is the `for` loop in `flows/agent_task.py`.

What steps are made of is below: `running/` tests, `releasing/` to an environment, asking `people/`, the `room/` that
work is done in, and the `pages/` that people are shown.
"""
