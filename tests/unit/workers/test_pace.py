"""Wakes become polls, at most two a second, and fewer when they take long."""

import asyncio
import time

from workers.pace import Pace


async def test_a_wake_is_followed_at_once_and_many_by_two_polls_a_second() -> None:
    pace, polls = Pace(), []
    began = time.monotonic()
    for _ in range(4):
        pace.wake()
        pace.wake()
        await pace.wait()
        with pace.note_poll():
            polls.append(time.monotonic() - began)
    assert polls[1] < 0.5
    assert polls[2] >= 1.0
    assert polls[3] >= 1.0


async def test_a_server_that_answers_slowly_is_asked_less_often() -> None:
    pace = Pace()
    began = time.monotonic()
    with pace.note_poll():
        await asyncio.sleep(0.2)
    pace.wake()
    await pace.wait()
    assert 0.6 <= time.monotonic() - began < 1.0


async def test_without_a_wake_there_is_no_poll() -> None:
    pace = Pace()
    pace.wake()
    await pace.wait()
    waits = asyncio.create_task(pace.wait())
    done, _ = await asyncio.wait([waits], timeout=0.1)
    assert not done
    waits.cancel()
