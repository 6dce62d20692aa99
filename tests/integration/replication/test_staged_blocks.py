"""Staged employees are used again by the next replication, as long as the source says the same of them."""

import asyncio
import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engines import Database
from db.staging import staged_employee
from db.tables import employee
from hr import staged_blocks
from hr.mapping import ENTITIES
from hr.replication import begin, merge, replicate, stage_entity
from hr.staging import empty_planned_and_staged
from tests.integration.replication.row_by_row import Source
from tests.integration.replication.test_replication import people, small_hris
from tests.integration.replication.world import no_progress, plan, write_source

# More than two blocks, whose borders chunks of 7 rows cut across.
PEOPLE = range(1, 41)


@pytest.fixture
def hris(tmp_path: Path) -> Path:
    path = tmp_path / "hris.sqlite3"
    write_source(path, small_hris(*PEOPLE))
    return path


async def numbers(database: Database) -> dict[int, int]:
    """Give the number of each person's staged row: a row that was staged again has another one."""
    rows = select(staged_employee.c.hris_id, staged_employee.c.row_no).order_by(staged_employee.c.row_no)
    async with database.engine().connect() as connection:
        found = (await connection.execute(rows)).all()
    assert len({row.hris_id for row in found}) == len(found)
    return {row.hris_id: row.row_no for row in found}


async def staged_again(database: Database, hris: Path, *, chunk_rows: int = 1000) -> Sequence[int]:
    """Replicate; give the people whose rows were staged again."""
    before = await numbers(database)
    await replicate(plan(database, hris, chunk_rows=chunk_rows), no_progress, allow_shrunken_source=True)
    return [person for person, number in (await numbers(database)).items() if before.get(person) != number]


def changed(**changes: Any) -> Source:
    source = small_hris(*PEOPLE)
    source["HR_Employee"][19].update(changes)
    return source


async def test_of_an_unchanged_source_nobody_is_staged_again(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    assert await staged_again(app_database, hris) == []


async def test_a_change_stages_its_block_again_and_no_other(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    write_source(hris, changed(EnLName="Hassan"))
    assert await staged_again(app_database, hris) == list(range(17, 33))
    async with app_database.engine().connect() as connection:
        assert await connection.scalar(select(employee.c.name_en).where(employee.c.id == 20)) == "Hassan"


async def test_people_who_left_or_joined_move_no_other_block(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    write_source(hris, small_hris(*(person for person in PEOPLE if person != 20), 50))
    assert await staged_again(app_database, hris) == [*(p for p in range(17, 41) if p != 20), 50]
    assert await staged_again(app_database, hris) == []


async def test_a_block_with_a_rejected_row_is_staged_and_rejected_in_each_replication(
    app_database: Database, hris: Path
) -> None:
    write_source(hris, changed(Code=None))
    first = await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    assert await staged_again(app_database, hris) == [p for p in range(17, 33) if p != 20]
    again = await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    assert first.details()["rejected"] == again.details()["rejected"] == {"employee": {"no code": ["20"]}}


async def test_what_the_merge_set_aside_is_taken_once_it_can_be(app_database: Database, hris: Path) -> None:
    source = small_hris(*PEOPLE)
    source["HR_OrganizationUnit"].pop()
    write_source(hris, source)
    first = await replicate(plan(app_database, hris), no_progress)
    assert first.entities["employee"].rejected == 20

    write_source(hris, small_hris(*PEOPLE))
    second = await replicate(plan(app_database, hris), no_progress)
    assert (second.entities["employee"].inserted, second.entities["employee"].rejected) == (20, 0)


async def test_people_who_were_changed_by_hand_are_put_right_though_nobody_is_staged_again(
    app_database: Database, hris: Path
) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    async with app_database.engine().begin() as connection:
        await connection.execute(update(employee).values(name_en="By hand").where(employee.c.id == 7))
        await connection.execute(update(employee).values(is_active=False).where(employee.c.id == 8))
    report = await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    assert (report.entities["employee"].updated, report.entities["employee"].reactivated) == (1, 1)
    assert (await replicate(plan(app_database, hris), no_progress)).written == 0


async def test_rows_that_the_source_repeats_are_rejected_each_time(app_database: Database, hris: Path) -> None:
    source = small_hris(*PEOPLE)
    # A whole block once more, to the letter.
    source["HR_Employee"] = source["HR_Employee"][:16] + people(*range(1, 17)) + source["HR_Employee"][16:]
    write_source(hris, source)
    for _ in range(3):
        report = await replicate(plan(app_database, hris), no_progress)
        assert report.entities["employee"].rejected == 16


async def test_other_rules_stage_everybody_again(
    app_database: Database, hris: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    monkeypatch.setattr(staged_blocks, "rules_in_force", lambda: b"others")
    assert await staged_again(app_database, hris) == list(PEOPLE)


async def test_numbers_of_rows_begin_anew_before_they_run_out(
    app_database: Database, hris: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    monkeypatch.setattr(staged_blocks, "LAST_NUMBER", 39)
    await replicate(plan(app_database, hris, chunk_rows=1000), no_progress)
    assert await numbers(app_database) == {person: person for person in PEOPLE}


async def test_staging_that_broke_off_is_taken_up_where_it_was(app_database: Database, hris: Path) -> None:
    class Interrupted(Exception):
        pass

    async def interrupt(_entity: str, rows: int) -> None:
        if rows > 20:
            raise Interrupted

    replication = plan(app_database, hris, chunk_rows=16)
    async with begin(replication):
        with pytest.raises(Interrupted):
            await stage_entity(replication, "employee", interrupt)
        before = await numbers(app_database)
        assert before
        await stage_entity(replace(replication, chunk_rows=1000), "employee", no_progress)
        after = await numbers(app_database)
    assert set(after) == set(PEOPLE)
    assert {person: after[person] for person in before} == before


async def test_staging_that_cannot_begin_leaves_no_reading_of_the_source_behind(
    app_database: Database, hris: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unprepared(Exception):
        pass

    async def fail(*_: Any) -> None:
        # The source has been asked by now.
        await asyncio.sleep(0)
        raise Unprepared

    replication = plan(app_database, hris, chunk_rows=7)
    async with begin(replication):
        monkeypatch.setattr(staged_blocks.StagedBlocks, "begin", fail)
        with pytest.raises(Unprepared):
            await stage_entity(replication, "employee", no_progress)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        monkeypatch.undo()
        await stage_entity(replication, "employee", no_progress)
    assert set(await numbers(app_database)) == set(PEOPLE)


async def test_the_garbage_collector_is_as_it_was_after_staging_broke_off(app_database: Database, hris: Path) -> None:
    seen = set[tuple[int, int, int]]()

    async def interrupt(_entity: str, _rows: int) -> None:
        seen.add(gc.get_threshold())
        raise RuntimeError("interrupted")

    before = gc.get_threshold()
    replication = plan(app_database, hris, chunk_rows=16)
    async with begin(replication):
        with pytest.raises(RuntimeError, match="interrupted"):
            await stage_entity(replication, "employee", interrupt)
    assert before not in seen
    assert gc.get_threshold() == before


async def test_who_is_changed_by_hand_after_the_comparison_is_put_right_by_the_next_replication(
    app_database: Database, hris: Path
) -> None:
    replication = plan(app_database, hris, chunk_rows=1000)
    await replicate(replication, no_progress)
    async with begin(replication) as lock:
        rows_read = {entity: await stage_entity(replication, entity, no_progress) for entity in ENTITIES}
        async with app_database.engine().begin() as connection:
            await connection.execute(update(employee).values(name_en="By hand").where(employee.c.id == 7))
        await merge(replication, lock, rows_read)
    report = await replicate(replication, no_progress)
    assert report.entities["employee"].updated == 1


async def test_a_merge_may_be_repeated_and_a_dry_run_may_be_followed_by_a_real_one(
    app_database: Database, hris: Path
) -> None:
    replication = plan(app_database, hris)
    await replicate(replication, no_progress)
    write_source(hris, changed(EnLName="Hassan"))
    async with begin(replication) as lock:
        rows_read = {entity: await stage_entity(replication, entity, no_progress) for entity in ENTITIES}
        foreseen = await merge(replication, lock, rows_read, dry_run=True)
        done = await merge(replication, lock, rows_read)
        again = await merge(replication, lock, rows_read)
    assert foreseen == done
    assert (done.written, again.written) == (1, 0)


async def test_staging_tables_that_were_emptied_in_between_cost_only_time(app_database: Database, hris: Path) -> None:
    await replicate(plan(app_database, hris), no_progress)
    await empty_planned_and_staged(app_database)
    write_source(hris, changed(EnLName="Hassan"))
    report = await replicate(plan(app_database, hris), no_progress)
    assert (report.entities["employee"].updated, report.written) == (1, 1)
