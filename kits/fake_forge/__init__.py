"""A GitHub that runs on this machine: for tests of what opens pull requests, and of your own.

REST v3, the GraphQL that REST lacks, webhooks, and git by the real `git http-backend`: docs/fake-forge.md.
"""

from kits.fake_forge.faults import Fault
from kits.fake_forge.server import FakeGitHub, serve

__all__ = ["FakeGitHub", "Fault", "serve"]
