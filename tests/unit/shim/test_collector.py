"""Calls are held until those that arrive together are together, and no longer."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from shim import Batch
from shim.batches.collector import (
    LONGEST_BEHIND_IN_WAITS,
    LONGEST_IN_WAITS,
    MOST_BYTES,
    PATIENCE_BEHIND,
    Collector,
)
from shim.errors import ShimError
from shim.intake import FlowRequest

WAIT = 0.2


def request(name: str = "task", *, size: int = 3, body: bytes = b"") -> FlowRequest:
    task = SimpleNamespace(name=name, batch=Batch("flows.some.batch", size=size, wait=WAIT))
    return cast(FlowRequest, SimpleNamespace(name=name, task=task, body=body))


def test_a_full_batch_is_given_out_at_once() -> None:
    collector = Collector()
    calls = [request() for _ in range(3)]
    for call in calls:
        collector.add(call)
    began = time.monotonic()
    assert collector.take() == calls
    assert time.monotonic() - began < WAIT / 2


def test_a_call_that_stays_alone_is_given_out_after_the_wait() -> None:
    collector = Collector()
    began = time.monotonic()
    collector.add(request())
    assert len(collector.take()) == 1
    assert WAIT <= time.monotonic() - began < 0.5


def test_more_calls_than_a_batch_holds_become_several() -> None:
    collector = Collector()
    for _ in range(7):
        collector.add(request())
    assert [len(collector.take()) for _ in range(3)] == [3, 3, 1]


def test_calls_of_different_tasks_are_kept_apart() -> None:
    collector = Collector()
    for name in ("a", "b", "a", "b", "a"):
        collector.add(request(name))
    taken = [collector.take() for _ in range(2)]
    assert sorted((calls[0].name, len(calls)) for calls in taken) == [("a", 3), ("b", 2)]
    assert all(len({call.name for call in calls}) == 1 for calls in taken)


@contextmanager
def trickle(collector: Collector) -> Iterator[None]:
    """Have calls come in one after another."""
    stopped = threading.Event()

    def add() -> None:
        while not stopped.wait(WAIT / 4):
            collector.add(request(size=1000))

    thread = threading.Thread(target=add)
    collector.add(request(size=1000))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_calls_that_keep_coming_do_not_hold_the_first_one_for_ever() -> None:
    collector = Collector()
    began = time.monotonic()
    with trickle(collector):
        assert len(collector.take()) > 1
    assert time.monotonic() - began < WAIT * (LONGEST_IN_WAITS + 1)


def test_while_an_earlier_batch_is_under_way_more_calls_are_gathered_but_not_for_ever() -> None:
    collector = Collector(lambda _name: True)
    began = time.monotonic()
    with trickle(collector):
        assert len(collector.take()) > 1
    assert WAIT * (LONGEST_IN_WAITS + 1) < time.monotonic() - began < WAIT * (LONGEST_BEHIND_IN_WAITS + 1)


def test_calls_that_are_held_go_out_soon_after_the_earlier_batch_has_ended() -> None:
    ends = time.monotonic() + WAIT * (LONGEST_IN_WAITS + 1)
    collector = Collector(lambda _name: time.monotonic() < ends)
    with trickle(collector):
        assert len(collector.take()) > 1
    assert 0 <= time.monotonic() - ends < 2 * WAIT


def test_a_call_that_stays_alone_waits_less_than_half_a_second_also_behind_an_earlier_batch() -> None:
    collector = Collector(lambda _name: True)
    began = time.monotonic()
    collector.add(request())
    assert len(collector.take()) == 1
    assert WAIT < time.monotonic() - began < 0.5


def test_only_batches_of_the_same_task_hold_calls_for_longer() -> None:
    collector = Collector(lambda name: name == "another")
    began = time.monotonic()
    collector.add(request())
    assert len(collector.take()) == 1
    assert time.monotonic() - began < PATIENCE_BEHIND * WAIT


def test_long_calls_make_a_batch_earlier() -> None:
    collector = Collector()
    for _ in range(2):
        collector.add(request(size=1000, body=b"x" * (MOST_BYTES // 2)))
    began = time.monotonic()
    assert len(collector.take()) == 2
    assert time.monotonic() - began < WAIT / 2


def test_a_closed_collector_gives_out_nothing() -> None:
    collector = Collector()
    collector.add(request())
    threading.Timer(WAIT / 4, collector.close).start()
    assert collector.take() == []


@pytest.mark.parametrize(("size", "wait"), [(0, 0.2), (1001, 0.2), (10, 0.0), (10, 0.6)])
def test_a_batch_holds_no_call_back_for_more_than_half_a_second(size: int, wait: float) -> None:
    with pytest.raises(ShimError, match="waits at most"):
        Batch("flows.some.batch", size=size, wait=wait)


@pytest.mark.parametrize("option", ["rate_limit", "soft_time_limit", "time_limit"])
def test_what_holds_for_a_run_cannot_be_asked_for_calls_that_share_one(option: str) -> None:
    from shim import shared_task

    options: dict[str, Any] = {option: 1, "batch": Batch("flows.some.batch")}
    with pytest.raises(ShimError, match=f"cannot have {option}"):
        shared_task(**options)
