"""What became of each mail: the states of `mail_delivery`, and who may change them.

    pending -> sending -> sent
                       -> refused   the server will never take it
                       -> pending   not now; a retry may send it
                       -> unknown   nobody knows whether the server took it; sent again only on purpose

A mail is sent by whoever has turned its row from pending to sending, which the database lets only one do. Who sends
keeps saying so (`extend`); a row of which nobody has said so for a while has lost its process and becomes unknown.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Row, Update, bindparam, case, insert, select, update
from sqlalchemy.dialects import mysql, sqlite
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from db.mail import KEY_LENGTH, mail_delivery
from errors import InvalidArgument, NotFound
from hr.mail.notices import Notice

State = Literal["pending", "sending", "sent", "refused", "unknown"]
CLAIM_SECONDS = 20.0
EXTEND_SECONDS = 5.0
LOST = "its process was lost while it was being sent"
KEYS_AT_ONCE = 1_000


@dataclass(frozen=True)
class Delivery:
    """What is known of a mail.

    Attributes:
        key: Whose mail it is: a Celery task id or a flow run id.
        state: Its state.
        message_id: Its Message-ID.
        answer: What the mail server said, or what went wrong.
        claimed_until: Until when its process has said it will be sending it.
    """

    key: str
    state: State
    message_id: str
    answer: str | None
    claimed_until: datetime | None

    def has_lost_its_process(self, now: datetime) -> bool:
        """Whether it was being sent and nobody has said for long that it still is."""
        return self.state == "sending" and (self.claimed_until is None or self.claimed_until < now)


async def register(session: AsyncSession, notices: Mapping[str, Notice], domain: str) -> dict[str, Delivery]:
    """Remember mails before they go out; those that are remembered already stay as they are.

    Args:
        session: Of the application database, in a transaction.
        notices: The mails by key.
        domain: What the Message-IDs end with.

    Returns:
        What is known of all of them, by key.

    Raises:
        InvalidArgument: A key is too long.
    """
    now = datetime.now(UTC)
    rows = [
        {
            "key": _check_key(key),
            "message_id": f"<{sha256(key.encode()).hexdigest()[:32]}@{domain}>",
            "kind": notice.kind,
            "recipient": notice.recipient,
            "arguments": notice.to_json(),
            "state": "pending",
            "created_at": now,
            "updated_at": now,
        }
        for key, notice in sorted(notices.items())
    ]
    if rows:
        await session.execute(_insert_unless_present(session), rows)
    return await read(session, list(notices))


async def read(session: AsyncSession, keys: Sequence[str]) -> dict[str, Delivery]:
    """Give what is known of mails, by key."""
    table = mail_delivery
    columns = (table.c.key, table.c.state, table.c.message_id, table.c.answer, table.c.claimed_until)
    found = {}
    for start in range(0, len(keys), KEYS_AT_ONCE):
        page = keys[start : start + KEYS_AT_ONCE]
        for row in await session.execute(select(*columns).where(table.c.key.in_(page))):
            found[row.key] = Delivery(*row)
    return found


async def claim(session: AsyncSession, keys: Collection[str], owner: str) -> set[str]:
    """Turn pending mails into mails that this process is sending.

    Args:
        session: Of the application database, in a transaction; the mails may be sent once it is committed.
        keys: The mails' keys.
        owner: The process's own id.

    Returns:
        The keys that were claimed; the others are no longer pending.
    """
    table = mail_delivery
    now = datetime.now(UTC)
    claimed: CursorResult[Any] = await session.execute(  # type: ignore[assignment]
        _claiming(), {"keys": list(keys), "owner": owner, "now": now, "until": now + timedelta(seconds=CLAIM_SECONDS)}
    )
    if claimed.rowcount == len(keys):
        return set(keys)
    mine = select(table.c.key).where(table.c.key.in_(keys), table.c.state == "sending", table.c.claim == owner)
    return set(await session.scalars(mine))


async def record(session: AsyncSession, ends: Mapping[str, tuple[State, str]], owner: str) -> None:
    """Note how the sending of mails ended.

    A row that was taken for lost meanwhile is set right.

    Args:
        session: Of the application database, in a transaction.
        ends: The new state, and what the server said, by key.
        owner: The process that sent them.
    """
    if not ends:
        return
    values: dict[str, Any] = {"owner": owner, "now": datetime.now(UTC)}
    for number, (key, (state, answer)) in enumerate(sorted(ends.items())):
        values |= {f"mail_{number}": key, f"end_{number}": state, f"said_{number}": answer}
    await session.execute(_recording(len(ends)), values)


async def extend(session: AsyncSession, owner: str) -> None:
    """Say that this process is still sending what it claimed."""
    table = mail_delivery
    until = datetime.now(UTC) + timedelta(seconds=CLAIM_SECONDS)
    await session.execute(
        update(table).where(table.c.claim == owner, table.c.state == "sending").values(claimed_until=until)
    )


async def give_up_lost(session: AsyncSession) -> int:
    """Turn mails whose process was lost while it sent them into unknown ones; gives their number."""
    table = mail_delivery
    now = datetime.now(UTC)
    lost: CursorResult[Any] = await session.execute(  # type: ignore[assignment]
        update(table)
        .where(table.c.state == "sending", table.c.claimed_until < now)
        .values(state="unknown", answer=LOST, claimed_until=None, updated_at=now)
    )
    return lost.rowcount


async def list_in_state(session: AsyncSession, state: State, limit: int) -> list[Row[Any]]:
    """Give mails in a state, those that changed last first.

    Args:
        session: Of the application database.
        state: The state.
        limit: How many at most.

    Returns:
        Rows of `mail_delivery`.
    """
    table = mail_delivery
    query = select(table).where(table.c.state == state).order_by(table.c.updated_at.desc(), table.c.key).limit(limit)
    return list(await session.execute(query))


async def reopen(session: AsyncSession, keys: Sequence[str]) -> dict[str, Notice]:
    """Let mails be sent again on purpose: unknown ones, and those that were put off and that no call asks for any more.

    Args:
        session: Of the application database, in a transaction.
        keys: The mails' keys.

    Returns:
        Their notices by key.

    Raises:
        NotFound: A mail is not remembered, was sent, was refused, or is being sent; nothing is reopened then.
    """
    table = mail_delivery
    is_asked_for = table.c.key.in_(keys)
    rows = {row.key: row for row in await session.execute(select(table).where(is_asked_for).with_for_update())}
    reopenable = {"unknown", "pending"}
    wrong = {key: rows[key].state if key in rows else "not remembered" for key in keys}
    wrong = {key: state for key, state in wrong.items() if state not in reopenable}
    if wrong:
        told = ", ".join(f"{key!r} is {state}" for key, state in wrong.items())
        raise NotFound(
            f"only mails that are unknown or pending can be sent again: {told}. See `python -m hr.mail list`"
        )
    reopened = update(table).where(is_asked_for, table.c.state == "unknown")
    await session.execute(reopened.values(state="pending", updated_at=datetime.now(UTC)))
    return {key: Notice.from_json(row.arguments) for key, row in rows.items()}


# Windows of mails are claimed and recorded by the hundred: to build their statements takes longer than to run them.
@cache
def _claiming() -> Update:
    """Give the statement that claims the mails `keys`."""
    table = mail_delivery
    return (
        update(table)
        .where(table.c.key.in_(bindparam("keys", expanding=True)), table.c.state == "pending")
        .values(
            state="sending",
            claim=bindparam("owner"),
            claimed_until=bindparam("until", type_=table.c.claimed_until.type),
            attempts=table.c.attempts + 1,
            updated_at=bindparam("now", type_=table.c.updated_at.type),
        )
    )


@lru_cache(maxsize=32)
def _recording(number: int) -> Update:
    """Give the statement that notes the ends of so many mails: `mail_0`, `end_0`, `said_0` and so on."""
    table = mail_delivery
    keys = [bindparam(f"mail_{place}", type_=table.c.key.type) for place in range(number)]
    states = [(key, bindparam(f"end_{place}", type_=table.c.state.type)) for place, key in enumerate(keys)]
    answers = [(key, bindparam(f"said_{place}", type_=table.c.answer.type)) for place, key in enumerate(keys)]
    return (
        update(table)
        .where(table.c.key.in_(keys), table.c.claim == bindparam("owner"), table.c.state.in_(["sending", "unknown"]))
        .values(
            state=case(*states, value=table.c.key),
            answer=case(*answers, value=table.c.key),
            claimed_until=None,
            updated_at=bindparam("now", type_=table.c.updated_at.type),
        )
    )


def _check_key(key: str) -> str:
    if len(key) > KEY_LENGTH:
        raise InvalidArgument(f"the task id {key[:40]!r}… has {len(key)} characters, at most {KEY_LENGTH} are kept")
    return key


def _insert_unless_present(session: AsyncSession) -> Any:
    if session.get_bind().dialect.name == "mysql":
        statement = mysql.insert(mail_delivery)
        return statement.on_duplicate_key_update(key=statement.inserted.key)
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(mail_delivery).on_conflict_do_nothing()
    return insert(mail_delivery)
