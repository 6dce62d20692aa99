"""The Redis transport of a gateway: a message is never in a worker's hands only.

kombu takes a message off its list with BRPOP and notes it as unacknowledged afterwards, over another connection. A
worker that is killed in between loses it, and so does one that holds as many messages as it may while the answer waits
in its socket. Here a script takes a message and notes it, as kombu does, in one step. Because a script cannot wait, an
empty list is waited for with BLMOVE from the list to its own end, which changes nothing.
"""

from itertools import count
from queue import Empty
from time import monotonic, time
from typing import Any

from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads

# One list is waited for at a time; what comes into another one is seen after this many seconds.
WAIT_SECONDS = 0.2

# KEYS: the unacknowledged messages, their times, the lists in the order in which they are served.
# ARGV: the time, and for each list whether its messages are acknowledged.
# What is noted is what `kombu.transport.redis.QoS.append` writes: the message as it was sent, exchange, routing key.
TAKE = """
local function note(raw)
    local properties = cjson.decode(raw).properties
    local delivery = properties.delivery_info
    local noted = {raw, cjson.encode(delivery.exchange), cjson.encode(delivery.routing_key)}
    redis.call('ZADD', KEYS[2], ARGV[1], properties.delivery_tag)
    redis.call('HSET', KEYS[1], properties.delivery_tag, '[' .. table.concat(noted, ',') .. ']')
end
for number = 3, #KEYS do
    local raw = redis.call('RPOP', KEYS[number])
    if raw then
        local is_noted = ARGV[number - 1] == '1' and pcall(note, raw)
        return {KEYS[number], raw, is_noted and 1 or 0}
    end
end
"""


class QoS(redis.QoS):  # type: ignore[misc]  # kombu has no annotations
    """Acknowledgements of messages of which the script has noted most."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Note a message as unacknowledged, here and, unless that is done, in Redis."""
        if self.channel.delivers_noted:
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)


class Channel(redis.Channel):  # type: ignore[misc]  # kombu has no annotations
    """A channel that takes messages by script.

    `MultiChannelPoller` calls `_brpop_start` when it may take a message, and `_brpop_read` when the answer is there.

    Attributes:
        delivers_noted: Whether the message that is being delivered is noted as unacknowledged.
    """

    QoS = QoS
    delivers_noted = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._acknowledged: set[str] = set()
        self._waits = count()
        self._is_waiting = False
        self._is_empty = False
        super().__init__(*args, **kwargs)

    def basic_consume(self, queue: str, no_ack: bool, *args: Any, **kwargs: Any) -> Any:
        """Consume from a queue, as kombu does."""
        (self._acknowledged.discard if no_ack else self._acknowledged.add)(queue)
        return super().basic_consume(queue, no_ack, *args, **kwargs)

    def _brpop_start(self, timeout: float | None = None) -> None:
        queues = self._queue_cycle.consume(len(self.active_queues))
        if not queues:
            return
        self._in_poll = self.client.connection
        self._brpop_sent_at = monotonic()
        self._is_waiting = self._is_empty
        command = self._wait_command(queues) if self._is_waiting else self._take_command(queues)
        self.client.connection.send_command(*command)

    def _wait_command(self, queues: list[str]) -> tuple[Any, ...]:
        queue = queues[next(self._waits) % len(queues)]
        key = self.global_keyprefix + self._q_for_pri(queue, self.priority_steps[0])
        return ("BLMOVE", key, key, "RIGHT", "RIGHT", WAIT_SECONDS)

    def _take_command(self, queues: list[str]) -> tuple[Any, ...]:
        lists = [(self._q_for_pri(queue, step), queue) for step in self.priority_steps for queue in queues]
        keys = [self.unacked_key, self.unacked_index_key, *(key for key, _ in lists)]
        flags = ["1" if queue in self._acknowledged else "0" for _, queue in lists]
        return ("EVAL", TAKE, len(keys), *(self.global_keyprefix + key for key in keys), time(), *flags)

    def _brpop_read(self, **options: Any) -> bool:
        try:
            answer = self._read_answer(**options)
            if self._is_waiting or not answer:
                self._is_empty = not self._is_waiting
                raise Empty
            key, raw, is_noted = answer
            queue = bytes_to_str(key).removeprefix(self.global_keyprefix).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            self.delivers_noted = bool(is_noted)
            self.connection._deliver(loads(bytes_to_str(raw)), queue)
            return True
        finally:
            self.delivers_noted = False
            self._in_poll = None
            self._flush_brpop_reauth()

    def _read_answer(self, **options: Any) -> Any:
        connection = self.client.connection
        try:
            return self.client.parse_response(connection, "BLMOVE" if self._is_waiting else "EVAL", **options)
        except self.connection_errors:
            # The next turn connects again.
            connection.disconnect()
            raise


class Transport(redis.Transport):  # type: ignore[misc]  # kombu has no annotations
    """kombu's transport with these channels."""

    Channel = Channel
