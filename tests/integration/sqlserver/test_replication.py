"""Replication over TDS: the same rows as from the SQLite file that the server answers from, on both drivers."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import delete

from db import maria_database
from db.engines import Database
from db.tables import log_replication
from demo.sample_hris import HrisShape, write_sample_hris
from hr.mapping import ENTITIES, EntityName, load_mapping
from hr.replication import Replication, replicate
from hr.source import Source
from tests.integration.replication.world import (
    MAPPING,
    NO_BOUNDS,
    TARGET_TABLES,
    in_order,
    no_progress,
    open_source,
    read_state,
)
from tests.integration.sqlserver.conftest import Serve
from tests.servers.tds import TdsServer

SCHEMAS = {"User": "Security"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hris") / "hris.sqlite3"
    write_sample_hris(path, HrisShape(people=400))
    return path


async def read_all(database: Database, entity: EntityName, mapping: Path = MAPPING) -> list[tuple[Any, ...]]:
    source = Source(database, load_mapping(mapping))
    rows = [tuple(row) async for rows in source.read(entity, 50) for row in rows]
    return sorted(rows, key=lambda row: [str(value) for value in row])


@pytest.mark.parametrize("entity", ENTITIES)
async def test_every_row_is_the_same_as_in_the_file(sample: Path, serve: Serve, entity: EntityName) -> None:
    served = serve(sample, SCHEMAS)
    expected = await read_all(open_source(sample), entity)
    assert len(expected) > 10
    assert await read_all(served, entity) == expected


async def test_rows_are_counted_as_they_are_read(sample: Path, serve: Serve) -> None:
    source = Source(serve(sample, SCHEMAS), load_mapping(MAPPING))
    for entity in ENTITIES:
        assert await source.count(entity) == len(await read_all(open_source(sample), entity))


async def test_a_replication_ends_in_the_same_state_as_from_the_file(
    application: Database, sample: Path, serve: Serve
) -> None:
    states, reports = [], []
    for source in (open_source(sample), serve(sample, SCHEMAS)):
        async with application.engine().begin() as connection:
            for table in (log_replication, *TARGET_TABLES):
                await connection.execute(delete(table))
        replication = Replication(application, source, load_mapping(MAPPING), NO_BOUNDS, chunk_rows=50)
        reports.append((await replicate(replication, no_progress)).details())
        states.append(in_order(await read_state(maria_database.database)))
    assert reports[0]["entities"]["employee"]["inserted"] > 300
    assert any("ي" in (row["name_ar"] or "") for row in states[0]["employee"])
    assert reports[1] == reports[0]
    assert states[1] == states[0]


async def test_tables_are_found_by_three_part_names_from_another_database(
    sample: Path, serve: Serve, tmp_path: Path, sql_server: TdsServer
) -> None:
    name = f"HMIS-AMH {uuid4().hex[:8]}"
    served = serve(sample, SCHEMAS, name, connect_to="master")
    mapping = tmp_path / "three-part.toml"
    text = MAPPING.read_text(encoding="utf-8")
    mapping.write_text(text.replace('schema = "dbo"', f'schema = "dbo"\ndatabase = "{name}"', 1), encoding="utf-8")
    for entity in ("account", "employee"):
        expected = await read_all(open_source(sample), entity)
        assert await read_all(served, entity, mapping) == expected
    assert any(f"[{name}].[Security].[User]" in statement for statement in sql_server.statements())
