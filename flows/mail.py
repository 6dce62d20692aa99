"""The mail flows: one mail for a run from Prefect, and all the mails of a burst for callers over Celery.

Both send through `hr.mail.sending`, which knows from the table of deliveries what has gone out already: running any of
this again sends nothing twice.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from prefect.artifacts import acreate_table_artifact

from db.maria_database import DatabaseSessionLocal
from errors import InvalidArgument
from flows.steps import database_step
from flows.tracking import track, track_attempts
from hr.mail.deliveries import State
from hr.mail.notices import Notice, notification, status_update
from hr.mail.sending import Report, Sending
from settings import get_settings
from shim.batches.calls import BatchedCall
from tasks.email import (
    LineCount,
    MailDeferred,
    MailFailed,
    MailRefused,
    MailUnknown,
    Recipients,
    RequestId,
    send_notification_task,
    send_status_update_task,
)
from utils.structured_logger import get_structured_logger

NOTIFICATION_JOB = "send_notification"
STATUS_UPDATE_JOB = "send_status_update"

logger = get_structured_logger(__name__)


@send_notification_task.flow(name="send-notification", persist_result=True, **track(NOTIFICATION_JOB))
@track_attempts(NOTIFICATION_JOB)
async def send_notification(
    request_id: RequestId, request_lines: LineCount, to_recipient: str, cc_recipients: Recipients | None = None
) -> dict[str, Any]:
    """Tell somebody by mail that a meal request waits for them.

    Args:
        request_id: The meal request's id; it is shown, not looked up.
        request_lines: For how many people it is.
        to_recipient: The recipient's address.
        cc_recipients: Addresses that get a copy, at most 50.

    Returns:
        `status` ("success"), `request_id`, `recipient`.
    """
    notice = notification(request_id, request_lines, to_recipient, cc_recipients)
    await send_alone(send_notification_task.request.id, notice)
    return _notified(request_id=request_id, to_recipient=to_recipient)


@send_status_update_task.flow(name="send-status-update", persist_result=True, **track(STATUS_UPDATE_JOB))
@track_attempts(STATUS_UPDATE_JOB)
async def send_status_update(
    request_id: RequestId, status: str, to_recipient: str, cc_recipients: Recipients | None = None
) -> dict[str, Any]:
    """Tell somebody by mail what became of a meal request.

    Args:
        request_id: The meal request's id; it is shown, not looked up.
        status: The request's new status, a code such as `approved` or a text of at most 64 characters.
        to_recipient: The recipient's address.
        cc_recipients: Addresses that get a copy, at most 50.

    Returns:
        `status` ("success"), `request_id`, `new_status`.
    """
    notice = status_update(request_id, status, to_recipient, cc_recipients)
    await send_alone(send_status_update_task.request.id, notice)
    return _updated(request_id=request_id, status=status)


@send_notification_task.batch_flow(name="send-notifications", **track(NOTIFICATION_JOB))
async def send_notifications(calls: list[BatchedCall]) -> None:
    """Send the notifications that were asked for together."""
    await send_together(calls, notification, _notified)


@send_status_update_task.batch_flow(name="send-status-updates", **track(STATUS_UPDATE_JOB))
async def send_status_updates(calls: list[BatchedCall]) -> None:
    """Send the status updates that were asked for together."""
    await send_together(calls, status_update, _updated)


async def send_alone(key: str | None, notice: Notice) -> None:
    """Send one mail and show what became of it.

    Raises:
        MailFailed: It was not sent, or nobody knows.
    """
    ends: dict[str, tuple[State, str]] = {}
    key = key or str(uuid4())
    await send({key: notice}, lambda key, state, answer: ends.update({key: (state, answer)}))
    state, answer = ends[key]
    row = {"call": key, "recipient": notice.recipient, "state": state, "answer": answer}
    await acreate_table_artifact([row], key=f"mail-{notice.kind.replace('_', '-')}", description=f"{state}: {answer}")
    if (error := explain(state, answer)) is not None:
        raise error


async def send_together(
    calls: list[BatchedCall], make_notice: Callable[..., Notice], make_result: Callable[..., dict[str, Any]]
) -> None:
    """Send the mails of a burst, and end each call as soon as its mail's end is known."""
    by_key = {call.id: call for call in calls}
    notices = {}
    for call in calls:
        try:
            notices[call.id] = make_notice(**call.arguments)
        except InvalidArgument as error:
            call.fail(error)

    def end(key: str, state: State, answer: str) -> None:
        call, error = by_key[key], explain(state, answer)
        if error is None:
            call.succeed(make_result(**call.arguments))
        else:
            call.fail(error)

    # A step that is tried again has only those left that have not ended.
    await send(notices, end, lambda key: by_key[key].outcome is None)


@database_step("send", "send mails")
async def send(notices: dict[str, Notice], report: Report, is_open: Callable[[str], bool] = lambda _: True) -> None:
    """Send mails, each at most once, and report what becomes of each."""
    left = {key: notice for key, notice in notices.items() if is_open(key)}
    await Sending(DatabaseSessionLocal, get_settings(), left, report).run()
    logger.info(f"Dealt with {len(left):,} mails", mails=len(left))


def explain(state: State, answer: str) -> MailFailed | None:
    """Give the error that a call ends with whose mail ended so; None for one that was sent."""
    if state == "sent":
        return None
    if state == "refused":
        return MailRefused(f"refused: {answer}. Correct the address; nothing was sent")
    if state == "unknown":
        return MailUnknown(
            f"unknown: {answer}. Nobody knows whether the mail server took it, so it is not sent again by itself; "
            "`python -m hr.mail resend` does on purpose"
        )
    return MailDeferred(f"not sent yet: {answer}")


def _notified(request_id: int, to_recipient: str, **_: Any) -> dict[str, Any]:
    return {"status": "success", "request_id": request_id, "recipient": to_recipient}


def _updated(request_id: int, status: str, **_: Any) -> dict[str, Any]:
    return {"status": "success", "request_id": request_id, "new_status": status}
