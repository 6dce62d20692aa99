"""How mails leave: over SMTP, or, with no mail server configured, as files in a folder."""

import asyncio
import os
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
    SMTPTimeoutError,
)

from errors import MailServerUnreachable
from hr.mail.rendering import Mail
from setting_values import MAIL_SCHEMES
from settings import Settings

SERVICE_CLOSING = 421
TAKEN, REFUSED_FOR_NOW, REFUSED = range(200, 300), range(400, 500), range(500, 600)
QUIT_SECONDS = 1.0


class Verdict(Enum):
    """What became of a mail that was handed to a transport."""

    TAKEN = "taken"
    REFUSED = "refused"
    DEFERRED = "deferred"
    LOST = "lost"


@dataclass(frozen=True)
class Answer:
    """The end of one attempt to send a mail.

    Attributes:
        verdict: TAKEN: the server has it. REFUSED: it never will. DEFERRED: not now, and it has nothing. LOST: nobody
            knows whether it has it.
        text: What the server said, or what happened.
    """

    verdict: Verdict
    text: str


class Transport(Protocol):
    """Takes mails one after another."""

    async def send(self, mail: Mail) -> Answer:
        """Send a mail.

        Raises:
            MailServerUnreachable: There is no connection to be had; nothing was sent.
        """

    async def close(self) -> None:
        """Let go of the connection."""


def open_transport(settings: Settings) -> Transport:
    """Give a transport as configured; it connects when it is first used."""
    if settings.mail_url is None:
        return FolderTransport(settings.mail_folder)
    return SmtpTransport(settings.mail_url.get_secret_value(), settings.mail_timeout)


class FolderTransport:
    """Prints mails and writes them as `.eml` files, named after their Message-ID.

    Args:
        folder: Where the files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def send(self, mail: Mail) -> Answer:  # noqa: D102
        try:
            path = await asyncio.to_thread(self._write, mail)
        except OSError as error:
            raise MailServerUnreachable(f"no mail can be written to {self._folder}: {error}. Check DATA_DIR") from error
        sys.stdout.write(f"mail to {', '.join(mail.recipients)} ({path}):\n{mail.summary}\n\n")
        sys.stdout.flush()
        return Answer(Verdict.TAKEN, f"written to {path}")

    async def close(self) -> None:  # noqa: D102
        pass

    def _write(self, mail: Mail) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{mail.message_id.strip('<>').partition('@')[0]}.eml"
        unfinished = path.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(mail.content)
        unfinished.replace(path)
        return path


class SmtpTransport:
    """One connection to a mail server, for many mails; made again when it is lost.

    Args:
        url: `smtp://`, `smtp+starttls://` or `smtps://`, with account, password and port as needed.
        timeout: Seconds that the server may take for one answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._parts = urlsplit(url)
        self._timeout = timeout
        self._client: SMTP | None = None

    async def send(self, mail: Mail) -> Answer:  # noqa: D102
        reused = self._client is not None
        answer = await self._announce(mail)
        if reused and answer is not None and self._client is None:
            # The server has closed a connection that waited too long, or ends each after some mails.
            answer = await self._announce(mail)
        if answer is not None:
            return answer
        return await self._hand_over(mail)

    async def close(self) -> None:  # noqa: D102
        client, self._client = self._client, None
        if client is not None:
            with suppress(SMTPException, OSError):
                await client.quit(timeout=QUIT_SECONDS)
            client.close()

    async def greet(self) -> str:
        """Connect and log in as for a mail, and send none; gives how the connection is encrypted, empty if it is not.

        Raises:
            MailServerUnreachable: There is no connection to be had, or the server does not let us in.
        """
        client = await self._connected()
        cipher = client.get_transport_info("cipher")
        return "" if cipher is None else f"{cipher[1]}, {cipher[0]}"

    async def _announce(self, mail: Mail) -> Answer | None:
        """Tell the server from whom and to whom; gives its answer if it does not want the mail."""
        client = await self._connected()
        try:
            await client.mail(mail.sender)
            for recipient in mail.recipients:
                await client.rcpt(recipient)
        except SMTPResponseException as error:
            # All recipients or none: what has been announced is taken back.
            await self._take_back(error.code)
            return self._answer(error.code, error.message)
        except (SMTPException, OSError) as error:
            self._drop()
            return Answer(Verdict.DEFERRED, f"{self._server} was lost before it took the mail: {error}")
        return None

    async def _hand_over(self, mail: Mail) -> Answer:
        client = self._client
        if client is None or not client.is_connected:
            # On a new connection the server would not know whose mail it is.
            self._drop()
            return Answer(Verdict.DEFERRED, f"{self._server} was lost before it took the mail")
        try:
            response = await client.data(mail.content)
        except SMTPResponseException as error:
            await self._take_back(error.code)
            return self._answer(error.code, error.message)
        except (SMTPServerDisconnected, SMTPTimeoutError, SMTPException, OSError) as error:
            self._drop()
            return Answer(Verdict.LOST, f"{self._server} was lost while it took the mail: {error}")
        return self._answer(response.code, response.message)

    async def _take_back(self, code: int) -> None:
        if code == SERVICE_CLOSING or self._client is None:
            self._drop()
            return
        try:
            await self._client.rset()
        except (SMTPException, OSError):
            self._drop()

    def _answer(self, code: int, message: str) -> Answer:
        said = f"{self._server} said {code} {' '.join(message.split())}"
        if code in TAKEN:
            return Answer(Verdict.TAKEN, said)
        if code in REFUSED:
            return Answer(Verdict.REFUSED, said)
        if code in REFUSED_FOR_NOW:
            return Answer(Verdict.DEFERRED, said)
        self._drop()
        return Answer(Verdict.LOST, said)

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    async def _connected(self) -> SMTP:
        if self._client is not None and self._client.is_connected:
            return self._client
        client = SMTP(**_client_options(self._parts), timeout=self._timeout)
        try:
            await client.connect()
        except SMTPAuthenticationError as error:
            client.close()
            raise MailServerUnreachable(
                f"{self._server} does not let {self._parts.username!r} in: {error.code} {error.message}. "
                "Check account and password in MAIL_URL"
            ) from error
        except (SMTPException, OSError) as error:
            client.close()
            raise MailServerUnreachable(
                f"no connection to {self._server}: {error}. Check MAIL_URL, and that the server runs and can be "
                "reached from here"
            ) from error
        self._client = client
        return client

    @property
    def _server(self) -> str:
        return f"mail server {self._parts.hostname}:{self._parts.port or MAIL_SCHEMES[self._parts.scheme]}"


def _client_options(parts: SplitResult) -> dict[str, Any]:
    return {
        "hostname": parts.hostname,
        "port": parts.port or MAIL_SCHEMES[parts.scheme],
        "username": None if parts.username is None else unquote(parts.username),
        "password": None if parts.password is None else unquote(parts.password),
        "use_tls": parts.scheme == "smtps",
        "start_tls": parts.scheme == "smtp+starttls",
        "cert_bundle": parse_qs(parts.query).get("ca_file", [None])[0],
        # Otherwise looked up in the DNS, which may take seconds.
        "local_hostname": socket.gethostname(),
    }
