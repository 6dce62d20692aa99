"""Column types that mean the same on MariaDB and SQLite."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import DateTime, String, Text, TypeDecorator
from sqlalchemy.dialects import mysql


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, stored as naive UTC, given back aware.

    A naive value is taken for UTC, as the tables' other writers mean it.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        """Keep microseconds on MariaDB, whose default drops them."""
        return dialect.type_descriptor(mysql.DATETIME(fsp=6) if dialect.name == "mysql" else DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Turn an aware time into naive UTC."""
        if value is None or value.tzinfo is None:
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Give the time back as UTC."""
        return value if value is None else value.replace(tzinfo=UTC)


def account_name(length: int) -> String:
    """A name that is compared without regard to case, as MariaDB's default collation does."""
    return String(length).with_variant(String(length, collation="NOCASE"), "sqlite")


def exact_text(length: int) -> String:
    """A text that is compared to the letter: on MariaDB a binary collation, so that a change of case is a change."""
    return String(length).with_variant(mysql.VARCHAR(length, collation="utf8mb4_bin"), "mysql")


LongText = Text().with_variant(mysql.LONGTEXT(), "mysql")
