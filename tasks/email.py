"""Tasks that send mails about meal requests."""

from typing import Annotated, Any

from shim import Batch, Within, shared_task

# What a database's integer holds.
RequestId = Annotated[int, Within(1, 2**63 - 1)]
LineCount = Annotated[int, Within(0, 100_000)]
Recipients = Annotated[list[str], Within(0, 50)]


class MailFailed(Exception):
    """A mail was not delivered, or nobody knows; the message says why and what to do."""


class MailDeferred(MailFailed):
    """The mail server cannot take the mail now: a temporary refusal or no connection. The call is retried."""


class MailRefused(MailFailed):
    """The mail server will never take the mail. Nothing was sent, and the call is not retried."""


class MailUnknown(MailFailed):
    """The mail was on its way when connection or process was lost; it is not sent again by itself."""


# Sending again would not help, or might send twice.
FINAL = (MailRefused, MailUnknown, ValueError, TypeError)


@shared_task(
    name="tasks.email.send_notification_task",
    flow="flows.mail.send_notification",
    batch=Batch(flow="flows.mail.send_notifications"),
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    autoretry_for=(Exception,),
    dont_autoretry_for=FINAL,
    retry_backoff=True,
    retry_backoff_max=300,
    retry_jitter=True,
    # A mail that was sent is remembered, so a lost call may run again.
    acks_late=True,
    reject_on_worker_lost=True,
)
def send_notification_task(
    self: Any,
    request_id: RequestId,
    request_lines: LineCount,
    to_recipient: str,
    cc_recipients: Recipients | None = None,
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
    raise NotImplementedError("the work is in flows.mail.send_notification")


@shared_task(
    name="tasks.email.send_status_update_task",
    flow="flows.mail.send_status_update",
    batch=Batch(flow="flows.mail.send_status_updates"),
    bind=True,
    max_retries=3,
    default_retry_delay=60,
    autoretry_for=(Exception,),
    dont_autoretry_for=FINAL,
    retry_backoff=True,
    acks_late=True,
    reject_on_worker_lost=True,
)
def send_status_update_task(
    self: Any,
    request_id: RequestId,
    status: str,
    to_recipient: str,
    cc_recipients: Recipients | None = None,
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
    raise NotImplementedError("the work is in flows.mail.send_status_update")
