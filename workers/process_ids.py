"""How the server learns a run's process id: from the process, with what it tells of the run anyway.

Prefect's worker sends it as a change of its own, and the engine begins with another one, of the run's policy.
"""

import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, SyncPrefectClient


def leave_process_ids(client: PrefectClient, tells_itself: Callable[[UUID], bool]) -> None:
    """Have a worker's client not send process ids.

    Args:
        client: The client.
        tells_itself: Whether a run's process tells its id by itself.
    """
    update = client.update_flow_run

    async def update_unless_told(flow_run_id: UUID, **changes: Any) -> Any:
        if changes.keys() == {"infrastructure_pid"} and tells_itself(flow_run_id):
            return None
        return await update(flow_run_id, **changes)

    client.update_flow_run = update_unless_told  # type: ignore[method-assign,assignment]


def tell_process_id() -> None:
    """Have the engine in this process tell the process id with its first change of the run."""
    update, update_sync = PrefectClient.update_flow_run, SyncPrefectClient.update_flow_run

    async def update_and_tell(client: PrefectClient, *arguments: Any, **changes: Any) -> Any:
        return await update(client, *arguments, **_add_process_id(changes))

    def update_and_tell_sync(client: SyncPrefectClient, *arguments: Any, **changes: Any) -> Any:
        return update_sync(client, *arguments, **_add_process_id(changes))

    PrefectClient.update_flow_run = update_and_tell  # type: ignore[method-assign,assignment]
    SyncPrefectClient.update_flow_run = update_and_tell_sync  # type: ignore[method-assign,assignment]


def _add_process_id(changes: dict[str, Any]) -> dict[str, Any]:
    # Only the engine says the flow's version.
    return {**changes, "infrastructure_pid": str(os.getpid())} if "flow_version" in changes else changes
