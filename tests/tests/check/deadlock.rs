//! Tables that are locked in an order that can deadlock: said by `check`, and true.

use e2e::{Lab, Project};

use super::report;

const TABLES: &str = "CREATE TABLE users (id bigint PRIMARY KEY, email text);
    CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint REFERENCES users, note text);
    INSERT INTO users SELECT n FROM generate_series(1, 100) AS n;
    INSERT INTO orders SELECT n, 1 + n % 100 FROM generate_series(1, 1000) AS n";

const USERS: &str = "ALTER TABLE users ADD COLUMN phone text;\n";
const ORDERS: &str = "ALTER TABLE orders ADD COLUMN total numeric;\n";

/// A statement that is over once a lock of `orders` is there: waited for, or granted.
fn once(is: &str) -> String {
    format!(
        "DO $$ BEGIN WHILE NOT EXISTS (SELECT FROM pg_locks WHERE relation = 'orders'::regclass AND {is}) LOOP
            PERFORM pg_sleep(0.01); END LOOP; END $$;\n"
    )
}

fn psql(project: &Project<'_>, file: &str) -> e2e::Ran {
    project.cargo(&format!("psql -- -Xq -v ON_ERROR_STOP=1 -v VERBOSITY=sqlstate -f {file}"))
}

#[test]
fn an_order_of_locks_that_can_deadlock_is_told_and_does() {
    let lab = Lab::with_embedded();
    let project = lab.project("shop", &[("README.md", "A shop.\n")]);
    project.cargo("init --project-name shop --profile embedded").ok();
    project.production_sql(TABLES);
    let told = |migration: &str| {
        project.write("migration.sql", migration);
        let words = ["--", "psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", "migration.sql"];
        let (ran, report) = report(&project, &[&["--quick"][..], &words].concat());
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        let lines = report["lines"].as_array().unwrap().clone();
        let line = lines.into_iter().find(|line| line["rule"] == "locks").unwrap();
        (line["measured"].as_str().unwrap().to_owned(), ran.stdout)
    };

    // When a migration locks what is referenced before what references it, then it is told.
    let crossing = format!("BEGIN;\n{USERS}{ORDERS}COMMIT;\n");
    let (measured, words) = told(&crossing);
    assert!(measured.contains("`users` before `orders` can deadlock"), "{measured}");
    assert!(words.contains("change `orders` first"), "{words}");
    // When it is the other way round, or in two transactions, then there is nothing to tell.
    for safe in [format!("BEGIN;\n{ORDERS}{USERS}COMMIT;\n"), format!("{USERS}{ORDERS}")] {
        assert!(!told(&safe).0.contains("deadlock"), "{safe}");
    }

    // Given an application that has changed an order and inserts one, when both run, then PostgreSQL ends one of them.
    let application = "BEGIN;\nUPDATE orders SET note = 'x' WHERE id = 1;\n".to_owned()
        + &once("NOT granted")
        + "INSERT INTO orders VALUES (2000, 1);\nCOMMIT;\n";
    let migration =
        format!("{}BEGIN;\n{USERS}{ORDERS}COMMIT;\n", once("granted AND mode = 'RowExclusiveLock'"));
    project.write("application.sql", &application);
    project.write("migration.sql", &migration);
    let (application, migration) = std::thread::scope(|scope| {
        let application = scope.spawn(|| psql(&project, "application.sql"));
        let migration = psql(&project, "migration.sql");
        (application.join().unwrap(), migration)
    });
    let ended = [&application, &migration].map(|one| one.code != Some(0) && one.stderr.contains("40P01"));
    assert_eq!(ended.iter().filter(|ended| **ended).count(), 1, "{application:#?} {migration:#?}");
}
