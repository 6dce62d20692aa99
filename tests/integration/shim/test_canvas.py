"""Celery's canvas with members that run as flows."""

from uuid import uuid4

import pytest
from celery import chain, chord, group

from tests.integration.shim.system import System
from tests.waiting import LIMIT, wait_until

# The first test also waits for the servers.
pytestmark = pytest.mark.timeout(600)


def test_a_chain_hands_results_on(system: System) -> None:
    add = system.task("add")

    assert chain(add.s(1, 2), add.s(3), add.s(4)).apply_async().get(timeout=LIMIT) == 10


def test_a_group_gives_all_results(system: System) -> None:
    add = system.task("add")

    assert group(add.s(n, n) for n in range(3)).apply_async().get(timeout=LIMIT) == [0, 2, 4]


def test_a_chord_runs_its_body_once_all_members_have_ended(system: System) -> None:
    add, total = system.task("add"), system.task("total")

    assert chord([add.s(n, 1) for n in range(3)], total.s()).apply_async().get(timeout=LIMIT) == 6


def test_the_items_of_chunks_are_flow_runs_of_their_own(system: System) -> None:
    sent = system.task("echo").chunks([("one",), ("two",), ("three",)], 2).apply_async()

    assert sent.get(timeout=LIMIT) == [["one", "two"], ["three"]]
    first, second = sent.children
    items = [f"{first.id}-0", f"{first.id}-1", f"{second.id}-0"]
    assert [[run.state_name for run in system.runs(item)] for item in items] == [["Completed"]] * 3
    assert [system.effects(item) for item in items] == [["str"]] * 3


def test_the_items_of_a_map_are_worked_off_in_order(system: System) -> None:
    sent = system.task("total").map([[1, 2], [3, 4]]).apply_async()

    assert sent.get(timeout=LIMIT) == [3, 7]
    first, second = (system.runs(f"{sent.id}-{place}")[0] for place in (0, 1))
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time < second.start_time


def test_an_item_that_fails_fails_its_chunk(system: System) -> None:
    sent = system.task("fail").chunks([("broken",), ("never",)], 2).apply_async()

    with pytest.raises(Exception, match="broken"):
        sent.get(timeout=LIMIT)
    (chunk,) = sent.children
    assert not system.runs(f"{chunk.id}-1")


def test_a_link_is_called_with_the_result(system: System) -> None:
    result = system.task("add").apply_async((1, 1), link=system.task("echo").s())

    assert result.get(timeout=LIMIT) == 2
    (child,) = wait_until(lambda: result.children, "the linked task is a child")
    assert child.get(timeout=LIMIT) == 2
    assert system.effects(child) == ["int"]


def test_a_failing_member_fails_the_chain_and_calls_its_error_link(system: System) -> None:
    error_id = str(uuid4())
    errors = system.task("echo").s().set(task_id=error_id)
    failing = system.task("fail").s("broken").on_error(errors)
    result = chain(failing, system.task("echo").s()).apply_async()

    with pytest.raises(Exception, match="broken"):
        result.get(timeout=LIMIT)
    assert result.parent.state == "FAILURE"
    wait_until(lambda: system.effects(error_id), "the error link ran")
