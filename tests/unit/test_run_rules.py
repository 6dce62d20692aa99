"""Whether a run is to run: misfire grace, max_instances and coalesce, as APScheduler had them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect.client.schemas.objects import State, StateType

from api.repositories.job_repository import ScheduledJob, job_id_of
from flows.run_rules import AWAITING_SLOT, Siblings, Wait, judge, read_wait

DUE = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
ALONE = Siblings(running=0, covering_start=None)


def make_job(**values: Any) -> ScheduledJob:
    base: dict[str, Any] = {name: None for name in ScheduledJob.__slots__}
    rules = {"misfire_grace_time": 300, "max_instances": 1, "coalesce": True, "is_enabled": True}
    return ScheduledJob(**base | {"id": 17, "key": "hris_replication", "priority": 0} | rules | values)


def after(seconds: float) -> datetime:
    return DUE + timedelta(seconds=seconds)


@pytest.mark.parametrize(("late", "runs"), [(0, True), (300, True), (301, False), (3600, False)])
def test_a_run_that_is_later_than_the_grace_is_skipped(late: float, runs: bool) -> None:
    reason = judge(make_job(), DUE, Wait(after(late)), ALONE)
    assert (reason is None) == runs
    if reason is not None:
        assert reason == f"{late} s late, more than the misfire_grace_time of 300 s"


def test_a_run_that_was_due_when_another_one_started_is_coalesced_with_it() -> None:
    covered = Siblings(running=0, covering_start=after(20))
    assert "coalesced with the run that started at 10:00:20 UTC" in str(
        judge(make_job(), DUE, Wait(after(25)), covered)
    )
    assert judge(make_job(coalesce=False), DUE, Wait(after(25)), covered) is None


def test_a_run_that_was_due_while_the_allowed_number_ran_is_skipped() -> None:
    refused = Wait(after(40), refused_at=after(3))
    assert "max_instances: 1" in str(judge(make_job(), DUE, refused, ALONE))
    assert "max_instances: 1" in str(judge(make_job(coalesce=False), DUE, refused, ALONE))
    assert "max_instances: 2" in str(judge(make_job(max_instances=2), DUE, Wait(after(1)), Siblings(2, None)))
    assert judge(make_job(max_instances=2), DUE, Wait(after(1)), Siblings(1, None)) is None


def test_without_coalesce_the_runs_of_an_outage_run_one_after_the_other() -> None:
    backlog = Wait(after(200), refused_at=after(120))
    assert judge(make_job(coalesce=False), DUE, backlog, ALONE) is None
    assert judge(make_job(coalesce=True), DUE, backlog, ALONE) is not None


def test_a_run_whose_row_was_deleted_or_disabled_is_skipped() -> None:
    assert judge(None, DUE, Wait(DUE), ALONE) == "its job was deleted"
    assert judge(make_job(is_enabled=False), DUE, Wait(DUE), ALONE) == "its job is not enabled"


def test_how_a_run_came_to_its_start_is_read_from_its_states() -> None:
    states: list[State] = [
        State(type=StateType.SCHEDULED, timestamp=after(-60)),
        State(type=StateType.PENDING, timestamp=after(2)),
        State(type=StateType.SCHEDULED, name=AWAITING_SLOT, timestamp=after(2.1)),
        State(type=StateType.PENDING, timestamp=after(32)),
        State(type=StateType.RUNNING, timestamp=after(40)),
    ]
    assert read_wait(states, after(40)) == Wait(after(32), refused_at=after(2.1))
    assert read_wait(states[:1], after(5)) == Wait(after(5))


@pytest.mark.parametrize(
    ("slug", "job_id"),
    [("job-17", 17), ("job-17-2", 17), ("job-", None), ("nightly", None), ("my-job-17", None), (None, None)],
)
def test_a_schedule_belongs_to_a_row_by_its_slug(slug: str | None, job_id: int | None) -> None:
    assert job_id_of(slug) == job_id
