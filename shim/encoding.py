"""How a call travels from Celery's message to the flow's process, with the types that kombu's JSON keeps."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun


def read_arguments(flow_run: "FlowRun") -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the arguments that a run's caller passed.

    Args:
        flow_run: Prefect's flow run.

    Returns:
        Positional and keyword arguments.
    """
    return (), dict(flow_run.parameters)
