"""A worker that starts while the Prefect server is killed waits for the server's next life."""

from collections.abc import Callable
from pathlib import Path

from tests.integration.workers.system import Pool, read_lines
from tests.servers.proxy import proxy_of

EVENTS = b"/api/events/in"


def test_a_worker_whose_first_connections_end_without_an_answer_connects_again(
    new_pool: Callable[..., Pool], tmp_path: Path
) -> None:
    pool = new_pool()
    with (
        proxy_of(pool.prefect.port, EVENTS, times=2) as proxy,
        pool.worker("early", PREFECT_API_URL=f"http://127.0.0.1:{proxy.port}/api") as worker,
    ):
        assert proxy.ended == 2
        assert "The Prefect server does not answer" in worker.log.read_text()
        run = pool.run(pool.deploy("add"), path=str(tmp_path / "runs"), number=1)
        pool.wait_for(run, "Completed")
    assert [what for what, _ in read_lines(tmp_path / "runs")] == ["added-1"]
