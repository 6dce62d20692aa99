"""The gateway works in every pool, started as a process."""

import pytest

from tests.integration.shim.system import System
from tests.waiting import LIMIT

# The first test also waits for the servers.
pytestmark = pytest.mark.timeout(600)


@pytest.mark.parametrize("pool", ["prefork", "solo", "gevent"])
def test_calls_alone_and_together_are_answered_by_a_worker_with_this_pool(servers: System, pool: str) -> None:
    queue = f"queue-{pool}"
    with servers.flow_worker(f"flows-{pool}"), servers.celery_worker(pool, "-Q", queue, pool=pool):
        alone = [servers.task("sleep").apply_async((0.5,), queue=queue) for _ in range(3)]
        failing = servers.task("fail").apply_async(("broken",), queue=queue)
        together = [servers.task("note").apply_async((f"{pool} {number}",), queue=queue) for number in range(50)]

        assert [result.get(timeout=LIMIT) for result in alone] == ["slept"] * 3
        with pytest.raises(Exception, match="broken"):
            failing.get(timeout=LIMIT)
        assert [result.get(timeout=LIMIT) for result in together] == [f"{pool} {number}" for number in range(50)]
    assert all(len(servers.effects(result)) == 1 for result in together)
