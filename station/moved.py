"""Whether this home lies where it may: blocks, releases and toolchains in it name absolute paths."""

from pathlib import Path

from blocks.home import home
from blocks.sandboxes.confinement import check_target


def problem() -> str | None:
    """Why it cannot be used as it is, and how to mend it; None if it was not moved, or is new."""
    if taken := check_target(str(home() / "toolchains")):  # a sandbox has them at their own place
        return f"{taken}. Set LOCKGATE_HOME to a directory that is not there"
    try:
        made_at = Path(_mark().read_text())
    except FileNotFoundError:
        return None
    if made_at == home() or (made_at.exists() and made_at.samefile(home())):
        return None
    return (
        f"{home()} was made as {made_at}, and was moved or copied: its blocks name the ledger, the store and releases "
        f"below {made_at}. Move it back; or keep its old name as a link (`ln -s {home()} {made_at}`) and set "
        f"LOCKGATE_HOME={made_at}"
    )


def note() -> None:
    """Remember where it was made. Safe to repeat."""
    if not _mark().exists():
        _mark().write_text(str(home()))


def _mark() -> Path:
    return home() / "made-at"
