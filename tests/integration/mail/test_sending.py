"""Mails against a real mail server that refuses, delays and drops: each goes out at most once, and its end is known."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from db import maria_database
from db.engines import Database
from db.mail import mail_delivery
from db.maria_database import DatabaseSessionLocal
from db.tables import employee, user
from errors import MailServerUnreachable
from hr.mail import deliveries, sending
from hr.mail.notices import Notice, notification, status_update
from hr.mail.recipients import Recipient
from hr.mail.rendering import render
from hr.mail.sending import WINDOW, Sending
from hr.mail.transport import SmtpTransport
from settings import get_settings
from tests.servers import SmtpServer, free_port, smtp_server

REPOSITORY = Path(__file__).resolve().parents[3]
Ends = dict[str, tuple[str, str]]


@pytest.fixture(scope="session")
def mail_server() -> Iterator[SmtpServer]:
    """A mail server; tests look only at mails to addresses of their own."""
    with smtp_server() as server:
        yield server


@pytest.fixture
def settings(
    app_database: Database, mail_server: SmtpServer, settings_environment: Callable[..., None]
) -> Callable[..., None]:
    """Mails go to the server of the tests; gives a function that changes settings."""
    settings_environment(MAIL_URL=mail_server.url, MAIL_TIMEOUT="2")
    return settings_environment


async def send(notices: dict[str, Notice]) -> Ends:
    """Send mails and give what was reported of each; each end is reported once."""
    ends: Ends = {}

    def note(key: str, state: str, answer: str) -> None:
        assert key not in ends
        ends[key] = (state, answer)

    await Sending(DatabaseSessionLocal, get_settings(), notices, note).run()
    return ends


async def states() -> dict[str, str]:
    async with DatabaseSessionLocal() as session:
        return {key: state for key, state in await session.execute(select(mail_delivery.c.key, mail_delivery.c.state))}


async def wait_until_sending(key: str) -> None:
    while (await states()).get(key) != "sending":  # noqa: ASYNC110 - the state is a row's
        await asyncio.sleep(0.02)


def address(name: str, request: pytest.FixtureRequest) -> str:
    """An address that no other test uses; its name tells the mail server what to do."""
    return f"{name}.{abs(hash(request.node.nodeid)) % 10**9}@example.org"


async def test_a_mail_goes_out_once_however_often_its_call_runs(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    to, copy = address("sara", request), address("omar", request)
    notices = {"call": notification(7, 3, to, [copy])}

    assert [(await send(notices))["call"][0] for _ in range(3)] == ["sent"] * 3
    (taken,) = mail_server.taken_by(to)
    assert taken["recipients"] == [to, copy]
    assert await states() == {"call": "sent"}


async def test_many_mails_share_a_connection(
    settings: Callable[..., None], mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    settings(MAIL_CONNECTIONS="2")
    to = address("many", request)
    ends = await send({f"call {number}": notification(number + 1, 1, to) for number in range(55)})

    assert Counter(state for state, _ in ends.values()) == {"sent": 55}
    taken = mail_server.taken_by(to)
    assert len({mail["message_id"] for mail in taken}) == len(taken) == 55
    assert len({mail["connection"] for mail in taken}) <= 2


async def test_a_refused_recipient_ends_the_mail_and_nobody_gets_it(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    to, copy = address("sara", request), address("refused", request)
    ends = await send({"to": notification(1, 1, copy), "cc": notification(1, 1, to, [copy])})

    assert {key: state for key, (state, _) in ends.items()} == {"to": "refused", "cc": "refused"}
    assert "550 no such user here" in ends["to"][1]
    assert mail_server.taken_by(to) == []
    assert (await send({"to": notification(1, 1, copy)}))["to"][0] == "refused"


async def test_a_mail_that_is_refused_for_its_content_is_refused(
    settings: object, request: pytest.FixtureRequest
) -> None:
    ends = await send({"call": notification(1, 1, address("overquota", request))})
    assert ends["call"][0] == "refused"
    assert "552 mailbox full" in ends["call"][1]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("deferred", "451 try again later"), ("closing", "421 closing"), ("dropped", "was lost before")],
)
async def test_a_mail_that_the_server_has_not_got_yet_stays_pending_and_others_go_out(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest, name: str, answer: str
) -> None:
    to, other = address(name, request), address("other", request)
    ends = await send({"a": notification(1, 1, to), "b": notification(1, 1, other)})

    assert ends["a"][0] == "pending"
    assert answer in ends["a"][1]
    assert ends["b"][0] == "sent"
    assert await states() == {"a": "pending", "b": "sent"}


async def test_a_mail_that_was_put_off_goes_out_with_the_same_message_id(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    notices = {"call": notification(1, 1, address("deferred2", request))}
    assert [(await send(notices))["call"][0] for _ in range(4)] == ["pending", "pending", "sent", "sent"]

    (taken,) = mail_server.taken_by(notices["call"].recipient)
    async with DatabaseSessionLocal() as session:
        row = (await session.execute(select(mail_delivery))).one()
    assert row.message_id == taken["message_id"]
    assert row.attempts == 3


@pytest.mark.parametrize("name", ["lost", "silent"])
async def test_a_mail_whose_answer_never_came_is_unknown_and_not_sent_again(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest, name: str
) -> None:
    to, other = address(name, request), address("other", request)
    notices = {"a": notification(1, 1, to), "b": notification(1, 1, other)}
    assert {key: state for key, (state, _) in (await send(notices)).items()} == {"a": "unknown", "b": "sent"}
    assert (await send(notices))["a"][0] == "unknown"
    assert len(mail_server.taken_by(to)) == 1


async def test_an_answer_that_takes_a_while_is_waited_for(settings: object, request: pytest.FixtureRequest) -> None:
    assert (await send({"call": notification(1, 1, address("slow", request))}))["call"][0] == "sent"


async def test_without_a_server_all_mails_are_put_off_at_once(settings: Callable[..., None]) -> None:
    settings(MAIL_URL=f"smtp://127.0.0.1:{free_port()}")
    began = time.monotonic()
    ends = await send({f"call {number}": notification(1, 1, "sara@example.org") for number in range(200)})

    assert Counter(state for state, _ in ends.values()) == {"pending": 200}
    assert "no connection to mail server 127.0.0.1:" in ends["call 0"][1]
    assert time.monotonic() - began < 10
    assert set((await states()).values()) == {"pending"}


async def test_two_processes_never_send_the_same_mail(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    to = address("contested", request)
    notices = {f"call {number}": notification(number + 1, 1, to) for number in range(60)}
    ends = await asyncio.gather(*(send(notices) for _ in range(3)))

    assert [Counter(state for state, _ in each.values()) for each in ends] == [{"sent": 60}] * 3
    taken = mail_server.taken_by(to)
    assert len({mail["message_id"] for mail in taken}) == len(taken) == 60


async def test_what_was_in_the_air_when_the_process_was_killed_is_unknown_and_the_rest_goes_out(
    settings: Callable[..., None],
    mail_server: SmtpServer,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings(MAIL_CONNECTIONS="2")
    monkeypatch.setattr(deliveries, "CLAIM_SECONDS", 2.0)
    to = address("killed", request)
    number = 400
    process = subprocess.Popen(  # noqa: ASYNC220 - it is to be killed, whatever this loop does
        [sys.executable, "-m", "tests.integration.mail.killed_sending", str(number), to], cwd=REPOSITORY, env=os.environ
    )
    try:
        while len(mail_server.taken_by(to)) < 50:
            assert process.poll() is None
            await asyncio.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    async with DatabaseSessionLocal.begin() as session:
        # The killed process claimed for longer than a test wants to wait.
        await session.execute(
            update(mail_delivery).where(mail_delivery.c.state == "sending").values(claimed_until=func.now())
        )
    in_the_air = Counter((await states()).values())["sending"]

    ends = await send({f"call {place}": notification(place + 1, 1, to) for place in range(number)})

    found = Counter(state for state, _ in ends.values())
    taken = mail_server.taken_by(to)
    assert len({mail["message_id"] for mail in taken}) == len(taken)
    assert found["unknown"] == in_the_air <= 2 * WINDOW
    assert found == {"sent": number - in_the_air, "unknown": in_the_air}
    assert number - in_the_air <= len(taken) <= number


async def test_a_mail_that_a_living_process_is_sending_is_waited_for(
    settings: object, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "WATCH_SECONDS", 0.1)
    notices = {"call": notification(1, 1, address("slow", request))}
    first = asyncio.create_task(send(notices))
    await wait_until_sending("call")
    assert (await send(notices))["call"][0] == "sent"
    assert (await first)["call"][0] == "sent"


async def test_a_process_that_is_told_to_stop_says_what_is_unknown_and_gives_back_the_rest(
    settings: object, mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    slow, other = address("slow", request), address("other", request)
    stopped = asyncio.create_task(send({"a": notification(1, 1, slow), "b": notification(1, 1, other)}))
    await wait_until_sending("a")
    while not mail_server.taken_by(slow):  # noqa: ASYNC110 - another process fills the file
        await asyncio.sleep(0.02)
    stopped.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopped
    assert await states() == {"a": "unknown", "b": "pending"}


async def test_with_nothing_configured_mails_are_printed_and_written_as_files(
    app_database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    ends = await send({"call": status_update(7, "approved", "sara@example.org", ["omar@example.org"])})

    assert ends["call"][0] == "sent"
    (path,) = get_settings().mail_folder.iterdir()
    mail = BytesParser(policy=policy.default).parsebytes(path.read_bytes())
    assert (mail["To"], mail["Cc"]) == ("sara@example.org", "omar@example.org")
    assert path.name == f"{mail['Message-ID'].strip('<>').partition('@')[0]}.eml"
    printed = capsys.readouterr().out
    assert "mail to sara@example.org, omar@example.org" in printed
    assert "New status: approved" in printed


async def test_a_known_recipient_is_called_by_name_in_the_language_that_the_settings_give_them(
    app_database: Database, settings_environment: Callable[..., None], request: pytest.FixtureRequest
) -> None:
    settings_environment(MAIL_LOCALES='{"@ar.example.org": "ar"}')
    now = datetime.now(UTC)
    async with DatabaseSessionLocal.begin() as session:
        await session.execute(insert(employee).values(id=1, code=1, name_en="Sara Adel", name_ar="سارة عادل"))
        common = {"user_source": "hris", "created_at": now, "updated_at": now}
        await session.execute(
            insert(user),
            [
                {"id": "1", "username": "sara", "email": "sara@ar.example.org", "employee_id": 1, **common},
                {"id": "2", "username": "omar", "email": "omar@example.org", "employee_id": None, **common},
            ],
        )
    await send({"a": notification(7, 3, "sara@ar.example.org"), "b": notification(7, 3, "omar@example.org")})
    mails = [
        BytesParser(policy=policy.default).parsebytes(path.read_bytes())
        for path in get_settings().mail_folder.iterdir()
    ]
    texts = {mail["To"]: text_of(mail) for mail in mails}
    assert "سارة عادل" in texts["sara@ar.example.org"]
    assert "Hello,\r\n" in texts["omar@example.org"]


async def test_the_password_is_sent_encrypted_and_a_wrong_one_is_explained_without_it(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    with smtp_server("--login", str(certificate)) as server:
        right = SmtpTransport(
            f"smtp+starttls://hr:p%40ss%3Aw%2Frd%25@localhost:{server.port}?ca_file={certificate}", timeout=5
        )
        mail = render(
            notification(1, 1, "sara@example.org"),
            Recipient("en", None),
            sender="hr@example.org",
            message_id="<1@example.org>",
        )
        assert (await right.send(mail)).verdict.value == "taken"
        await right.close()
        assert [(taken["tls"], taken["login"]) for taken in server.taken()] == [(True, True)]

        wrong = SmtpTransport(f"smtp+starttls://hr:wr0ng@localhost:{server.port}?ca_file={certificate}", timeout=5)
        with pytest.raises(MailServerUnreachable, match="does not let 'hr' in") as refusal:
            await wrong.send(mail)
        assert "wr0ng" not in str(refusal.value)
        untrusted = SmtpTransport(f"smtp+starttls://hr:wr0ng@localhost:{server.port}", timeout=5)
        with pytest.raises(MailServerUnreachable, match="no connection to mail server localhost"):
            await untrusted.send(mail)


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def make_certificate(folder: Path) -> Path:
    """A certificate for localhost that signs itself, with its key in the same file."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


async def test_a_database_that_is_away_is_an_error_and_sends_nothing(
    settings_environment: Callable[..., None], mail_server: SmtpServer, request: pytest.FixtureRequest
) -> None:
    settings_environment(MARIA_DATABASE_URL=f"mysql://hr:x@127.0.0.1:{free_port()}/hr", MAIL_URL=mail_server.url)
    to = address("nobody", request)
    with pytest.raises(Exception, match="cannot connect to the application database"):
        await send({"call": notification(1, 1, to)})
    assert mail_server.taken_by(to) == []
    await maria_database.database.dispose()
