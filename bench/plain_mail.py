"""A plain Celery application that sends the notifications: what bursts are measured against."""

import os
import smtplib
from functools import cache
from urllib.parse import urlsplit

from celery import Celery

app = Celery("plain", broker=os.environ.get("CELERY_BROKER_URL"), backend=os.environ.get("CELERY_RESULT_BACKEND"))


@app.task(name="bench.plain_mail.send", bind=True, max_retries=3)  # type: ignore[untyped-decorator]
def send(self: object, request_id: int, request_lines: int, to_recipient: str) -> dict[str, object]:
    """Send a notification over this process's connection."""
    from hr.mail.notices import notification
    from hr.mail.recipients import Recipient
    from hr.mail.rendering import render

    mail = render(
        notification(request_id, request_lines, to_recipient),
        Recipient("en", None),
        sender="HR Flows <no-reply@localhost>",
        message_id=f"<{self.request.id}@localhost>",  # type: ignore[attr-defined]
    )
    _connection().sendmail(mail.sender, mail.recipients, mail.content)
    return {"status": "success", "request_id": request_id, "recipient": to_recipient}


@cache
def _connection() -> smtplib.SMTP:
    parts = urlsplit(os.environ["MAIL_URL"])
    return smtplib.SMTP(parts.hostname or "", parts.port or 25)
