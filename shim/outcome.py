"""What an attempt leaves for the Celery side: its outcome as an artifact of the flow run."""

from dataclasses import dataclass, field
from typing import Any, Self

from celery import states
from celery.exceptions import Ignore, Reject, Retry
from celery.result import AsyncResult, result_from_tuple
from celery.utils.serialization import create_exception_cls, ensure_serializable
from kombu.utils.json import dumps, loads

OUTCOME_ARTIFACT = "celery-outcome"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: Celery's name for it: SUCCESS, FAILURE, RETRY, IGNORED or REJECTED.
        value: What the body returned, or the exception that ended it.
        traceback: The exception's traceback as text.
        children: The results of the tasks that the body called, as Celery's tuples.
        attempt: The attempt's number, from 1 on; 0 where it is not known.
    """

    state: str
    value: Any
    traceback: str | None = None
    children: list[Any] = field(default_factory=list)
    attempt: int = 0

    @property
    def error(self) -> Exception | None:
        """The exception to report, or None after a success: for a retry its cause, as Celery shows it."""
        if self.state == states.SUCCESS:
            return None
        if isinstance(self.value, Retry) and isinstance(self.value.exc, Exception):
            return self.value.exc
        return self.value  # type: ignore[no-any-return]

    @property
    def is_final(self) -> bool:
        """Whether no attempt follows."""
        return not isinstance(self.value, Retry) and not (isinstance(self.value, Reject) and self.value.requeue)

    def encode(self) -> str:
        """Write it as JSON, with the types that kombu's JSON keeps.

        Raises:
            TypeError: The returned value holds something that JSON cannot carry.
        """
        error = self.error
        carried = {"value": self.value} if error is None else {"error": encode_error(error)}
        said = {"state": self.state, "traceback": self.traceback, "children": self.children, "attempt": self.attempt}
        return dumps({**said, **carried})  # type: ignore[no-any-return]

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what `encode` wrote; an exception becomes one of the same name, module and arguments."""
        carried = loads(text)
        value = decode_error(carried["error"]) if "error" in carried else carried["value"]
        return cls(carried["state"], value, carried["traceback"], carried["children"], carried.get("attempt", 0))

    def child_results(self, app: Any) -> list[AsyncResult]:
        """Give the results of the tasks that the body called."""
        return [result_from_tuple(child, app=app) for child in self.children]


def encode_error(error: BaseException) -> dict[str, Any]:
    """Write an exception as type and arguments, as Celery does."""
    return {
        "exc_type": type(error).__qualname__,
        "exc_module": type(error).__module__,
        "exc_message": ensure_serializable(error.args, dumps),
    }


def decode_error(carried: dict[str, Any]) -> Exception:
    """Make an exception of the same type name, module and arguments.

    The gateway only passes it on to the result backend, which writes name, module and arguments again: the type itself
    is not imported here, so that no run can make the gateway import something.
    """
    known = {kind.__name__: kind for kind in (Ignore, Reject, Retry)}
    arguments = carried["exc_message"]
    if carried["exc_module"] == "celery.exceptions" and carried["exc_type"] in known:
        return known[carried["exc_type"]](*arguments)  # type: ignore[no-any-return]
    kind = create_exception_cls(carried["exc_type"], carried["exc_module"])
    kind.__qualname__ = carried["exc_type"]
    arguments = arguments if isinstance(arguments, list | tuple) else [arguments]
    return kind(*arguments)  # type: ignore[no-any-return]
