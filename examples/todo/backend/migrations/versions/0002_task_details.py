"""description, due date and assignee of a task"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("tasks", sa.Column("description", sa.Text))
    op.add_column("tasks", sa.Column("due_on", sa.Date))
    op.add_column("tasks", sa.Column("assignee", sa.String(100)))
    op.create_index("tasks_due_on", "tasks", ["due_on"])


def downgrade():
    op.drop_index("tasks_due_on", "tasks")
    op.drop_column("tasks", "assignee")
    op.drop_column("tasks", "due_on")
    op.drop_column("tasks", "description")
