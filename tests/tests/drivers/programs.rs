//! PostgreSQL's own programs at the seat: psql, COPY of a file, dump and restore, pgbench.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::ways::{Server, Ways};

/// Rows and bytes of the large COPY.
const ROWS: u64 = 2_300_000;
const BYTES: u64 = 200 * 1024 * 1024;
/// Clients and transactions of each of pgbench's.
const CLIENTS: u32 = 4;
const TRANSACTIONS: u32 = 500;

/// The arguments of a psql that runs these one after the other in one session, whatever each of them does.
fn psql<'a>(commands: &[&'a str]) -> Vec<&'a str> {
    let commands = commands.iter().flat_map(|command| ["-c", command]);
    ["-XAtq"].into_iter().chain(commands).collect()
}

#[test]
fn psql_has_all_it_has_at_a_database() {
    let ways = Ways::shared();
    // Encryption as the client wants it.
    for (mode, encrypted) in [(None, true), (Some("require"), true), (Some("disable"), false)] {
        let server = mode.map_or(ways.through.clone(), |mode| ways.through.with("PGSSLMODE", mode));
        let said = ways.run(&server, "psql", &["-XAt", "-c", "\\conninfo", "-c", "SELECT 1"]).ok().stdout;
        assert_eq!(said.contains("TLSv1."), encrypted, "{mode:?}: {said}");
        assert!(said.ends_with("\n1\n"), "{mode:?}: {said}");
    }

    // A transaction that is rolled back, and a variable in a statement.
    let commands = [
        "CREATE TABLE psql_rows (id int PRIMARY KEY, text text)",
        "BEGIN; INSERT INTO psql_rows VALUES (1, 'gone'); ROLLBACK",
        "INSERT INTO psql_rows VALUES (2, 'it''s')",
        "PREPARE one (int) AS SELECT text FROM psql_rows WHERE id = $1",
        "EXECUTE one (2)",
        "SELECT count(*) FROM psql_rows",
    ];
    assert_eq!(ways.run(&ways.through, "psql", &psql(&commands)).ok().stdout, "it's\n1\n");

    // An error with its code and place, after which the session goes on.
    let commands = ["\\set VERBOSITY verbose", "SELECT nothing", "SELECT 'on'"];
    let failed = ways.run(&ways.through, "psql", &psql(&commands));
    assert_eq!(failed.stdout, "on\n");
    for words in ["ERROR:  42703: column \"nothing\" does not exist", "LINE 1: SELECT nothing"] {
        assert!(failed.stderr.contains(words), "{failed:#?}");
    }

    // What one session notifies, another hears.
    let commands = ["LISTEN psql_news", "\\! psql -XAtqc \"NOTIFY psql_news, 'hello'\"", "SELECT 1"];
    let heard = ways.run(&ways.through, "psql", &psql(&commands)).ok().stdout;
    assert!(heard.contains("\"psql_news\" with payload \"hello\" received from server process"), "{heard}");

    // Start-up options arrive.
    let server = ways.through.with("PGAPPNAME", "my app").with("PGOPTIONS", "-c statement_timeout=54321");
    let shown = "SELECT current_setting('application_name'), current_setting('statement_timeout')";
    assert_eq!(ways.sql(&server, shown), "my app|54321ms");

    // Many rows by a cursor, and one large value.
    let commands = ["\\set FETCH_COUNT 1000", "SELECT generate_series(1, 200000)"];
    assert_eq!(ways.run(&ways.through, "psql", &psql(&commands)).ok().stdout.lines().count(), 200_000);
    assert_eq!(ways.sql(&ways.through, "SELECT repeat('x', 20000000)").len(), 20_000_000);
}

#[test]
fn an_interrupted_psql_ends_its_query_at_the_branch() {
    let ways = Ways::shared();
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql-cancel' AND state = 'active'";
    for mode in ["require", "disable"] {
        // Given a query that would take ten minutes.
        let server = ways.through.with("PGSSLMODE", mode).with("PGAPPNAME", "psql-cancel");
        let mut command = ways.command(&server, "psql", &["-Xc", "SELECT pg_sleep(600)"]);
        let mut slow =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while ways.sql(&ways.direct, running) != "1" {
            assert!(Instant::now() < until, "the query does not run");
        }
        // When it is interrupted, then it ends, and not only here.
        kill(Pid::from_raw(i32::try_from(slow.id()).unwrap()), Signal::SIGINT).unwrap();
        let mut said = String::new();
        slow.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        slow.wait().unwrap();
        assert!(said.contains("canceling statement due to user request"), "{said}");
        assert_eq!(ways.sql(&ways.direct, running), "0");
    }
}

/// Text that no compression makes small, the same at every run.
fn write_rows(path: &Path) {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for row in 0..ROWS {
        write!(file, "{row}\t").unwrap();
        for _ in 0..5 {
            // xorshift64.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            write!(file, "{state:016x}").unwrap();
        }
        writeln!(file, "\tü\\\\N'").unwrap();
    }
    file.flush().unwrap();
}

fn same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let read = one.read(&mut left).unwrap();
        if read == 0 {
            return other.read(&mut right).unwrap() == 0;
        }
        if other.read_exact(&mut right[..read]).is_err() || left[..read] != right[..read] {
            return false;
        }
    }
}

#[test]
fn two_hundred_megabytes_are_copied_in_and_out_unchanged() {
    // Given a file of more than 200 MB.
    let ways = Ways::shared();
    let [rows, through, direct] =
        ["rows", "through", "direct"].map(|name| ways.lab.path(&format!("projects/copy-{name}")));
    write_rows(&rows);
    let size = fs::metadata(&rows).unwrap().len();
    assert!(size >= BYTES, "{size}");
    let sum = "SELECT count(*), sum(hashtextextended(copied::text, 0)) FROM copied";
    let out = |server: &Server, path: &Path| {
        let copy = format!("\\copy (SELECT * FROM copied ORDER BY id) TO '{}'", path.display());
        ways.sql(server, &copy);
    };

    // When it is copied in through the gateway, then the branch itself has the same rows.
    ways.sql(&ways.through, "CREATE UNLOGGED TABLE copied (id bigint, text text, note text)");
    let began = Instant::now();
    ways.sql(&ways.through, &format!("\\copy copied FROM '{}'", rows.display()));
    let there = began.elapsed();
    assert_eq!(ways.sql(&ways.through, sum), ways.sql(&ways.direct, sum));
    out(&ways.direct, &direct);
    assert!(same(&rows, &direct), "what the branch has is not what was copied in");

    // And copied out through the gateway it is the same again, with and without encryption.
    for mode in ["require", "disable"] {
        let began = Instant::now();
        out(&ways.through.with("PGSSLMODE", mode), &through);
        let back = began.elapsed();
        assert!(same(&rows, &through), "what came out is not what is there ({mode})");
        println!("COPY of {} MB: in {there:.1?}, out {back:.1?} ({mode})", size >> 20);
    }
    ways.sql(&ways.direct, "DROP TABLE copied");
    for path in [rows, through, direct] {
        fs::remove_file(path).unwrap();
    }
}

/// A database with some of everything that a dump has to carry.
const SCHEMA: &str = "
    CREATE TYPE state AS ENUM ('open', 'done');
    CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE NOT NULL);
    CREATE TABLE tasks (
        id bigserial PRIMARY KEY, person int NOT NULL REFERENCES people ON DELETE CASCADE,
        state state NOT NULL DEFAULT 'open', title text CHECK (title <> ''), body bytea, at timestamptz
    );
    CREATE INDEX ON tasks (person, at) WHERE state = 'open';
    CREATE VIEW open_tasks AS SELECT * FROM tasks WHERE state = 'open';
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := coalesce(NEW.at, now()); RETURN NEW; END $$;
    CREATE TRIGGER touched BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE TABLE events (at date NOT NULL, what jsonb) PARTITION BY RANGE (at);
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    COMMENT ON TABLE people IS 'who is who';
    INSERT INTO people (name) SELECT 'person ' || n FROM generate_series(1, 1000) AS n;
    INSERT INTO tasks (person, title, body, at)
        SELECT 1 + n % 1000, 'task ü ' || n, decode(md5(n::text), 'hex'), '2026-01-01'::timestamptz + n * interval '1 s'
        FROM generate_series(1, 100000) AS n;
    INSERT INTO events SELECT '2026-01-01'::date + n % 365, jsonb_build_object('n', n) FROM generate_series(1, 20000) AS n;
    SELECT lo_from_bytea(4711, decode(repeat('cafe', 100000), 'hex'));
";

#[test]
fn a_dump_through_the_gateway_is_the_direct_one_and_can_be_restored_through_it() {
    let ways = Ways::shared();
    let through = |database: &str| ways.through.with("PGDATABASE", database);
    let direct = |database: &str| ways.direct.with("PGDATABASE", database);
    // As text, without the key that newer versions draw anew for each dump.
    let text = |server: &Server| {
        let dump = ways.run(server, "pg_dump", &[]).ok().stdout;
        let lines = dump.lines().filter(|line| !line.contains("restrict "));
        lines.fold(String::new(), |text, line| text + line + "\n")
    };
    let folder = ways.lab.path("projects/dumps");
    fs::create_dir(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();

    // Given a database of the branch, known to the gateway by its own name.
    ways.sql(&ways.through, "CREATE DATABASE dumped");
    ways.sql(&through("dumped"), SCHEMA);
    let wanted = text(&direct("dumped"));
    assert!(wanted.len() > 5_000_000, "{}", wanted.len());

    // When it is dumped through the gateway, in every format, and restored through it.
    assert!(text(&through("dumped")) == wanted, "the dumps differ");
    let (custom, directory) = (file("custom"), file("directory"));
    ways.run(&through("dumped"), "pg_dump", &["-Fc", "-f", &custom]).ok();
    ways.run(&through("dumped"), "pg_dump", &["-Fd", "-j", "2", "-f", &directory]).ok();
    for (database, dump) in [("restored_custom", custom), ("restored_directory", directory)] {
        ways.sql(&ways.through, &format!("CREATE DATABASE {database}"));
        let restore = ["--exit-on-error", "-j", "2", "-d", database, &dump];
        ways.run(&through(database), "pg_restore", &restore).ok();
        // Then there is the same, as the branch itself tells it.
        assert!(text(&direct(database)) == wanted, "{database} differs");
    }
}

#[test]
fn pgbench_keeps_its_books_in_every_query_mode() {
    let ways = Ways::shared();
    ways.sql(&ways.through, "CREATE DATABASE bench");
    let server = ways.through.with("PGDATABASE", "bench");
    ways.run(&server, "pgbench", &["--initialize", "--quiet", "--scale", "4"]).ok();
    let (clients, each) = (CLIENTS.to_string(), TRANSACTIONS.to_string());
    let all = CLIENTS * TRANSACTIONS;
    for mode in ["simple", "extended", "prepared"] {
        let run = ["-M", mode, "-c", &clients, "-j", "2", "-t", &each, "--no-vacuum"];
        let said = ways.run(&server, "pgbench", &run).ok().stdout;
        assert!(
            said.contains(&format!("number of transactions actually processed: {all}/{all}\n")),
            "{said}"
        );
        // PostgreSQL 15 and later count them; before, one that fails ends its client.
        assert!(!said.contains("failed transactions:") || said.contains("failed transactions: 0 "), "{said}");
        let tps = said.lines().find(|line| line.starts_with("tps")).unwrap_or_default();
        println!("pgbench -M {mode}: {tps}");
    }
    let books =
        "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT sum(bbalance) FROM pgbench_branches) = (SELECT sum(delta) FROM pgbench_history),
        (SELECT count(*) FROM pgbench_history)";
    assert_eq!(ways.sql(&ways.direct.with("PGDATABASE", "bench"), books), format!("t|t|t|{}", 3 * all));
}
