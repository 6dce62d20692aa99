"""Many calls' states at once: one question or one answer to the result backend for all of them.

Only Redis takes them together; other backends get them one by one. Calls around which a canvas is built always go one
by one, through `shim.report`, which knows what a canvas wants done.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from celery import states
from celery.backends.base import KeyValueStoreBackend
from celery.backends.redis import RedisBackend
from celery.utils.saferepr import saferepr
from celery.worker.state import task_accepted, task_ready

from shim import report
from shim.intake import FlowRequest
from shim.outcome import Outcome

logger = logging.getLogger(__name__)

UNTOUCHED = {states.PENDING, states.RECEIVED, states.RETRY}


def read_states(backend: Any, ids: Sequence[str]) -> dict[str, str]:
    """Give the states of calls by id."""
    if not ids:
        return {}
    if not isinstance(backend, RedisBackend):
        return {each: backend.get_state(each) for each in ids}
    stored = backend.mget([backend.get_key_for_task(each) for each in ids])
    return {
        each: states.PENDING if meta is None else backend.decode_result(meta)["status"]
        for each, meta in zip(ids, stored, strict=True)
    }


def started(requests: Iterable[FlowRequest], run_id: str, run_url: str | None) -> None:
    """Report that the bodies of calls, all of one task, run."""
    requests = list(requests)
    if not requests:
        return
    task = requests[0].task
    if not isinstance(task.backend, RedisBackend):
        for request in requests:
            report.started(request, run_id, run_url)
        return
    now = time.time()
    for request in requests:
        request.time_start = now
        task_accepted(request)
        request.send_event("task-started", flow_run_id=run_id)
    if not task.track_started:
        return
    known = read_states(task.backend, [request.id for request in requests])
    meta = {"pid": None, "hostname": requests[0].hostname, "flow_run_id": run_id, "flow_run_url": run_url}
    _store(
        task.backend,
        [(request, meta) for request in requests if not request.ignore_result and known[request.id] in UNTOUCHED],
        states.STARTED,
    )


def succeeded(answers: Sequence[tuple[FlowRequest, Outcome]]) -> None:
    """Report what the bodies of calls, all of one task, returned."""
    plain = [(request, outcome) for request, outcome in answers if _is_plain(request, outcome)]
    for request, outcome in answers:
        if not _is_plain(request, outcome):
            report.succeeded(request, outcome)
    if not plain:
        return
    task = plain[0][0].task
    _store(
        task.backend,
        [(request, outcome.value) for request, outcome in plain if not request.ignore_result],
        states.SUCCESS,
    )
    now = time.time()
    for request, outcome in plain:
        task_ready(request, successful=True)
        runtime = now - (request.time_start or now)
        request.send_event("task-succeeded", result=saferepr(outcome.value), runtime=runtime)
    logger.info("%d calls of %s succeeded", len(plain), task.name)


def _is_plain(request: FlowRequest, outcome: Outcome) -> bool:
    context = request._context
    return isinstance(request.task.backend, RedisBackend) and not (
        context.callbacks or context.chain or context.chord or outcome.children
    )


def _store(backend: KeyValueStoreBackend, values: list[tuple[FlowRequest, Any]], state: str) -> None:
    """Store states in one go: the same keys and contents as Celery writes one by one, and the same notices."""
    if not values:
        return
    with backend.client.pipeline(transaction=False) as pipe:
        for request, value in values:
            meta = backend._get_result_meta(backend.encode_result(value, state), state, None, request._context)
            key, text = backend.get_key_for_task(request.id), backend.encode({**meta, "task_id": request.id})
            if backend.expires:
                pipe.setex(key, backend.expires, text)
            else:
                pipe.set(key, text)
            pipe.publish(key, text)
        pipe.execute()
