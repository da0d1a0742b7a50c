"""reporter of a task, always known

Fails on production: its tasks have no reporter, and there is no default.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.add_column("tasks", sa.Column("reporter", sa.String(100), nullable=False))


def downgrade():
    op.drop_column("tasks", "reporter")
