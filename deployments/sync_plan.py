"""What has to change so that the schedules on Prefect's server are those of the rows: a plan, made without any request.

A schedule belongs to a row when its slug says so (`job-17`, `job-17-2`); `prefect.yaml` names its own schedules by
slug; any other one was added by hand and is left alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any
from uuid import UUID

from api.repositories.job_repository import ScheduledJob, job_id_of
from deployments.cron_fields import TriggerRefused
from deployments.registry import DeploymentBlock, RegisteredJob
from deployments.schedules import Deployed, PresentSchedule, Schedule
from deployments.triggers import Trigger, translate
from deployments.work_queues import DEFAULT_QUEUE, queue_of_priority


class Action(StrEnum):
    """What happens to a schedule."""

    CREATE = "create"
    CHANGE = "change"
    PAUSE = "pause"
    RESUME = "resume"
    REMOVE = "remove"
    KEEP = "keep"
    LEAVE = "leave"
    REFUSE = "refuse"


WRITES = (Action.CREATE, Action.CHANGE, Action.PAUSE, Action.RESUME, Action.REMOVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What the plan does with one schedule, or says of one row.

    Args:
        action: What happens.
        deployment: The deployment's name, or the key of a job that has none.
        slug: The schedule's slug.
        told: The schedule in words, or why the row is refused.
        job_id: The row.
        schedule: The schedule as it is to be; None where it stays.
        active: Whether it is to fire.
        schedule_id: The schedule on the server.
    """

    action: Action
    deployment: str
    slug: str | None
    told: str
    job_id: int | None = None
    schedule: Schedule | None = None
    active: bool = True
    schedule_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """What the plan does with one deployment.

    Args:
        id: The deployment.
        name: Its name.
        steps: Its schedules.
        settings: Fields of the deployment to set: `concurrency_limit`, `work_queue_name`.
        has_nameless: Whether a schedule without a slug is there: Prefect then cannot change several at once.
    """

    id: UUID
    name: str
    steps: Sequence[Step]
    settings: Mapping[str, Any]
    has_nameless: bool

    @property
    def writes(self) -> bool:
        """Whether anything has to be written."""
        return bool(self.settings) or any(step.action in WRITES for step in self.steps)


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """The whole plan.

    Args:
        deployments: By deployment.
        refused: Rows that are not understood, with the reason.
        priorities: Priorities that need a work queue.
    """

    deployments: Sequence[DeploymentPlan]
    refused: Sequence[Step]
    priorities: frozenset[int]

    @property
    def steps(self) -> list[Step]:
        """All steps, refused rows last."""
        return [step for deployment in self.deployments for step in deployment.steps] + list(self.refused)


def plan_sync(
    jobs: Iterable[ScheduledJob],
    registry: Mapping[str, RegisteredJob],
    deployed: Iterable[Deployed],
    timezone: str,
    today: date,
) -> SyncPlan:
    """Compare the rows with the server.

    Args:
        jobs: The rows that are not deleted.
        registry: What runs which job.
        deployed: The deployments on the server.
        timezone: The time zone that cron rows are local to.
        today: See `translate`.

    Returns:
        The plan; a row that cannot be taken is in `refused`, and its schedules stay as they are.
    """
    on_server = {each.entrypoint: each for each in deployed}
    by_block: dict[str, list[ScheduledJob]] = {job.deployment.name: [] for job in registry.values()}
    refused, translated = [], {}
    for job in jobs:
        try:
            block = _find_block(job, registry, on_server)
            check_rules(job)
            translated[job.id] = translate(to_trigger(job), timezone, today)
            by_block[block.name].append(job)
        except TriggerRefused as refusal:
            refused.append(Step(action=Action.REFUSE, deployment=job.key, slug=None, told=str(refusal), job_id=job.id))
    refused_ids = {step.job_id for step in refused}
    blocks = {job.deployment.name: job.deployment for job in registry.values()}
    plans = [
        _plan_deployment(blocks[name], on_server[blocks[name].entrypoint], members, translated, refused_ids)
        for name, members in by_block.items()
        if blocks[name].entrypoint in on_server
    ]
    priorities = frozenset(job.priority for members in by_block.values() for job in members if job.is_enabled)
    return SyncPlan(plans, refused, priorities)


def to_trigger(job: ScheduledJob) -> Trigger:
    """Give the part of a row that says when it fires."""
    interval = (job.interval_days, job.interval_hours, job.interval_minutes, job.interval_seconds)
    return Trigger(job.job_type, interval, job.cron_expression, job.created_at)


def check_rules(job: ScheduledJob) -> None:
    """Check the columns of a row that say how its runs are treated.

    Raises:
        TriggerRefused: A value means nothing.
    """
    if job.misfire_grace_time < 0:
        raise TriggerRefused(f"misfire_grace_time is {job.misfire_grace_time} s: it must not be negative")
    if job.max_instances < 1:
        raise TriggerRefused(f"max_instances is {job.max_instances}: it must be at least 1")


def _find_block(
    job: ScheduledJob, registry: Mapping[str, RegisteredJob], on_server: Mapping[str, Deployed]
) -> DeploymentBlock:
    registered = registry.get(job.key)
    if registered is None:
        raise TriggerRefused(
            f"no task is registered for the job key {job.key!r}: known are {', '.join(sorted(registry))}"
        )
    if registered.deployment.entrypoint not in on_server:
        raise TriggerRefused(f"the deployment {registered.deployment.name!r} is not on the server: run `make deploy`")
    return registered.deployment


def _plan_deployment(
    block: DeploymentBlock,
    deployed: Deployed,
    jobs: Sequence[ScheduledJob],
    translated: Mapping[int, tuple[Schedule, ...]],
    refused_ids: Iterable[int | None],
) -> DeploymentPlan:
    wanted = {
        (f"job-{job.id}" if place == 0 else f"job-{job.id}-{place + 1}"): (job, schedule)
        for job in jobs
        for place, schedule in enumerate(translated[job.id])
    }
    kept = {each.slug for each in deployed.schedules if (job_id := job_id_of(each.slug)) and job_id in set(refused_ids)}
    has_rows = bool(wanted or kept)
    steps = [_plan_present(block, each, wanted, kept, has_rows=has_rows) for each in deployed.schedules]
    present = {each.slug for each in deployed.schedules}
    steps += [
        Step(
            action=Action.CREATE,
            deployment=block.name,
            slug=slug,
            told=str(schedule),
            job_id=job.id,
            schedule=schedule,
            active=job.is_enabled,
        )
        for slug, (job, schedule) in wanted.items()
        if slug not in present
    ]
    return DeploymentPlan(
        id=deployed.id,
        name=block.name,
        steps=steps,
        settings={} if kept else _plan_settings(block, deployed, jobs),
        has_nameless=any(each.slug is None for each in deployed.schedules),
    )


def _plan_present(
    block: DeploymentBlock,
    present: PresentSchedule,
    wanted: Mapping[str, tuple[ScheduledJob, Schedule]],
    kept: Iterable[str | None],
    *,
    has_rows: bool,
) -> Step:
    """Say what happens to a schedule that is on the server."""
    slug, active, schedule = present.slug or "", present.active, None
    job_id = job_id_of(slug)
    if slug in wanted:
        job, new = wanted[slug]
        active = job.is_enabled
        if present.schedule == new:
            action = _switch(present.active, active)
        else:
            action, schedule = Action.CHANGE, new
    elif slug in kept:
        action = Action.KEEP
    elif job_id is not None:
        action, active = Action.REMOVE, False
    elif slug in block.schedules:
        # The schedules of prefect.yaml hold as long as no row says otherwise.
        active = block.schedules[slug] and not has_rows
        action = _switch(present.active, active)
    else:
        action = Action.LEAVE
    return Step(
        action=action,
        deployment=block.name,
        slug=present.slug,
        told=str(schedule or present.schedule or ""),
        job_id=job_id,
        schedule=schedule,
        active=active,
        schedule_id=present.id,
    )


def _switch(is_active: bool, wanted: bool) -> Action:
    if is_active == wanted:
        return Action.KEEP
    return Action.RESUME if wanted else Action.PAUSE


def _plan_settings(block: DeploymentBlock, deployed: Deployed, jobs: Sequence[ScheduledJob]) -> dict[str, Any]:
    """Say which settings of a deployment follow from its rows and differ on the server."""
    enabled = [job for job in jobs if job.is_enabled]
    priority = max((job.priority for job in enabled), default=0)
    wanted = {
        # Rows that share a deployment may each run as often at once as they say.
        "concurrency_limit": sum(job.max_instances for job in enabled) or block.concurrency_limit,
        "work_queue_name": queue_of_priority(priority) if priority else block.work_queue or DEFAULT_QUEUE,
    }
    present = {"concurrency_limit": deployed.concurrency_limit, "work_queue_name": deployed.work_queue_name}
    return {name: value for name, value in wanted.items() if value != present[name]}
