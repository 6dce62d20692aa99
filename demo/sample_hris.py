"""A sample HRIS as an SQLite file: always the same rows for the same shape, with the faults that a real one has.

`write_sample_hris` writes it, `change_sample_hris` lets some time pass in it, both in bounded memory.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random

from demo.hris_rows import POSITIONS, HrisShape, Row, draw_hris, spread_name
from demo.hris_tables import INDEXES, TABLES, create_table, insert_row
from demo.people import draw_family_name, draw_person

__all__ = ["HrisChange", "HrisShape", "change_sample_hris", "is_sample_hris", "write_sample_hris"]

ROWS_AT_A_TIME = 10_000


@dataclass(frozen=True)
class HrisChange:
    """What `change_sample_hris` did, in people."""

    renamed: int
    moved: int
    left: int
    joined: int


def is_sample_hris(path: Path, shape: HrisShape) -> bool:
    """Tell whether the file holds exactly what `write_sample_hris` would write for the shape."""
    if not path.is_file():
        return False
    with closing(sqlite3.connect(path)) as connection:
        return bool(connection.execute("PRAGMA user_version").fetchone()[0] == shape.fingerprint)


def write_sample_hris(path: Path, shape: HrisShape | None = None) -> None:
    """Write a sample HRIS; a file of that name is replaced once the new one is whole.

    Args:
        path: The SQLite file; its folder is made if missing.
        shape: How large and how faulty; 5,000 people by default.
    """
    shape = shape or HrisShape()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for table in TABLES:
            connection.execute(create_table(table))
        _insert(connection, draw_hris(shape))
        for index in INDEXES:
            connection.execute(index)
        connection.execute(f"PRAGMA user_version = {shape.fingerprint}")
        connection.commit()
    unfinished.replace(path)


def change_sample_hris(path: Path, share: float = 0.01, *, seed: int = 1) -> HrisChange:
    """Let people of a sample HRIS marry, move, leave and join, a quarter of the share each.

    Args:
        path: The SQLite file.
        share: Share of the people with exactly one active post that change; 0.01 is one in a hundred.
        seed: Another seed chooses other people; repeat a change with the next seed for the next day.

    Returns:
        How many people changed in which way.
    """
    random = Random(seed)  # noqa: S311 - sample data, no secret
    with closing(sqlite3.connect(path)) as connection:
        holders = connection.execute(
            "SELECT EmployeeID FROM HR_EmployeePosition WHERE OrgUnitID IN (SELECT ID FROM HR_OrganizationUnit) "
            "GROUP BY EmployeeID HAVING count(*) = 1 AND min(IsActive) = 1 ORDER BY EmployeeID"
        )
        chosen = [employee for (employee,) in holders if random.random() < share]
        random.shuffle(chosen)
        quarter = len(chosen) // 4
        moved, left, renamed = chosen[:quarter], chosen[quarter : 2 * quarter], chosen[3 * quarter :]
        _rename(connection, renamed, random)
        departments = [
            row[0] for row in connection.execute("SELECT ID FROM HR_OrganizationUnit WHERE IsActive ORDER BY ID")
        ]
        connection.executemany(
            "UPDATE HR_EmployeePosition SET OrgUnitID = ? WHERE EmployeeID = ?",
            ((random.choice(departments), employee) for employee in moved),
        )
        connection.executemany(
            "UPDATE HR_EmployeePosition SET IsActive = 0 WHERE EmployeeID = ?", ((person,) for person in left)
        )
        joined = _join(connection, quarter, departments, random)
        connection.execute("PRAGMA user_version = 0")
        connection.commit()
    return HrisChange(len(renamed), len(moved), len(left), joined)


def _insert(connection: sqlite3.Connection, rows: Iterable[tuple[str, Row]]) -> None:
    waiting: dict[str, list[Row]] = defaultdict(list)
    for table, row in rows:
        waiting[table].append(row)
        if len(waiting[table]) == ROWS_AT_A_TIME:
            connection.executemany(insert_row(table), waiting.pop(table))
    for table, rest in waiting.items():
        connection.executemany(insert_row(table), rest)


def _rename(connection: sqlite3.Connection, people: list[int], random: Random) -> None:
    for employee in people:
        # A double name differs from the one that the person was born with.
        old, new = draw_family_name(random), draw_family_name(random)
        connection.execute(
            "UPDATE HR_Employee SET ArLName = ?, EnLName = ? WHERE ID = ?",
            (f"{old.ar} {new.ar}", f"{old.en} {new.en}", employee),
        )


def _join(connection: sqlite3.Connection, number: int, departments: list[int], random: Random) -> int:
    last_id, last_code = connection.execute("SELECT max(ID), max(Code) FROM HR_Employee").fetchone()
    for new in range(1, number + 1):
        connection.execute(
            insert_row("HR_Employee"), (last_id + new, last_code + new, *spread_name(draw_person(random)))
        )
        post = (last_id + new, random.randint(1, len(POSITIONS)), random.choice(departments), 1)
        connection.execute(insert_row("HR_EmployeePosition"), post)
    return number
