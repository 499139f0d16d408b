"""How Python projects are detected: from their files as data."""

import pytest

from domain.detect import detect
from tests.unit.policy_cases import tree

FOUND: dict[str, tuple[dict[str, str], str, str, str | None]] = {
    "tests at the root": ({"test_a.py": ""}, "", "pytest", None),
    "a requirements file": ({"tests/test_a.py": "", "requirements.txt": "flask"}, "", "pytest", "requirements.txt"),
    "a project in a directory": ({"api/a_test.py": "", "requirements.txt": ""}, "api", "pytest", None),
    "no tests": ({"latest.py": ""}, "", "", None),
}


@pytest.mark.parametrize("name", FOUND)
def test_a_python_project_is_detected_by_its_files(name: str) -> None:
    files, directory, kind, lock = FOUND[name]
    detected = detect(tree(files), directory)
    assert (detected.kind, detected.settings.lock) == (kind, lock)
    assert all(found.path in files for found in detected.found)
    assert bool(detected.missing) == (not kind)
