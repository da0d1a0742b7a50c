//! A Docker engine of a test's own, which can be restarted without harm to anybody.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::{Lab, Ran, wait_for};

/// Addresses for the engine's networks, away from those that engines choose by themselves.
const ADDRESSES: &str = "base=10.213.0.0/16,size=24";

/// A second engine beside the machine's own. It needs root, and does not touch the firewall. Its bridge is one that the
/// machine's engine made for it: without any, it would take away `docker0`, which is the other's.
pub struct Engine {
    folder: PathBuf,
    /// The bridge, and the machine's engine's network that it belongs to.
    bridge: String,
    process: Option<Child>,
}

impl Engine {
    /// Starts one in the lab.
    pub fn start(lab: &Lab) -> Self {
        let unique = lab.path("").file_name().unwrap().to_string_lossy().to_lowercase();
        let mut engine = Self { folder: lab.path("engine"), bridge: format!("{unique}-b"), process: None };
        fs::create_dir_all(&engine.folder).unwrap();
        let name = format!("com.docker.network.bridge.name={}", engine.bridge);
        Ran::of(Command::new("docker").args(["network", "create", "--opt", &name, &engine.bridge])).ok();
        engine.run();
        engine
    }

    /// What `DOCKER_HOST` has to be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.join("sock").display())
    }

    /// Starts it where it was stopped, and waits until it answers.
    pub fn run(&mut self) {
        let path = |name: &str| self.folder.join(name).display().to_string();
        // By this address a container reaches what listens on the machine's own bridge.
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let inspect = ["network", "inspect", "bridge", "--format", format];
        let bridge = Ran::of(Command::new("docker").args(inspect)).ok().stdout;
        let log = fs::File::create(self.folder.join("log")).unwrap();
        let mut command = Command::new("dockerd");
        command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--host", &self.host(), "--bridge", &self.bridge, "--default-address-pool", ADDRESSES])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false"])
            .args(["--host-gateway-ip", bridge.trim()]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(quiet.spawn().expect("dockerd, as root"));
        wait_for("the second engine", || {
            let version = Ran::of(Command::new("docker").args(["--host", &self.host(), "version"]));
            (version.code == Some(0)).then_some(())
        });
    }

    /// Ends it as a shutdown of the machine does, with its containers.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let _ = Command::new("kill").arg(process.id().to_string()).output();
        wait_for("the second engine to end", || process.try_wait().ok().flatten());
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let host = self.host();
        let docker =
            |arguments: &[&str]| Command::new("docker").args(["--host", &host]).args(arguments).output();
        let all = docker(&["ps", "--all", "--quiet"]).map(|output| output.stdout).unwrap_or_default();
        let all = String::from_utf8_lossy(&all).into_owned();
        let _ = docker(&[&["rm", "--force"], all.split_whitespace().collect::<Vec<_>>().as_slice()].concat());
        let _ = docker(&["network", "prune", "--force"]);
        self.stop();
        let _ = Command::new("docker").args(["network", "rm", &self.bridge]).output();
    }
}
