"""Releases on this machine, behind one Caddy.

`proxied.py` is the target: everything but how a release runs. That is a `ProxiedService` of it: `process.py` and
`service.py` for a confined process, `docker_host.py` and `container.py` for a container. `caddy.py` is the public
address and `access_log.py` its log. `confinement.py` builds the command line a release runs in, `network.py` the
network it has there, and `outside.py` is the host's end of that network. `migration.py` rehearses and migrates its
data, and `answers.py` keeps what a release answered while it was started.
"""
