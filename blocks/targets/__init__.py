"""Where releases run: an interface in domain.ports, one adapter a file.

process.py is the block, and tells a release from its tree to the traffic; confinement.py builds the command line a
release runs in, network.py makes the network it has there, outside.py is the host's end of that, and processes.py finds
and ends what was started; caddy.py is the public address, health_probe.py asks
it, answers.py keeps what it said; migration.py rehearses and migrates; releases.py is what lies on the disk,
secrets.py keeps values out of what is shown.

trial.py tries a release in private, for every kind of target; trial_run.py, trial_inside.py, trial_door.py and
trial_database.py are its parts.
"""
