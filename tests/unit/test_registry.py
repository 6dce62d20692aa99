"""Tasks, `celery_bridge.TASK_REGISTRY` and `prefect.yaml` say the same."""

from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from prefect import Flow
from prefect.utilities.callables import parameter_schema
from prefect.utilities.importtools import import_object

from celery_bridge import TASK_REGISTRY
from deployments.registry import PREFECT_YAML, RegistryError, read_blocks, read_registry

BLOCKS = {block.name: block for block in read_blocks()}


def load(entrypoint: str) -> Flow[..., Any]:
    return cast("Flow[..., Any]", import_object(entrypoint))


@pytest.mark.parametrize("key", sorted(TASK_REGISTRY))
def test_a_job_has_one_task_one_flow_and_one_deployment(key: str) -> None:
    job = read_registry()[key]
    flow = load(job.deployment.entrypoint)
    assert job.task is TASK_REGISTRY[key]
    assert flow.celery_task == job.task.name  # type: ignore[attr-defined]
    assert flow is job.task.prefect_flow
    assert flow.name == job.deployment.name
    assert {hook.__qualname__ for hook in flow.on_running_hooks} == {"track.<locals>.record_execution"}


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_a_deployment_runs_a_flow_of_its_own_name_and_is_told_in_words(name: str) -> None:
    flow = load(BLOCKS[name].entrypoint)
    assert isinstance(flow, Flow)
    assert flow.name == name
    (block,) = [each for each in yaml.safe_load(PREFECT_YAML.read_text())["deployments"] if each["name"] == name]
    assert len(block["description"]) > 20
    assert "hr" in block["tags"], "the automations look for this tag"
    assert block["work_pool"]["job_variables"]["env"]["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] == "30"


@pytest.mark.parametrize("name", sorted(job.deployment.name for job in read_registry().values()))
def test_the_form_of_a_deployment_has_a_type_and_a_description_for_each_parameter(name: str) -> None:
    for parameter, schema in parameter_schema(load(BLOCKS[name].entrypoint)).model_dump()["properties"].items():
        assert schema.get("description"), f"{parameter} is not described in the docstring of {name}"
        assert schema.keys() & {"type", "anyOf", "allOf", "$ref"}, f"{parameter} of {name} has no type"


def test_a_task_without_a_deployment_is_an_error_that_names_it(tmp_path: Path) -> None:
    content = yaml.safe_load(PREFECT_YAML.read_text())
    content["deployments"] = [each for each in content["deployments"] if each["name"] != "hris-replication"]
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RegistryError, match=r"'hris_replication' .* flows\.hris\.replicate .* which has 0"):
        read_registry(prefect_yaml=path)


def test_a_schedule_without_a_slug_is_an_error_that_names_its_deployment(tmp_path: Path) -> None:
    path = tmp_path / "prefect.yaml"
    block = {"name": "menu", "entrypoint": "flows.menu.export", "schedules": [{"cron": "0 2 * * *"}]}
    path.write_text(yaml.safe_dump({"deployments": [block]}))
    with pytest.raises(RegistryError, match=r"'menu' in prefect\.yaml has no slug"):
        read_blocks(path)
