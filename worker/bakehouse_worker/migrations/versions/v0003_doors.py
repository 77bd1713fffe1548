"""Doubt: since when a list that nothing vouches for lacks a submission. Deliveries given up, and a job's records
in the order of acceptance, found without a scan or a sort."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_index("record_of_job", "record", ["job_id", "id"])
    failed = sa.text("state = 'failed'")
    op.create_index("delivery_failed", "delivery", ["record_id"], sqlite_where=failed, postgresql_where=failed)
    op.add_column("submission", sa.Column("lacking_since", sa.Float(), nullable=True))
