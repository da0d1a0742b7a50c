"""SQLAlchemy at the seat, which the PG variables name: the ORM on psycopg, and its async side on asyncpg."""

import asyncio

import sqlalchemy as sa
from checks import LARGE, OPTIONS, SETTINGS, equal, run
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "sqlalchemy_authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="selectin")


class Book(Base):
    __tablename__ = "sqlalchemy_books"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    cover: Mapped[bytes | None]
    author_id: Mapped[int] = mapped_column(sa.ForeignKey("sqlalchemy_authors.id"))
    author: Mapped[Author] = relationship(back_populates="books")


def engine(**connect):
    return sa.create_engine("postgresql+psycopg://", connect_args=connect, pool_pre_ping=True)


def encryption():
    for mode, encrypted in ((None, True), ("require", True), ("disable", False)):
        with engine(**({"sslmode": mode} if mode else {})).connect() as connection:
            equal(connection.connection.driver_connection.pgconn.ssl_in_use, encrypted)


def parameters():
    with engine().connect() as connection:
        equal(connection.scalar(sa.text("SELECT CAST(:n AS int) + 1"), {"n": 41}), 42)


def rollback():
    here = engine()
    Base.metadata.create_all(here)
    with Session(here) as session:
        session.add(Author(name="Ada", books=[Book(title="Notes"), Book(title="Letters")]))
        session.rollback()
        equal(session.scalar(sa.select(sa.func.count(Author.id))), 0)
        session.add(Author(name="Ada", books=[Book(title="Notes"), Book(title="Letters")]))
        session.commit()
        with session.begin_nested() as savepoint:
            session.add(Author(name="Grace"))
            session.flush()
            savepoint.rollback()
        (author,) = session.scalars(sa.select(Author)).all()
        equal((author.name, sorted(book.title for book in author.books)), ("Ada", ["Letters", "Notes"]))


def errors():
    with Session(engine()) as session:
        session.add(Author(name="Ada"))
        try:
            session.commit()
        except sa.exc.IntegrityError as error:
            equal(error.orig.sqlstate, "23505")
        else:
            raise AssertionError("two of one name")
        session.rollback()
        equal(session.scalar(sa.select(sa.func.count(Author.id))), 1)


def large_values():
    with Session(engine()) as session:
        author = session.scalars(sa.select(Author)).one()
        session.add(Book(title="Atlas", cover=LARGE, author=author))
        session.commit()
        session.expunge_all()
        equal(session.scalars(sa.select(Book).where(Book.title == "Atlas")).one().cover, LARGE)


def cursors():
    rows = sa.select(sa.func.generate_series(1, 200_000).column_valued("n"))
    with engine().connect().execution_options(yield_per=1000) as connection:
        equal(sum(row[0] for row in connection.execute(rows)), 20_000_100_000)


def reflection():
    metadata = sa.MetaData()
    metadata.reflect(engine(), only=lambda name, _: name.startswith("sqlalchemy_"))
    equal(sorted(metadata.tables), ["sqlalchemy_authors", "sqlalchemy_books"])
    (key,) = metadata.tables["sqlalchemy_books"].foreign_keys
    equal(key.target_fullname, "sqlalchemy_authors.id")


async def async_sessions():
    here = create_async_engine("postgresql+asyncpg://", pool_size=5, max_overflow=0, pool_timeout=300)

    async def books():
        async with AsyncSession(here) as session:
            return (await session.scalars(sa.select(Author))).one().name

    equal(await asyncio.gather(*(books() for _ in range(50))), ["Ada"] * 50)
    async with here.connect() as connection:
        total = 0
        async for row in await connection.stream(sa.text("SELECT generate_series(1, 10000)")):
            total += row[0]
        equal(total, 50_005_000)
    await here.dispose()


def start_up_options():
    with engine(application_name="my app", options=OPTIONS).connect() as connection:
        show = lambda name: connection.scalar(sa.text(f"SHOW {name}"))
        equal((show("statement_timeout"), show("work_mem"), show("application_name")), (*SETTINGS, "my app"))


run(encryption, parameters, rollback, errors, large_values, cursors, reflection, async_sessions, start_up_options)
