"""The sample HRIS: the same rows each time, and every peculiarity that it promises."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from demo.sample_hris import HrisShape, change_sample_hris, is_sample_hris, write_sample_hris

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hris") / "hris.sqlite3"
    write_sample_hris(path)
    return path


def fetch(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def count(path: Path, query: str) -> int:
    return int(fetch(path, f"SELECT count(*) FROM ({query})")[0][0])


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_the_same_shape_gives_the_same_rows(hris: Path, tmp_path: Path) -> None:
    write_sample_hris(tmp_path / "again.sqlite3", HrisShape())
    assert dump(tmp_path / "again.sqlite3") == dump(hris)


def test_another_seed_gives_other_people(hris: Path, tmp_path: Path) -> None:
    write_sample_hris(tmp_path / "other.sqlite3", HrisShape(seed=7))
    assert dump(tmp_path / "other.sqlite3") != dump(hris)


def test_a_file_is_current_until_its_shape_or_its_rows_change(tmp_path: Path) -> None:
    path = tmp_path / "hris.sqlite3"
    shape = HrisShape(people=50)
    assert not is_sample_hris(path, shape)
    write_sample_hris(path, shape)
    assert is_sample_hris(path, shape)
    assert not is_sample_hris(path, HrisShape(people=51))
    change_sample_hris(path, 0.5)
    assert not is_sample_hris(path, shape)


def test_departments_are_one_tree_of_several_levels_with_parents_of_higher_ids(hris: Path) -> None:
    depths = fetch(
        hris,
        "WITH RECURSIVE tree (id, depth) AS (SELECT ID, 1 FROM HR_OrganizationUnit WHERE ParentID IS NULL "
        "UNION ALL SELECT unit.ID, depth + 1 FROM HR_OrganizationUnit unit JOIN tree ON ParentID = tree.id) "
        "SELECT depth FROM tree",
    )
    assert len(depths) == count(hris, "SELECT 1 FROM HR_OrganizationUnit") == HrisShape().department_count
    assert max(depths)[0] == 5
    assert count(hris, "SELECT 1 FROM HR_OrganizationUnit WHERE ParentID IS NULL") == 1
    assert count(hris, "SELECT 1 FROM HR_OrganizationUnit WHERE ParentID > ID") > 0
    assert count(hris, "SELECT 1 FROM HR_OrganizationUnit WHERE NOT IsActive") > 0


ACTIVE = "SELECT EmployeeID FROM HR_EmployeePosition WHERE IsActive"


@pytest.mark.parametrize(
    ("peculiarity", "least", "most"),
    [
        ("SELECT 1 FROM HR_Employee", 5_000, 5_000),
        ("SELECT 1 FROM HR_Employee WHERE ArFName IS NULL OR ArSName IS NULL OR ArThName IS NULL", 300, 700),
        ("SELECT 1 FROM HR_Employee WHERE EnFName IS NULL AND EnLName IS NULL", 150, 250),
        ("SELECT 1 FROM HR_Employee WHERE EnLName <> trim(EnLName) OR ArFName <> trim(ArFName)", 20, 100),
        (f"{ACTIVE} GROUP BY EmployeeID HAVING count(*) > 1", 150, 250),
        ("SELECT 1 FROM HR_EmployeePosition WHERE NOT IsActive", 600, 900),
        (f"SELECT 1 FROM HR_Employee WHERE ID NOT IN ({ACTIVE})", 200, 300),
        ("SELECT 1 FROM User WHERE EmpId IS NOT NULL", 2_800, 3_200),
        ("SELECT 1 FROM User WHERE isLocked", 60, 130),
        ("SELECT 1 FROM User WHERE isDeleted", 40, 100),
        ("SELECT 1 FROM User WHERE Name NOT LIKE '%.%' AND Name NOT LIKE '%-%'", 40, 80),
        ("SELECT 1 FROM User GROUP BY Name HAVING count(*) > 1", 3, 20),
        ("SELECT 1 FROM TMS_ForwardEdit GROUP BY EmployeeID, OrgUnitID HAVING count(*) > 1", 10, 50),
        ("SELECT 1 FROM TMS_ForwardEdit WHERE EmployeeID NOT IN (SELECT ID FROM HR_Employee)", 1, 30),
        ("SELECT 1 FROM TMS_ForwardEdit WHERE OrgUnitID NOT IN (SELECT ID FROM HR_OrganizationUnit)", 1, 30),
        ("SELECT 1 FROM HR_Employee WHERE Code IS NULL", 10, 10),
        ("SELECT 1 FROM HR_Employee WHERE Code IS NOT NULL GROUP BY Code HAVING count(*) = 2", 10, 10),
        ("SELECT 1 FROM HR_EmployeePosition WHERE OrgUnitID NOT IN (SELECT ID FROM HR_OrganizationUnit)", 10, 10),
        ("SELECT 1 FROM HR_Employee WHERE length(EnLName) > 128", 5, 5),
    ],
)
def test_every_peculiarity_occurs_as_often_as_the_shape_says(
    hris: Path, peculiarity: str, least: int, most: int
) -> None:
    assert least <= count(hris, peculiarity) <= most


def test_a_person_with_a_duplicate_code_shares_it_with_someone_who_is_active(hris: Path) -> None:
    holders = fetch(
        hris,
        f"SELECT ID FROM HR_Employee WHERE Code IN (SELECT Code FROM HR_Employee GROUP BY Code HAVING count(*) > 1) "
        f"AND Code IS NOT NULL AND ID IN ({ACTIVE})",
    )
    assert len(holders) == 20


@pytest.mark.parametrize("people", [0, 1, 2, 300])
def test_small_organisations_can_be_written_too(people: int, tmp_path: Path) -> None:
    path = tmp_path / "hris.sqlite3"
    write_sample_hris(path, HrisShape(people=people))
    assert count(path, "SELECT 1 FROM HR_Employee") == people


def test_a_shape_without_faults_has_none(tmp_path: Path) -> None:
    path = tmp_path / "hris.sqlite3"
    shape = HrisShape(people=400, duplicate_codes=0, missing_codes=0, unknown_departments=0, long_names=0)
    write_sample_hris(path, shape)
    assert count(path, "SELECT DISTINCT Code FROM HR_Employee WHERE Code IS NOT NULL") == 400


@pytest.fixture
def changed(hris: Path, tmp_path: Path) -> Path:
    path = tmp_path / "changed.sqlite3"
    path.write_bytes(hris.read_bytes())
    return path


def test_a_change_renames_moves_removes_and_adds_as_many_people_as_it_says(changed: Path, hris: Path) -> None:
    change = change_sample_hris(changed, 0.05)
    assert min(change.renamed, change.moved, change.left, change.joined) > 30

    names = dict(fetch(changed, "SELECT ID, EnLName || ArLName FROM HR_Employee"))
    names_before = dict(fetch(hris, "SELECT ID, EnLName || ArLName FROM HR_Employee"))
    assert len(names) - len(names_before) == change.joined
    assert sum(names[employee] != name for employee, name in names_before.items()) == change.renamed
    assert count(changed, ACTIVE) - count(hris, ACTIVE) == change.joined - change.left


def test_the_next_day_changes_other_people(changed: Path) -> None:
    before = dump(changed)
    change_sample_hris(changed, 0.01, seed=1)
    first_day = dump(changed)
    change_sample_hris(changed, 0.01, seed=2)
    assert before != first_day != dump(changed)


def test_memory_stays_bounded_for_many_people(tmp_path: Path) -> None:
    script = (
        "import resource, sys; from pathlib import Path; from demo.sample_hris import HrisShape, write_sample_hris; "
        "write_sample_hris(Path(sys.argv[1]), HrisShape(people=int(sys.argv[2]))); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", script, str(tmp_path / f"{people}.sqlite3"), str(people)],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for people in (20_000, 100_000)
    ]
    assert peaks[1] < peaks[0] * 1.5
