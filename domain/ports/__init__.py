"""What the steps need of the outside world, one family a file. Each port has one contract suite in tests/contract/."""

from domain.ports.agent import Agent, Assignment, Worked
from domain.ports.database import Database
from domain.ports.forge import Forge, HostedForge, IssueForge, Joined, Tracker
from domain.ports.sandbox import RELAY_PORT, Completed, Egress, Sandbox, Toolchains, Workspace
from domain.ports.scanner import Scanner
from domain.ports.store import Store
from domain.ports.target import Migrator, Observer, ReleaseBuild, Router, Splitter, Target, Watch, Workload

__all__ = [
    "RELAY_PORT",
    "Agent",
    "Assignment",
    "Completed",
    "Database",
    "Egress",
    "Forge",
    "HostedForge",
    "IssueForge",
    "Joined",
    "Migrator",
    "Observer",
    "ReleaseBuild",
    "Router",
    "Sandbox",
    "Scanner",
    "Splitter",
    "Store",
    "Target",
    "Toolchains",
    "Tracker",
    "Watch",
    "Worked",
    "Workload",
    "Workspace",
]  # fmt: skip
