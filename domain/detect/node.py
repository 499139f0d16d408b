"""Node projects: what the `test` script of package.json runs."""

from domain.detect.reading import Detected, Found, View
from domain.project import ProjectSettings


def detect(view: View) -> Detected | None:
    """Settings of a Node project; None where package.json has no `test` script."""
    scripts = view.json("package.json").get("scripts")
    if not isinstance(scripts, dict) or not scripts.get("test"):
        return None
    install = "npm ci" if "package-lock.json" in view else "npm install"
    setup = f"{install} --ignore-scripts --no-audit --no-fund"
    package = view.full("package.json")
    return Detected(
        settings=ProjectSettings(test="npm test", setup=setup),
        kind="npm test",
        found=(
            Found(what="tests", value="npm test", path=package),
            Found(what="packages", value=install, path=view.full(view.first("package-lock.json") or "package.json")),
        ),
    )
