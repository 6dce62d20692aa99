"""Sends mails, each at most once: claims a few, sends them, notes what the server said, and so on until none is left.

A mail is in the air from the commit that marks it as being sent to the commit that notes its end. `WINDOW` mails per
connection are in the air at a time: that many become `unknown` when the process is killed.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import parseaddr
from math import ceil
from uuid import uuid4

from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from errors import DatabaseUnreachable, MailServerUnreachable
from hr.mail import deliveries
from hr.mail.deliveries import EXTEND_SECONDS, Delivery, State
from hr.mail.notices import Notice
from hr.mail.recipients import Recipient, find_recipients
from hr.mail.rendering import render
from hr.mail.transport import Transport, Verdict, open_transport
from settings import Settings

# Mails that one connection has in the air.
WINDOW = 10
# Seconds between the attempts to note what became of mails while the database does not answer.
RECORD_DELAYS = (0.2, 1.0, 3.0, 5.0)
# Seconds between two looks at mails that another process is sending.
WATCH_SECONDS = 1.0

STATES: dict[Verdict, State] = {
    Verdict.TAKEN: "sent",
    Verdict.REFUSED: "refused",
    Verdict.DEFERRED: "pending",
    Verdict.LOST: "unknown",
}
# Told of each mail's end, or that it has to wait (`pending`), with what the server said.
Report = Callable[[str, State, str], None]


@dataclass
class Sending:
    """Some mails on their way out.

    Attributes:
        sessions: Sessions of the application database.
        settings: The settings.
        notices: The mails by key.
        report: Told of each mail's end.
        owner: This sending's own id.
    """

    sessions: async_sessionmaker[AsyncSession]
    settings: Settings
    notices: Mapping[str, Notice]
    report: Report
    owner: str = field(default_factory=lambda: str(uuid4()))
    _queue: deque[Delivery] = field(default_factory=deque)
    _watched: set[str] = field(default_factory=set)
    _recipients: dict[str, Recipient] = field(default_factory=dict)

    async def run(self) -> None:
        """Send the mails that have not been sent.

        Each mail's end is reported as soon as it is committed. A mail that another process is sending is waited for.

        Raises:
            InvalidArgument: A key is too long.
            DatabaseUnreachable: The application database does not answer.
        """
        domain = parseaddr(self.settings.mail_from)[1].rpartition("@")[2]
        addresses = {notice.recipient for notice in self.notices.values()}
        async with self.sessions.begin() as session:
            known = await deliveries.register(session, self.notices, domain)
            self._recipients = await find_recipients(session, self.settings, addresses)
        while True:
            self._sort(known)
            await self._send_queued()
            if not self._watched:
                return
            await asyncio.sleep(WATCH_SECONDS)
            async with self.sessions.begin() as session:
                await deliveries.give_up_lost(session)
                known = await deliveries.read(session, sorted(self._watched))

    def _sort(self, known: Mapping[str, Delivery]) -> None:
        """Report what has ended, queue what is to be sent, and watch what others are sending."""
        self._watched.clear()
        for key, delivery in known.items():
            if delivery.state == "sending":
                self._watched.add(key)
            elif delivery.state == "pending":
                self._queue.append(delivery)
            else:
                self.report(key, delivery.state, delivery.answer or "")

    async def _send_queued(self) -> None:
        connections = min(self.settings.mail_connections, ceil(len(self._queue) / WINDOW))
        async with self._extended_claims():
            senders = [asyncio.create_task(self._send_from_queue()) for _ in range(connections)]
            try:
                await asyncio.gather(*senders)
            finally:
                for sender in senders:
                    sender.cancel()
                await asyncio.gather(*senders, return_exceptions=True)

    async def _send_from_queue(self) -> None:
        transport = open_transport(self.settings)
        ends: dict[str, tuple[State, str]] = {}
        try:
            while self._queue:
                window = [self._queue.popleft() for _ in range(min(WINDOW, len(self._queue)))]
                claimed = await self._record_and_claim(ends, window)
                ends = {}
                await self._send_window(transport, claimed, ends)
        finally:
            await self._record_and_claim(ends, [])
            await transport.close()

    async def _send_window(
        self, transport: Transport, claimed: list[Delivery], ends: dict[str, tuple[State, str]]
    ) -> None:
        """Send mails over one connection; `ends` has whatever is known of them, also when this is interrupted."""
        ends.update({delivery.key: ("pending", "the sending was interrupted before its turn") for delivery in claimed})
        for place, delivery in enumerate(claimed):
            notice = self.notices[delivery.key]
            mail = render(
                notice,
                self._recipients[notice.recipient],
                sender=self.settings.mail_from,
                message_id=delivery.message_id,
            )
            ends[delivery.key] = ("unknown", "the sending was interrupted")
            try:
                answer = await transport.send(mail)
            except MailServerUnreachable as error:
                ends.update({left.key: ("pending", str(error)) for left in claimed[place:]})
                self._defer_queued(str(error))
                return
            ends[delivery.key] = (STATES[answer.verdict], answer.text)

    def _defer_queued(self, reason: str) -> None:
        """Put off all mails that are left: without a server none of them needs to be tried."""
        while self._queue:
            self.report(self._queue.popleft().key, "pending", reason)

    async def _record_and_claim(self, ends: Mapping[str, tuple[State, str]], window: list[Delivery]) -> list[Delivery]:
        """Note the ends of the last mails and claim the next in one commit; gives those that were claimed."""
        if not ends and not window:
            return []
        for delay in (*RECORD_DELAYS, None):
            try:
                async with self.sessions.begin() as session:
                    await deliveries.record(session, ends, self.owner)
                    claimed = await self._claim(session, window)
                break
            except (OperationalError, DatabaseUnreachable):
                if delay is None:
                    raise
                await asyncio.sleep(delay)
        for key, (state, answer) in ends.items():
            self.report(key, state, answer)
        self._watched |= {delivery.key for delivery in window} - claimed
        return [delivery for delivery in window if delivery.key in claimed]

    async def _claim(self, session: AsyncSession, window: list[Delivery]) -> set[str]:
        keys = sorted(delivery.key for delivery in window)
        return await deliveries.claim(session, keys, self.owner) if keys else set()

    @asynccontextmanager
    async def _extended_claims(self) -> AsyncIterator[None]:
        """Say regularly that what is claimed is still being sent."""

        async def extend() -> None:
            while True:
                await asyncio.sleep(EXTEND_SECONDS)
                # A claim outlasts some that fail.
                with suppress(OperationalError, DatabaseUnreachable):
                    async with self.sessions.begin() as session:
                        await deliveries.extend(session, self.owner)

        extending = asyncio.create_task(extend())
        try:
            yield
        finally:
            extending.cancel()
            await asyncio.gather(extending, return_exceptions=True)
