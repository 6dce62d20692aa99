"""Which batches make the calls after them wait for more: those that run or could, not those that wait for a time."""

import time
from types import SimpleNamespace
from typing import Any

import pytest

from shim.batches.creation import FollowedBatch
from shim.batches.following import BatchFollower


def follow(**attributes: Any) -> BatchFollower:
    """A follower of one batch of the task `note`."""
    nothing: Any = None
    follower = BatchFollower(nothing, nothing, nothing, nothing, nothing)
    follower.follow(FollowedBatch("one", SimpleNamespace(name="note"), "run", **attributes))
    return follower


@pytest.mark.parametrize("attributes", [{}, {"runs_now": True}, {"due": 1}, {"due": 2**40, "runs_now": True}])
def test_a_batch_is_under_way_from_its_creation_or_its_time_on(attributes: dict[str, Any]) -> None:
    follower = follow(**attributes)
    assert follower.is_under_way("note")
    assert not follower.is_under_way("another")


def test_a_batch_that_waits_for_the_time_of_its_retry_is_not_under_way() -> None:
    assert not follow(due=int(time.time()) + 60).is_under_way("note")


def test_a_batch_that_has_ended_is_not_under_way() -> None:
    follower = follow()
    follower.forget(follower.snapshot()[0].key)
    assert not follower.is_under_way("note")
