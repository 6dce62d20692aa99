"""Everything is killed at random while calls come in; each call happens once and gets its answer."""

from pathlib import Path

import pytest

from tests.chaos.experiment import SHORT, USUAL, Size, run_experiment


@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", [SHORT, pytest.param(USUAL, marks=pytest.mark.slow)], ids=["short", "usual"])
def test_each_call_has_one_row_one_run_one_execution_and_one_answer(size: Size, tmp_path: Path) -> None:
    told: list[str] = []
    report = run_experiment(size, seed=size.calls, folder=tmp_path, tell=told.append)
    assert report.problems == [], told
    assert report.faults.total() >= 3, "something was killed"
