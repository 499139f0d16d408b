"""That a forge said that something happened there: noted by the door, taken by the supervisor, which asks it."""

from blocks.home import home


def note() -> None:
    """Something happened somewhere. Safe to repeat: many notes are one."""
    path = home() / "run" / "forge-news"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch()


def take() -> bool:
    """Whether there was news since the last call."""
    try:
        (home() / "run" / "forge-news").unlink()
    except FileNotFoundError:
        return False
    return True
