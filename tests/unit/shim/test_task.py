"""A task without any server: declared, called directly, applied, eager."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, Task, chain
from celery.exceptions import Retry
from prefect.settings import PREFECT_API_URL, temporary_settings

from celery_app import make_app
from shim import FlowTask, shared_task
from shim.errors import FlowMissing, ShimError, SignatureMismatch


@shared_task
def plain(x: int) -> int:
    """Double."""
    return 2 * x


@shared_task(bind=True, max_retries=2, autoretry_for=(ValueError,))
async def waits(self: Any, fails: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < fails:
        raise ValueError(fails)
    return int(self.request.retries)


@shared_task(flow="tests.integration.shim.sample_flows.double", bind=True)
def elsewhere(self: Any, number: int) -> int:
    raise NotImplementedError


@shared_task(flow="tests.unit.shim.test_task.no_such_flow")
def lost() -> None:
    raise NotImplementedError


class OldBase(Task):  # type: ignore[misc]
    """A base class of an old project."""


@shared_task(base=OldBase)
def with_base() -> str:
    return "ran"


@pytest.fixture(autouse=True)
def no_servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing listens at the configured addresses."""
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("EFFECTS_DATABASE", str(tmp_path / "effects.sqlite3"))
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:1/api"}):
        yield


def test_apply_needs_no_server() -> None:
    assert plain.apply(args=[4]).get() == 8
    assert plain(4) == 8


def test_an_asynchronous_body_is_awaited_and_retried_as_celery_does() -> None:
    assert waits.apply(args=[2]).get() == 2
    with pytest.raises(ValueError, match="5"):
        waits.apply(args=[5]).get()


def test_apply_works_inside_a_running_event_loop() -> None:
    async def caller() -> Any:
        return waits.apply(args=[0]).get()

    assert asyncio.run(caller()) == 0


def test_apply_runs_the_flow_function_that_stands_apart() -> None:
    assert elsewhere.apply(args=[21]).get() == 42


def test_always_eager_runs_delay_and_canvas_in_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_TASK_ALWAYS_EAGER", "true")
    app = make_app()
    app.finalize()
    task = app.tasks[f"{__name__}.plain"]
    assert task.delay(4).get() == 8
    assert chain(task.s(1), task.s()).apply_async().get() == 4


def test_a_wrong_value_of_the_eager_variable_says_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_TASK_ALWAYS_EAGER", "perhaps")
    with pytest.raises(ShimError, match="CELERY_TASK_ALWAYS_EAGER is 'perhaps'"):
        _ = make_app().conf.task_always_eager


def test_a_task_is_a_real_task_of_the_application() -> None:
    app = make_app()
    app.finalize()
    task = app.tasks[f"{__name__}.plain"]
    assert isinstance(task, FlowTask)
    assert isinstance(task, Task)
    assert task.__doc__ == "Double."
    assert task.s(1).type is task


def test_a_base_class_of_ones_own_is_kept() -> None:
    assert isinstance(with_base, OldBase)
    assert isinstance(with_base, FlowTask)
    assert with_base.apply().get() == "ran"


def test_a_derived_flow_has_the_tasks_signature_and_policy() -> None:
    flow = waits.prefect_flow
    assert list(flow.parameters.properties) == ["fails"]
    assert flow.retries == 2
    assert flow.retry_delay_seconds == 180
    assert flow.isasync


def test_a_flow_that_does_not_exist_says_which() -> None:
    with pytest.raises(FlowMissing, match=r"tests\.unit\.shim\.test_task\.no_such_flow"):
        lost.apply().get()


def test_a_flow_that_does_not_fit_is_refused_when_it_is_defined() -> None:
    with pytest.raises(SignatureMismatch, match="the flow has no parameter 'x'"):

        @plain.flow(name="misfit")
        async def misfit() -> None: ...


def test_a_flow_may_not_set_what_the_contract_decides() -> None:
    with pytest.raises(ShimError, match="sets retries"):

        @plain.flow(name="two-masters", retries=5)
        async def two_masters(x: int) -> None: ...


def test_retry_outside_a_worker_raises_the_error_itself() -> None:
    @shared_task(bind=True, name="sample.outside")
    def outside(self: Any) -> None:
        raise self.retry(exc=ValueError("directly"))

    with pytest.raises(ValueError, match="directly"):
        outside()


def test_wrong_arguments_fail_at_the_call() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        plain.delay()
    with pytest.raises(TypeError, match="argument 'x' must be int"):
        plain.delay("many")


def test_an_ordinary_application_can_hold_the_tasks_too() -> None:
    app = Celery(set_as_current=False, broker="memory://", backend="cache+memory://")
    app.finalize()
    assert app.tasks[f"{__name__}.plain"].apply(args=[1]).get() == 2
    assert Retry is not None
