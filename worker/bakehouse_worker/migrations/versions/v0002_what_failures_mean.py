"""What failures mean: parked models, canaries, cancellation, the API's request ids, answers that are not what was asked."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

CUT_SHORT = ("refusal", "max_tokens", "pause_turn", "model_context_window_exceeded")
CAVEAT = f"kind = 'succeeded' AND (error_type = 'empty' OR stop_reason IN {CUT_SHORT!r})"
#: What is in the store already is counted once, here; from now on by deltas.
COUNT = f"""
    INSERT INTO caveat (job_id, reason, records)
    SELECT record.job_id, coalesce(result.error_type, result.stop_reason), count(*)
    FROM result JOIN record ON record.id = result.record_id AND record.attempt = result.attempt
    WHERE record.state = 'succeeded' AND {CAVEAT}
    GROUP BY 1, 2
"""  # noqa: S608

ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("lane", sa.Column("model", sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("job", sa.Column("canary", sa.Integer(), nullable=True))
    op.add_column("record", sa.Column("cancel_asked_at", sa.Float(), nullable=True))
    op.add_column("batch", sa.Column("cancel_asked_at", sa.Float(), nullable=True))
    op.add_column("result", sa.Column("request_id", sa.String(), nullable=True))
    op.add_column("body", sa.Column("first_attempt", sa.Integer(), nullable=True))
    where = sa.text(CAVEAT)
    op.create_index("result_caveat", "result", ["record_id", "attempt"], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "caveat",
        sa.Column("job_id", ROW_ID, autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "reason"),
    )
    op.execute(COUNT)
