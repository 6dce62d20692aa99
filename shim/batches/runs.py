"""What the gateway asks of Prefect's server about batches. Every method is one request, unless it says otherwise."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from shim.batches.records import CALLS_ARTIFACT, OUTCOMES_ARTIFACT, Reference, decode_calls, encode_calls
from shim.call import LONGEST_PARAMETERS, Call
from shim.runs import PAGE, Runs
from shim.task import FlowTask


class BatchRuns(Runs):
    """Prefect's flow runs, also those of batches."""

    def create_batch(self, batch_id: str, task: FlowTask, calls: Sequence[Call], *, due: int | None = None) -> str:
        """Create the run of a batch, or find it if it exists: two requests.

        Args:
            batch_id: The batch's id.
            task: The task that the calls call.
            calls: The calls.
            due: When the run is to start, in seconds since 1970; default: now.

        Returns:
            The flow run's id.

        Raises:
            DeploymentMissing: No deployment runs the task's batches.
        """
        if task.batch is None:
            raise AssertionError(f"{task.name} has no batches")
        deployment = self._find_deployment(task.name, task.batch.flow)
        what = f"{len(calls)} calls of {task.name}"
        artifact = {"type": CALLS_ARTIFACT, "data": encode_calls(calls), "description": what}
        reference = Reference(batch_id, task.name, str(self._send("/artifacts/", artifact, counted=False)["id"]))
        at = datetime.now(UTC) if due is None else datetime.fromtimestamp(due, UTC)
        short_name = task.name.rpartition(".")[2]
        run = {
            "name": f"{short_name} {calls[0].id}" if len(calls) == 1 else f"{len(calls)} x {short_name}",
            "tags": ["celery", f"task:{task.name}", *([f"celery-id:{calls[0].id}"] if len(calls) == 1 else [])],
            "parameters": {"calls": shown_calls(task, calls)},
            "enforce_parameter_schema": False,
            "context": reference.to_context(),
            "idempotency_key": batch_id,
            "state": {"type": "SCHEDULED", "state_details": {"scheduled_time": at.isoformat()}},
        }
        self.created += 1
        return str(self._send("/deployments/{id}/create_flow_run", run, counted=False, id=deployment)["id"])

    def find_batch(self, batch_id: str, run_id: str) -> dict[str, Any] | None:
        """Give the run of a batch, if there is one.

        Args:
            batch_id: The batch's id.
            run_id: Its run, if that is known.
        """
        wanted = {"id": {"any_": [run_id]}} if run_id else {"idempotency_key": {"any_": [batch_id]}}
        found: list[dict[str, Any]] = self._send("/flow_runs/filter", {"flow_runs": wanted, "limit": 1})
        return found[0] if found else None

    def read_calls(self, reference: Reference) -> list[Call]:
        """Give the calls of a batch."""
        return decode_calls(self.read_artifact(reference.artifact_id))

    def batch_outcomes(self, run_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Give what runs of batches have told of their calls, by flow run id: artifacts' ids and encoded outcomes.

        One request for each 200 runs and each 200 artifacts.
        """
        found: dict[str, list[tuple[str, str]]] = {}
        for start in range(0, len(run_ids), PAGE):
            page = {"any_": list(run_ids[start : start + PAGE])}
            wanted = {"type": {"any_": [OUTCOMES_ARTIFACT]}, "flow_run_id": page}
            for artifact in self._all("/artifacts/filter", {"artifacts": wanted, "sort": "ID_DESC"}):
                found.setdefault(artifact["flow_run_id"], []).append((artifact["id"], artifact["data"]))
        return found

    def crash(self, run_id: str, reason: str) -> None:
        """Say of a run that its process is gone.

        Args:
            run_id: The flow run's id.
            reason: Shown with the state in the UI.
        """
        state = {"type": "CRASHED", "name": "Crashed", "message": reason}
        self._send("/flow_runs/{id}/set_state", {"state": state, "force": True}, id=run_id)


def shown_calls(task: FlowTask, calls: Iterable[Call]) -> list[dict[str, Any]]:
    """Give calls as the run's parameter: their arguments by name, as many calls as Prefect takes."""
    shown: list[dict[str, Any]] = []
    size = 0
    for call in calls:
        arguments = call.parameters(task.call_signature)
        size += len(json.dumps(arguments))
        if size > LONGEST_PARAMETERS:
            break
        shown.append(arguments)
    return shown
