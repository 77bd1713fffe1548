"""Doubt: since when a list that nothing vouches for lacks a submission. Deliveries: those given up, found without a scan."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    failed = sa.text("state = 'failed'")
    op.create_index("delivery_failed", "delivery", ["record_id"], sqlite_where=failed, postgresql_where=failed)
    op.add_column("submission", sa.Column("lacking_since", sa.Float(), nullable=True))
