"""Two workers and one ledger in a real Redis."""

from collections.abc import Iterator

import pytest
from redis import Redis

from shim import ledger
from shim.ledger import RedisLedger
from tests.servers import RedisServer
from tests.waiting import wait_until


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Redis]:
    # A database that no other test uses.
    with Redis.from_url(redis_server.url(9)) as connection:
        connection.flushdb()
        yield connection


@pytest.fixture
def one(client: Redis) -> RedisLedger:
    return RedisLedger(client, "one")


@pytest.fixture
def other(client: Redis) -> RedisLedger:
    return RedisLedger(client, "other")


def test_a_call_belongs_to_the_first_who_claims_it(one: RedisLedger, other: RedisLedger) -> None:
    assert one.claim("call", "run-1")
    assert one.claim("call", "run-1")
    assert not other.claim("call", "run-1")


def test_a_released_call_is_found_and_claimed_by_another(one: RedisLedger, other: RedisLedger) -> None:
    one.claim("call", "run-1")
    assert other.abandoned() == {}

    one.release("call")
    assert other.abandoned() == {"call": "run-1"}
    assert other.claim("call", "run-1")
    assert other.abandoned() == {}


def test_a_lease_that_is_not_renewed_runs_out(
    one: RedisLedger, other: RedisLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LEASE_SECONDS", 0.2)
    one.claim("call", "run-1")

    wait_until(other.abandoned, "the lease runs out", limit=5)
    assert other.claim("call", "run-1")
    assert one.renew({"call": "run-1"}) == ["call"]


def test_renewing_writes_again_what_redis_has_lost(client: Redis, one: RedisLedger, other: RedisLedger) -> None:
    one.claim("call", "run-1")
    client.flushdb()

    assert one.renew({"call": "run-1"}) == []
    assert not other.claim("call", "run-1")


def test_a_finished_call_leaves_nothing(client: Redis, one: RedisLedger) -> None:
    one.claim("call", "run-1")
    one.finish("call")
    assert client.keys("*") == []


def test_only_the_owner_may_finish_a_call(one: RedisLedger, other: RedisLedger) -> None:
    one.claim("call", "run-1")
    other.finish("call")
    assert not other.claim("call", "run-1")


def test_places_in_a_row_keep_their_distance_for_all_workers(one: RedisLedger, other: RedisLedger) -> None:
    places = [worker.reserve("task", 2.0) for worker in (one, other, one, other)]
    assert places[0] == 0
    assert [round(place) for place in places] == [0, 2, 4, 6]
    assert one.reserve("another task", 2.0) == 0
