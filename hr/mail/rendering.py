"""From a notice to the mail: subject, text and HTML in the recipient's language, as a message for the mail server."""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr
from functools import lru_cache
from pathlib import Path
from secrets import token_hex

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from hr.mail.notices import Notice
from hr.mail.recipients import Recipient
from setting_values import Locale

TEMPLATES = Path(__file__).with_name("templates")
# The older way to make messages: three times as fast, and the notice's values have been checked for what it lets pass.
POLICY = compat32.clone(linesep="\r\n")
DIRECTIONS: dict[Locale, str] = {"en": "ltr", "ar": "rtl"}


@dataclass(frozen=True)
class Mail:
    """A mail as the mail server gets it.

    Attributes:
        sender: The envelope's sender.
        recipients: The envelope's recipients.
        message_id: The mail's Message-ID.
        content: Headers and body.
        summary: Subject and text, for people who read it on a terminal.
    """

    sender: str
    recipients: list[str]
    message_id: str
    content: bytes
    summary: str


def render(notice: Notice, recipient: Recipient, *, sender: str, message_id: str) -> Mail:
    """Make the mail of a notice.

    Args:
        notice: What is told.
        recipient: Name and language of whom it is told.
        sender: Who sends it: an address, or a name with an address in angle brackets.
        message_id: The Message-ID, with its angle brackets.
    """
    subject, text, html = (_render(notice, recipient, part) for part in ("subject.txt", "txt", "html"))
    parts = [_part(text, "plain"), _part(html, "html")]
    # Named here, or the library searches both bodies for one that they do not hold.
    boundary = f"=_{token_hex(16)}="
    message = MIMEMultipart("alternative", boundary, parts, policy=POLICY)
    name, address = parseaddr(sender)
    message["From"] = formataddr((name, address))
    message["To"] = notice.recipient
    if notice.copies:
        message["Cc"] = ", ".join(notice.copies)
    message["Subject"] = Header(subject, header_name="Subject").encode()
    message["Date"] = format_datetime(datetime.now(UTC))
    message["Message-ID"] = message_id
    message["Content-Language"] = recipient.locale
    # Holiday notices and other automatic answers to it are not wanted.
    message["Auto-Submitted"] = "auto-generated"
    return Mail(address, notice.recipients, message_id, message.as_bytes(), f"{subject}\n\n{text}")


def _part(text: str, subtype: str) -> MIMEText:
    return MIMEText(text, subtype, "us-ascii" if text.isascii() else "utf-8", policy=POLICY)


def _render(notice: Notice, recipient: Recipient, part: str) -> str:
    template = _environment().get_template(f"{recipient.locale}/{notice.kind}.{part}")
    return template.render(
        notice.values,
        name=recipient.name,
        locale=recipient.locale,
        direction=DIRECTIONS[recipient.locale],
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
