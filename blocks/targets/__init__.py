"""Where releases run: the port is `Target` in domain/ports/target.py, and there is one room for each kind of place.

`machine/` runs releases on this machine, as processes or as containers of its Docker Engine, behind one Caddy. `swarm/`
does so as services of a Docker Swarm, `ecs/` as task definitions of Amazon ECS, and `command/` by a platform's own
commands. `trial/` is no target: it tries a release's migration in private before any target sees it.

Beside the rooms stands what they share: `releases.py` is what a target keeps on the disk, one directory a release;
`artifact.py` writes a release's files and digests them again; `health_probe.py` asks an address for its health and
`asking.py` knows other ways to it; `fencing.py` knows who may act; `secrets.py` keeps values out of what is shown;
`timeline.py` says what happened when.
"""
