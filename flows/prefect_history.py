"""Prefect's own history: runs of this project that ended long ago, and the artifacts that they left."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowRunFilter,
    FlowRunFilterEndTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound

from shim.batches.records import find_carrier

# The tag of all of this project's deployments, which their runs inherit: other projects' runs are not ours to delete.
TAG = "hr"
# Runs that one call deletes: each costs some requests to Prefect's API.
MOST_RUNS = 500
# Runs looked at together, with at most so many artifacts read at a time.
PAGE = 50
ARTIFACTS_PAGE = 200


async def delete_ended_runs(before: datetime, *, dry_run: bool = False) -> tuple[int, int]:
    """Delete this project's runs that ended before a point in time, the oldest first, and their artifacts.

    Args:
        before: Runs that ended later stay.
        dry_run: Only count.

    Returns:
        The numbers of runs, at most `MOST_RUNS`, and of artifacts.
    """
    runs = artifacts = 0
    async with get_client() as client:
        while runs < MOST_RUNS:
            limit = min(PAGE, MOST_RUNS - runs)
            found = await _find_ended_runs(client, before, skip=runs if dry_run else 0, limit=limit)
            ids = [run.id for run in found]
            artifacts += await _delete_artifacts(client, ids, dry_run=dry_run)
            artifacts += await _delete_carriers(client, found, dry_run=dry_run)
            if not dry_run:
                await _delete_runs(client, ids)
            runs += len(found)
            if len(found) < limit:
                break
    return runs, artifacts


async def _find_ended_runs(client: PrefectClient, before: datetime, *, skip: int, limit: int) -> list[FlowRun]:
    ended = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES))),
        end_time=FlowRunFilterEndTime(before_=before),
        tags=FlowRunFilterTags(all_=[TAG]),
    )
    return await client.read_flow_runs(
        flow_run_filter=ended, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=limit, offset=skip
    )


async def _delete_artifacts(client: PrefectClient, runs: Sequence[UUID], *, dry_run: bool) -> int:
    deleted = 0
    while runs:
        found = await client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=list(runs))),
            limit=ARTIFACTS_PAGE,
            offset=deleted if dry_run else 0,
        )
        for artifact in () if dry_run else found:
            try:
                await client.delete_artifact(artifact.id)
            except ObjectNotFound:
                continue
        deleted += len(found)
        if len(found) < ARTIFACTS_PAGE:
            break
    return deleted


async def _delete_carriers(client: PrefectClient, runs: Sequence[FlowRun], *, dry_run: bool) -> int:
    """Delete the artifacts in which calls travelled: they hold addresses and texts, and no run's page shows them."""
    named = [find_carrier(run.context) for run in runs]
    carriers = [UUID(artifact_id) for artifact_id in named if artifact_id is not None]
    for carrier in () if dry_run else carriers:
        try:
            await client.delete_artifact(carrier)
        except ObjectNotFound:
            continue
    return len(carriers)


async def _delete_runs(client: PrefectClient, runs: Sequence[UUID]) -> None:
    for run in runs:
        try:
            await client.delete_flow_run(run)
        except ObjectNotFound:
            continue
