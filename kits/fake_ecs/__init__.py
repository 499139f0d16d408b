"""An ECS that runs on this machine's Docker Engine: for tests of the `ecs` target, and of your own.

It speaks the AWS JSON protocol, its tasks are real containers behind a real load balancer: docs/targets-ecs.md.
"""

from kits.fake_ecs.server import FakeEcs, serve

__all__ = ["FakeEcs", "serve"]
