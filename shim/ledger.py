"""Which worker follows which call, kept in Redis beside the results, so that a lost worker's calls are taken over.

A worker holds a call by a lease that it renews. A call whose lease has run out belongs to whoever claims it first. All
decisions are made inside Redis by scripts, with Redis's clock.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

PREFIX = "celery-flow-runs"
LEASE_SECONDS = 10.0
# Owner of a call in one hash, end of its lease in a sorted set, its flow run in another hash.
KEYS = [f"{PREFIX}:owner", f"{PREFIX}:lease", f"{PREFIX}:run"]

NOW = "local t = redis.call('TIME'); local now = t[1] + t[2] / 1000000;"
CLAIM = (
    NOW
    + """
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if lease and tonumber(lease) > now and redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[4])
return 1
"""
)
RENEW = (
    NOW
    + """
local lost = {}
for i = 3, #ARGV, 2 do
  local owner = redis.call('HGET', KEYS[1], ARGV[i])
  if owner and owner ~= ARGV[1] then
    table.insert(lost, ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[1])
    redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[i])
    redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  end
end
return lost
"""
)
RELEASE = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
if ARGV[3] == 'done' then
  redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('ZREM', KEYS[2], ARGV[1]); redis.call('HDEL', KEYS[3], ARGV[1])
else
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
end
return 1
"""
EXPIRED = (
    NOW
    + """
local found = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
  table.insert(found, key)
  table.insert(found, redis.call('HGET', KEYS[3], key) or '')
end
return found
"""
)
RESERVE = (
    NOW
    + """
local free = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0'))
redis.call('SET', KEYS[1], free + ARGV[1], 'PX', math.ceil((free - now + ARGV[1]) * 1000) + 1000)
return tostring(free - now)
"""
)


class Ledger(Protocol):
    """Who follows what.

    Attributes:
        is_shared: Whether other workers see it; if not, a call's message must stay with the broker until its end.
    """

    is_shared: ClassVar[bool]

    def claim(self, key: str, run_id: str) -> bool:
        """Take a call, and say whether it is this worker's now."""

    def renew(self, runs: dict[str, str]) -> list[str]:
        """Keep calls (call key → flow run id); gives the keys that another worker has taken over."""

    def finish(self, key: str) -> None:
        """Strike a call that has its answer."""

    def release(self, key: str) -> None:
        """Leave a call to whoever claims it next."""

    def abandoned(self) -> dict[str, str]:
        """Give some calls that no living worker follows: call key → flow run id."""

    def reserve(self, name: str, interval: float) -> float:
        """Take the next free place in a row of calls that keep a distance.

        Args:
            name: What the distance is for.
            interval: Seconds between two calls.

        Returns:
            Seconds from now to the reserved place.
        """


@dataclass(frozen=True)
class RedisLedger:
    """The ledger in the Redis database that also holds the results.

    Attributes:
        client: The connection pool of Celery's Redis result backend.
        owner: This worker's name, different in each life of it.
    """

    client: Any
    owner: str
    is_shared: ClassVar[bool] = True

    def claim(self, key: str, run_id: str) -> bool:  # noqa: D102
        return bool(self.client.eval(CLAIM, 3, *KEYS, key, self.owner, LEASE_SECONDS, run_id))

    def renew(self, runs: dict[str, str]) -> list[str]:  # noqa: D102
        if not runs:
            return []
        pairs = [word for pair in runs.items() for word in pair]
        return _texts(self.client.eval(RENEW, 3, *KEYS, self.owner, LEASE_SECONDS, *pairs))

    def finish(self, key: str) -> None:  # noqa: D102
        self.client.eval(RELEASE, 3, *KEYS, key, self.owner, "done")

    def release(self, key: str) -> None:  # noqa: D102
        self.client.eval(RELEASE, 3, *KEYS, key, self.owner, "left")

    def abandoned(self) -> dict[str, str]:  # noqa: D102
        found = _texts(self.client.eval(EXPIRED, 3, *KEYS, 100))
        return dict(zip(found[::2], found[1::2], strict=True))

    def reserve(self, name: str, interval: float) -> float:  # noqa: D102
        return float(self.client.eval(RESERVE, 1, f"{PREFIX}:rate:{name}", interval))


class LocalLedger:
    """The ledger of a worker whose result backend is not Redis: it knows of no other worker."""

    is_shared: ClassVar[bool] = False

    def claim(self, key: str, run_id: str) -> bool:  # noqa: D102
        return True

    def renew(self, runs: dict[str, str]) -> list[str]:  # noqa: D102
        return []

    def finish(self, key: str) -> None:  # noqa: D102
        pass

    def release(self, key: str) -> None:  # noqa: D102
        pass

    def abandoned(self) -> dict[str, str]:  # noqa: D102
        return {}

    def reserve(self, name: str, interval: float) -> float:  # noqa: D102
        return 0.0


def open_ledger(app: Any, owner: str) -> Ledger:
    """Open the ledger of an application.

    Args:
        app: The Celery application.
        owner: This worker's name, different in each life of it.
    """
    from celery.backends.redis import RedisBackend

    return RedisLedger(app.backend.client, owner) if isinstance(app.backend, RedisBackend) else LocalLedger()


def _texts(values: list[Any]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
