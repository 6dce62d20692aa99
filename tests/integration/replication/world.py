"""Source and target of a replication as plain rows: written into real databases, and read back from them."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Table, delete, insert, make_url, select, update

from db.engines import Database
from db.tables import department, department_assignment, employee, security_user, user
from hr.bounds import Bounds
from hr.mapping import EntityName, load_mapping
from hr.replication import Replication
from settings import REPOSITORY
from tests.integration.replication.row_by_row import Row, Source, State

MAPPING = REPOSITORY / "hr" / "mappings" / "hris.toml"
NO_BOUNDS = Bounds(max_deactivated_share=1, max_rejected_share=1)
SOURCE_TABLES = {
    "HR_OrganizationUnit": "ID INTEGER, ParentID INTEGER, ArName TEXT, EnName TEXT, IsActive BOOLEAN",
    "HR_Employee": "ID INTEGER, Code INTEGER, ArFName TEXT, ArSName TEXT, ArThName TEXT, ArLName TEXT, "
    "EnFName TEXT, EnSName TEXT, EnThName TEXT, EnLName TEXT",
    "HR_EmployeePosition": "EmployeeID INTEGER, PositionID INTEGER, OrgUnitID INTEGER, IsActive BOOLEAN",
    "HR_Position": "ID INTEGER, EnName TEXT",
    "User": "ID INTEGER, Name TEXT, isDeleted BOOLEAN, isLocked BOOLEAN, EmpId INTEGER",
    "TMS_ForwardEdit": "EmployeeID INTEGER, OrgUnitID INTEGER",
}
# In the order in which rows can be deleted.
TARGET_TABLES = (department_assignment, user, security_user, employee, department)
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def write_source(path: Path, source: Source) -> None:
    """Write a source as an SQLite file, in place of what the file held; tables that it does not name are empty."""
    with closing(sqlite3.connect(path)) as connection:
        for table, columns in SOURCE_TABLES.items():
            connection.execute(f'DROP TABLE IF EXISTS "{table}"')
            connection.execute(f'CREATE TABLE "{table}" ({columns})')
            for row in source.get(table, ()):
                names = ", ".join(row)
                marks = ", ".join("?" * len(row))
                connection.execute(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', list(row.values()))
        connection.commit()


def open_source(path: Path) -> Database:
    """Give the HRIS that `write_source` wrote."""
    return Database("the HRIS", "HRIS_DATABASE_URL", lambda: make_url(f"sqlite+aiosqlite:///{path}"), writes=False)


def plan(database: Database, path: Path, *, bounds: Bounds = NO_BOUNDS, chunk_rows: int = 3) -> Replication:
    """Give the replication of a source file into a database; small chunks, so that borders are met."""
    return Replication(database, open_source(path), load_mapping(MAPPING), bounds, chunk_rows=chunk_rows)


async def no_progress(_entity: EntityName, _rows: int) -> None:
    """Take no notice of progress."""


async def write_state(database: Database, state: State) -> None:
    """Write the application's tables, in place of what they held."""
    async with database.engine().begin() as connection:
        await connection.execute(update(department).values(parent_id=None))
        for table in TARGET_TABLES:
            await connection.execute(delete(table))
        ids: dict[str, int] = {}
        for row in state["department"]:
            values = {name: value for name, value in row.items() if name not in ("key", "parent")}
            result = await connection.execute(insert(department).values(values))
            assert result.inserted_primary_key is not None
            ids[row["key"]] = result.inserted_primary_key[0]
        for row in state["department"]:
            if row["parent"] is not None:
                parent = {"parent_id": ids[row["parent"]]}
                await connection.execute(update(department).values(parent).where(department.c.id == ids[row["key"]]))
        for row in state["employee"]:
            values = {**row, "department_id": ids.get(row["department"])}
            del values["department"]
            await connection.execute(insert(employee).values(values))
        await _insert(connection, security_user, state["security_user"])
        stamps = {"created_at": WHEN, "updated_at": WHEN}
        users = [{"id": f"user {row['username']}", **row} for row in state["user"]]
        await _insert(connection, user, users, stamps)
        assignments = [
            {
                "user_id": f"user {row['user']}",
                "department_id": ids[row["department"]],
                "is_synced_from_hris": row["is_synced_from_hris"],
                "is_active": row["is_active"],
            }
            for row in state["department_assignment"]
        ]
        await _insert(connection, department_assignment, assignments, stamps)


async def _insert(connection: Any, table: Table, rows: Sequence[Row], stamps: Row | None = None) -> None:
    for row in rows:
        await connection.execute(insert(table).values({**row, **(stamps or {})}))


async def read_state(database: Database) -> State:
    """Read the application's tables; departments are called by their HRIS id, or by their name where they have none."""
    async with database.engine().connect() as connection:
        tables = {
            table.name: [row._asdict() for row in await connection.execute(select(table))] for table in TARGET_TABLES
        }
    keys = {row["id"]: _department_key(row) for row in tables["department"]}
    names = {row["id"]: row["username"] for row in tables["user"]}
    return {
        "department": [
            {
                "key": keys[row["id"]],
                "parent": keys.get(row["parent_id"]),
                **{name: row[name] for name in ("hris_id", "name_en", "name_ar", "is_active")},
            }
            for row in tables["department"]
        ],
        "employee": [
            {
                "department": keys.get(row["department_id"]),
                **{name: row[name] for name in ("id", "code", "name_en", "name_ar", "title", "is_active")},
            }
            for row in tables["employee"]
        ],
        "security_user": [
            {name: row[name] for name in ("hris_id", "user_name", "is_deleted", "is_locked", "employee_id")}
            for row in tables["security_user"]
        ],
        "user": [
            {
                name: row[name]
                for name in (
                    "username",
                    "full_name",
                    "title",
                    "employee_id",
                    "is_active",
                    "user_source",
                    "status_override",
                )
            }
            for row in tables["user"]
        ],
        "department_assignment": [
            {
                "user": names[row["user_id"]],
                "department": keys[row["department_id"]],
                "is_synced_from_hris": row["is_synced_from_hris"],
                "is_active": row["is_active"],
            }
            for row in tables["department_assignment"]
        ],
    }


def _department_key(row: Row) -> str:
    return str(row["name_en"]) if row["hris_id"] is None else f"hris {row['hris_id']}"


def in_order(state: State) -> State:
    """Sort a state's rows, and call its departments as `read_state` does, so that two states can be compared."""
    names = {row["key"]: _department_key(row) for row in state["department"]}
    named = {
        table: [
            {
                name: names.get(value, value) if name in ("key", "parent", "department") else value
                for name, value in row.items()
            }
            for row in rows
        ]
        for table, rows in state.items()
    }
    return {
        table: sorted(rows, key=lambda row: sorted((k, str(v)) for k, v in row.items()))
        for table, rows in named.items()
    }
