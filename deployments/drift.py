"""Says where a Prefect server differs from `prefect.yaml`; changes nothing.

What follows from the rows of `scheduled_job` is not compared: schedules, limit and queue of a deployment with rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from api.repositories.job_repository import job_id_of
from deployments import automations
from deployments.registry import PREFECT_YAML, to_dotted
from deployments.schedules import CronSchedule, Deployed, PresentSchedule, read_deployments
from deployments.work_queues import DEFAULT_QUEUE, SCHEDULES_QUEUE

SYNC_DEPLOYMENT = "schedule-sync"


async def find_drift(client: PrefectClient, work_pool: str, prefect_yaml: Path = PREFECT_YAML) -> list[str]:
    """Compare a server with `prefect.yaml`.

    Args:
        client: A client of the Prefect server.
        work_pool: The work pool of the deployments.
        prefect_yaml: The file.

    Returns:
        A sentence for each difference; empty when there is none.
    """
    try:
        await client.read_work_pool(work_pool)
    except ObjectNotFound:
        return [f"the work pool {work_pool!r} is missing"]
    blocks = _read_blocks(prefect_yaml)
    deployed = {each.name: each for each in await read_deployments(client, work_pool)}
    found = [f"the deployment {name!r} is missing" for name in sorted(blocks.keys() - deployed.keys())]
    found += [
        f"the deployment {name!r} is not in {prefect_yaml.name}" for name in sorted(deployed.keys() - blocks.keys())
    ]
    for name in sorted(blocks.keys() & deployed.keys()):
        found += [f"the deployment {name!r}: {each}" for each in _compare(blocks[name], deployed[name])]
    queues = {queue.name for queue in await client.read_work_queues(work_pool_name=work_pool)}
    if SCHEDULES_QUEUE not in queues:
        found.append(f"the work queue {SCHEDULES_QUEUE!r} is missing")
    sync = deployed.get(SYNC_DEPLOYMENT)
    return found + await automations.find_drift(client, sync.id if sync is not None else None)


def _read_blocks(prefect_yaml: Path) -> dict[str, Mapping[str, Any]]:
    return {block["name"]: block for block in yaml.safe_load(prefect_yaml.read_text())["deployments"]}


def _compare(block: Mapping[str, Any], deployed: Deployed) -> list[str]:
    schedules = {each.slug: each for each in deployed.schedules}
    has_rows = any(job_id_of(slug) is not None for slug in schedules)
    wanted: dict[str, Any] = {
        "entry point": to_dotted(block["entrypoint"]),
        "description": (block.get("description") or "").strip() or None,
        "tags": sorted(block.get("tags") or []),
        "parameters": block.get("parameters") or {},
    }
    present: dict[str, Any] = {
        "entry point": deployed.entrypoint,
        "description": deployed.description.strip() or None,
        "tags": sorted(deployed.tags),
        "parameters": dict(deployed.parameters),
    }
    if not has_rows:
        limit = block.get("concurrency_limit")
        limit = limit if isinstance(limit, Mapping) else {"limit": limit}
        wanted["concurrency limit"] = limit["limit"]
        present["concurrency limit"] = deployed.concurrency_limit
        if "collision_strategy" in limit:
            wanted["collision strategy"] = limit["collision_strategy"]
            present["collision strategy"] = deployed.collision_strategy
        wanted["work queue"] = block["work_pool"].get("work_queue_name", DEFAULT_QUEUE)
        present["work queue"] = deployed.work_queue_name
    for schedule in block.get("schedules") or []:
        name = f"schedule {schedule['slug']!r}"
        wanted[name] = (schedule.get("cron"), schedule.get("timezone"))
        present[name] = _read_schedule(schedules.get(schedule["slug"]))
    return [f"{name} is {present[name]!r}, not {value!r}" for name, value in wanted.items() if present[name] != value]


def _read_schedule(schedule: PresentSchedule | None) -> tuple[str | None, str | None] | None:
    if schedule is None or not isinstance(schedule.schedule, CronSchedule):
        return None
    return (schedule.schedule.cron, schedule.schedule.timezone)
