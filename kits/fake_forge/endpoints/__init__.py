"""The REST endpoints, one part of the forge a file; importing them fills the table of routes."""

from kits.fake_forge.endpoints import (
    apps,
    branches,
    checks,
    deployments,
    hooks,
    issues,
    people,
    pulls,
    repositories,
    reviews,
)

__all__ = ["apps", "branches", "checks", "deployments", "hooks", "issues", "people", "pulls", "repositories", "reviews"]
