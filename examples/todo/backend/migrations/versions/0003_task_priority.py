"""priority of a task

Not released yet: production is at 0002 (see ../../../production), so on a branch this one runs against production's rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade():
    op.add_column("tasks", sa.Column("priority", sa.SmallInteger, nullable=False, server_default="2"))
    op.create_check_constraint("tasks_priority_known", "tasks", "priority BETWEEN 1 AND 3")


def downgrade():
    op.drop_column("tasks", "priority")
