"""What runs leave behind: artifacts on the Prefect server, rows of executions."""

from typing import Any

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from sqlalchemy import RowMapping, select

from db.maria_database import DatabaseSessionLocal
from db.tables import scheduled_job_execution, scheduler_execution_status


async def read_artifacts(client: PrefectClient, state: State[Any]) -> dict[str, Artifact]:
    """Give the artifacts of a run by key.

    Args:
        client: A client of the Prefect server.
        state: The run's state.
    """
    of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    return {str(artifact.key): artifact for artifact in await client.read_artifacts(artifact_filter=of_run)}


async def read_executions(key: str) -> dict[str, RowMapping]:
    """Give all executions, each with its `status`.

    Args:
        key: The column that they are given by.
    """
    table, status = scheduled_job_execution, scheduler_execution_status
    async with DatabaseSessionLocal() as session:
        rows = await session.execute(select(table, status.c.code.label("status")).join(status))
        return {row[key]: row for row in rows.mappings()}
