"""The deploy targets of this machine, for stopping them."""

from blocks.home import home
from blocks.targets.process import ProcessTarget


def stop_targets() -> list[str]:
    """Stop each proxy and release under this home; their names. Needs no server."""
    root = home() / "targets"
    stopped = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        target = ProcessTarget(name=folder.name, root=root, port=1)
        if target.stop():
            stopped.append(f"releases of {folder.name}")
    return stopped
