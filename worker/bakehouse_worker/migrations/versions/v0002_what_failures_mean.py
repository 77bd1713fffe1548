"""What failures mean: parked models, canaries, cancellation, the API's request ids, answers that are not what was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("lane", sa.Column("model", sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("job", sa.Column("canary", sa.Integer(), nullable=True))
    op.add_column("record", sa.Column("cancel_asked_at", sa.Float(), nullable=True))
    op.add_column("batch", sa.Column("cancel_asked_at", sa.Float(), nullable=True))
    op.add_column("result", sa.Column("request_id", sa.String(), nullable=True))
    op.create_table(
        "caveat",
        sa.Column("job_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "reason"),
    )
