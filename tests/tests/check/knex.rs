//! Knex: found by its file and run, with the queries of the application that it is of.

use e2e::{Lab, tools};

use super::report;

const KNEXFILE: &str = "module.exports = {
  client: 'pg',
  connection: process.env.DATABASE_URL,
  migrations: { directory: 'migrations' },
};
";

fn migration(up: &str, down: &str) -> String {
    format!("exports.up = (knex) => {up};\nexports.down = (knex) => {down};\n")
}

#[test]
fn knex_is_found_and_run() {
    let lab = Lab::with_embedded();
    let modules = tools::node_modules(&lab, "check-node", "knex@3.3.0\npg@8.23.1");
    let first = migration(
        "knex.schema.createTable('orders', (t) => { t.bigInteger('id').primary(); t.text('region'); })",
        "knex.schema.dropTable('orders')",
    );
    let project = lab.project(
        "shop",
        &[
            ("knexfile.js", KNEXFILE),
            ("package.json", "{}\n"),
            (".gitignore", "node_modules\n"),
            ("migrations/20260101000000_orders.js", &first),
        ],
    );
    std::os::unix::fs::symlink(modules, project.folder.join("node_modules")).unwrap();
    project.cargo("init --project-name shop --profile embedded").ok();
    project.commit("The shop");
    // given a production that Knex has made, with rows
    project.production_sql(
        "CREATE TABLE knex_migrations (id serial PRIMARY KEY, name varchar(255), batch integer, migration_time timestamptz);
         CREATE TABLE knex_migrations_lock (index serial PRIMARY KEY, is_locked integer);
         INSERT INTO knex_migrations (name, batch, migration_time) VALUES ('20260101000000_orders.js', 1, now());
         INSERT INTO knex_migrations_lock (is_locked) VALUES (0);
         CREATE TABLE orders (id bigint PRIMARY KEY, region text); INSERT INTO orders SELECT n, NULL FROM generate_series(1, 5) AS n",
    );
    project.write("queries.sql", "SELECT region FROM orders WHERE id = $1;\n");
    // when a migration is clean, then it passes
    let second = "migrations/20260102000000_note.js";
    let table = |change: &str| format!("knex.schema.alterTable('orders', (t) => {{ {change} }})");
    project.write(second, &migration(&table("t.text('note')"), &table("t.dropColumn('note')")));
    let (ran, found) = report(&project, &["--queries", "queries.sql"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(found["queries"]["worked"], 1, "{found:#}");
    // when it takes a column from the application that runs, or rows are in its way, then that is said
    project.write(second, &migration(&table("t.dropColumn('region')"), &table("t.text('region')")));
    let (ran, _) = report(&project, &["--quick", "--queries", "queries.sql"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("column \"region\" does not exist"), "{ran:#?}");
    project.write(second, &migration(&table("t.dropNullable('region')"), &table("t.setNullable('region')")));
    let (ran, _) = report(&project, &["--quick"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("5 rows have no `region`"), "{ran:#?}");
}
