"""The table that says which worker has which run, so that runs of a machine that is gone are found by another one."""

from sqlalchemy import Column, Index, MetaData, String, Table

from db.columns import UtcDateTime, exact_text

metadata = MetaData()

flow_run_lease = Table(
    "flow_run_lease",
    metadata,
    Column("flow_run_id", exact_text(36), primary_key=True),
    Column("work_pool_id", exact_text(36), nullable=False),
    Column("token", exact_text(36), nullable=False, comment="another one with each holder; who has it may write"),
    Column("holder", String(255), nullable=False, comment="the worker"),
    Column("host_name", String(255), nullable=False),
    Column("expires_at", UtcDateTime, comment="null: nobody has the run"),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("ix_flow_run_lease_expires_at", "expires_at"),
)
