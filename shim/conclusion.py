"""What an attempt tells Prefect when it ends: whether and when another one follows, and its outcome for Celery."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from celery import states
from celery.exceptions import Reject, Retry

from shim.outcome import OUTCOME_ARTIFACT, Outcome
from shim.retries import delay_seconds

if TYPE_CHECKING:
    from prefect.client.schemas.actions import ArtifactCreate
    from prefect.client.schemas.objects import FlowRun, FlowRunPolicy


def policy_after(outcome: Outcome, flow_run: "FlowRun") -> "FlowRunPolicy | None":
    """Say what Prefect's server is to do after the failure that comes next.

    Args:
        outcome: How the attempt ended.
        flow_run: The attempt's run.

    Returns:
        The run's new policy, or None when it can stay as it is.
    """
    policy = flow_run.empirical_policy.model_copy()
    if isinstance(outcome.value, Retry):
        policy.retries, policy.retry_delay = max(policy.retries or 0, flow_run.run_count), delay_seconds(outcome.value)
    elif isinstance(outcome.value, Reject) and outcome.value.requeue:
        policy.retries, policy.retry_delay = max(policy.retries or 0, flow_run.run_count), 0
    elif policy.retries:
        # Also after a success: if Prefect fails to store what the body returned, the body must not run again.
        policy.retries = 0
    else:
        return None
    return policy


def outcome_artifact(outcome: Outcome, flow_run: "FlowRun") -> "ArtifactCreate":
    """Make the artifact that carries the outcome to the gateway.

    Args:
        outcome: How the attempt ended.
        flow_run: The attempt's run.
    """
    from prefect.client.schemas.actions import ArtifactCreate

    return ArtifactCreate(
        type=OUTCOME_ARTIFACT,
        description=f"Attempt {flow_run.run_count}: {outcome.state}",
        data=replace(outcome, attempt=flow_run.run_count).encode(),
        flow_run_id=flow_run.id,
    )


def conclude(outcome: Outcome) -> Any:
    """Return or raise what makes Prefect put the run into the state that the outcome means.

    Args:
        outcome: How the attempt ended.

    Returns:
        What the flow is to return.
    """
    from prefect.states import Completed

    if outcome.state == states.SUCCESS:
        return outcome.value
    if outcome.state == states.IGNORED:
        return Completed(name="Ignored", message=str(outcome.value))
    raise outcome.error  # type: ignore[misc]  # there is an error in every other state
