from decimal import Decimal
from typing import Any

import pytest

from hr.mapping import EntityName
from hr.row_checks import Chunk, prepare_chunk

NOBODY: tuple[Any, ...] = (7, 70, "Ahmad   Ali  ", "أحمد    علي", "Nurse", 3)


def prepare(entity: EntityName, *rows: tuple[Any, ...]) -> Chunk:
    return prepare_chunk(entity, rows, range(1, len(rows) + 1))


def person(**changes: Any) -> tuple[Any, ...]:
    places = {"id": 0, "code": 1, "english": 2, "title": 4, "department": 5}
    row = list(NOBODY)
    for name, value in changes.items():
        row[places[name]] = value
    return tuple(row)


def test_names_lose_stray_spaces() -> None:
    chunk = prepare("employee", NOBODY)
    assert [list(column) for column in chunk.staged] == [[7], [1], [70], ["Ahmad Ali"], ["أحمد علي"], ["Nurse"], [3]]
    assert not chunk.rejected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (person(id=None), "no id"),
        (person(id="seven"), "id is not a whole number"),
        (person(id=2**31), "id is out of range"),
        (person(code=None), "no code"),
        (person(code=" "), "no code"),
        (person(code=7.5), "code is not a whole number"),
        (person(code=0), "code is out of range"),
        (person(english="x" * 129), "English name longer than 128 characters"),
        (person(title="x" * 129), "title longer than 128 characters"),
        (person(department="IT"), "department is not a whole number"),
    ],
)
def test_a_person_who_cannot_be_taken_is_set_aside_with_the_reason(row: tuple[Any, ...], reason: str) -> None:
    chunk = prepare("employee", NOBODY, row)
    assert [column[0] for column in chunk.staged][:3] == [7, 1, 70]
    assert len(chunk.staged[0]) == 1
    entities, numbers, _, _, reasons = chunk.rejected
    assert (list(entities), list(numbers), list(reasons)) == (["employee"], [2], [reason])


@pytest.mark.parametrize("code", ["70", " 70 ", 70.0, Decimal(70), True + 69])
def test_a_whole_number_is_taken_in_whatever_type_the_driver_gives_it(code: Any) -> None:
    assert list(prepare("employee", person(code=code)).staged[2]) == [70]


def test_a_row_without_id_is_listed_by_its_number() -> None:
    chunk = prepare("employee", NOBODY, person(id=None))
    assert list(chunk.rejected[2]) == [None]
    assert list(chunk.rejected[3]) == ["row 2"]


def test_a_department_lends_the_missing_name_from_the_other_language() -> None:
    chunk = prepare("department", (1, None, "IT", None, 1), (2, 1, None, " مخازن ", None), (3, None, " ", None, 1))
    english, arabic, active = (list(column) for column in chunk.staged[3:])
    assert (english, arabic, active) == (["IT", "مخازن"], ["IT", "مخازن"], [1, 0])
    assert list(chunk.rejected[4]) == ["no name"]


def test_accounts_get_the_id_that_a_new_user_would_have() -> None:
    chunk = prepare("account", (1, " a.b ", 0, None, None), (2, "c" * 65, 0, 0, 7))
    assert list(chunk.staged[2]) == ["a.b"]
    assert len(chunk.staged[6][0]) == 36
    assert list(chunk.rejected[4]) == ["user name longer than 64 characters"]


def test_an_assignment_without_a_person_is_listed_by_both_ids() -> None:
    chunk = prepare("assignment", (7, 3), (None, 3), (7, None))
    assert list(chunk.rejected[3]) == ["None/3", "7/None"]
    assert list(chunk.rejected[4]) == ["no employee", "no department"]
