"""The public package registries: what agents and a project's setup may read unless the workshop says otherwise."""

from domain.egress import EgressRule

PYTHON = EgressRule(hosts=("pypi.org", "files.pythonhosted.org"))
NPM = EgressRule(
    hosts=("registry.npmjs.org", "registry.yarnpkg.com", "repo.yarnpkg.com")
)  # the last two are what yarn asks
REGISTRIES = (PYTHON, NPM)
"""Read only: GET and HEAD. A package can be named, so a name can carry words out; nothing that is secret is inside."""
