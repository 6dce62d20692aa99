"""The soft limit is raised inside the body, where it waits."""

import asyncio
import threading
import time
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from shim.limits import call_limited, run_limited

SHORT = 0.05


async def wait_forever(caught: list[str]) -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        caught.append("limit")
        await asyncio.sleep(0)
        return "cleaned up"
    return "never"


async def test_an_asynchronous_body_catches_its_limit_and_goes_on() -> None:
    caught: list[str] = []
    assert await run_limited(wait_forever(caught), SHORT) == "cleaned up"
    assert caught == ["limit"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_uncaught_limit_reaches_the_caller() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        await run_limited(asyncio.sleep(60), SHORT)


async def test_the_limit_reaches_a_body_that_waits_for_tasks_of_its_own() -> None:
    ended: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("child")
            raise

    async def body() -> str:
        try:
            await asyncio.gather(child(), child())
        except SoftTimeLimitExceeded:
            return "caught"
        return "never"

    assert await run_limited(body(), SHORT) == "caught"
    assert ended == ["child", "child"]


async def test_cancelling_from_outside_still_cancels() -> None:
    task = asyncio.create_task(run_limited(asyncio.sleep(60), 30))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timeout_of_the_bodys_own_is_not_taken_for_the_limit() -> None:
    async def body() -> str:
        try:
            async with asyncio.timeout(SHORT):
                await asyncio.sleep(60)
        except TimeoutError:
            return "own timeout"
        return "never"

    assert await run_limited(body(), 30) == "own timeout"


@pytest.mark.parametrize("limit", [None, 0, 30])
async def test_a_body_in_time_is_not_disturbed(limit: Any) -> None:
    assert await run_limited(asyncio.sleep(0, "value"), limit) == "value"
    assert call_limited(lambda: "value", limit) == "value"


def test_a_synchronous_body_is_stopped_in_a_blocking_call() -> None:
    def body() -> str:
        try:
            time.sleep(60)
        except SoftTimeLimitExceeded:
            return "caught"
        return "never"

    began = time.monotonic()
    assert call_limited(body, 0.2) == "caught"
    assert time.monotonic() - began < 10


def test_a_synchronous_body_is_stopped_while_it_computes() -> None:
    def body() -> None:
        while True:
            pass

    with pytest.raises(SoftTimeLimitExceeded):
        call_limited(body, 0.2)


def test_outside_the_main_thread_the_body_runs_without_a_soft_limit() -> None:
    values: list[str] = []
    thread = threading.Thread(target=lambda: values.append(call_limited(lambda: "ran", 0.2)))
    thread.start()
    thread.join()
    assert values == ["ran"]
