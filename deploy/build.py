"""Hatch's hook: in a wheel, and not in the editable installation of a checkout, `lockgate` is a launcher."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Launcher(BuildHookInterface):  # type: ignore[type-arg, misc]
    """Found by its base class."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is the kind of wheel. The target is put below `lockgate`, as all else is."""
        if version == "standard":
            build_data["force_include"]["deploy/launcher.py"] = "__init__.py"
