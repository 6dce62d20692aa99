"""Runs that begin about the same time share what the worker asks about their deployment."""

import asyncio
from uuid import UUID, uuid4

import pytest
from pydantic import BaseModel

from workers.recent_reads import RecentReads

ID = uuid4()


class Thing(BaseModel):
    """What a server might give."""

    number: int
    variables: dict[str, str] = {}


class Server:
    """Numbers its answers; the first ones may fail."""

    def __init__(self, failures: int = 0) -> None:
        self.asked = 0
        self.failures = failures

    async def read(self, object_id: UUID) -> Thing:
        self.asked += 1
        if self.asked <= self.failures:
            raise ConnectionError("away")
        return Thing(number=self.asked)


async def test_reads_at_once_and_soon_after_are_one_request() -> None:
    server = Server()
    read = RecentReads(server.read, seconds=60)
    together = await asyncio.gather(*(read(ID) for _ in range(5)))
    later = await read(ID)
    assert [thing.number for thing in (*together, later)] == [1] * 6
    assert (await read(uuid4())).number == 2, "another object is another request"


async def test_each_reader_may_change_what_it_got() -> None:
    read = RecentReads(Server().read, seconds=60)
    (await read(ID)).variables["mine"] = "only"
    assert (await read(ID)).variables == {}


async def test_an_answer_is_asked_for_again_when_it_is_old() -> None:
    read = RecentReads(Server().read, seconds=0)
    assert [(await read(ID)).number for _ in range(3)] == [1, 2, 3]


async def test_a_failure_is_not_shared_with_those_who_ask_later() -> None:
    read = RecentReads(Server(failures=1).read, seconds=60)
    with pytest.raises(ConnectionError):
        await read(ID)
    assert (await read(ID)).number == 2


async def test_a_reader_that_is_cancelled_does_not_take_the_answer_from_the_others() -> None:
    read = RecentReads(Server().read, seconds=60)
    hurried = asyncio.create_task(read(ID))
    patient = asyncio.create_task(read(ID))
    await asyncio.sleep(0)
    hurried.cancel()
    assert (await patient).number == 1
