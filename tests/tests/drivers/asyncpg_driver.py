"""asyncpg at the seat, which the PG variables name."""

import asyncio
import io

import asyncpg
from checks import LARGE, RUNNING, SETTINGS, equal, run


def connect(**more):
    return asyncpg.connect(timeout=60, **more)


async def encryption():
    for mode, encrypted in ((None, True), ("require", True), ("disable", False)):
        connection = await connect(**({"ssl": mode} if mode else {}))
        equal(connection._transport.get_extra_info("ssl_object") is not None, encrypted)
        equal(await connection.fetchval("SELECT 1"), 1)
        await connection.close()


async def parameters():
    connection = await connect()
    row = await connection.fetchrow("SELECT $1::int + 1, $2::text[], $3::bytea", 41, ["a", "ü'"], b"\0")
    equal(tuple(row), (42, ["a", "ü'"], b"\0"))
    await connection.close()


async def rollback():
    connection = await connect()
    await connection.execute("CREATE TABLE asyncpg_rollback (id int PRIMARY KEY)")
    try:
        async with connection.transaction():
            await connection.execute("INSERT INTO asyncpg_rollback VALUES (1)")
            raise KeyError
    except KeyError:
        pass
    equal(await connection.fetchval("SELECT count(*) FROM asyncpg_rollback"), 0)
    async with connection.transaction():
        try:
            async with connection.transaction():  # A savepoint.
                await connection.execute("INSERT INTO asyncpg_rollback VALUES (2), (2)")
        except asyncpg.UniqueViolationError as error:
            equal((error.sqlstate, error.constraint_name), ("23505", "asyncpg_rollback_pkey"))
        await connection.execute("INSERT INTO asyncpg_rollback VALUES (3)")
    equal(await connection.fetchval("SELECT sum(id) FROM asyncpg_rollback"), 3)
    await connection.close()


async def prepared_statements():
    connection = await connect()
    statement = await connection.prepare("SELECT $1::int * 2")
    for number in range(100):
        equal(await statement.fetchval(number), number * 2)
    await connection.executemany("SELECT $1::int", [(number,) for number in range(1000)])
    await connection.close()


async def errors():
    connection = await connect()
    for query, state in (("SELECT 1/0", "22012"), ("SELEC", "42601"), ("TABLE nowhere", "42P01")):
        try:
            await connection.fetch(query)
        except asyncpg.PostgresError as error:
            equal(error.sqlstate, state)
        else:
            raise AssertionError(f"{query} worked")
    equal(await connection.fetchval("SELECT 1"), 1)
    await connection.close()
    try:
        await connect(password="wrong")
    except asyncpg.InvalidPasswordError as error:
        equal(error.sqlstate, "28P01")
    else:
        raise AssertionError("a wrong password was taken")


async def cancel():
    witness = await connect()
    for mode in ("require", "disable"):
        slow = await connect(ssl=mode, server_settings={"application_name": "asyncpg-cancel"})
        # One that times out is cancelled; the next query on the session must not be hit, however often.
        for _ in range(50):
            try:
                await slow.fetchval("SELECT pg_sleep(600)", timeout=0.01)
            except asyncio.TimeoutError:
                pass
            else:
                raise AssertionError("slept")
            equal(await slow.fetchval("SELECT 1"), 1)
        equal(await witness.fetchval(RUNNING + "'asyncpg-cancel'"), 0)
        await slow.close()
    await witness.close()


async def notifications():
    listener, sender = await connect(), await connect()
    heard = asyncio.Queue()
    await listener.add_listener("asyncpg_news", lambda _, pid, channel, payload: heard.put_nowait((pid, channel, payload)))
    for payload in ("one", "ü" * 3000):
        await sender.execute("SELECT pg_notify('asyncpg_news', $1)", payload)
        equal(await asyncio.wait_for(heard.get(), 60), (sender.get_server_pid(), "asyncpg_news", payload))
    await listener.close()
    await sender.close()


async def copy():
    connection = await connect()
    await connection.execute("CREATE TABLE asyncpg_copy (id int, text text)")
    records = [(number, f"row {number}\t\\ü") for number in range(100_000)]
    equal(await connection.copy_records_to_table("asyncpg_copy", records=records), "COPY 100000")
    equal([tuple(row) for row in await connection.fetch("SELECT * FROM asyncpg_copy ORDER BY id")], records)
    out = io.BytesIO()
    equal(await connection.copy_from_query("SELECT * FROM asyncpg_copy ORDER BY id", output=out), "COPY 100000")
    await connection.execute("TRUNCATE asyncpg_copy")
    again = io.BytesIO()
    equal(await connection.copy_to_table("asyncpg_copy", source=io.BytesIO(out.getvalue())), "COPY 100000")
    await connection.copy_from_query("SELECT * FROM asyncpg_copy ORDER BY id", output=again)
    equal(again.getvalue(), out.getvalue())
    await connection.close()


async def large_values():
    for mode in ("require", "disable"):
        connection = await connect(ssl=mode)
        equal(await connection.fetchval("SELECT $1::bytea", LARGE), LARGE)
        await connection.close()


async def cursors():
    connection = await connect()
    total = 0
    async with connection.transaction():
        async for row in connection.cursor("SELECT n, repeat('x', 100) FROM generate_series(1, 200000) AS n", prefetch=1000):
            total += row[0]
    equal(total, 20_000_100_000)
    await connection.close()


async def pipelines():
    # asyncpg sends the rows of executemany without waiting for each; and a pool's sessions run side by side.
    async with asyncpg.create_pool(min_size=10, max_size=10, timeout=60) as pool:
        equal(await asyncio.gather(*(pool.fetchval("SELECT $1::int * 2", number) for number in range(1000))), [number * 2 for number in range(1000)])
        await pool.execute("CREATE TABLE asyncpg_many (id int)")
        await pool.executemany("INSERT INTO asyncpg_many VALUES ($1)", [(number,) for number in range(50_000)])
        equal(await pool.fetchval("SELECT sum(id) FROM asyncpg_many"), 1_249_975_000)


async def start_up_options():
    settings = {"application_name": "my app", "statement_timeout": "54321", "work_mem": "7MB"}
    connection = await connect(server_settings=settings)
    equal((await connection.fetchval("SHOW statement_timeout"), await connection.fetchval("SHOW work_mem")), SETTINGS)
    equal(await connection.fetchval("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"), "my app")
    equal(connection.get_settings().server_encoding, "UTF8")
    await connection.close()
    connection = await connect(database="template1")
    equal(await connection.fetchval("SELECT current_database()"), "template1")
    await connection.close()


run(encryption, parameters, rollback, prepared_statements, errors, cancel, notifications, copy, large_values, cursors, pipelines, start_up_options)
