"""What a local system finds when it is started again."""

from uuid import uuid4

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import AwaitingRetry, Pending, Running

from demo.runs import crash_lost_runs


def make_deployment(client: SyncPrefectClient, work_pool: str) -> object:
    client.create_work_pool(WorkPoolCreate(name=work_pool, type="process"))
    return client.create_deployment(
        flow_id=client.create_flow_from_name(work_pool), name=work_pool, work_pool_name=work_pool, concurrency_limit=1
    )


def start_run(client: SyncPrefectClient, deployment: object) -> FlowRun:
    run = client.create_flow_run_from_deployment(deployment)  # type: ignore[arg-type]
    client.set_flow_run_state(run.id, Pending())
    client.set_flow_run_state(run.id, Running())
    return client.read_flow_run(run.id)


def test_a_lost_run_is_crashed_and_gives_its_place_to_the_next(prefect_api: str) -> None:
    pool = f"lost-{uuid4()}"
    with get_client(sync_client=True) as client:
        deployment = make_deployment(client, pool)
        lost = start_run(client, deployment)
        kept_out = start_run(client, deployment)
        assert (lost.state_name, kept_out.state_name) == ("Running", "AwaitingConcurrencySlot")

        assert crash_lost_runs(client, pool) == [lost.name]
        assert client.read_flow_run(lost.id).state_name == "Crashed"
        assert start_run(client, deployment).state_name == "Running"


def test_runs_of_other_pools_and_runs_that_wait_are_left_alone(prefect_api: str) -> None:
    pool, other_pool = f"lost-{uuid4()}", f"other-{uuid4()}"
    with get_client(sync_client=True) as client:
        elsewhere = start_run(client, make_deployment(client, other_pool))
        waiting = start_run(client, make_deployment(client, pool))
        client.set_flow_run_state(waiting.id, AwaitingRetry(), force=True)

        assert crash_lost_runs(client, pool) == []
        assert client.read_flow_run(elsewhere.id).state_name == "Running"
        assert client.read_flow_run(waiting.id).state_name == "AwaitingRetry"
