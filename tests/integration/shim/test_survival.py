"""Whatever happens to a process, message or server: the effect happens once, and the caller gets its answer."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.integration.shim.system import System
from tests.servers import prefect_server, redis_server
from tests.waiting import wait_until

LONG = 180.0
OUTAGE_SECONDS = 30.0
REDIS_OUTAGE_SECONDS = 10.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Servers that these tests may stop and start."""
    with redis_server() as redis, prefect_server() as prefect:
        system = System(tmp_path_factory.mktemp("survival"), redis, prefect)
        system.deploy()
        with system.flow_worker():
            yield system


def pass_time(seconds: float) -> None:
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, f"{seconds:g} s pass", limit=seconds + 5)


def test_a_killed_worker_is_replaced_by_another(system: System) -> None:
    first = system.celery_worker("killed", "-Q", "killed")
    with first:
        result = system.task("sleep").apply_async((15.0,), queue="killed")
        system.wait_for_state(result, "STARTED")
        first.kill()
        assert result.get(timeout=LONG) == "slept"
    assert system.effects(result) == ["sleep"]
    assert len(system.runs(result)) == 1


def test_a_worker_that_is_told_to_stop_follows_its_runs_to_their_ends(system: System) -> None:
    worker = system.celery_worker("warm", "-Q", "warm")
    with worker:
        result = system.task("sleep").apply_async((6.0,), queue="warm")
        system.wait_for_state(result, "STARTED")
        worker.stop()
        assert result.state == "SUCCESS"
    assert result.get(timeout=LONG) == "slept"
    assert system.effects(result) == ["sleep"]


def test_a_killed_redis_does_not_end_a_worker_that_holds_messages(fragile: System, tmp_path: Path) -> None:
    with redis_server(is_durable=True) as redis:
        own = System(tmp_path, redis, fragile.prefect)
        with own.celery_worker("holding", VISIBILITY_SECONDS="5") as worker:
            own.prefect.stop()
            results = [own.task("add").delay(number, 1) for number in range(3)]
            wait_until(lambda: "waits: ConnectError" in worker.log.read_text(), "a message waits for its run")
            redis.kill()
            wait_until(lambda: "Connection to broker lost" in worker.log.read_text(), "the loss is noticed")
            redis.start()
            results.append(own.task("add").delay(3, 1))
            received = f"[{results[-1].id}] received"
            wait_until(lambda: received in worker.log.read_text(), "the worker takes messages again")
            own.prefect.start()
            # What it held came over the connection that is gone.
            assert [result.get(timeout=LONG) for result in results] == [1, 2, 3, 4]
            results.append(own.task("add").delay(4, 1))
            assert results[-1].get(timeout=LONG) == 5
        assert [len(own.runs(result)) for result in results] == [1] * 5


@pytest.mark.slow
def test_a_killed_worker_is_replaced_by_its_next_life(fragile: System) -> None:
    worker = fragile.celery_worker("reborn")
    with worker:
        result = fragile.task("sleep").delay(3.0)
        fragile.wait_for_state(result, "STARTED")
        worker.kill()
        wait_until(lambda: fragile.runs(result)[0].state_name == "Completed", "the run ends while nobody follows it")
    worker.log.unlink()
    with worker:
        assert result.get(timeout=LONG) == "slept"
    assert fragile.effects(result) == ["sleep"]


@pytest.mark.slow
def test_a_message_that_is_delivered_again_runs_once(fragile: System) -> None:
    visibility = {"VISIBILITY_SECONDS": "2"}
    with fragile.celery_worker("one", **visibility), fragile.celery_worker("other", **visibility):
        fragile.prefect.stop()
        result = fragile.task("sleep").delay(4.0)
        # No run can be created yet, so the message stays unacknowledged and Redis delivers it again.
        pass_time(8.0)
        fragile.prefect.start()
        assert result.get(timeout=LONG) == "slept"
    assert fragile.effects(result) == ["sleep"]
    assert len(fragile.runs(result)) == 1


@pytest.mark.slow
def test_a_stopped_redis_delays_the_answer_only(fragile: System) -> None:
    with fragile.celery_worker("redisless"):
        result = fragile.task("sleep").delay(8.0)
        fragile.wait_for_state(result, "STARTED")
        with Redis(port=fragile.redis.port) as client:
            client.save()
        fragile.redis.stop()
        pass_time(REDIS_OUTAGE_SECONDS)
        fragile.redis.start()
        wait_until(result.ready, "the answer arrives", limit=LONG)
        assert result.result == "slept"
        assert fragile.task("add").delay(1, 2).get(timeout=LONG) == 3
    assert fragile.effects(result) == ["sleep"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "during", "after"])
def test_a_stopped_prefect_server_delays_the_answer_only(fragile: System, moment: str) -> None:
    with fragile.celery_worker(f"prefectless-{moment}"):
        assert fragile.task("add").delay(1, 1).get(timeout=LONG) == 2
        if moment == "before":
            fragile.prefect.stop()
        result = fragile.task("sleep").delay(5.0)
        if moment == "during":
            fragile.prefect.kill()
        if moment == "after":
            fragile.wait_for_state(result, "STARTED")
            fragile.prefect.stop()
        pass_time(OUTAGE_SECONDS)
        fragile.prefect.start()
        assert result.get(timeout=LONG) == "slept"
    assert fragile.effects(result) == ["sleep"]
    assert len(fragile.runs(result)) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_hundred_calls_that_nothing_waited_for_are_all_answered(fragile: System) -> None:
    fragile.prefect.stop()
    results = [fragile.task("sleep").delay(0.0) for _ in range(200)]
    with fragile.celery_worker("late"):
        fragile.prefect.start()
        wait_until(lambda: all(result.ready() for result in results), "all answers arrive", limit=800)
    assert {result.result for result in results} == {"slept"}
    assert all(fragile.effects(result) == ["sleep"] for result in results)
