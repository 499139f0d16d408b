"""Briefs from files: TOML or JSON, with test files and project settings pulled in from beside them."""

import json
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from domain.brief import Brief
from domain.errors import InputError


def read_brief(file: Path, **overrides: Any) -> Brief:
    """A brief from `file`. `acceptance.files[].from` and `project_file` name files relative to it.

    A repository that is a path is taken relative to the brief. `overrides` replace top-level fields unless they are
    None; a path among them is relative to the working directory. Raises InputError that names the file and the field.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{file}: cannot be read: {err}") from err
    try:
        data = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except (ValueError, RecursionError) as err:
        raise InputError(f"{file}: is not valid {'JSON' if file.suffix == '.json' else 'TOML'}: {err}") from err
    if not isinstance(data, dict):
        raise InputError(f"{file}: a brief is a table of fields, not a {type(data).__name__}")
    given = {name: value for name, value in overrides.items() if value is not None}
    data = {**data, **given}
    if "repository" in data:
        data["repository"] = _resolved(Path() if "repository" in given else file.parent, str(data["repository"]))
    for added in _files(data):
        if "from" in added:
            added["content"] = _content(file, added.pop("from"))
    if "project_file" in data:
        named = data.pop("project_file")
        try:
            data["project"] = tomllib.loads(_content(file, named))
        except (ValueError, RecursionError) as err:
            raise InputError(f"{file}: project_file {named}: {err}") from err
    try:
        return Brief.model_validate(data)
    except ValidationError as err:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'brief'}: {e['msg']}" for e in err.errors())
        raise InputError(f"{file}: {problems}") from err


def _files(data: dict[str, Any]) -> list[dict[str, Any]]:
    acceptance = data.get("acceptance")
    files = acceptance.get("files", []) if isinstance(acceptance, dict) else []
    return [added for added in files if isinstance(added, dict)] if isinstance(files, list) else []


def _content(file: Path, named: Any) -> str:
    """The text of a file beside the brief, or below. A brief may come from anybody: it reads nothing else."""
    if not isinstance(named, str):
        raise InputError(f"{file}: {named!r} is not the name of a file")
    try:
        folder, wanted = file.parent.resolve(), (file.parent / named).resolve()
        if not wanted.is_relative_to(folder):
            raise InputError(f"{file}: {named} lies outside of {folder}: copy it to beside the brief")
        if wanted.exists() and not wanted.is_file():
            raise InputError(f"{file}: {named}: cannot be read: it is no file")
        return wanted.read_text()
    except (OSError, ValueError, RuntimeError) as err:
        raise InputError(f"{file}: {named}: cannot be read: {err}") from err


def _resolved(folder: Path, repository: str) -> str:
    if "://" in repository or ("@" in repository and ":" in repository):
        return repository
    try:
        return str((folder / repository).resolve())
    except (OSError, ValueError, RuntimeError) as err:
        raise InputError(f"repository {repository!r} is not a path: {err}") from err
