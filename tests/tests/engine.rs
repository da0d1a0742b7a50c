//! What a restart of the Docker engine does to a gateway. Alone in its file, and run by tests/engine_test.sh: it takes every
//! container of the machine down.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Lab, Ran, Seat, signal, wait_for};

/// The engine may take this long to end or to start.
const ENGINE: Duration = Duration::from_secs(120);

/// `tests/machine.sh start` and `stop`, in the environment of this process: the engine is the machine's.
fn machine(command: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("machine.sh");
    Ran::within(ENGINE, Command::new(script).arg(command)).ok();
}

#[test]
fn an_engine_that_restarts_needs_nobody_to_bring_logins_back() {
    // Given logins of a few seconds, and a gateway that the engine keeps running.
    let lab = Lab::with_embedded_set(&[("LAKEBASE_EMBEDDED_TOKEN_TTL", "5")]);
    let seat = Seat::new(&lab, "shop", "LAKEBASE_PROFILE=embedded\n");
    let compose = seat.project.read("compose.yaml").replace("    ports:", "    restart: always\n    ports:");
    seat.project.write("compose.yaml", &compose);
    seat.project.cargo("init").ok();
    seat.project.lakebase("up -d --wait").ok();
    seat.enter();
    let before = seat.project.compose("ps -aq --no-trunc").ok().stdout;
    let agent = lab.agent();

    // When the engine restarts, then the same container and the same agent let clients in, and nobody ran anything.
    machine("stop");
    let refused = seat.session();
    assert!(refused.stderr.contains("Connection refused"), "{refused:#?}");
    machine("start");
    wait_for("logins after the restart", || (seat.session().code == Some(0)).then_some(()));
    assert_eq!(seat.project.compose("ps -aq --no-trunc").ok().stdout, before);
    assert_eq!(lab.agent(), agent);

    // The same when the gateway itself crashes.
    let format = ["inspect", "--format", "{{.State.Pid}}", before.trim()];
    let process = seat.project.run("docker", format).ok().stdout;
    signal(process.trim(), "KILL");
    wait_for("logins after the crash", || (seat.session().code == Some(0)).then_some(()));
    assert_eq!(seat.project.compose("ps -aq --no-trunc").ok().stdout, before);
}
