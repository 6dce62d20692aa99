"""What all sessions of the server share."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.servers.tds.answers import KeptAnswers
from tests.servers.tds.faults import Faults

if TYPE_CHECKING:
    from tests.servers.tds.session import Session


@dataclass
class Served:
    """What all sessions share.

    Attributes:
        folder: Where the databases are.
        accounts: Passwords by user.
        default_database: For clients that name none.
        tls: How connections are encrypted; None: they cannot be.
        encryption_required: Whether clients that want none are turned away.
        faults: What goes wrong.
        answers: Answers that are kept.
        statements: The texts of all that was asked.
        sessions: Those who are connected.
    """

    folder: Path
    accounts: Mapping[str, str]
    default_database: str
    tls: ssl.SSLContext | None
    encryption_required: bool
    answers: KeptAnswers
    faults: Faults = field(default_factory=Faults)
    statements: list[str] = field(default_factory=list)
    sessions: "set[Session]" = field(default_factory=set)
