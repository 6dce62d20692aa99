"""Progress of a run, as an artifact that the UI shows while the run goes on."""

import time

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

# Seconds between two updates: each is a call of Prefect's API.
UPDATE_INTERVAL = 1.0


class RunProgress:
    """Counts rows towards a total and shows the share; made by `start_progress`."""

    def __init__(self, artifact_id: object, total: dict[str, int]) -> None:
        self._artifact_id = artifact_id
        self._total = total
        self._done = dict.fromkeys(total, 0)
        self._updated = time.monotonic()

    async def advance(self, part: str, rows: int) -> None:
        """Note how many rows of a part are done.

        Args:
            part: A key of the total.
            rows: Rows done so far, not since the last call.
        """
        self._done[part] = rows
        if time.monotonic() - self._updated >= UPDATE_INTERVAL:
            # The rest is for what follows the rows; only `finish` shows a run as done.
            await self._show(min(99.0, 100 * sum(self._done.values()) / max(1, sum(self._total.values()))))

    async def finish(self) -> None:
        """Show the run as done."""
        await self._show(100.0)

    async def _show(self, percent: float) -> None:
        self._updated = time.monotonic()
        await aupdate_progress_artifact(self._artifact_id, progress=percent)  # type: ignore[arg-type]


async def start_progress(key: str, description: str, total: dict[str, int]) -> RunProgress:
    """Make the artifact of a run's progress.

    Args:
        key: The artifact's key, lower case with dashes.
        description: What is counted.
        total: Rows to do, by part.
    """
    artifact_id = await acreate_progress_artifact(progress=0.0, key=key, description=description)
    return RunProgress(artifact_id, total)
