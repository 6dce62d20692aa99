"""Which deployment runs which job: `celery_bridge.TASK_REGISTRY` joined with `prefect.yaml`.

The job's key names its task there; the task names its flow, and the block of `prefect.yaml` with the flow's entry point
is the job's deployment. Nothing is written twice, so nothing has to be kept in step by hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from celery import Task

from celery_bridge import TASK_REGISTRY
from errors import SuiteError
from settings import REPOSITORY

PREFECT_YAML = REPOSITORY / "prefect.yaml"


class RegistryError(SuiteError):
    """Tasks, `celery_bridge.TASK_REGISTRY` and `prefect.yaml` do not fit together."""


@dataclass(frozen=True, slots=True)
class DeploymentBlock:
    """A deployment as `prefect.yaml` has it.

    Args:
        name: Its name.
        entrypoint: The flow that it runs, as a dotted path.
        schedules: Slug of each of its schedules, and whether it is active.
        concurrency_limit: How many of its runs may run at once; None for any number.
        work_queue: The work queue of its runs; None for the pool's default one.
    """

    name: str
    entrypoint: str
    schedules: Mapping[str, bool]
    concurrency_limit: int | None
    work_queue: str | None


@dataclass(frozen=True, slots=True)
class RegisteredJob:
    """A job key with what runs it."""

    key: str
    task: Task
    deployment: DeploymentBlock


def read_registry(
    tasks: Mapping[str, Task] = TASK_REGISTRY, prefect_yaml: Path = PREFECT_YAML
) -> dict[str, RegisteredJob]:
    """Give every job that can be scheduled, by its key.

    Args:
        tasks: The tasks by job key.
        prefect_yaml: The list of the deployments.

    Raises:
        RegistryError: A task has no deployment, or several; the message names it.
    """
    blocks = read_blocks(prefect_yaml)
    jobs = {}
    for key, task in tasks.items():
        entrypoint = to_dotted(task.deployed_entrypoint)
        found = [block for block in blocks if block.entrypoint == entrypoint]
        if len(found) != 1:
            raise RegistryError(
                f"the job {key!r} (task {task.name}) needs exactly one deployment with the entry point {entrypoint} in "
                f"{prefect_yaml.name}, which has {len(found)}: add a block, or take the job out of "
                "celery_bridge.TASK_REGISTRY"
            )
        jobs[key] = RegisteredJob(key, task, found[0])
    return jobs


def read_blocks(prefect_yaml: Path = PREFECT_YAML) -> list[DeploymentBlock]:
    """Give the deployments of `prefect.yaml`.

    Args:
        prefect_yaml: The file.

    Raises:
        RegistryError: A schedule has no slug: without it nothing could tell it from schedules made by hand.
    """
    content = yaml.safe_load(prefect_yaml.read_text())
    return [_read_block(block) for block in content.get("deployments") or []]


def to_dotted(entrypoint: str) -> str:
    """Give the entry points `flows/hris.py:replicate`, `flows.hris:replicate` and `flows.hris.replicate` one form."""
    return entrypoint.replace(".py:", ".").replace(":", ".").replace("/", ".")


def _read_block(block: Mapping[str, Any]) -> DeploymentBlock:
    schedules = {}
    for schedule in block.get("schedules") or []:
        if not schedule.get("slug"):
            raise RegistryError(f"a schedule of {block['name']!r} in prefect.yaml has no slug: give it one")
        schedules[schedule["slug"]] = bool(schedule.get("active", True))
    limit = block.get("concurrency_limit")
    return DeploymentBlock(
        name=block["name"],
        entrypoint=to_dotted(block["entrypoint"]),
        schedules=schedules,
        concurrency_limit=limit["limit"] if isinstance(limit, Mapping) else limit,
        work_queue=(block.get("work_pool") or {}).get("work_queue_name"),
    )
