"""Doubt: since when a list that nothing vouches for lacks a submission."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("submission", sa.Column("lacking_since", sa.Float(), nullable=True))
