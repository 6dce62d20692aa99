"""Which batch a call is in, and which runs of batches are alive: kept in Redis beside the ledger."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from shim.ledger import KEYS, NOW, PREFIX, Ledger, RedisLedger

# A call's place is struck at the end of its batch; one that a killed worker left behind does not stay for ever.
PLACE_SECONDS = 86_400
BEAT_SECONDS = 5.0
SILENT_SECONDS = 20

JOIN = (
    NOW
    + """
local followed, left = {}, {}
for i = 5, #ARGV do
  local place = ARGV[1] .. ARGV[i]
  local other = redis.call('GET', place)
  local lease = other and other ~= ARGV[2] and other ~= ARGV[3] and redis.call('ZSCORE', KEYS[1], other)
  if not lease then
    redis.call('SET', place, ARGV[2], 'EX', ARGV[4])
  elseif tonumber(lease) > now then
    table.insert(followed, ARGV[i])
  else
    table.insert(left, ARGV[i])
  end
end
return {followed, left}
"""
)
LEAVE = """
for i = 3, #ARGV do
  local place = ARGV[1] .. ARGV[i]
  if redis.call('GET', place) == ARGV[2] then redis.call('DEL', place) end
end
return 1
"""


class Elsewhere(NamedTuple):
    """Calls that could not join a batch.

    Attributes:
        followed: Those that are in a batch that a living worker follows.
        abandoned: Those that are in a batch of a worker that is gone and that nobody has taken over yet.
    """

    followed: set[str]
    abandoned: set[str]


class Membership(Protocol):
    """Which call is in which batch."""

    def join(self, batch: str, calls: Sequence[str], *, coming_from: str = "") -> Elsewhere:
        """Put calls into a batch, by key, unless they are in another one already."""

    def leave(self, batch: str, calls: Iterable[str]) -> None:
        """Take calls out of a batch that they are in."""

    def beat(self, run_id: str) -> None:
        """Say that the process of a run is alive."""

    def find_silent(self, run_ids: Sequence[str]) -> set[str]:
        """Give the runs whose processes have not said for a while that they are alive."""


@dataclass(frozen=True)
class RedisMembership:
    """Membership in the Redis database that also holds the ledger.

    Attributes:
        client: The connection pool of Celery's Redis result backend.
    """

    client: Any

    def join(self, batch: str, calls: Sequence[str], *, coming_from: str = "") -> Elsewhere:  # noqa: D102
        arguments = [f"{PREFIX}:batch-of:", batch, coming_from, PLACE_SECONDS, *calls]
        followed, left = self.client.eval(JOIN, 1, KEYS[1], *arguments)
        return Elsewhere(_texts(followed), _texts(left))

    def leave(self, batch: str, calls: Iterable[str]) -> None:  # noqa: D102
        self.client.eval(LEAVE, 0, f"{PREFIX}:batch-of:", batch, *calls)

    def beat(self, run_id: str) -> None:  # noqa: D102
        self.client.set(f"{PREFIX}:alive:{run_id}", 1, ex=SILENT_SECONDS)

    def find_silent(self, run_ids: Sequence[str]) -> set[str]:  # noqa: D102
        if not run_ids:
            return set()
        signs = self.client.mget([f"{PREFIX}:alive:{run_id}" for run_id in run_ids])
        return {run_id for run_id, sign in zip(run_ids, signs, strict=True) if sign is None}


class LocalMembership:
    """Membership where the result backend is not Redis: other workers are not known."""

    def join(self, batch: str, calls: Sequence[str], *, coming_from: str = "") -> Elsewhere:  # noqa: D102
        return Elsewhere(set(), set())

    def leave(self, batch: str, calls: Iterable[str]) -> None:  # noqa: D102
        pass

    def beat(self, run_id: str) -> None:  # noqa: D102
        pass

    def find_silent(self, run_ids: Sequence[str]) -> set[str]:  # noqa: D102
        return set()


def open_membership(ledger: Ledger) -> Membership:
    """Give the membership that stands beside a ledger."""
    return RedisMembership(ledger.client) if isinstance(ledger, RedisLedger) else LocalMembership()


def _texts(values: list[Any]) -> set[str]:
    return {value.decode() if isinstance(value, bytes) else str(value) for value in values}
