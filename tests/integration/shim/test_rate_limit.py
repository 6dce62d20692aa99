"""A rate limit holds over all workers together."""

from itertools import pairwise
from statistics import median

import pytest

from tests.integration.shim.system import System
from tests.waiting import LIMIT

pytestmark = pytest.mark.timeout(600)


def test_two_workers_keep_one_rate(servers: System) -> None:
    queue = "queue-limited"
    with (
        servers.flow_worker("flows-limited"),
        servers.celery_worker("limited-1", "-Q", queue),
        servers.celery_worker("limited-2", "-Q", queue),
    ):
        results = [servers.task("limited").apply_async(queue=queue) for _ in range(6)]
        for result in results:
            result.get(timeout=LIMIT)

    runs = [run for result in results for run in servers.runs(result)]
    due = sorted(run.expected_start_time.timestamp() for run in runs if run.expected_start_time is not None)
    assert len(due) == 6
    gaps = [later - earlier for earlier, later in pairwise(due)]
    # 30 a minute is one every two seconds. A worker that is held up adds to one gap, not to most of them.
    assert all(gap > 1 for gap in gaps)
    assert sum(gaps) > 2.0 * 5 - 1
    assert median(gaps) < 2.0 + 1.5
