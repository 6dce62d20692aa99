"""A call as it travels: from Celery's message into a Prefect flow run, and back out in the run's process.

The run's parameters are the task's own arguments, readable in Prefect's UI. JSON cannot hold all that Celery's messages
hold, so the message itself travels beside them in the run's context; a long one as an artifact that the context names.
"""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cached_property
from inspect import Signature
from math import isfinite
from typing import Any, Self

from kombu.utils.json import dumps, loads

from shim.errors import ArgumentInvalid

CONTEXT_KEY = "celery"
MESSAGE_ARTIFACT = "celery-message"
# A run's context is read with every run; what is longer travels as an artifact.
LONGEST_BODY_IN_CONTEXT = 32_000
# Prefect refuses runs whose parameters are longer than 512 KiB of JSON.
LONGEST_PARAMETERS = 200_000
LONGEST_LONG_PARAMETER = 2_000


@dataclass(frozen=True)
class Call:
    """One call of a task.

    Attributes:
        headers: Celery's request: id, task, retries, limits, group and so on.
        body: Arguments, keyword arguments and canvas, as kombu writes them in JSON.
    """

    headers: dict[str, Any]
    body: str

    @classmethod
    def from_request(cls, request: Any) -> Self:
        """Take the call out of a worker's request (`celery.worker.request.Request`)."""
        args, kwargs, embed = request._payload
        headers = {name: value for name, value in request.request_dict.items() if name not in {"args", "kwargs"}}
        return cls(headers=headers, body=dumps([args, kwargs, embed or {}]))

    @property
    def id(self) -> str:
        """The Celery task id."""
        return str(self.headers["id"])

    @property
    def task_name(self) -> str:
        """The task's name."""
        return str(self.headers["task"])

    @property
    def key(self) -> str:
        """What makes the call's run unique: the task id, and how often the task has replaced itself under that id."""
        nesting = self.headers.get("replaced_task_nesting") or 0
        return f"{self.id}:{nesting}" if nesting else self.id

    @cached_property
    def _decoded(self) -> list[Any]:
        return loads(self.body)  # type: ignore[no-any-return]

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return tuple(self._decoded[0])

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments."""
        return dict(self._decoded[1])

    @property
    def embed(self) -> dict[str, Any]:
        """The canvas around the call: callbacks, errbacks, chain, chord."""
        return dict(self._decoded[2])

    def is_long(self) -> bool:
        """Whether the body has to travel as an artifact."""
        return len(self.body) > LONGEST_BODY_IN_CONTEXT

    def to_context(self, artifact_id: str | None = None) -> dict[str, Any]:
        """Give the run's context.

        Args:
            artifact_id: The artifact that holds the body, if it is long.
        """
        body = {"body": self.body} if artifact_id is None else {"artifact": artifact_id}
        return {CONTEXT_KEY: {"headers": dumps(self.headers), **body}}

    @classmethod
    def from_context(cls, context: dict[str, Any] | None, read_artifact: Callable[[str], str]) -> Self | None:
        """Find the call in a run's context.

        Args:
            context: The run's context.
            read_artifact: Gives the data of an artifact by its id.

        Returns:
            The call, or None when the run was not started by Celery.
        """
        carried = (context or {}).get(CONTEXT_KEY)
        if not carried:
            return None
        body = carried["body"] if "body" in carried else read_artifact(carried["artifact"])
        return cls(headers=loads(carried["headers"]), body=body)

    def parameters(self, signature: Signature) -> dict[str, Any]:
        """Give the run's parameters: the arguments by name, as JSON can show them.

        Args:
            signature: What callers of the task may pass.

        Raises:
            ArgumentInvalid: The arguments do not fit the signature.
        """
        try:
            bound = signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise ArgumentInvalid(f"{self.task_name} was called with wrong arguments: {error}") from None
        shown = {name: readable(value) for name, value in bound.arguments.items()}
        if len(json.dumps(shown)) <= LONGEST_PARAMETERS:
            return shown
        return {name: _shorten(value) for name, value in shown.items()}


def readable(value: Any) -> Any:
    """Give a value as plain JSON shows it best."""
    match value:
        case _ if (
            value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and isfinite(value))
        ):
            return value
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return b64encode(value).decode("ascii")
        case dict():
            return {str(key): readable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [readable(item) for item in value]
    return str(value)


def _shorten(value: Any) -> Any:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= LONGEST_LONG_PARAMETER:
        return value
    return f"{text[:LONGEST_LONG_PARAMETER]} … ({len(text):,} characters in all)"
