"""Deploying: a Prefect server is brought to what prefect.yaml says, however often."""

import asyncio

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.automations import LOST_RUNS
from deployments.deploy import WORK_POOL, DeployedFlow, DeployError, deploy_all, ensure_work_pool, find_differences
from tests.servers import PrefectServer

NAME = "hris-replication/hris-replication"
# What every deployment changes although nothing was changed.
CLOCKS = {"updated", "last_polled", "status"}


def read_deployment() -> dict[str, object]:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(NAME).model_dump(mode="json")
    found["schedules"] = [
        {name: value for name, value in schedule.items() if name not in CLOCKS} for schedule in found["schedules"]
    ]
    return {name: value for name, value in found.items() if name not in CLOCKS}


@pytest.fixture(scope="module")
def deployed(prefect_server: PrefectServer) -> list[DeployedFlow]:
    """What prefect.yaml says, on the shared server."""
    with prefect_server.in_use():
        return deploy_all()


def test_the_replication_is_deployed_with_schedule_time_zone_tags_and_limit(
    deployed: list[DeployedFlow], prefect_api: str
) -> None:
    assert NAME in [each.name for each in deployed]
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(NAME)
    (schedule,) = deployment.schedules
    assert isinstance(schedule.schedule, CronSchedule)
    assert (schedule.schedule.cron, schedule.schedule.timezone, schedule.active) == ("0 2 * * *", "Africa/Cairo", True)
    assert deployment.entrypoint == "flows.hris.replicate"
    assert deployment.work_pool_name == WORK_POOL
    assert deployment.global_concurrency_limit is not None
    assert deployment.global_concurrency_limit.limit == 1
    assert deployment.concurrency_options is not None
    assert deployment.concurrency_options.collision_strategy == "ENQUEUE"
    assert "hris" in deployment.tags
    assert deployment.description is not None
    assert deployment.parameters == {"dry_run": False, "allow_shrunken_source": False}


def test_deploying_again_changes_nothing(deployed: list[DeployedFlow], prefect_api: str) -> None:
    before = read_deployment()
    deploy_all()
    assert read_deployment() == before


def test_a_new_work_pool_has_a_limit_and_an_existing_one_keeps_its_own(prefect_api: str) -> None:
    ensure_work_pool()
    with get_client(sync_client=True) as client:
        assert client.read_work_pool(WORK_POOL).concurrency_limit is not None
        ensure_work_pool(runs_at_once=7)
        ensure_work_pool()
        pool = client.read_work_pool(WORK_POOL)
    assert (pool.type, pool.concurrency_limit) == ("process", 7)


def test_deploying_makes_queues_and_automations_and_leaves_no_drift(
    deployed: list[DeployedFlow], prefect_api: str
) -> None:
    assert not asyncio.run(find_differences())
    with get_client(sync_client=True) as client:
        queues = sorted(client.read_work_queues(work_pool_name=WORK_POOL), key=lambda queue: queue.priority)
        assert queues[0].name == "schedules"
        (automation,) = client.read_automations_by_name(LOST_RUNS)
        assert automation.enabled


def test_drift_is_told_difference_by_difference_and_mended_by_deploying(
    deployed: list[DeployedFlow], prefect_api: str
) -> None:
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name(NAME)
        changes = {"tags": ["hr"], "parameters": {"dry_run": True}, "concurrency_limit": 5}
        client.request("PATCH", "/deployments/{id}", path_params={"id": deployment.id}, json=changes)
        (automation,) = client.read_automations_by_name(LOST_RUNS)
        client.delete_automation(automation.id)
    found = asyncio.run(find_differences())
    assert [each.partition(" is ")[0] for each in found] == [
        "the deployment 'hris-replication': tags",
        "the deployment 'hris-replication': parameters",
        "the deployment 'hris-replication': concurrency limit",
        f"the automation {LOST_RUNS!r}",
    ]
    deploy_all()
    assert not asyncio.run(find_differences())


def test_the_check_of_a_server_that_is_away_names_it() -> None:
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(DeployError, match=r"http://127\.0\.0\.1:9/api .* cannot be reached"),
    ):
        asyncio.run(find_differences())
