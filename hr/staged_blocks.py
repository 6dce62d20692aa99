"""Blocks of the source's rows that are staged already: what the source says again is not checked and written again.

A block is a few rows in the order of the source's answer. It ends with an id that `BLOCK_IDS` divides, so that a row
more or less moves no other block's border. Each staged row carries the fingerprint of its block as the source gave it.
A block is written in one transaction, so a fingerprint that is found means that the whole block is there, whatever was
killed when.
"""

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from sqlalchemy import Table, and_, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.staging import rejected_row
from hr.mapping import EntityName
from hr.row_checks import Chunk, rules_in_force

# Few, so that rows that change here and there take few others with them.
BLOCK_IDS = 16
# Numbers of staged rows begin anew beyond this one, long before they leave their column.
LAST_NUMBER = 2**30
# Blocks removed by one statement; SQLite takes about 32,000 values.
REMOVED_AT_A_TIME = 30_000

Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class FreshRows:
    """The rows of a chunk that are not staged yet.

    Args:
        rows: The rows.
        numbers: Their places in the source's answer, from 1.
        blocks: Their blocks' fingerprints; none for a block that the source gives more than once.
    """

    rows: Rows
    numbers: Sequence[int]
    blocks: Sequence[int | None]


class StagedBlocks:
    """The blocks that a staging table holds, against those that the source gives now; made by `begin`.

    Args:
        table: The staging table, with a column `block`.
        held: Fingerprints of the blocks that it holds; none stands for rows that are to be staged again.
        last_number: The largest `row_no` in it; rows that are staged now get larger ones.
    """

    def __init__(self, table: Table, held: set[int | None], last_number: int) -> None:
        self._table = table
        self._held = held
        self._seen: set[int] = set()
        self.last_number = last_number
        self._rules = rules_in_force()

    @classmethod
    async def begin(cls, connection: AsyncConnection, table: Table) -> "StagedBlocks":
        """Take up what the last replication left in a staging table, and undo what its merge noted there.

        Args:
            connection: A transaction of the caller's.
            table: The staging table.
        """
        rows = table.c
        by_block = select(rows.block, func.max(rows.row_no), func.max(rows.is_refused)).group_by(rows.block)
        found = (await connection.execute(by_block)).all()
        last_number = max((number for _, number, _ in found), default=0)
        if last_number > LAST_NUMBER:
            await connection.execute(delete(table))
            return cls(table, set(), 0)
        if any(is_refused for _, _, is_refused in found):
            await connection.execute(update(table).values(is_refused=False).where(rows.is_refused))
        return cls(table, {block for block, _, _ in found}, last_number)

    def choose(self, rows: Rows, before: int) -> FreshRows:
        """Pick the rows of blocks that are not staged yet.

        Args:
            rows: A chunk of the source's answer; a block ends with it at the latest.
            before: Number of the answer's rows before these.
        """
        fresh, numbers = list[Sequence[Any]](), list[int]()
        blocks = list[int | None]()
        # Some drivers' rows only look like tuples.
        tuples = list[tuple[Any, ...]](map(tuple, rows))
        start = 0
        for end in _block_ends(tuples):
            fingerprint = self._fingerprint(tuples[start:end])
            if fingerprint in self._held:
                self._held.discard(fingerprint)
            else:
                fresh += rows[start:end]
                numbers += range(before + start + 1, before + end + 1)
                blocks += [None if fingerprint in self._seen else fingerprint] * (end - start)
            self._seen.add(fingerprint)
            start = end
        return FreshRows(fresh, numbers, blocks)

    async def remove_vanished(self, connection: AsyncConnection) -> None:
        """Remove what the source did not give again, after all of its answer was gone through."""
        rows = self._table.c
        to_be_staged_again = and_(rows.block.is_(None), rows.row_no <= self.last_number)
        vanished = sorted(block for block in self._held if block is not None)
        if self._held:
            some = rows.block.in_(vanished[:REMOVED_AT_A_TIME])
            await connection.execute(delete(self._table).where(or_(to_be_staged_again, some)))
        for start in range(REMOVED_AT_A_TIME, len(vanished), REMOVED_AT_A_TIME):
            some = rows.block.in_(vanished[start : start + REMOVED_AT_A_TIME])
            await connection.execute(delete(self._table).where(some))

    def _fingerprint(self, rows: list[tuple[Any, ...]]) -> int:
        digest = blake2b(_to_bytes(rows), digest_size=8, key=self._rules)
        return int.from_bytes(digest.digest(), signed=True)


async def take_back_refusals(connection: AsyncConnection, entity: EntityName, table: Table) -> None:
    """Undo what a merge noted in a staging table, while the rows that it rejected are still listed.

    `StagedBlocks.begin` would find them too, by going through the whole table.

    Args:
        connection: A transaction of the caller's.
        entity: What the table holds.
        table: The staging table.
    """
    await connection.execute(
        update(table)
        .values(is_refused=False)
        .where(
            rejected_row.c.entity == entity,
            table.c.hris_id == rejected_row.c.source_id,
            table.c.row_no == rejected_row.c.row_no,
        )
    )


def blocks_of(fresh: FreshRows, chunk: Chunk) -> list[int | None]:
    """Give the column `block` of the rows that were taken.

    A block with rows that were not taken is not held: the next replication rejects them again.
    """
    spoiled = {fresh.blocks[place] for place in chunk.refused}
    refused = set(chunk.refused)
    return [None if block in spoiled else block for place, block in enumerate(fresh.blocks) if place not in refused]


def _block_ends(rows: Rows) -> list[int]:
    ids = [row[0] for row in rows]
    ends = [end for end, number in enumerate(ids, start=1) if type(number) is int and not number % BLOCK_IDS]
    return ends if ends[-1:] == [len(rows)] else [*ends, len(rows)]


def _to_bytes(rows: list[tuple[Any, ...]]) -> bytes:
    try:
        # The format that tells the same values always in the same way.
        return marshal.dumps(rows, 2)
    except ValueError:
        # Decimals and the like, which some drivers give.
        return repr(rows).encode()
