"""Job variables of the worker."""

from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.workers.process import ProcessWorker
from pydantic import ValidationError

from workers.configuration import Configuration
from workers.worker import WarmWorker


async def resolve(template: dict[str, Any], values: dict[str, Any]) -> Configuration:
    """Resolve job variables; nothing in them has to be asked of a server."""
    return await Configuration.from_template_and_values(template, values, client=PrefectClient("http://127.0.0.1:9"))


async def test_limits_are_taken_from_a_pool_that_was_made_for_process_workers() -> None:
    template = ProcessWorker.get_default_base_job_template()
    values = {"time_limit": 5, "memory_limit_mb": 256, "env": {"GREETING": "hello"}}
    configuration = await resolve(template, values)
    assert configuration.time_limit == 5
    assert configuration.memory_limit == 256 * 1024 * 1024
    assert configuration.grace_seconds == 30
    assert configuration.env["GREETING"] == "hello"


async def test_limits_have_the_defaults_of_the_pool() -> None:
    template = WarmWorker.get_default_base_job_template()
    template["variables"]["properties"]["time_limit"]["default"] = 60
    assert (await resolve(template, {})).time_limit == 60
    assert (await resolve(template, {"time_limit": 5})).time_limit == 5


@pytest.mark.parametrize("values", [{"time_limit": 0}, {"time_limit": "soon"}, {"memory_limit_mb": 1}])
async def test_limits_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        await resolve(WarmWorker.get_default_base_job_template(), values)
