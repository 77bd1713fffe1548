"""Deliveries found by their lease: neither who takes what is free nor who looks for lost ones walks through all that wait.
Metadata found without the body in front of it."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    there = sa.text("metadata_json IS NOT NULL")
    names = ["record_id", "generation"]
    op.create_index("body_with_metadata", "body", names, sqlite_where=there, postgresql_where=there)
    waiting = sa.text("state = 'waiting'")
    names = ["lease_until", "next_at"]
    op.create_index("delivery_waiting", "delivery", names, sqlite_where=waiting, postgresql_where=waiting)
    op.drop_index("delivery_due", "delivery")  # last: nobody reads deliveries from here to the commit
