"""Running a project's tests.

`suite.py` runs them under the locked contract, `runners.py` starts each test runner with a report, `checks.py` runs
build, lint and types, and `baseline.py` measures what passes before the change.

`canaries.py` and `program_canaries.py` plant tests whose outcome we know, so a report that was made up is seen.
`mutate.py` changes the new lines and looks whether a test notices; `again.py` runs what is unstable again. Files named
`inside_*` run in sandboxes alone: nothing here imports them.
"""
