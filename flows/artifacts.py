"""What a run shows of its outcome on its page in Prefect."""

from collections.abc import Mapping

from prefect.artifacts import acreate_table_artifact


async def show_counts(key: str, counts: Mapping[str, int], *, of: str, told: str) -> None:
    """Show a run's counts as a table artifact, a row each.

    Args:
        key: The artifact's key, lower case with dashes.
        counts: The numbers by name.
        of: What is counted, for example `lines`.
        told: A sentence about the run.
    """
    rows = [{"what": name.replace("_", " "), of: number} for name, number in counts.items()]
    await acreate_table_artifact(rows, key=key, description=told)
