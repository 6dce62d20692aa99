"""The sync against a real Prefect server: its schedules become those of the rows, and stay so."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId
from prefect.client.schemas.schedules import CronSchedule as PrefectCronSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings

from db.advisory_lock import hold_lock
from db.engines import Database
from deployments.deploy import DeployError
from deployments.schedules import (
    CronSchedule,
    Deployed,
    IntervalSchedule,
    PresentSchedule,
    RRuleSchedule,
    read_deployments,
)
from deployments.sync import LOCK, SyncReport, sync_schedules
from deployments.sync_plan import Action
from errors import AlreadyRunning
from tests.integration.schedules.conftest import add_job, change_job

pytestmark = pytest.mark.usefixtures("app_database")


async def read(client: PrefectClient, pool: str, key: str = "hris_replication") -> Deployed:
    return next(each for each in await read_deployments(client, pool) if each.name == key)


async def read_schedules(client: PrefectClient, pool: str, key: str = "hris_replication") -> dict[str, Any]:
    return {each.slug or "": each for each in (await read(client, pool, key)).schedules}


def actions(report: SyncReport) -> dict[str | None, Action]:
    return {step.slug: step.action for step in report.steps}


async def test_rows_become_schedules_and_a_second_sync_changes_nothing(client: PrefectClient, pool: str) -> None:
    every = await add_job(interval_minutes=30)
    last = await add_job(cron_expression="30 23 last * *")
    weekdays = await add_job("attendance_sync", cron_expression="0 8 * * 0-4")
    paused = await add_job("history_cleanup", cron_expression="0 3 * * *", is_enabled=False)
    await add_job("history_cleanup", cron_expression="0 4 * * *", is_active=False)

    report = await sync_schedules(work_pool=pool)
    assert report.is_clean
    schedules = await read_schedules(client, pool)
    interval, rrule = schedules[f"job-{every}"], schedules[f"job-{last}"]
    assert isinstance(interval.schedule, IntervalSchedule)
    assert interval.schedule.seconds == 1800
    assert isinstance(rrule.schedule, RRuleSchedule)
    assert f"job-{last}-2" in schedules, "the night in which the clocks go back"
    cron = (await read_schedules(client, pool, "attendance_sync"))[f"job-{weekdays}"]
    assert isinstance(cron.schedule, CronSchedule)
    assert (cron.schedule.cron, cron.active) == ("0 8 * * 1-5", True)
    cleanup = await read_schedules(client, pool, "history_cleanup")
    assert {slug: each.active for slug, each in cleanup.items()} == {f"job-{paused}": False}

    before = await read_deployments(client, pool)
    again = await sync_schedules(work_pool=pool)
    assert (again.changes, set(actions(again).values())) == (0, {Action.KEEP})
    assert await read_deployments(client, pool) == before


async def test_a_schedule_is_changed_paused_and_resumed_in_place_and_removed_with_its_row(
    client: PrefectClient, pool: str
) -> None:
    job = await add_job(cron_expression="0 2 * * *")
    await sync_schedules(work_pool=pool)
    first: PresentSchedule = (await read_schedules(client, pool))[f"job-{job}"]

    await change_job(job, cron_expression="30 4 * * *")
    assert actions(await sync_schedules(work_pool=pool)) == {f"job-{job}": Action.CHANGE}
    changed = (await read_schedules(client, pool))[f"job-{job}"]
    assert (changed.id, changed.schedule.cron, changed.active) == (first.id, "30 4 * * *", True)

    await change_job(job, is_enabled=False)
    assert actions(await sync_schedules(work_pool=pool)) == {f"job-{job}": Action.PAUSE}
    assert not (await read_schedules(client, pool))[f"job-{job}"].active
    await change_job(job, is_enabled=True)
    assert actions(await sync_schedules(work_pool=pool)) == {f"job-{job}": Action.RESUME}
    assert (await read_schedules(client, pool))[f"job-{job}"].id == first.id

    await change_job(job, is_active=False)
    assert actions(await sync_schedules(work_pool=pool)) == {f"job-{job}": Action.REMOVE}
    assert not await read_schedules(client, pool)


async def test_a_dry_run_says_what_would_change_and_changes_nothing(client: PrefectClient, pool: str) -> None:
    job = await add_job(interval_hours=1)
    report = await sync_schedules(dry_run=True, work_pool=pool)
    assert actions(report) == {f"job-{job}": Action.CREATE}
    assert not await read_schedules(client, pool)


async def test_the_schedules_of_prefect_yaml_hold_as_long_as_there_are_no_rows(
    client: PrefectClient, pool: str
) -> None:
    nightly = DeploymentScheduleCreate(
        schedule=PrefectCronSchedule(cron="0 2 * * *", timezone="Africa/Cairo"), slug="nightly"
    )
    await client.create_deployment_schedules((await read(client, pool)).id, [nightly])
    assert (await sync_schedules(work_pool=pool)).changes == 0

    job = await add_job(interval_hours=1)
    await sync_schedules(work_pool=pool)
    schedules = await read_schedules(client, pool)
    assert {slug: each.active for slug, each in schedules.items()} == {"nightly": False, f"job-{job}": True}

    await change_job(job, is_active=False)
    await sync_schedules(work_pool=pool)
    schedules = await read_schedules(client, pool)
    assert {slug: each.active for slug, each in schedules.items()} == {"nightly": True}


async def test_schedules_made_by_hand_are_left_alone_and_shown(client: PrefectClient, pool: str) -> None:
    deployment = await read(client, pool)
    by_hand = [
        DeploymentScheduleCreate(schedule=PrefectCronSchedule(cron="5 5 * * *", timezone="UTC"), slug="mine"),
        DeploymentScheduleCreate(schedule=PrefectCronSchedule(cron="6 6 * * *", timezone="UTC")),
    ]
    await client.create_deployment_schedules(deployment.id, by_hand)
    job = await add_job(interval_hours=1)
    report = await sync_schedules(work_pool=pool)
    assert actions(report) == {"mine": Action.LEAVE, None: Action.LEAVE, f"job-{job}": Action.CREATE}
    await change_job(job, interval_hours=2)
    await sync_schedules(work_pool=pool)
    await change_job(job, is_active=False)
    await sync_schedules(work_pool=pool)
    schedules = await read_schedules(client, pool)
    assert {slug: each.schedule.cron for slug, each in schedules.items()} == {"mine": "5 5 * * *", "": "6 6 * * *"}
    assert all(each.active for each in schedules.values())


@pytest.mark.parametrize(
    ("good_values", "bad_values", "reason"),
    [
        ({"cron_expression": "0 2 * * *"}, {"cron_expression": "0 25 * * *"}, "hour '25' is not within 0-23"),
        ({"interval_hours": 1}, {"interval_hours": 0}, "the interval is zero"),
        ({"interval_hours": 1}, {"interval_hours": None}, "neither an interval nor a cron_expression"),
        ({"interval_hours": 1}, {"cron_expression": "0 2 * * *"}, "both an interval and a cron_expression"),
        ({"interval_hours": 1}, {"misfire_grace_time": -1}, "misfire_grace_time is -1"),
        ({"interval_hours": 1}, {"max_instances": 0}, "max_instances is 0"),
    ],
)
async def test_a_bad_row_is_named_its_last_good_schedule_stays_and_the_others_go_on(
    client: PrefectClient, pool: str, good_values: dict[str, Any], bad_values: dict[str, Any], reason: str
) -> None:
    job = await add_job(**good_values)
    await sync_schedules(work_pool=pool)
    good = (await read_schedules(client, pool))[f"job-{job}"]
    await change_job(job, **bad_values)
    other = await add_job(cron_expression="0 1 * * *")

    report = await sync_schedules(work_pool=pool)
    (refused,) = report.refused
    assert refused.job_id == job
    assert reason in refused.told
    assert not report.is_clean
    schedules = await read_schedules(client, pool)
    assert schedules.keys() == {f"job-{job}", f"job-{other}"}
    assert schedules[f"job-{job}"] == good


async def test_a_row_whose_key_nobody_knows_is_reported_and_the_others_go_on(client: PrefectClient, pool: str) -> None:
    unknown = await add_job("menu_export", interval_hours=1)
    known = await add_job(interval_hours=1)
    report = await sync_schedules(work_pool=pool)
    assert [(step.job_id, "'menu_export'" in step.told) for step in report.refused] == [(unknown, True)]
    assert f"job-{known}" in await read_schedules(client, pool)


async def test_max_instances_and_priority_become_the_deployments_limit_and_queue(
    client: PrefectClient, pool: str
) -> None:
    await add_job(interval_hours=1, max_instances=2, priority=7)
    await add_job("attendance_sync", interval_hours=1, priority=-1)
    await sync_schedules(work_pool=pool)
    replication, attendance = await read(client, pool), await read(client, pool, "attendance_sync")
    assert replication.concurrency_limit == 2
    assert (replication.work_queue_name, attendance.work_queue_name) == ("priority+7", "priority-1")
    queues = sorted(await client.read_work_queues(work_pool_name=pool), key=lambda queue: queue.priority)
    assert [queue.name for queue in queues] == ["schedules", "priority+7", "default", "priority-1"]
    assert (await sync_schedules(work_pool=pool)).changes == 0


async def test_no_tick_of_another_row_is_lost_while_a_deployment_changes(client: PrefectClient, pool: str) -> None:
    often = await add_job(interval_seconds=1)
    other = await add_job(interval_hours=1)
    await sync_schedules(work_pool=pool)
    deployment = await read(client, pool)
    start = datetime.now(UTC) + timedelta(seconds=1)
    hours = 1
    while datetime.now(UTC) < start + timedelta(seconds=5):
        hours += 1
        await change_job(other, interval_hours=hours)
        await sync_schedules(work_pool=pool)
    end = datetime.now(UTC)
    ticks = await read_ticks(client, deployment.id, f"job-{often}")
    during = sorted(tick for tick in ticks if start <= tick <= end)
    assert len(during) >= 4
    gaps = {(later - earlier).total_seconds() for earlier, later in pairwise(during)}
    assert gaps == {1.0}


async def read_ticks(client: PrefectClient, deployment_id: UUID, slug: str) -> list[datetime]:
    runs = await client.read_flow_runs(
        flow_run_filter=FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[deployment_id]))
    )
    return [
        each.expected_start_time
        for each in runs
        if each.created_by is not None and each.created_by.display_value == slug and each.expected_start_time
    ]


async def test_of_two_syncs_at_once_one_works_and_the_other_says_so(pool: str, app_database: Database) -> None:
    await add_job(interval_hours=1)
    async with hold_lock(app_database, LOCK):
        with pytest.raises(AlreadyRunning, match="another schedule sync is running"):
            await sync_schedules(work_pool=pool)
        assert (await sync_schedules(dry_run=True, work_pool=pool)).changes == 1
    assert (await sync_schedules(work_pool=pool)).changes == 1


async def test_many_syncs_at_once_make_each_schedule_once(client: PrefectClient, pool: str) -> None:
    jobs = [await add_job(interval_hours=hours) for hours in range(1, 6)]
    outcomes = await asyncio.gather(*(sync_schedules(work_pool=pool) for _ in range(4)), return_exceptions=True)
    assert all(isinstance(each, SyncReport | AlreadyRunning) for each in outcomes)
    slugs = [each.slug for each in (await read(client, pool)).schedules]
    assert sorted(slugs, key=str) == [f"job-{job}" for job in jobs]


async def test_a_server_that_cannot_be_reached_is_named(pool: str) -> None:
    await add_job(interval_hours=1)
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(DeployError, match=r"the Prefect server at http://127\.0\.0\.1:9/api .* cannot be reached"),
    ):
        await sync_schedules(work_pool=pool)
