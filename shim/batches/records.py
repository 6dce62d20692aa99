"""How a batch travels: the calls into the flow run, and each call's outcome back out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

from kombu.utils.json import dumps, loads

from shim.call import CONTEXT_KEY as CALL_CONTEXT_KEY
from shim.call import Call
from shim.outcome import Outcome

CONTEXT_KEY = "celery_batch"
CALLS_ARTIFACT = "celery-batch"
OUTCOMES_ARTIFACT = "celery-batch-outcomes"


@dataclass(frozen=True)
class Reference:
    """What a batch's flow run knows of its calls.

    Attributes:
        batch_id: The batch's id, also the run's idempotency key.
        task_name: The task that all of them call.
        artifact_id: The artifact that holds them.
    """

    batch_id: str
    task_name: str
    artifact_id: str

    def to_context(self) -> dict[str, Any]:
        """Give the run's context."""
        return {CONTEXT_KEY: {"id": self.batch_id, "task": self.task_name, "artifact": self.artifact_id}}

    @classmethod
    def from_context(cls, context: dict[str, Any] | None) -> Self | None:
        """Find it in a run's context; None when the run was not started by a Celery worker."""
        carried = (context or {}).get(CONTEXT_KEY)
        return None if not carried else cls(carried["id"], carried["task"], carried["artifact"])


@dataclass(frozen=True)
class CallOutcome:
    """How a call of a batch ended.

    Attributes:
        key: The call's key.
        outcome: How it ended.
        due: When it is to run again, in seconds since 1970; None when it is not.
    """

    key: str
    outcome: Outcome
    due: int | None = None


def find_carrier(context: dict[str, Any] | None) -> str | None:
    """Give the id of the artifact in which a run's calls travelled; None when they did not travel in one.

    Args:
        context: The run's context. The artifact was made before the run and does not name it.
    """
    carried = (context or {}).get(CONTEXT_KEY) or (context or {}).get(CALL_CONTEXT_KEY) or {}
    found = carried.get("artifact")
    return None if found is None else str(found)


def encode_calls(calls: Iterable[Call]) -> str:
    """Write calls as JSON, with the types that kombu's JSON keeps. What a message leaves empty is left out."""
    return str(
        dumps(
            [
                {
                    "headers": {name: value for name, value in call.headers.items() if value is not None},
                    "body": call.body,
                }
                for call in calls
            ]
        )
    )


def decode_calls(text: str) -> list[Call]:
    """Read what `encode_calls` wrote."""
    return [Call(headers=carried["headers"], body=carried["body"]) for carried in loads(text)]


def encode_outcomes(outcomes: Iterable[CallOutcome]) -> str:
    """Write outcomes as JSON."""
    return str(dumps([[each.key, each.outcome.encode(), each.due] for each in outcomes]))


def decode_outcomes(text: str) -> list[CallOutcome]:
    """Read what `encode_outcomes` wrote."""
    return [CallOutcome(key, Outcome.decode(outcome), due) for key, outcome, due in loads(text)]
