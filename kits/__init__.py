"""What tests, benchmarks and users of Lockgate share.

Servers on loopback that behave as the real ones do: `fake_forge/`, `fake_model/`, `fake_ecs/`, `registry` (of packages
and advisories), `servers` (PostgreSQL and Redis). Something to work on: `briefs` (a small repository and a brief for
it), `tiny_service` (a service that does what a test tells it to) and its `users`, `pypi_projects` (releases of others'
packages, fetched by `sdists`). They import `domain` alone, so that a kit never tests a client with that client's own
code. `product/` starts Lockgate itself.
"""
