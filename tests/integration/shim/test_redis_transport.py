"""Messages are taken from Redis as kombu takes them, and none is in a worker's hands only."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest
from kombu.connection import Connection as KombuConnection
from kombu.entity import Exchange, Queue
from kombu.messaging import Consumer
from redis import Redis

from shim.broker import Connection
from tests.integration.shim.system import System
from tests.waiting import wait_until

LONG = 180.0
EXCHANGE = Exchange("transport", type="direct")


class Receiver:
    """A consumer in this process, with the shim's connection or kombu's own.

    Attributes:
        bodies: What came, in order.
        messages: The messages of it.
    """

    def __init__(self, connection: KombuConnection, queues: list[Queue], *, no_ack: bool) -> None:
        self.bodies: list[Any] = []
        self.messages: list[Any] = []
        self.connection = connection
        self.channel = connection.channel()
        self._consumer = Consumer(self.channel, queues, callbacks=[self._note], no_ack=no_ack)
        self._consumer.consume()

    def _note(self, body: Any, message: Any) -> None:
        self.bodies.append(body)
        self.messages.append(message)

    def wait_for(self, count: int) -> None:
        """Take messages until there are so many."""

        def has_enough() -> bool:
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=0.1)
            return len(self.bodies) >= count

        wait_until(has_enough, f"{count} messages came")


@pytest.fixture
def queues(request: pytest.FixtureRequest) -> list[Queue]:
    return [
        Queue(f"{request.node.name}-{letter}", EXCHANGE, f"{request.node.name}-{letter}", max_priority=9)
        for letter in "ab"
    ]


@contextmanager
def receive(
    system: System, queues: list[Queue], connect: type = Connection, *, no_ack: bool = False, **options: Any
) -> Iterator[Receiver]:
    with connect(system.redis.url(), transport_options=options) as connection:
        yield Receiver(connection, queues, no_ack=no_ack)


def send(system: System, queues: list[Queue], *bodies: Any, priority: int = 0, **options: Any) -> None:
    """Send as a caller does, with kombu's own transport; one message to each queue in turn."""
    with KombuConnection(system.redis.url(), transport_options=options) as connection:
        for number, body in enumerate(bodies):
            queue = queues[number % len(queues)]
            producer = connection.Producer()
            producer.publish(body, exchange=EXCHANGE, routing_key=queue.routing_key, declare=[queue], priority=priority)


def read_unacked(system: System, prefix: str = "") -> dict[str, Any]:
    with Redis.from_url(system.redis.url()) as client:
        return {tag.decode(): json.loads(noted) for tag, noted in client.hgetall(f"{prefix}unacked").items()}


def is_noted(system: System, queue: Queue) -> bool:
    return any(routing_key == queue.routing_key for _, _, routing_key in read_unacked(system).values())


def test_what_is_noted_is_what_kombu_notes(system: System, queues: list[Queue]) -> None:
    body: dict[str, Any] = {"text": "Größe / ثمن", "empty": [], "nothing": None, "number": 1e300, "path": "a/b\\c\"'"}
    noted = []
    for connect in (KombuConnection, Connection):
        send(system, queues[:1], body)
        with receive(system, queues[:1], connect) as receiver:
            receiver.wait_for(1)
            assert receiver.bodies == [body]
            tag = receiver.messages[0].delivery_tag
            ((payload, exchange, routing_key),) = [value for key, value in read_unacked(system).items() if key == tag]
            payload["properties"]["delivery_tag"] = "its own"
            noted.append((payload, exchange, routing_key))
            receiver.messages[0].ack()
            assert tag not in read_unacked(system)
    assert noted[0] == noted[1]


def test_a_message_whose_taker_dies_before_it_reads_the_answer_comes_again(system: System, queues: list[Queue]) -> None:
    send(system, queues[:1], "taken")
    with receive(system, queues[:1]) as receiver:
        receiver.connection.transport.cycle.on_poll_start()
        wait_until(lambda: is_noted(system, queues[0]), "the message is taken")
        receiver.channel.client.connection.disconnect()
        assert receiver.bodies == []
    assert is_noted(system, queues[0])
    with receive(system, queues[:1], visibility_timeout=0.1, unacked_restore_throttle=1) as another:
        another.wait_for(1)
        assert another.bodies == ["taken"]
        another.messages[0].ack()


@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "site:"}], ids=["plain", "prefixed"])
def test_messages_of_several_queues_and_priorities_come_once_each(
    system: System, queues: list[Queue], options: dict[str, Any]
) -> None:
    expected = list(range(40))
    with receive(system, queues, **options) as receiver:
        for priority in (0, 3, 6, 9):
            send(system, queues, *expected[priority // 3 * 10 :][:10], priority=priority, **options)
        receiver.wait_for(40)
        assert sorted(receiver.bodies) == expected
        prefix = options.get("global_keyprefix", "")
        tags = {message.delivery_tag for message in receiver.messages}
        assert tags <= set(read_unacked(system, prefix))
        for message in receiver.messages:
            message.ack()
        assert not tags & set(read_unacked(system, prefix))


def test_the_lower_number_comes_first_and_the_older_before_the_younger(system: System, queues: list[Queue]) -> None:
    send(system, queues[:1], "later", priority=9)
    send(system, queues[:1], "first", "second", priority=0)
    with receive(system, queues[:1]) as receiver:
        receiver.wait_for(3)
        assert receiver.bodies == ["first", "second", "later"]
        for message in receiver.messages:
            message.ack()


def test_a_message_that_needs_no_acknowledgement_is_not_noted(system: System, queues: list[Queue]) -> None:
    send(system, queues, "one", "two")
    before = set(read_unacked(system))
    with receive(system, queues, no_ack=True) as receiver:
        receiver.wait_for(2)
        assert sorted(receiver.bodies) == ["one", "two"]
        assert set(read_unacked(system)) <= before


def test_a_receiver_takes_no_more_than_it_may_hold(system: System, queues: list[Queue]) -> None:
    send(system, queues[:1], *range(5))
    with receive(system, queues[:1]) as receiver:
        receiver.channel.basic_qos(0, 2, False)
        receiver.wait_for(2)
        with suppress(TimeoutError):
            receiver.connection.drain_events(timeout=1)
        assert receiver.bodies == [0, 1]
        for number in range(5):
            receiver.messages[number].ack()
            receiver.wait_for(min(number + 3, 5))
        assert receiver.bodies == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo", "prefork"])
def test_a_call_that_comes_while_a_worker_stands_still_survives_its_death(system: System, pool: str) -> None:
    queue = f"still-{pool}"
    worker = system.celery_worker(queue, "-Q", queue, pool=pool)
    with worker:
        warm = system.task("add").apply_async((1, 1), queue=queue)
        assert warm.get(timeout=LONG) == 2
        processes = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        result = system.task("add").apply_async((2, 3), queue=queue)
        for process in processes:
            process.kill()
        worker.kill()
    with worker:
        assert result.get(timeout=LONG) == 5
    assert len(system.runs(result)) == 1
