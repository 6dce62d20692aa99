"""What a run shows of its outcome on its page in Prefect."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.runtime import flow_run


async def show_counts(key: str, counts: Mapping[str, int], *, of: str, told: str) -> None:
    """Show a run's counts as a table artifact, a row each.

    Args:
        key: The artifact's key, lower case with dashes.
        counts: The numbers by name.
        of: What is counted, for example `lines`.
        told: A sentence about the run.
    """
    await show_table(key, [{"what": name.replace("_", " "), of: number} for name, number in counts.items()], told=told)


async def show_table(key: str, rows: Sequence[dict[str, Any]], *, told: str) -> None:
    """Show rows as a table artifact of the run; a task that is called in place has no run to show them on.

    Args:
        key: The artifact's key, lower case with dashes.
        rows: Rows of the same columns.
        told: A sentence about them.
    """
    if flow_run.get_id() is not None:
        await acreate_table_artifact(list(rows), key=key, description=told)
