"""Prefect's three kinds of schedules as plain values, and deployments with theirs as the server tells them.

Prefect's own classes would do, but each of their instances reads the whole time zone database when it is made: 15 ms,
half a minute for the schedules that a sync of 500 rows reads, makes and writes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient

from deployments.registry import to_dotted

DEPLOYMENTS_PER_PAGE = 200
# What of an RRule is told: its rule, without the exceptions.
TOLD_CHARACTERS = 70


@dataclass(frozen=True, slots=True)
class CronSchedule:
    """A cron expression in a time zone; without `day_or` a date must match the day and the weekday."""

    cron: str
    timezone: str
    day_or: bool = True

    def to_json(self) -> dict[str, Any]:
        """Give what Prefect's server takes."""
        return {"cron": self.cron, "timezone": self.timezone, "day_or": self.day_or}

    def __str__(self) -> str:
        return f"{self.cron} ({self.timezone}{'' if self.day_or else ', day and weekday'})"


@dataclass(frozen=True, slots=True)
class IntervalSchedule:
    """A number of seconds, counted from a time."""

    seconds: float
    anchor: datetime
    timezone: str = "UTC"

    def to_json(self) -> dict[str, Any]:
        """Give what Prefect's server takes."""
        return {"interval": self.seconds, "anchor_date": self.anchor.isoformat(), "timezone": self.timezone}

    def __str__(self) -> str:
        return f"every {timedelta(seconds=self.seconds)} from {self.anchor:%Y-%m-%d %H:%M:%S}"


@dataclass(frozen=True, slots=True)
class RRuleSchedule:
    """A recurrence rule of RFC 5545 in a time zone."""

    rrule: str
    timezone: str

    def to_json(self) -> dict[str, Any]:
        """Give what Prefect's server takes."""
        return {"rrule": self.rrule, "timezone": self.timezone}

    def __str__(self) -> str:
        lines = self.rrule.splitlines()
        rules = " | ".join(line.removeprefix("RRULE:") for line in lines if line.startswith("RRULE:"))
        told = rules or f"when the clocks change: {self.rrule.count(',') + 1}"
        return f"{told[:TOLD_CHARACTERS]} ({self.timezone})"


Schedule = CronSchedule | IntervalSchedule | RRuleSchedule


@dataclass(frozen=True, slots=True)
class PresentSchedule:
    """A schedule of a deployment; `schedule` is None for a kind that the suite does not know."""

    id: UUID
    slug: str | None
    schedule: Schedule | None
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A deployment on the server, with its entry point as a dotted path."""

    id: UUID
    flow_id: UUID
    name: str
    entrypoint: str
    description: str
    tags: Sequence[str]
    parameters: Mapping[str, Any]
    schedules: Sequence[PresentSchedule]
    concurrency_limit: int | None
    collision_strategy: str | None
    work_queue_name: str | None


async def read_deployments(client: PrefectClient, work_pool: str) -> list[Deployed]:
    """Give all deployments of a work pool.

    Args:
        client: A client of the Prefect server.
        work_pool: The pool.
    """
    pool = {"name": {"any_": [work_pool]}}
    found: list[Deployed] = []
    while True:
        body = {"work_pools": pool, "limit": DEPLOYMENTS_PER_PAGE, "offset": len(found)}
        page = (await client.request("POST", "/deployments/filter", json=body)).json()
        found += map(_read_deployment, page)
        if len(page) < DEPLOYMENTS_PER_PAGE:
            return found


def _read_deployment(content: Mapping[str, Any]) -> Deployed:
    limit, options = content.get("global_concurrency_limit"), content.get("concurrency_options")
    return Deployed(
        id=UUID(content["id"]),
        flow_id=UUID(content["flow_id"]),
        name=content["name"],
        entrypoint=to_dotted(content.get("entrypoint") or ""),
        description=content.get("description") or "",
        tags=content["tags"],
        parameters=content["parameters"],
        schedules=[
            PresentSchedule(UUID(each["id"]), each.get("slug"), _read_schedule(each["schedule"]), each["active"])
            for each in content["schedules"]
        ],
        concurrency_limit=limit["limit"] if limit else None,
        collision_strategy=options["collision_strategy"] if options else None,
        work_queue_name=content.get("work_queue_name"),
    )


def _read_schedule(content: Mapping[str, Any]) -> Schedule | None:
    timezone = content.get("timezone") or "UTC"
    if "cron" in content:
        return CronSchedule(content["cron"], timezone, content.get("day_or", True))
    if "interval" in content:
        anchor = datetime.fromisoformat(content["anchor_date"]).astimezone(UTC)
        return IntervalSchedule(float(content["interval"]), anchor, timezone)
    if "rrule" in content:
        return RRuleSchedule(content["rrule"], timezone)
    return None
