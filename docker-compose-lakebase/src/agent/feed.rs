//! One project's gateway: found, joined by `docker exec -i`, and given a login whenever it wants one.

use std::process::Stdio;
use std::time::{Duration, Instant};

use lakebase::api::Client;
use lakebase::auth::Auth;
use lakebase::compose::overlay::seat;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::{Docker, Registration};

/// How often a gateway that is not there is looked for: often while `up` is making it, then rarely.
const LOOK_SOON: Duration = Duration::from_millis(150);
const LOOK_LATER: Duration = Duration::from_secs(2);
/// For this long after a registration or a lost gateway, looking is done often.
const SOON: Duration = Duration::from_secs(30);
/// A project without a running gateway is forgotten after this time.
const FORGET: Duration = Duration::from_secs(600);

/// What a gateway says; see the gateway's `seat::lines`.
#[derive(Deserialize)]
struct Said {
    want: Option<String>,
}

/// Feeds the project's gateway as long as there is one, across its replacements and restarts of the engine.
pub async fn tend(registration: Registration) {
    let Registration { docker, project, endpoint, auth, .. } = registration;
    let auth = Auth::taken_over(auth);
    let mut missing_since = Instant::now();
    loop {
        if let Some(container) = running(&docker, &project, &endpoint).await {
            feed(&docker, &container, &endpoint, &auth).await;
            missing_since = Instant::now();
        }
        let missing = missing_since.elapsed();
        if missing > FORGET {
            return;
        }
        tokio::time::sleep(if missing < SOON { LOOK_SOON } else { LOOK_LATER }).await;
    }
}

/// The id of the running gateway of this project and endpoint.
async fn running(docker: &Docker, project: &str, endpoint: &str) -> Option<String> {
    let project = format!("label=com.docker.compose.project={project}");
    let endpoint = format!("label={}={endpoint}", seat::ENDPOINT);
    let arguments = ["ps", "--quiet", "--no-trunc", "--filter", &project, "--filter", &endpoint];
    let output = command(docker, &arguments).stderr(Stdio::null()).output().await.ok()?;
    let id = String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned();
    output.status.success().then_some(id)
}

/// Joins a gateway and answers it until the connection ends.
async fn feed(docker: &Docker, container: &str, endpoint: &str, auth: &Auth) {
    let arguments = ["exec", "-i", container, seat::PROGRAM, "feed"];
    let mut command = command(docker, &arguments);
    let Ok(mut child) = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
    else {
        return;
    };
    let (Some(mut to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { return };
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let wants =
            serde_json::from_str::<Said>(&line).is_ok_and(|said| said.want.as_deref() == Some("token"));
        if !wants {
            continue;
        }
        let answer = format!("{}\n", mint(endpoint, auth).await);
        if to.write_all(answer.as_bytes()).await.and(to.flush().await).is_err() {
            break;
        }
    }
}

/// A login, or words for the client that waits for one.
async fn mint(endpoint: &str, auth: &Auth) -> Value {
    let minted = async {
        // A client of its own: the API token behind it may have been renewed since the last one.
        let client = Client::new(auth.clone()).await?;
        client.credential(endpoint).await.map_err(|error| error.into_error("getting a login for the branch"))
    };
    match minted.await {
        Ok(credential) => {
            json!({"token": credential.token.expose(), "expires": credential.expires.to_string()})
        }
        Err(error) => {
            let hint = "run `docker compose lakebase up`";
            json!({"error": format!("{error}; {hint}")})
        }
    }
}

fn command(docker: &Docker, arguments: &[&str]) -> Command {
    let mut command = Command::new(&docker.program);
    command.args(&docker.flags).args(arguments);
    command.envs(docker.variables.iter().map(|(key, value)| (key, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}
