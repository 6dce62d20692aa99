"""Give staged employees their block: what the source says again is not staged again.

Revision ID: 0007
"""

from typing import Any

from alembic import op
from sqlalchemy import BigInteger, Boolean, Column, Integer, false

from db.columns import exact_text
from db.schema_check import new_table_options

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "replication_staged_employee"


def upgrade() -> None:
    _create(Column("block", BigInteger, comment="fingerprint of the rows that the source gave this one with"))


def downgrade() -> None:
    _create()


def _create(*more: Column[Any]) -> None:
    # What a replication staged can be staged again.
    op.drop_table(TABLE, if_exists=True)
    options: dict[str, Any] = new_table_options(op.get_bind())
    op.create_table(
        TABLE,
        Column("hris_id", Integer, primary_key=True, autoincrement=False),
        Column("row_no", Integer, primary_key=True, autoincrement=False),
        Column("code", Integer, nullable=False),
        Column("name_en", exact_text(128)),
        Column("name_ar", exact_text(128)),
        Column("title", exact_text(128)),
        Column("department_hris_id", Integer),
        Column("is_refused", Boolean, nullable=False, server_default=false(), comment="set aside by the merge"),
        *more,
        **options,
    )
