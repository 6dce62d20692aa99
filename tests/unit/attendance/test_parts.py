"""Parts of a sync: two at a time, until one fails."""

import asyncio

import pytest

from hr.attendance.report import SyncReport
from hr.attendance.sync import sync_parts


async def test_parts_are_taken_one_after_another_and_their_reports_added() -> None:
    begun: list[tuple[int, list[int]]] = []

    async def sync_part(number: int, people: list[int]) -> SyncReport:
        begun.append((number, people))
        await asyncio.sleep(0)
        return SyncReport(total=len(people))

    report = await sync_parts([[1], [2, 3], [4], [5]], sync_part)

    assert report.total == 5
    assert begun == [(1, [1]), (2, [2, 3]), (3, [4]), (4, [5])]


async def test_after_a_failure_the_other_part_ends_and_none_begins() -> None:
    begun: list[int] = []
    ended: list[int] = []
    both = asyncio.Barrier(2)

    async def sync_part(number: int, _people: list[int]) -> SyncReport:
        begun.append(number)
        await both.wait()
        if number == 1:
            raise OSError("the first part")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        ended.append(number)
        return SyncReport()

    with pytest.raises(OSError, match="the first part"):
        await sync_parts([[1], [2], [3], [4]], sync_part)

    assert (begun, ended) == ([1, 2], [2])
