"""What the gateway asks of Prefect's server. Every method is one request, unless it says otherwise."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from shim.call import MESSAGE_ARTIFACT, Call
from shim.errors import DeploymentMissing
from shim.outcome import OUTCOME_ARTIFACT, Outcome
from shim.task import FlowTask

DEFAULT_API_URL = "http://127.0.0.1:4200/api"
# The server gives at most 200 objects an answer.
PAGE = 200
# Prefect's names for who begins the next attempt: the process of the one before, or any worker.
IN_PROCESS, RESCHEDULED = "in_process", "reschedule"
FINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
DEPLOYMENTS_VALID_SECONDS = 60.0
DEPLOYMENTS_ASKED_AGAIN_SECONDS = 3.0


class Runs:
    """Prefect's flow runs as the gateway needs them; a context manager that holds the connections.

    Attributes:
        requests: How many requests have been made, creations of runs apart.
        created: How many runs have been created or attached to.
    """

    def __init__(self) -> None:
        api = get_current_settings().api
        self._client = SyncPrefectClient(
            api.url or DEFAULT_API_URL,
            auth_string=None if api.auth_string is None else api.auth_string.get_secret_value(),
            api_key=None if api.key is None else api.key.get_secret_value(),
        )
        self._deployments: dict[str, str] = {}
        self._deployments_read = float("-inf")
        self.requests = 0
        self.created = 0

    @property
    def api_url(self) -> str:
        """The server's address."""
        return str(self._client.api_url)

    def __enter__(self) -> Self:
        self._client.__enter__()
        return self

    def __exit__(self, *details: Any) -> None:
        self._client.__exit__(*details)

    def create(self, call: Call, task: FlowTask, delay: float) -> str:
        """Create the run of a call, or find it if it exists; a long call or an unknown deployment takes more requests.

        Args:
            call: The call.
            task: Its task.
            delay: Seconds until the run is due.

        Returns:
            The flow run's id.

        Raises:
            DeploymentMissing: No deployment runs the task's flow.
        """
        deployment = self._find_deployment(task.name, task.deployed_entrypoint)
        parameters = call.parameters(task.call_signature)
        artifact = self._store_body(call) if call.is_long() else None
        due = datetime.now(UTC) + timedelta(seconds=delay)
        run = {
            "name": f"{task.name.rpartition('.')[2]} {call.id}",
            "tags": ["celery", f"task:{task.name}", f"celery-id:{call.id}"],
            "parameters": parameters,
            # Checked by the attempt, which has the values with their types.
            "enforce_parameter_schema": False,
            "context": call.to_context(artifact),
            "idempotency_key": call.key,
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": due.isoformat()}},
        }
        self.created += 1
        return str(self._send("/deployments/{id}/create_flow_run", run, counted=False, id=deployment)["id"])

    def read(self, run_ids: Iterable[str], *, types: list[str] | None = None) -> list[dict[str, Any]]:
        """Give the runs with these ids, at most 200.

        Args:
            run_ids: Flow run ids.
            types: Only runs in a state of one of these types.
        """
        wanted: dict[str, Any] = {"id": {"any_": list(run_ids)}}
        if types is not None:
            wanted["state"] = {"type": {"any_": types}}
        found: list[dict[str, Any]] = self._send("/flow_runs/filter", {"flow_runs": wanted, "limit": PAGE})
        return found

    def outcomes(self, run_ids: Iterable[str]) -> dict[str, Outcome]:
        """Give the newest outcome that the attempts of runs have left, by flow run id."""
        newest: dict[str, str] = {}
        wanted = {"type": {"any_": [OUTCOME_ARTIFACT]}, "flow_run_id": {"any_": list(run_ids)}}
        for artifact in self._all("/artifacts/filter", {"artifacts": wanted, "sort": "CREATED_DESC"}):
            newest.setdefault(artifact["flow_run_id"], artifact["data"])
        return {run_id: Outcome.decode(text) for run_id, text in newest.items()}

    def read_artifact(self, artifact_id: str) -> str:
        """Give the data of an artifact."""
        self.requests += 1
        response = self._client.request("GET", "/artifacts/{id}", path_params={"id": artifact_id})
        return str(response.json()["data"])

    def cancel(self, run_id: str) -> bool:
        """Ask for the end of a run, whether it has begun or not; False when it has ended already or was deleted."""
        try:
            answer = self._send("/flow_runs/{id}/set_state", {"state": {"type": "CANCELLING"}}, id=run_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.NOT_FOUND:
                return False
            raise
        return answer["status"] == "ACCEPT" or (answer["state"] or {}).get("type") == "CANCELLED"

    def run_again(self, run_id: str, delay: float, reason: str) -> None:
        """Have a run that ended without an outcome executed again, by any worker; two requests, or three.

        Args:
            run_id: The flow run's id.
            delay: Seconds until then.
            reason: Shown with the state in the UI.
        """
        due = datetime.now(UTC) + timedelta(seconds=delay)
        details = {"scheduled_time": due.isoformat()}
        self._free_from_process(UUID(run_id))
        state = {"type": "SCHEDULED", "name": "AwaitingRetry", "message": reason, "state_details": details}
        self._send("/flow_runs/{id}/set_state", {"state": state, "force": True}, id=run_id)

    def _free_from_process(self, run_id: UUID) -> None:
        """Have the server give the run to workers: one that was retried in its process before is kept from them."""
        policy = self._client.read_flow_run(run_id).empirical_policy
        self.requests += 1
        if policy.retry_type == IN_PROCESS:
            self._client.update_flow_run(run_id, empirical_policy=policy.model_copy(update={"retry_type": RESCHEDULED}))
            self.requests += 1

    @staticmethod
    def url(run_id: str) -> str | None:
        """Give the run's address in the UI."""
        return url_for("flow-run", obj_id=UUID(run_id), default_base_url=DEFAULT_API_URL.removesuffix("/api"))

    def _find_deployment(self, task_name: str, entrypoint: str) -> str:
        wanted = _dotted(entrypoint)
        age = time.monotonic() - self._deployments_read
        if age > DEPLOYMENTS_VALID_SECONDS or (
            wanted not in self._deployments and age > DEPLOYMENTS_ASKED_AGAIN_SECONDS
        ):
            self._read_deployments()
        if wanted not in self._deployments:
            raise DeploymentMissing(
                f"no deployment on {self.api_url} runs task {task_name}: none has the entry point "
                f"{entrypoint}. Add it to prefect.yaml and run `prefect deploy --all`"
            )
        return self._deployments[wanted]

    def _read_deployments(self) -> None:
        found: dict[str, str] = {}
        for deployment in self._all("/deployments/filter", {"sort": "CREATED_DESC"}):
            # Of several with one entry point the oldest counts: a copy made for a special schedule comes later.
            if deployment["entrypoint"]:
                found[_dotted(deployment["entrypoint"])] = deployment["id"]
        self._deployments, self._deployments_read = found, time.monotonic()

    def _all(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        offset = 0
        while True:
            page = self._send(path, {**body, "limit": PAGE, "offset": offset})
            yield from page
            offset += PAGE
            if len(page) < PAGE:
                return

    def _store_body(self, call: Call) -> str:
        artifact = {
            "type": MESSAGE_ARTIFACT,
            "data": call.body,
            "description": f"Arguments of {call.task_name} {call.id}",
        }
        return str(self._send("/artifacts/", artifact)["id"])

    def _send(self, path: str, body: dict[str, Any], *, counted: bool = True, **path_params: str) -> Any:
        self.requests += counted
        response = self._client.request("POST", path, path_params=path_params, json=body)  # type: ignore[arg-type]
        return response.json()


def _dotted(entrypoint: str) -> str:
    """Give the entry points `flows/hris.py:replicate`, `flows.hris:replicate` and `flows.hris.replicate` one form."""
    return entrypoint.replace(".py:", ".").replace(":", ".").replace("/", ".")
