"""Which call is in which batch, and which runs are alive, in a real Redis."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shim import ledger
from shim.batches import membership
from shim.batches.membership import RedisMembership
from shim.ledger import RedisLedger
from tests.servers import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    # A database that no other test uses.
    with Redis.from_url(redis_server.url(8)) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture
def members(client: Redis) -> RedisMembership:
    return RedisMembership(client)


def test_a_call_joins_one_batch_only(client: Redis, members: RedisMembership) -> None:
    RedisLedger(client, "one").claim("batch:1", "")
    assert members.join("batch:1", ["a", "b"]) == (set(), set())
    assert members.join("batch:1", ["a", "b"]) == (set(), set())
    assert members.join("batch:2", ["b", "c"]) == ({"b"}, set())


def test_calls_in_a_batch_of_a_lost_worker_are_told_apart(
    client: Redis, members: RedisMembership, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEASE_SECONDS", 0.2)
    one = RedisLedger(client, "one")
    one.claim("batch:1", "run-1")
    members.join("batch:1", ["a"])
    wait_until(lambda: members.join("batch:2", ["a"]) == (set(), {"a"}), "the lease runs out", limit=5)
    assert RedisLedger(client, "other").abandoned() == {"batch:1": "run-1"}
    one.finish("batch:1")
    assert members.join("batch:2", ["a"]) == (set(), set())


def test_calls_that_are_run_again_move_to_their_next_batch(client: Redis, members: RedisMembership) -> None:
    one = RedisLedger(client, "one")
    one.claim("batch:1", "run-1")
    one.claim("batch:2", "")
    members.join("batch:1", ["a", "b"])
    assert members.join("batch:2", ["a"], coming_from="batch:1") == (set(), set())
    # The first batch ends, and leaves what is not its own any more.
    members.leave("batch:1", ["a", "b"])
    assert members.join("batch:3", ["a", "b"]) == ({"a"}, set())


def test_a_run_whose_process_says_nothing_is_silent(members: RedisMembership, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "SILENT_SECONDS", 1)
    members.beat("run-1")
    assert members.find_silent(["run-1", "run-2"]) == {"run-2"}
    wait_until(lambda: members.find_silent(["run-1"]) == {"run-1"}, "the sign of life fades", limit=5)
    assert members.find_silent([]) == set()
