"""Structured logging: a sentence for people, the same as JSON for machines, one correlation id through a run.

`get_structured_logger(__name__)` wraps the standard library's logger of that name, so its records propagate to the
handlers of the process as any others do. Two handlers are its own:

- one JSON object a line on stderr: `timestamp`, `level`, `logger`, `message`, `correlation_id` and the call's fields;
- inside a Prefect run, the sentence goes to that run's log, where the UI shows it. Prefect's own setting for this,
  `PREFECT_LOGGING_EXTRA_LOGGERS`, wants each logger named in the environment of every process, and warns about lines
  outside a run. Prefect is not imported where nobody else did.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cache
from typing import Any

from utils.redaction import redact_text, to_plain

# The keys of a JSON line that fields cannot take; such a field is written with an underscore behind its name.
RESERVED = frozenset({"timestamp", "level", "logger", "message", "correlation_id", "exception"})

_correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


@contextmanager
def correlate(correlation_id: str) -> Iterator[None]:
    """Give every line that is logged inside the block this correlation id, in the tasks that the block starts too.

    Args:
        correlation_id: The execution's id, or the flow run's when there is no execution.
    """
    token = _correlation_id.set(correlation_id)
    try:
        yield
    finally:
        _correlation_id.reset(token)


def get_correlation_id() -> str | None:
    """Give the correlation id in force: the one that was set, else the running Prefect flow run's id, else None."""
    return _correlation_id.get() or _find_flow_run_id()


class StructuredLogger:
    """Logs sentences with fields.

    Args:
        name: The name of the standard library's logger to write to.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, message: str, **fields: object) -> None:
        """Log what only a developer wants to know."""
        self._log(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: object) -> None:
        """Log what happened as it should."""
        self._log(logging.INFO, message, fields)

    def warning(self, message: str, **fields: object) -> None:
        """Log what someone should look at."""
        self._log(logging.WARNING, message, fields)

    def error(self, message: str, **fields: object) -> None:
        """Log a failure."""
        self._log(logging.ERROR, message, fields)

    def exception(self, message: str, **fields: object) -> None:
        """Log a failure with the traceback of the exception being handled."""
        self._log(logging.ERROR, message, fields, exc_info=True)

    def log_celery_task_start(
        self,
        task_name: str,
        *,
        execution_id: str | None = None,
        celery_task_id: str | None = None,
        worker_host: str | None = None,
        triggered_by: str | None = None,
        task_metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Log that a task begins.

        Args:
            task_name: The task.
            execution_id: Its execution; the line's correlation id unless one is in force.
            celery_task_id: Celery's id of the call.
            worker_host: Host on which it runs.
            triggered_by: Id of the user who asked for it, None for a schedule.
            task_metadata: Anything else, for example `{"retries": 0, "max_retries": 3}`.
        """
        fields = {
            "event": "celery_task_start",
            "task_name": task_name,
            "execution_id": execution_id,
            "celery_task_id": celery_task_id,
            "worker_host": worker_host,
            "triggered_by": triggered_by,
            "task_metadata": task_metadata or {},
        }
        self._log(logging.INFO, f"Task {task_name} started", fields, correlation_id=execution_id)

    def log_celery_task_complete(
        self,
        task_name: str,
        *,
        execution_id: str | None = None,
        final_status: str = "SUCCESS",
        duration_ms: int | None = None,
        error_message: str | None = None,
    ) -> None:
        """Log how a task ended: as an error unless it succeeded.

        Args:
            task_name: The task.
            execution_id: Its execution; the line's correlation id unless one is in force.
            final_status: `SUCCESS` or `FAILED`.
            duration_ms: How long it took, milliseconds.
            error_message: Why it failed.
        """
        fields = {
            "event": "celery_task_complete",
            "task_name": task_name,
            "execution_id": execution_id,
            "final_status": final_status,
            "duration_ms": duration_ms,
            "error_message": error_message,
        }
        level = logging.INFO if final_status.upper() == "SUCCESS" else logging.ERROR
        self._log(level, f"Task {task_name} ended: {final_status}", fields, correlation_id=execution_id)

    def _log(
        self,
        level: int,
        message: str,
        fields: Mapping[str, object],
        *,
        correlation_id: str | None = None,
        exc_info: bool = False,
    ) -> None:
        if not self._logger.isEnabledFor(level):
            return
        extra = {
            "fields": {name: to_plain(value, name) for name, value in fields.items()},
            "correlation_id": get_correlation_id() or correlation_id,
        }
        self._logger.log(level, redact_text(message), exc_info=exc_info, extra=extra, stacklevel=3)


@cache
def get_structured_logger(name: str) -> StructuredLogger:
    """Give the structured logger of a module.

    Args:
        name: Usually `__name__`. The standard library's logger of that name gets the two handlers, and the level INFO
            if it has none.

    Returns:
        The same object for the same name.
    """
    logger = logging.getLogger(name)
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    logger.addHandler(_json_handler)
    logger.addHandler(_run_log_handler)
    return StructuredLogger(name)


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "correlation_id": getattr(record, "correlation_id", None),
        }
        for name, value in getattr(record, "fields", {}).items():
            line[f"{name}_" if name in RESERVED else name] = value
        if record.exc_info:
            line["exception"] = redact_text(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, allow_nan=False)


class SentenceFormatter(logging.Formatter):
    """Writes a record as its sentence, with the fields behind it: `Staged employees (rows=5000, seconds=0.4)`."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        fields = {name: value for name, value in getattr(record, "fields", {}).items() if value not in (None, {}, [])}
        fields.pop("event", None)
        text = record.getMessage()
        if fields:
            text += f" ({', '.join(f'{name}={value}' for name, value in fields.items())})"
        if record.exc_info:
            text += "\n" + redact_text(self.formatException(record.exc_info))
        return text


class _JsonHandler(logging.Handler):
    """Writes to what `sys.stderr` is at the time, as `logging.lastResort` does."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            self.handleError(record)


class _RunLogHandler(logging.Handler):
    """Hands records to the Prefect run in whose context they are logged; without one it does nothing."""

    def emit(self, record: logging.LogRecord) -> None:
        if _find_flow_run_id() is None:
            return
        from prefect.logging.handlers import PrefectConsoleHandler

        _api_handler().handle(record)
        for handler in logging.getLogger().handlers:
            # Prefect's console shows what propagates to the root logger; the line is on stderr already.
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(_is_not_structured)


def _is_not_structured(record: logging.LogRecord) -> bool:
    return not hasattr(record, "fields")


@cache
def _api_handler() -> logging.Handler:
    from prefect.logging.handlers import APILogHandler

    handler = APILogHandler()
    handler.setFormatter(SentenceFormatter())
    return handler


def _find_flow_run_id() -> str | None:
    context = sys.modules.get("prefect.context")
    if context is None:
        return None
    if (task := context.TaskRunContext.get()) is not None and task.task_run.flow_run_id is not None:
        return str(task.task_run.flow_run_id)
    if (flow := context.FlowRunContext.get()) is not None and flow.flow_run is not None:
        return str(flow.flow_run.id)
    return None


_json_handler = _JsonHandler()
_json_handler.setFormatter(JsonFormatter())
_run_log_handler = _RunLogHandler()
