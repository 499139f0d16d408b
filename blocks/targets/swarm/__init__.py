"""Releases as services of a Docker Swarm: `target.py` is the target, `spec.py` says what a service is to be,
`service.py` makes it so, `proxy.py` is the Caddy before it, and `engine.py` speaks to the Swarm."""
