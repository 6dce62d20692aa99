"""The suite's own table of mails: what each call asked to send, and what became of it.

A row is written before anything is sent and is the only ground on which a mail goes out, so a mail that was taken by
the server never goes out again, whoever asks.
"""

from sqlalchemy import Column, Index, Integer, MetaData, String, Table, Text

from db.columns import LongText, UtcDateTime, exact_text

# Longest key; a Celery task id has 36 characters unless its caller chose one.
KEY_LENGTH = 255

metadata = MetaData()

mail_delivery = Table(
    "mail_delivery",
    metadata,
    Column("key", exact_text(KEY_LENGTH), primary_key=True, comment="the Celery task id, or the flow run's id"),
    Column("message_id", exact_text(255), nullable=False, comment="the mail's Message-ID in all attempts"),
    Column("kind", String(32), nullable=False, comment="notification or status_update"),
    Column("recipient", String(320), nullable=False),
    Column("arguments", LongText, nullable=False, comment="JSON; what the mail is made of"),
    Column("state", String(16), nullable=False, comment="pending, sending, sent, refused or unknown"),
    Column("attempts", Integer, nullable=False, server_default="0", comment="how often it was about to go out"),
    Column("claim", String(36), comment="the process that has it or had it last"),
    Column("claimed_until", UtcDateTime, comment="a mail that is being sent longer than this has lost its process"),
    Column("answer", Text, comment="what the mail server said, or what went wrong"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_mail_delivery_state_updated_at", "state", "updated_at"),
)
