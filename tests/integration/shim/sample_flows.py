"""The flow of a sample task whose body stands apart from its contract."""

from tests.integration.shim import sample_tasks


@sample_tasks.double.flow(name="double")
async def double(number: int, *, dry_run: bool = False) -> int:
    """Double a number.

    Args:
        number: What is doubled.
        dry_run: Whether to leave it as it is.
    """
    sample_tasks.record(sample_tasks.double.request.id, "double")
    return number if dry_run else 2 * number
