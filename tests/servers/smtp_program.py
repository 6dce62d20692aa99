"""A mail server that notes what it takes, and misbehaves where a recipient's name says so.

Started as `python -m tests.servers.smtp_program PORT FOLDER`; each mail that it has taken is a line of JSON in
`FOLDER/taken.jsonl`. Recipients: `refused@` 550; `deferred@` 451; `deferred2.…@` 451 the first two times;
`closing@` 421; `dropped@` the connection ends instead of an answer to RCPT; `overquota@` 552 after the content;
`lost@` the mail is taken and the connection ends instead of the answer; `slow@` the mail is taken and the answer comes
after a second; `silent@` after half a minute.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from email import message_from_bytes
from pathlib import Path
from typing import Any

from aiosmtpd.controller import UnthreadedController
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

SLOW_SECONDS, SILENT_SECONDS = 1.0, 30.0
ACCOUNT, PASSWORD = b"hr", b"p@ss:w/rd%"


class Notes:
    """aiosmtpd's handler."""

    def __init__(self, folder: Path) -> None:
        self._taken = (folder / "taken.jsonl").open("a", buffering=1)
        self._seen: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        name = address.partition("@")[0].partition(".")[0]
        self._seen[address] += 1
        if name == "refused":
            return "550 no such user here"
        if name == "closing":
            return "421 closing for maintenance"
        if name == "deferred" or (name.startswith("deferred") and self._seen[address] <= int(name[8:])):
            return "451 try again later"
        if name == "dropped":
            end(server)
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.original_content or b""
        note = {
            "message_id": message_from_bytes(content)["Message-ID"],
            "recipients": envelope.rcpt_tos,
            "connection": str(session.peer),
            "tls": session.ssl is not None,
            "login": bool(session.authenticated),
            "at": time.time(),
        }
        names = {address.partition("@")[0].partition(".")[0] for address in envelope.rcpt_tos}
        if "overquota" in names:
            return "552 mailbox full"
        self._taken.write(json.dumps(note) + "\n")
        if "lost" in names:
            end(server)
        if "slow" in names:
            await asyncio.sleep(SLOW_SECONDS)
        if "silent" in names:
            await asyncio.sleep(SILENT_SECONDS)
        return "250 taken"


def end(server: SMTP) -> None:
    transport: Any = server.transport
    transport.abort()


def authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (ACCOUNT, PASSWORD)
    return AuthResult(success=right, handled=False)


async def serve(port: int, folder: Path, *, login: bool, certificate: Path | None) -> None:
    options: dict[str, Any] = {"authenticator": authenticate, "auth_required": login, "auth_require_tls": False}
    if certificate is not None:
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        options |= {"tls_context": context, "require_starttls": True}
    controller = UnthreadedController(Notes(folder), "127.0.0.1", port, loop=asyncio.get_running_loop(), **options)
    controller.server = await controller._create_server()
    await controller.server.serve_forever()


if __name__ == "__main__":
    asyncio.run(
        serve(
            int(sys.argv[1]),
            Path(sys.argv[2]),
            login="--login" in sys.argv,
            certificate=next((Path(word) for word in sys.argv[3:] if word.endswith(".pem")), None),
        )
    )
