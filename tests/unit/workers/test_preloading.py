"""Which modules the warm process imports early."""

from pathlib import Path

import pytest

from settings import REPOSITORY
from workers.errors import WorkerError
from workers.preloading import find_flow_modules


def write(folder: Path, *entrypoints: str) -> Path:
    path = folder / "prefect.yaml"
    path.write_text("deployments:\n" + "".join(f"  - entrypoint: {each}\n" for each in entrypoints))
    return path


def test_the_suites_own_flows_are_imported_early() -> None:
    assert {"flows.hris", "flows.attendance", "flows.mail"} <= set(find_flow_modules(REPOSITORY / "prefect.yaml"))


def test_modules_are_named_once_and_files_are_left_out(tmp_path: Path) -> None:
    path = write(tmp_path, "flows.hris.replicate", "flows.hris.other", "tasks.menu:export.prefect_flow", "one.py:run")
    assert find_flow_modules(path) == ["flows.hris", "tasks.menu"]


def test_without_a_list_of_deployments_nothing_is_imported_early(tmp_path: Path) -> None:
    assert find_flow_modules(tmp_path / "prefect.yaml") == []


@pytest.mark.parametrize("content", ["deployments: [1, 2]", "- a list", "deployments: {unclosed"])
def test_a_file_that_is_no_list_of_deployments_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prefect.yaml"
    path.write_text(content)
    with pytest.raises(WorkerError, match=r"prefect\.yaml"):
        find_flow_modules(path)
