"""Which runs are this project's to delete from Prefect."""

import pytest
import yaml

from flows.prefect_history import TAG
from settings import REPOSITORY

DEPLOYMENTS = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=[each["name"] for each in DEPLOYMENTS])
def test_every_deployment_has_the_tag_by_which_its_runs_are_known(deployment: dict[str, list[str]]) -> None:
    assert TAG in deployment["tags"]
