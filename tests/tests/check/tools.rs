//! The migration tools themselves: found by their files, run, gone back, run again.

use e2e::{Lab, Project, tools};

use super::report;

const REQUIREMENTS: &str = "alembic==1.20.1\nSQLAlchemy==2.1.9\nDjango==5.2.19\npsycopg[binary]==3.3.9\n";

const ENV: &str = "
import os
from alembic import context
from sqlalchemy import create_engine, pool
url = os.environ['DATABASE_URL'].replace('postgresql://', 'postgresql+psycopg://', 1)
with create_engine(url, poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
";

/// A revision of Alembic's.
fn revision(id: &str, after: Option<&str>, up: &str, down: &str) -> String {
    let after = after.map_or_else(|| "None".to_owned(), |after| format!("'{after}'"));
    format!(
        "from alembic import op\nimport sqlalchemy as sa\nrevision, down_revision = '{id}', {after}\n\n\
         def upgrade():\n    {up}\n\ndef downgrade():\n    {down}\n"
    )
}

/// A revision behind the first that adds a column, and takes it away again.
fn column(id: &str, name: &str) -> String {
    revision(
        id,
        Some("0001"),
        &format!("op.add_column('orders', sa.Column('{name}', sa.Text))"),
        &format!("op.drop_column('orders', '{name}')"),
    )
}

/// A project with the tools on its PATH.
fn project<'a>(lab: &'a Lab, files: &[(&str, &str)]) -> Project<'a> {
    let python = tools::python(lab, "check-tools", REQUIREMENTS);
    let programs = python.parent().unwrap().display().to_string();
    let path = format!("{programs}:{}:{}", lab.bin.display(), std::env::var("PATH").unwrap());
    let project = lab.project("shop", files).with_variables(&[("PATH".to_owned(), path)]);
    project.run("cargo-lakebase", ["init", "--project-name", "shop", "--profile", "embedded"]).ok();
    project.commit("The configuration");
    project
}

/// The migration `name` passes, its way back is clean, and a second run of it does nothing.
pub fn passes_and_goes_back(project: &Project, name: &str) {
    let (ran, found) = report(project, &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!((&found["name"], &found["down"]["ok"]), (&name.into(), &true.into()), "{found:#}");
    assert_eq!(found["down"]["up_again"], true, "{found:#}");
    assert!(ran.stdout.contains("does nothing"), "{ran:#?}");
}

#[test]
fn alembic_is_found_run_undone_and_run_again() {
    let lab = Lab::with_embedded();
    let first = revision(
        "0001",
        None,
        "op.create_table('orders', sa.Column('id', sa.BigInteger, primary_key=True), sa.Column('region', sa.Text))",
        "op.drop_table('orders')",
    );
    let project = project(
        &lab,
        &[
            ("alembic.ini", "[alembic]\nscript_location = db\n"),
            ("db/env.py", ENV),
            ("db/script.py.mako", ""),
            ("db/versions/0001.py", &first),
        ],
    );
    // given a production at the first revision, in which somebody keeps statistics of queries
    project.production_sql("CREATE EXTENSION pg_stat_statements");
    project.production_sql(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY); INSERT INTO alembic_version VALUES ('0001');
         CREATE TABLE orders (id bigint PRIMARY KEY, region text); INSERT INTO orders SELECT n, 'eu' FROM generate_series(1, 1000) AS n",
    );
    project.production_sql("SELECT region FROM orders WHERE id = 7");

    // when a revision is clean, then it passes, goes back, and does nothing the second time
    project.write("db/versions/0002.py", &column("0002", "note"));
    let (ran, found) = report(&project, &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert_eq!(found["name"], "0002", "{ran:#?}");
    for line in ["Down and up again  ", "clean", "does nothing", "Heads of the history"] {
        assert!(ran.stdout.contains(line), "no {line}: {ran:#?}");
    }
    assert_eq!(found["heads"].as_array().unwrap().len(), 1);
    assert_eq!((&found["down"]["ok"], &found["down"]["up_again"]), (&true.into(), &true.into()), "{found:#}");

    // when its downgrade does not undo it, then that is said
    project.write(
        "db/versions/0002.py",
        &revision("0002", Some("0001"), "op.add_column('orders', sa.Column('note', sa.Text))", "pass"),
    );
    let (ran, found) = report(&project, &[]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(found["down"]["differs"][0].as_str().unwrap().contains("orders.note"), "{found:#}");

    // when rows go and do not come again, then it counts who takes them: the way back must not
    for (up, down, code, words) in [
        ("DELETE FROM orders WHERE id <= 9", "SELECT 1", 0, "9 rows of `orders` are lost"),
        ("SELECT 1", "DELETE FROM orders WHERE id <= 9", 1, "9 rows of `orders` are lost"),
    ] {
        let [up, down] = [up, down].map(|sql| format!("op.execute('{sql}')"));
        project.write("db/versions/0002.py", &revision("0002", Some("0001"), &up, &down));
        let (ran, _) = report(&project, &["--quick"]);
        assert!(ran.code == Some(code) && ran.stdout.contains(words), "{up}: {ran:#?}");
    }

    // when a column is renamed under the application that runs, then its queries fail
    project.write(
        "db/versions/0002.py",
        &revision(
            "0002",
            Some("0001"),
            "op.alter_column('orders', 'region', new_column_name='area')",
            "op.alter_column('orders', 'area', new_column_name='region')",
        ),
    );
    let (ran, _) = report(&project, &[]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(
        ran.stdout.contains("SELECT region FROM orders") && ran.stdout.contains("\"region\" does not exist"),
        "{ran:#?}"
    );

    // given two changes that are each fine, on branches of their own
    project.write("db/versions/0002.py", &column("0002", "note"));
    project.commit("A note");
    project.run("git", ["switch", "-q", "-c", "owner", "HEAD~1"]).ok();
    project.write("db/versions/0003.py", &column("0003", "owner"));
    project.commit("An owner");
    let (ran, _) = report(&project, &["--quick"]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    // when they are judged together, then neither the tool nor we know which comes first
    let (ran, found) = report(&project, &["--quick", "--with", "main", "--", "alembic", "upgrade", "heads"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(found["heads"].as_array().unwrap().len(), 2);
    assert!(ran.stdout.contains("2: 0002, 0003"), "{ran:#?}");
    let (ran, _) = report(&project, &["--quick", "--with", "main"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
}

const SETTINGS: &str = "
import os
from urllib.parse import unquote, urlsplit
url = urlsplit(os.environ['DATABASE_URL'])
SECRET_KEY = 'x'
INSTALLED_APPS = ['store']
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': unquote(url.path[1:]), 'USER': unquote(url.username),
    'PASSWORD': unquote(url.password), 'HOST': url.hostname, 'PORT': url.port}}
";
const MANAGE: &str = "
import os, sys
os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
";

/// A migration of Django's.
fn operations(after: Option<&str>, operations: &str) -> String {
    let after = after.map(|after| format!("('store', '{after}')")).unwrap_or_default();
    format!(
        "from django.db import migrations, models\n\nclass Migration(migrations.Migration):\n    dependencies = [{after}]\n    operations = [{operations}]\n"
    )
}

#[test]
fn django_is_found_run_undone_and_run_again() {
    let lab = Lab::with_embedded();
    let table = "migrations.CreateModel('Order', [('id', models.BigAutoField(primary_key=True)), ('region', models.TextField(null=True))])";
    let project = project(
        &lab,
        &[
            ("settings.py", SETTINGS),
            ("manage.py", MANAGE),
            ("store/__init__.py", ""),
            ("store/models.py", ""),
            ("store/migrations/__init__.py", ""),
            ("store/migrations/0001_initial.py", &operations(None, table)),
        ],
    );
    // given a production that Django itself has made
    project.production_sql(
        "CREATE TABLE store_order (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, region text);
         CREATE TABLE django_migrations (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, app varchar(255) NOT NULL,
            name varchar(255) NOT NULL, applied timestamptz NOT NULL);
         INSERT INTO django_migrations (app, name, applied) VALUES ('store', '0001_initial', now());
         INSERT INTO store_order (region) SELECT CASE WHEN n > 3 THEN 'eu' END FROM generate_series(1, 1000) AS n",
    );
    // when a field is added, then it passes
    let field = "migrations.AddField('order', 'note', models.TextField(null=True))";
    project.write("store/migrations/0002_note.py", &operations(Some("0001_initial"), field));
    passes_and_goes_back(&project, "store.0002_note");
    // when one must not be null and is, then it fails, and says how many rows are in the way
    let strict = "migrations.AlterField('order', 'region', models.TextField())";
    project.write("store/migrations/0002_note.py", &operations(Some("0001_initial"), strict));
    let (ran, _) = report(&project, &[]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("3 rows have no `region`"), "{ran:#?}");
}

/// A program that is built beside this test.
fn example(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples").join(name);
    assert!(path.is_file(), "{} is not built", path.display());
    path.display().to_string()
}

#[test]
fn sqlx_is_run_by_its_own_migrator() {
    let lab = Lab::with_embedded();
    let migrate = example("sqlx_migrate");
    let files = [
        ("migrations/1_orders.up.sql", "CREATE TABLE orders (id bigint PRIMARY KEY, region text);\n"),
        ("migrations/1_orders.down.sql", "DROP TABLE orders;\n"),
    ];
    let project = lab.project("shop", &files);
    let config = format!("LAKEBASE_CHECK_COMMAND='{migrate} run'\nLAKEBASE_CHECK_DOWN='{migrate} undo 1'\n");
    project.run("cargo-lakebase", ["init", "--project-name", "shop", "--profile", "embedded"]).ok();
    project.write("lakebase.config", &(project.read("lakebase.config") + &config));
    // given a production that sqlx itself has made, with rows
    project.run("cargo-lakebase", ["run", "--", &migrate, "run"]).ok();
    let history = project.sql("SELECT format('(%s, %L, %L, true, %L, 1)', version, description, installed_on, checksum) FROM _sqlx_migrations");
    project.production_sql(&format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, region text); INSERT INTO orders SELECT n, NULL FROM generate_series(1, 5) AS n;
         CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL, installed_on timestamptz NOT NULL
         DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL, execution_time bigint NOT NULL);
         INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) VALUES {history}"
    ));
    // when a migration is clean, by the command that is configured, then it passes, goes back, and does nothing again
    project.write("migrations/2_note.up.sql", "ALTER TABLE orders ADD COLUMN note text;\n");
    project.write("migrations/2_note.down.sql", "ALTER TABLE orders DROP COLUMN note;\n");
    passes_and_goes_back(&project, "2");
    // when rows are in its way, then that is said, and how many
    project.write("migrations/2_note.up.sql", "ALTER TABLE orders ALTER COLUMN region SET NOT NULL;\n");
    let (ran, _) = report(&project, &[]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("5 rows have no `region`"), "{ran:#?}");
}

/// What diesel writes into `diesel.toml` when it sets a project up, in words of this project.
const DIESEL: &str =
    "[print_schema]\nfile = \"src/schema.rs\"\n\n[migrations_directory]\ndir = \"db/migrations\"\n";

#[test]
fn diesel_is_found_run_undone_and_run_again() {
    let lab = Lab::with_embedded();
    let programs = tools::cargo_programs(&lab, "diesel", "diesel_cli@2.3.14", "postgres");
    let path = format!("{}:{}:{}", programs.display(), lab.bin.display(), std::env::var("PATH").unwrap());
    let files = [
        ("diesel.toml", DIESEL),
        (
            "db/migrations/2026-01-01-000000_orders/up.sql",
            "CREATE TABLE orders (id bigint PRIMARY KEY, region text);\n",
        ),
        ("db/migrations/2026-01-01-000000_orders/down.sql", "DROP TABLE orders;\n"),
    ];
    let project = lab.project("shop", &files).with_variables(&[("PATH".to_owned(), path)]);
    project.run("cargo-lakebase", ["init", "--project-name", "shop", "--profile", "embedded"]).ok();
    // As developers do it: diesel runs what is new, and writes the schema down for the compiler.
    let develop = || project.run("cargo-lakebase", ["run", "--", "diesel", "migration", "run"]).ok();
    // given a production that diesel itself has made, with rows
    develop();
    let history = project.sql("SELECT format('(%L, %L)', version, run_on) FROM __diesel_schema_migrations");
    project.production_sql(&format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, region text); INSERT INTO orders SELECT n, NULL FROM generate_series(1, 5) AS n;
         CREATE TABLE __diesel_schema_migrations (version varchar(50) PRIMARY KEY, run_on timestamp NOT NULL DEFAULT now());
         INSERT INTO __diesel_schema_migrations VALUES {history}"
    ));
    // when a migration is clean, then it passes, goes back, and does nothing again
    let second = "db/migrations/2026-01-02-000000_note";
    project.write(&format!("{second}/up.sql"), "ALTER TABLE orders ADD COLUMN note text;\n");
    project.write(&format!("{second}/down.sql"), "ALTER TABLE orders DROP COLUMN note;\n");
    develop();
    let schema = project.read("src/schema.rs");
    assert!(schema.contains("note -> Nullable<Text>"), "{schema}");
    passes_and_goes_back(&project, "20260102000000");
    // and the checkout is as it was
    assert_eq!(project.read("src/schema.rs"), schema);
    // when rows are in its way, then that is said, and how many
    project.write(&format!("{second}/up.sql"), "ALTER TABLE orders ALTER COLUMN region SET NOT NULL;\n");
    let (ran, _) = report(&project, &[]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.stdout.contains("5 rows have no `region`"), "{ran:#?}");
}
