"""What a mail tells whom, checked: from here on no value can break a header or name a template."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from errors import InvalidArgument

Kind = Literal["notification", "status_update"]
# Names that intranets use. The library refuses what is on this list, and documents that it may be shortened.
for _name in {"local", "localhost", "test"} & set(SPECIAL_USE_DOMAIN_NAMES):
    SPECIAL_USE_DOMAIN_NAMES.remove(_name)

MOST_COPIES = 50
LONGEST_STATUS = 64
LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Notice:
    """What a mail tells whom.

    Attributes:
        kind: Which templates tell it.
        recipient: The recipient's address.
        copies: Addresses that get a copy.
        values: What the templates tell.
    """

    kind: Kind
    recipient: str
    copies: tuple[str, ...]
    values: Mapping[str, Any]

    @property
    def recipients(self) -> list[str]:
        """All addresses, each once."""
        return list(dict.fromkeys([self.recipient, *self.copies]))

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(
            {"kind": self.kind, "recipient": self.recipient, "copies": self.copies, "values": dict(self.values)},
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        carried = json.loads(text)
        return cls(carried["kind"], carried["recipient"], tuple(carried["copies"]), carried["values"])


def notification(
    request_id: int, request_lines: int, to_recipient: str, cc_recipients: Sequence[str] | None = None
) -> Notice:
    """Make the notice that a meal request waits for somebody.

    Args:
        request_id: The meal request's id.
        request_lines: For how many people it is.
        to_recipient: The recipient's address.
        cc_recipients: Addresses that get a copy.

    Raises:
        InvalidArgument: A value cannot be used; the message names the argument.
    """
    values = {
        "request_id": _check_number("request_id", request_id, least=1),
        "request_lines": _check_number("request_lines", request_lines, least=0),
    }
    return Notice("notification", *_check_recipients(to_recipient, cc_recipients), values)


def status_update(
    request_id: int, status: str, to_recipient: str, cc_recipients: Sequence[str] | None = None
) -> Notice:
    """Make the notice of what became of a meal request.

    Args:
        request_id: The meal request's id.
        status: The new status: a code that the templates know, or a text to be shown as it is.
        to_recipient: The recipient's address.
        cc_recipients: Addresses that get a copy.

    Raises:
        InvalidArgument: A value cannot be used; the message names the argument.
    """
    values = {"request_id": _check_number("request_id", request_id, least=1), "status": _check_status(status)}
    return Notice("status_update", *_check_recipients(to_recipient, cc_recipients), values)


def check_address(argument: str, text: Any) -> str:
    """Give an address in the form in which mail servers take it.

    Args:
        argument: Where it comes from, for the message.
        text: The address, without a name.

    Raises:
        InvalidArgument: It is not an address.
    """
    if not isinstance(text, str):
        raise InvalidArgument(f"argument {argument!r} must be an address, got {type(text).__name__} {_show(text)}")
    try:
        # Whether its domain takes mail is the mail server's to find out: an intranet's may not be in the public DNS.
        address = validate_email(text, strict=True, check_deliverability=False, globally_deliverable=False).ascii_email
    except EmailNotValidError as error:
        raise InvalidArgument(f"argument {argument!r} is not an address, {_show(text)}: {error}") from None
    if address is None:
        raise InvalidArgument(
            f"argument {argument!r} has letters before its @ that few mail servers take, {_show(text)}: "
            "use an address of ASCII letters"
        )
    return address


def _check_recipients(to_recipient: str, cc_recipients: Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    if isinstance(cc_recipients, str):
        raise InvalidArgument(f"argument 'cc_recipients' must be a list of addresses, got {_show(cc_recipients)}")
    copies = list(cc_recipients or ())
    if len(copies) > MOST_COPIES:
        raise InvalidArgument(f"argument 'cc_recipients' has {len(copies)} addresses, at most {MOST_COPIES} are taken")
    return check_address("to_recipient", to_recipient), tuple(check_address("cc_recipients", each) for each in copies)


def _check_number(argument: str, value: Any, *, least: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InvalidArgument(f"argument {argument!r} must be a whole number of at least {least}, got {_show(value)}")
    return value


def _check_status(status: Any) -> str:
    usable = isinstance(status, str) and status.isprintable() and 0 < len(status.strip()) <= LONGEST_STATUS
    if not usable:
        raise InvalidArgument(
            f"argument 'status' must be a text of 1 to {LONGEST_STATUS} characters in one line, got {_show(status)}"
        )
    return str(status).strip()


def _show(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
