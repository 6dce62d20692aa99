"""Deploying: a Prefect server is brought to what prefect.yaml says, however often."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule

from deployments.deploy import WORK_POOL, deploy_all, ensure_work_pool

NAME = "hris-replication/hris-replication"
# What every deployment changes although nothing was changed.
CLOCKS = {"updated", "last_polled"}


def read_deployment() -> dict[str, object]:
    with get_client(sync_client=True) as client:
        found = client.read_deployment_by_name(NAME).model_dump(mode="json")
    found["schedules"] = [
        {name: value for name, value in schedule.items() if name not in CLOCKS} for schedule in found["schedules"]
    ]
    return {name: value for name, value in found.items() if name not in CLOCKS}


def test_the_replication_is_deployed_with_schedule_time_zone_tags_and_limit(prefect_api: str) -> None:
    assert NAME in [deployed.name for deployed in deploy_all()]
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


def test_deploying_again_changes_nothing(prefect_api: str) -> None:
    deploy_all()
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
