"""tasks can be archived

Passes on production: the column has a default.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.add_column("tasks", sa.Column("archived", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade():
    op.drop_column("tasks", "archived")
