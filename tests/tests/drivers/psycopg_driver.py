"""psycopg 3 at the seat, which the PG variables name."""

import threading

import psycopg
from checks import LARGE, OPTIONS, RUNNING, SETTINGS, equal, run, until
from psycopg import sql


def connect(**more):
    return psycopg.connect(autocommit=True, **more)


def value(connection, query, parameters=None):
    return connection.execute(query, parameters).fetchone()[0]


def encryption():
    for mode, encrypted in ((None, True), ("require", True), ("disable", False)):
        with connect(**({"sslmode": mode} if mode else {})) as connection:
            equal(connection.pgconn.ssl_in_use, encrypted)
            equal(value(connection, "SELECT 1"), 1)


def parameters():
    with connect() as connection:
        equal(connection.execute("SELECT %s::int + 1, %s::text[], %b::bytea", (41, ["a", "ü'"], b"\0")).fetchone(), (42, ["a", "ü'"], b"\0"))


def rollback():
    with connect() as connection:
        connection.execute("CREATE TABLE psycopg_rollback (id int PRIMARY KEY)")
        with connection.transaction(force_rollback=True):
            connection.execute("INSERT INTO psycopg_rollback VALUES (1)")
            equal(value(connection, "SELECT count(*) FROM psycopg_rollback"), 1)
        equal(value(connection, "SELECT count(*) FROM psycopg_rollback"), 0)
        with connection.transaction():
            try:
                with connection.transaction():  # A savepoint.
                    connection.execute("INSERT INTO psycopg_rollback VALUES (2), (2)")
            except psycopg.errors.UniqueViolation as error:
                equal((error.sqlstate, error.diag.constraint_name), ("23505", "psycopg_rollback_pkey"))
            connection.execute("INSERT INTO psycopg_rollback VALUES (3)")
        equal(value(connection, "SELECT sum(id) FROM psycopg_rollback"), 3)


def prepared_statements():
    with connect(prepare_threshold=0) as connection:
        for number in range(100):
            equal(value(connection, "SELECT %s::int * 2 AS psycopg_prepared", (number,)), number * 2)
        equal(value(connection, "SELECT count(*) FROM pg_prepared_statements WHERE statement = 'SELECT $1::int * 2 AS psycopg_prepared'"), 1)


def errors():
    with connect() as connection:
        for query, state in (("SELECT 1/0", "22012"), ("SELEC", "42601"), ("TABLE nowhere", "42P01")):
            try:
                connection.execute(query)
            except psycopg.Error as error:
                equal(error.sqlstate, state)
            else:
                raise AssertionError(f"{query} worked")
        equal(value(connection, "SELECT 1"), 1)
    try:
        connect(password="wrong")
    except psycopg.OperationalError as error:
        assert "password authentication failed" in str(error), error
    else:
        raise AssertionError("a wrong password was taken")


def cancel():
    with connect(application_name="psycopg-cancel") as slow, connect() as witness:
        running = lambda: value(witness, RUNNING + "'psycopg-cancel'")
        for request in (slow.cancel, slow.cancel_safe):
            states = []

            def sleep():
                try:
                    slow.execute("SELECT pg_sleep(600)")
                except psycopg.Error as error:
                    states.append(error.sqlstate)

            thread = threading.Thread(target=sleep)
            thread.start()
            until("the query to run", lambda: running() == 1)
            request()
            thread.join(60)
            equal((states, running()), (["57014"], 0))
            # The next query is not what was cancelled.
            equal(value(slow, "SELECT 1"), 1)


def notifications():
    with connect() as listener, connect() as sender:
        listener.execute("LISTEN psycopg_news")
        for payload in ("one", "ü" * 3000):
            sender.execute("SELECT pg_notify('psycopg_news', %s)", (payload,))
            (notice,) = listener.notifies(timeout=60, stop_after=1)
            equal((notice.channel, notice.payload, notice.pid), ("psycopg_news", payload, sender.info.backend_pid))


def copy():
    with connect() as connection:
        connection.execute("CREATE TABLE psycopg_copy (id int, text text)")
        for form in ("text", "binary"):
            form = sql.SQL(form)
            connection.execute("TRUNCATE psycopg_copy")
            with connection.cursor().copy(sql.SQL("COPY psycopg_copy FROM STDIN (FORMAT {})").format(form)) as rows:
                rows.set_types(["int4", "text"])
                for number in range(100_000):
                    rows.write_row((number, f"row {number}\t\\ü"))
            with connection.cursor().copy(sql.SQL("COPY (SELECT * FROM psycopg_copy ORDER BY id) TO STDOUT (FORMAT {})").format(form)) as rows:
                rows.set_types(["int4", "text"])
                for number, row in enumerate(rows.rows()):
                    equal(row, (number, f"row {number}\t\\ü"))
            equal(number, 99_999)
        # One that is given up midway leaves nothing, and a session that works.
        try:
            with connection.cursor().copy("COPY psycopg_copy FROM STDIN") as rows:
                rows.write_row((-1, "never"))
                raise KeyError
        except KeyError:
            pass
        equal(value(connection, "SELECT count(*) FROM psycopg_copy WHERE id < 0"), 0)


def large_values():
    for mode in ("require", "disable"):
        with connect(sslmode=mode) as connection:
            equal(value(connection, "SELECT %b::bytea", (LARGE,)), LARGE)


def cursors():
    with connect() as connection, connection.transaction():
        with connection.cursor("many") as cursor:
            cursor.itersize = 1000
            cursor.execute("SELECT n, repeat('x', 100) FROM generate_series(1, 200000) AS n")
            equal(sum(row[0] for row in cursor), 20_000_100_000)
    with connect() as connection:
        # Row by row, and left in the middle.
        rows = connection.cursor().stream("SELECT n FROM generate_series(1, 1000000) AS n")
        equal([next(rows)[0] for _ in range(3)], [1, 2, 3])
        rows.close()
        equal(value(connection, "SELECT 1"), 1)


def pipelines():
    with connect() as connection, connection.pipeline() as pipeline:
        cursors = [connection.execute("SELECT %s::int * 2", (number,)) for number in range(1000)]
        equal([cursor.fetchone()[0] for cursor in cursors], [number * 2 for number in range(1000)])
        broken = connection.execute("SELECT 1/%s", (0,))
        try:
            pipeline.sync()
            broken.fetchone()
        except psycopg.errors.DivisionByZero:
            pass
        else:
            raise AssertionError("divided by zero")
        equal(value(connection, "SELECT 1"), 1)


def start_up_options():
    with connect(application_name="my ü app", options=OPTIONS, client_encoding="LATIN1") as connection:
        equal((value(connection, "SHOW statement_timeout"), value(connection, "SHOW work_mem")), SETTINGS)
        equal(value(connection, "SHOW client_encoding"), "LATIN1")
        equal(connection.info.parameter_status("server_encoding"), "UTF8")
        equal(value(connection, "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"), "my ?? app")
    with connect(dbname="template1") as connection:
        equal(value(connection, "SELECT current_database()"), "template1")


run(encryption, parameters, rollback, prepared_statements, errors, cancel, notifications, copy, large_values, cursors, pipelines, start_up_options)
