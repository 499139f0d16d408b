"""One environment of each kind of target. A kind makes environments by name, and takes them along at its end."""

from tests.contract.environment import Environment, Make
from tests.contract.environments_of_containers import docker_on_this_host, docker_swarm
from tests.contract.environments_of_ecs import fake_ecs
from tests.contract.environments_of_processes import commands, commands_at_once, process, processes_of

__all__ = ["KINDS", "Environment", "Make", "processes_of"]

KINDS = {
    "process": process,
    "docker_host": docker_on_this_host,
    "swarm": docker_swarm,
    "ecs": fake_ecs,
    "command": commands,
    "command, all at once": commands_at_once,
}
