"""The tables, as the newest migration leaves them."""

import datetime

from sqlalchemy import BigInteger, CheckConstraint, Date, DateTime, Identity, Index, SmallInteger, String, Text, false, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Task(Base):
    __tablename__ = "tasks"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    done: Mapped[bool] = mapped_column(default=False, server_default=false())
    created_at: Mapped[datetime.datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    description: Mapped[str | None] = mapped_column(Text)
    due_on: Mapped[datetime.date | None] = mapped_column(Date)
    assignee: Mapped[str | None] = mapped_column(String(100))
    priority: Mapped[int] = mapped_column(SmallInteger, default=2, server_default="2")

    __table_args__ = (
        Index("tasks_due_on", "due_on"),
        CheckConstraint("priority BETWEEN 1 AND 3", name="tasks_priority_known"),
    )

    def as_json(self) -> dict:
        return {
            "id": self.id,
            "title": self.title,
            "done": self.done,
            "priority": self.priority,
            "description": self.description,
            "due_on": self.due_on.isoformat() if self.due_on else None,
            "assignee": self.assignee,
            "created_at": self.created_at.isoformat(),
        }
