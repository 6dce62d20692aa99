"""The set-based replication against the row-by-row model, on random sources and random states."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from db import maria_database, migrate
from db.engines import Database
from hr.merge.report import Report
from hr.replication import replicate
from tests.integration.replication.row_by_row import Source, State, replicate_row_by_row
from tests.integration.replication.strategies import sources, worlds
from tests.integration.replication.world import in_order, no_progress, plan, read_state, write_source, write_state

# A few in each run of the suite, many where minutes do not matter.
LATER = ("HR_OrganizationUnit", "HR_EmployeePosition", "TMS_ForwardEdit")
EXAMPLES = [12, pytest.param(120, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_any_source_over_any_state_gives_what_the_row_by_row_model_gives(
    app_database_url: str, tmp_path: Path, examples: int
) -> None:
    database = maria_database.database

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(worlds(), sources())
    def check(world: tuple[Source, State], later: Source) -> None:
        source, before = world
        runner.run(_check_replication(database, tmp_path / "hris.sqlite3", source, before))
        runner.run(_check_later_replication(database, tmp_path / "hris.sqlite3", source, later))

    # One loop for all examples: its engine keeps the statements that it has compiled.
    with asyncio.Runner() as runner:
        runner.run(migrate.upgrade(database))
        check()


async def _check_replication(database: Database, path: Path, source: Source, before: State) -> None:
    # What the example before has left staged has little to do with this one's source and state.
    write_source(path, source)
    await write_state(database, before)
    replication = plan(database, path)
    foreseen = await replicate(replication, no_progress, dry_run=True, allow_shrunken_source=True)
    assert in_order(await read_state(database)) == in_order(before), "a dry run changed something"

    done = await replicate(replication, no_progress, allow_shrunken_source=True)
    after = in_order(await read_state(database))
    assert after == in_order(replicate_row_by_row(source, before))
    assert foreseen == done, "a dry run foresaw something else than what was done"
    _check_counts(done, in_order(before), after)

    again = await replicate(replace(replication, chunk_rows=1000), no_progress, allow_shrunken_source=True)
    assert again.written == 0, "a second run wrote something"
    assert in_order(await read_state(database)) == after


async def _check_later_replication(database: Database, path: Path, source: Source, later: Source) -> None:
    """Replicate a source in which some tables have become others', over what the first one left staged."""
    later = {table: later[table] if table in LATER else rows for table, rows in source.items()}
    write_source(path, later)
    before = await read_state(database)
    await replicate(plan(database, path), no_progress, allow_shrunken_source=True)
    assert in_order(await read_state(database)) == in_order(replicate_row_by_row(later, before))


def _check_counts(report: Report, before: State, after: State) -> None:
    for table, key in (("department", "key"), ("employee", "id"), ("security_user", "hris_id"), ("user", "username")):
        old = {row[key]: row for row in before[table]}
        new = {row[key]: row for row in after[table]}
        counts = report.entities[table]
        assert counts.inserted == len(new.keys() - old.keys()), table
        changed = sum(1 for each, row in old.items() if new[each] != row)
        assert counts.updated + counts.deactivated + counts.reactivated == changed, table
