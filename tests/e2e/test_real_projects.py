"""The pipeline on projects that nobody here wrote: an upstream's own bug fix, judged by upstream's own new tests."""

from pathlib import Path

import pytest

from domain import task
from domain.task import CaseOutcome, End
from kits.product.station import Station
from kits.pypi_projects import PROJECTS, ReleasePair, brief, recorded, repository

CHOSEN = [project for project in PROJECTS if project.name in ("h11", "sqlparse")]
"""Two go through a station; that all of them are read and judged is in test_pypi_inputs.py and bench/gates.py."""


@pytest.mark.parametrize("project", CHOSEN, ids=lambda project: project.name)
def test_a_real_fix_of_a_real_project_is_merged(station: Station, project: ReleasePair, tmp_path: Path) -> None:
    at = repository(project, tmp_path / "repository.git")
    station.replay(project.name, recorded(project, tmp_path / "recording"))
    run_id = station.submit(brief(project, at).model_dump(mode="json"))
    outcome = station.wait(run_id)
    assert outcome.end is End.MERGED, f"{outcome.sentence}\n{station.story(run_id)}"
    tested = task.Tested.model_validate(station.entries(run_id, "tested")[-1].body)
    turned = {row.test for row in tested.rows if row.kind == "acceptance" and row.base is not CaseOutcome.PASSED}
    assert turned, "the newer tests were red on the older release"
    assert sum(row.kind == "existing" for row in tested.rows) > 5, "the project's own tests were compared"
    kept = station.lockgate("verify", run_id)
    assert kept.returncode == 0, kept.stdout
