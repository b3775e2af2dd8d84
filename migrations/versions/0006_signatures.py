"""The signatures that came with an event, a body as the others are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("signatures_salt", "signatures"):
        op.add_column("bodies", sa.Column(column, sa.LargeBinary))


def downgrade() -> None:
    for column in ("signatures", "signatures_salt"):
        op.drop_column("bodies", column)
