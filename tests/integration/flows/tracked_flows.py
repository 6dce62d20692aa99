"""Flows that a worker or a script of the tests runs, tracked as the job `tests_tracking`."""

import asyncio
import sys

from prefect import flow

from flows.tracking import track, track_attempts

JOB = "tests_tracking"


@flow(name="tests-wait", **track(JOB))
@track_attempts(JOB)
async def wait_for_ever(execution_id: str | None = None) -> None:
    """Run until it is ended from outside."""
    await asyncio.Event().wait()


@flow(name="tests-count", **track(JOB))
@track_attempts(JOB)
async def count(execution_id: str | None = None) -> dict[str, str]:
    """End well."""
    return {"status": "success", "message": "3 rows"}


if __name__ == "__main__":
    asyncio.run(count(*sys.argv[1:]))
