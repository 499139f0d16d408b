"""Python projects: pytest where there are test files by its names."""

from domain.detect.reading import Detected, Found, View
from domain.project import ProjectSettings


def detect(view: View) -> Detected | None:
    """Settings of a Python project; None where no file looks like its tests."""
    tests = next(view.find("**/test_*.py", "**/*_test.py"), None)
    if tests is None:
        return None
    lock = view.first("requirements.txt")
    found = [Found(what="tests", value="pytest", path=view.full(tests))]
    if lock:
        found.append(Found(what="requirements", value=lock, path=view.full(lock)))
    return Detected(settings=ProjectSettings(lock=lock), kind="pytest", found=tuple(found))
