"""Prefect's automations of the suite: runs whose process died become Crashed, and failures are told to people."""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import ChangeFlowRunState, RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification

# The tag that every deployment of prefect.yaml has.
TAG = "hr"
LOST_RUNS = "hr: crash runs without a heartbeat"
FAILURES = "hr: notify of failures"
# A notification block of this name, of whatever kind, gets the failures.
NOTIFICATION_BLOCK = "hr-failures"
# Three heartbeats; prefect.yaml sets one every 30 s, the shortest that Prefect allows.
SILENCE = timedelta(seconds=90)
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
WAITS = ("AwaitingRetry", "Paused", "Suspended", "Scheduled")
FAILURE_BODY = (
    "{{ flow.name }} / {{ flow_run.name }} is {{ flow_run.state.name }}: {{ flow_run.state.message }}\n"
    "{{ flow_run|ui_url }}"
)


def lost_runs_automation(sync_deployment: UUID | None) -> AutomationCore:
    """Give the automation that makes a run Crashed whose process has been silent, and then settles its row.

    Args:
        sync_deployment: The deployment that closes executions; None: its own schedule will.
    """
    heartbeat = "prefect.flow-run.heartbeat"
    settle = [] if sync_deployment is None else [RunDeployment(source="selected", deployment_id=sync_deployment)]
    return AutomationCore(
        name=LOST_RUNS,
        description="A run that sent heartbeats and then none for 90 s has lost its process.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_tagged(),
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{name}" for name in (*ENDS, *WAITS))},
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENCE,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED, message="Its process sent no heartbeat for 90 s: it died without a word."
            ),
            *settle,
        ],
    )


def failures_automation(notification_block: UUID) -> AutomationCore:
    """Give the automation that tells people of runs that failed or crashed.

    Args:
        notification_block: Where to.
    """
    return AutomationCore(
        name=FAILURES,
        description=f"Sends to the notification block {NOTIFICATION_BLOCK!r}.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=_tagged(),
            expect={"prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[
            SendNotification(
                block_document_id=notification_block,
                subject="{{ flow.name }}: {{ flow_run.state.name }}",
                body=FAILURE_BODY,
            )
        ],
    )


async def ensure_automations(client: PrefectClient, sync_deployment: UUID | None) -> list[str]:
    """Bring the server's automations to what is wanted; the second time nothing is changed.

    Args:
        client: A client of the Prefect server.
        sync_deployment: As in `lost_runs_automation`.

    Returns:
        The automations that were created or changed.
    """
    changed = []
    for wanted, present in await _compare(client, sync_deployment):
        if present is None:
            await client.create_automation(wanted)
        else:
            await client.update_automation(present.id, wanted)
        changed.append(wanted.name)
    return changed


async def find_drift(client: PrefectClient, sync_deployment: UUID | None) -> list[str]:
    """Name the automations that are missing or differ.

    Args:
        client: A client of the Prefect server.
        sync_deployment: As in `lost_runs_automation`.
    """
    return [
        f"the automation {wanted.name!r} {'is missing' if present is None else 'differs'}"
        for wanted, present in await _compare(client, sync_deployment)
    ]


async def _compare(
    client: PrefectClient, sync_deployment: UUID | None
) -> list[tuple[AutomationCore, Automation | None]]:
    """Give the automations to write, each with the one that it replaces."""
    wanted = [lost_runs_automation(sync_deployment)]
    blocks = await client.read_block_documents()
    found = next((block.id for block in blocks if block.name == NOTIFICATION_BLOCK), None)
    if found is not None:
        wanted.append(failures_automation(found))
    pairs = [(each, _first(await client.read_automations_by_name(each.name))) for each in wanted]
    return [(each, present) for each, present in pairs if present is None or not _is_same(each, present)]


def _first(automations: Iterable[Automation]) -> Automation | None:
    return next(iter(automations), None)


def _is_same(wanted: AutomationCore, present: Automation) -> bool:
    # An automation that a person switched off stays off.
    fields = {"name", "description", "trigger", "actions"}
    ours, theirs = (each.model_dump(mode="json", include=fields) for each in (wanted, present))
    for each in (ours, theirs):
        each["trigger"].pop("id", None)
        for name in ("after", "expect", "for_each"):
            each["trigger"][name] = sorted(each["trigger"][name])
    return ours == theirs


def _tagged() -> ResourceSpecification:
    return ResourceSpecification({"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"})
