//! The gateway in the seat of the database: the application keeps its host, port, user, password and URL; what answers is the branch.

use std::process::Stdio;

use e2e::{Lab, Seat, wait_for};

#[test]
fn the_seat_of_the_database_answers_from_the_branch() {
    // Given the application with its own, unchanged URL, which does not ask for the branch's name.
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    project.write("compose.yaml", &project.read("compose.yaml").replace("      DB_SOURCE: local\n", ""));
    let rows = project.production_sql("SELECT count(*) FROM tasks");

    // When it comes up, then production's rows are there.
    project.lakebase("up -d --build --wait").ok();
    let main = project.branch_id();
    let info = project.get("/api/info");
    assert_eq!(info["tasks"].to_string(), rows);
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0003");
    assert_eq!(project.production_sql("SELECT version_num FROM alembic_version"), "0002");

    let model = project.lakebase("config").ok().stdout;
    assert!(model.contains("postgresql://todo:todo@postgres:5432/todo"), "the URL is the application's own");

    // When nothing changed, then `up` touches nothing.
    let before = project.containers();
    project.lakebase("up -d --wait").ok();
    assert_eq!(project.containers(), before);

    // When git switches, then the gateway alone is made anew, and the application restarted.
    project.switch("feature/x");
    project.lakebase("up -d --wait").ok();
    let after = project.containers();
    assert_ne!(after["postgres"].0, before["postgres"].0);
    assert_eq!(after["backend"].0, before["backend"].0, "restarted, not recreated");
    assert_eq!(after["redis"], before["redis"]);
    assert_eq!(project.get("/api/info")["tasks"].to_string(), rows);
    assert_ne!(project.branch_id(), main);
    assert_eq!(project.sql("SELECT version_num FROM alembic_version"), "0003");
}

#[test]
fn the_seat_is_published_as_the_database_was_and_the_local_one_comes_back() {
    let lab = Lab::with_embedded();
    let project = lab.todo("todo").with_production();
    let port = e2e::free_port();
    let compose = project.read("compose.yaml");
    let published = compose.replacen(
        "    volumes:\n",
        &format!("    ports: [\"127.0.0.1:{port}:5432\"]\n    volumes:\n"),
        1,
    );
    project.write("compose.yaml", &published);
    project.lakebase("up -d --wait postgres").ok();
    let url = format!("postgresql://todo:todo@127.0.0.1:{port}/todo");
    let psql = ["-XAtqc", "SELECT count(*) FROM tasks", &url];
    assert_eq!(project.run("psql", psql).ok().stdout, "120000\n");
    // And a service that asks for the branch's name is told it.
    let model = project.lakebase("config").ok().stdout;
    assert!(model.contains(&format!("DB_SOURCE: lakebase/{}\n", project.branch_id())), "{model}");

    // And the local database is still there for offline work.
    lab.run("cargo-lakebase", ["embedded", "stop"]).ok();
    project.compose("--profile local up -d --build --wait").ok();
    assert_eq!(project.get("/api/info")["db_source"], "local");
    assert_eq!(project.get("/api/info")["tasks"], 0);
}

#[test]
fn a_query_ends_when_its_client_is_cut_although_it_has_nothing_to_say() {
    // Given a client whose query runs for ten minutes.
    let lab = Lab::with_embedded();
    let seat = Seat::up(&lab, "shop");
    let mut client =
        seat.psql("SELECT pg_sleep(600)").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'";
    wait_for("the query to run", || (seat.project.sql(running) == "1").then_some(()));
    // When it is killed, then the query ends too, and holds nobody's locks.
    client.kill().unwrap();
    client.wait().unwrap();
    wait_for("the query to end", || (seat.project.sql(running) == "0").then_some(()));
}
