//! Migrations, and what `check` has to say of each.

/// A migration and its verdict.
pub struct Case {
    /// What it is about.
    pub name: &'static str,
    /// Its SQL; no semicolon but between statements.
    pub migration: &'static str,
    /// Flags of `check`.
    pub options: &'static [&'static str],
    /// The exit code.
    pub code: i32,
    /// Words of the report.
    pub says: &'static [&'static str],
}

/// What the migrations of the project have made so far: all that an empty database has.
pub const SCHEMA: &str = "
    CREATE TABLE users (id bigint PRIMARY KEY, email text, code text);
    CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint, region text, note text, total numeric, status varchar(20));
";

/// What production has besides: a million rows, some of them odd, and what somebody made by hand.
pub const ROWS: &str = "
    INSERT INTO users SELECT n, 'user' || n % 990 || '@example.com', CASE n WHEN 77 THEN 'n/a' ELSE n::text END
        FROM generate_series(1, 1000) AS n;
    INSERT INTO orders SELECT n, CASE n WHEN 500000 THEN 0 ELSE 1 + n % 1000 END, CASE WHEN n % 1000 <> 0 THEN 'eu' END,
        md5(n::text), n, 'open' FROM generate_series(1, 1000000) AS n;
    CREATE VIEW orders_of_eu AS SELECT id, region FROM orders WHERE region = 'eu';
    CREATE FUNCTION region_of(bigint) RETURNS text LANGUAGE sql AS 'SELECT region FROM orders WHERE id = $1';
    ANALYZE users, orders;
";

const fn hurts(
    name: &'static str,
    migration: &'static str,
    code: i32,
    says: &'static [&'static str],
) -> Case {
    Case { name, migration, options: &[], code, says }
}

const fn clean(name: &'static str, migration: &'static str) -> Case {
    Case { name, migration, options: &[], code: 0, says: &["✓ Migration check"] }
}

/// Those that pass on an empty database and fail or hurt in production.
pub const HURTFUL: &[Case] = &[
    hurts(
        "a column that a view needs which nobody remembered",
        "ALTER TABLE orders DROP COLUMN region",
        2,
        &["other objects depend on it (2BP01)", "CASCADE would take it away silently"],
    ),
    hurts(
        "the same by force",
        "ALTER TABLE orders DROP COLUMN region CASCADE",
        1,
        &["view `public.orders_of_eu` gone by CASCADE"],
    ),
    hurts(
        "a column renamed under a function",
        "ALTER TABLE orders RENAME COLUMN region TO area",
        1,
        &["broken function `region_of(bigint)`"],
    ),
    hurts(
        "a backfill in one piece, which times out",
        "SET statement_timeout = '300ms'; UPDATE orders SET note = note || '!'",
        2,
        &["(57014)", "work in batches"],
    ),
    hurts(
        "a backfill in one piece, which keeps rows locked",
        "UPDATE orders SET note = note || '!'",
        1,
        &["would block updates of one row on `orders`", "at a time"],
    ),
    hurts(
        "an index that keeps writers out",
        "CREATE INDEX orders_note ON orders (note, total)",
        1,
        &["would block writers on `orders`", "is not CONCURRENTLY", "`orders` SHARE", ", all rows read"],
    ),
    hurts(
        "a column without a default that must not be null",
        "ALTER TABLE orders ADD COLUMN owner text NOT NULL",
        2,
        &["contains null values (23502)", "1000000 rows have no `owner`"],
    ),
    hurts(
        "a column that is null in some rows and must not be",
        "ALTER TABLE orders ALTER COLUMN region SET NOT NULL",
        2,
        &["(23502)", "1000 rows have no `region`"],
    ),
    hurts(
        "a unique constraint over duplicates",
        "ALTER TABLE users ADD CONSTRAINT users_email UNIQUE (email)",
        2,
        &["(23505)", "20 rows share their (email)"],
    ),
    hurts(
        "a unique index over duplicates",
        "CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email)",
        2,
        &["(23505)", "20 rows share their (email)", "invalid index `users_email`"],
    ),
    hurts(
        "a foreign key over orphans",
        "ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id)",
        2,
        &["(23503)", "1 rows have no partner in users"],
    ),
    hurts(
        "a check that rows break",
        "ALTER TABLE users ADD CONSTRAINT users_code CHECK (code <> 'n/a')",
        2,
        &["(23514)", "1 rows break the check"],
    ),
    hurts(
        "a type that values do not fit",
        "ALTER TABLE users ALTER COLUMN code TYPE bigint USING code::bigint",
        2,
        &["invalid input syntax for type bigint (22P02)"],
    ),
    hurts(
        "a type that writes the whole table anew",
        "ALTER TABLE orders ALTER COLUMN total TYPE text",
        1,
        &["would block", "on `orders`", "writes the whole table anew"],
    ),
    hurts(
        "a validation that keeps everybody out",
        "ALTER TABLE orders ADD CONSTRAINT orders_note CHECK (md5(md5(md5(note || md5(note)))) <> note)",
        1,
        &["would block", "on `orders`", "NOT VALID", ", all rows read"],
    ),
    Case {
        name: "a moment's lock behind somebody's long query",
        migration: "ALTER TABLE users ADD COLUMN phone text",
        options: &["--max-queue", "100ms"],
        code: 1,
        says: &["no lock_timeout: every later read of `users` queues"],
    },
    Case {
        name: "too much write-ahead log",
        migration: "UPDATE orders SET note = note || '!' WHERE id < 50000",
        options: &["--max-wal", "1MB"],
        code: 1,
        says: &["(limit 1.0 MB)"],
    },
];

/// The same intents, done as production wants them.
pub const CLEAN: &[Case] = &[
    clean("a column", "ALTER TABLE orders ADD COLUMN owner text"),
    clean("a column with a default", "ALTER TABLE orders ADD COLUMN owner text NOT NULL DEFAULT 'nobody'"),
    clean("an index", "CREATE INDEX CONCURRENTLY orders_note ON orders (note, total)"),
    clean(
        "a backfill in batches",
        "UPDATE orders SET note = note || '!' WHERE id BETWEEN 1 AND 10000;
         UPDATE orders SET note = note || '!' WHERE id BETWEEN 10001 AND 20000;
         UPDATE orders SET note = note || '!' WHERE id BETWEEN 20001 AND 30000",
    ),
    clean(
        "a check that is validated later",
        "ALTER TABLE orders ADD CONSTRAINT orders_total CHECK (total > 0) NOT VALID;
         ALTER TABLE orders VALIDATE CONSTRAINT orders_total",
    ),
    clean(
        "a column that must not be null",
        "ALTER TABLE orders ADD CONSTRAINT there CHECK (note IS NOT NULL) NOT VALID;
         ALTER TABLE orders VALIDATE CONSTRAINT there; ALTER TABLE orders ALTER COLUMN note SET NOT NULL;
         ALTER TABLE orders DROP CONSTRAINT there",
    ),
    clean(
        "a unique constraint over an index that is there",
        "CREATE UNIQUE INDEX CONCURRENTLY users_code ON users (code);
         ALTER TABLE users ADD CONSTRAINT users_code UNIQUE USING INDEX users_code",
    ),
    clean(
        "a foreign key for new rows, validated when the old ones are mended",
        "ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID;
         UPDATE orders SET user_id = NULL WHERE id = 500000; ALTER TABLE orders VALIDATE CONSTRAINT orders_user",
    ),
    clean("a type that needs no new table", "ALTER TABLE orders ALTER COLUMN status TYPE varchar(40)"),
    clean("a column with a name for each generation", "ALTER TABLE orders ADD COLUMN area text; CREATE VIEW areas AS SELECT id, coalesce(area, region) AS area FROM orders"),
    clean("a new table with everything", "CREATE TABLE notes (id bigint PRIMARY KEY, text text NOT NULL UNIQUE); CREATE INDEX notes_text ON notes (text); INSERT INTO notes SELECT n, n::text FROM generate_series(1, 20000) AS n; ALTER TABLE notes ALTER COLUMN text TYPE varchar(99)"),
    clean(
        "a view that is made anew by its name",
        "DROP VIEW IF EXISTS orders_of_eu; CREATE VIEW orders_of_eu AS SELECT id, region, total FROM orders WHERE region = 'eu'",
    ),
    clean("a type that writes a small table anew", "ALTER TABLE users ALTER COLUMN email TYPE varchar(200)"),
    clean("a backfill in one piece, of a small table", "UPDATE users SET email = lower(email)"),
    clean(
        "a unique constraint, when the duplicates are mended",
        "UPDATE users SET email = id || email; CREATE UNIQUE INDEX CONCURRENTLY users_email ON users (email);
         ALTER TABLE users ADD CONSTRAINT users_email UNIQUE USING INDEX users_email",
    ),
    clean(
        "another type for the values that fit, in a column beside",
        "ALTER TABLE users ADD COLUMN number bigint; UPDATE users SET number = code::bigint WHERE code ~ '^[0-9]+$'",
    ),
    Case {
        name: "a moment's lock that gives up by itself",
        migration: "SET lock_timeout = '50ms'; ALTER TABLE users ADD COLUMN phone text",
        options: &["--max-queue", "800ms"],
        code: 0,
        says: &["gives up; readers of `users` wait"],
    },
];
