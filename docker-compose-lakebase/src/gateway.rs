//! `connect = "gateway"`: what the gateway in the local database's seat needs from this side.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lakebase::commands::session::Session;
use lakebase::compose::overlay::seat::Seat;
use lakebase::ensure::Live;
use lakebase::env_vars::Env;
use lakebase::error::{Error, Kind, Result};
use lakebase::secret::MASK;

use crate::real::Real;

/// A gateway that was without logins has one, and the engine knows, within this time after its agent is there.
const RECOVER_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two looks at it.
const LOOK: Duration = Duration::from_millis(100);
/// Names the folder of the gateway's files, where it is not install.sh's.
const FOLDER: &str = "LAKEBASE_GATEWAY_DIR";

/// Finds the gateway's image, brings it to the engine where it is missing, and gives its name.
///
/// # Errors
/// [`Kind::Program`] where nothing was prepared, [`Kind::NoDocker`] with Docker's own words.
pub async fn prepare(real: &Real, env: &Env) -> Result<String> {
    let image = image(env)?;
    load(&image, real, env).await?;
    Ok(image)
}

/// The name of the gateway's image, which install.sh left in a file beside the image's own files.
///
/// # Errors
/// [`Kind::Program`] where nothing was prepared.
pub fn image(env: &Env) -> Result<String> {
    let folder = folder(env);
    let read = |folder: &Path| fs::read_to_string(folder.join("tag")).ok().map(|name| name.trim().to_owned());
    folder.as_deref().and_then(read).filter(|name| !name.is_empty()).ok_or_else(|| {
        Error::new(Kind::Program, "the gateway's image was not prepared")
            .because_of(
                folder.map_or_else(String::new, |folder| format!("there is no `{}/tag`", folder.display())),
            )
            .hint("run `./install.sh` again, or set `LAKEBASE_CONNECT=direct`")
    })
}

fn folder(env: &Env) -> Option<PathBuf> {
    let data = || {
        let data = env.get("XDG_DATA_HOME").map(PathBuf::from);
        data.or_else(|| Some(Path::new(env.get("HOME")?).join(".local/share")))
    };
    env.get(FOLDER).map(PathBuf::from).or_else(|| Some(data()?.join("lakebase/gateway")))
}

/// Makes sure that the engine has the image: it is built of one file, without a registry, wherever the engine is.
///
/// # Errors
/// [`Kind::NoDocker`] with Docker's own words.
async fn load(image: &str, real: &Real, env: &Env) -> Result<()> {
    if real.docker(&["image", "inspect", "--format", "{{.Id}}", image]).await.is_ok() {
        return Ok(());
    }
    let folder = folder(env).unwrap_or_default().display().to_string();
    real.docker(&["build", "--quiet", "--tag", image, &folder]).await.map(drop)
}

/// Waits until a gateway that went without logins has one again: Compose gives up at once on what it finds unhealthy.
/// One that does not recover in time is Compose's to judge.
pub async fn recover(real: &Real, container: &str) {
    let until = Instant::now() + RECOVER_WITHIN;
    let unhealthy = async || {
        let format = "{{.State.Health.Status}}";
        real.docker(&["inspect", "--format", format, container])
            .await
            .is_ok_and(|said| said.trim() == "unhealthy")
    };
    while Instant::now() < until && unhealthy().await {
        tokio::time::sleep(LOOK).await;
    }
}

/// The seat for a live branch.
pub fn seat(image: String, session: &Session, live: &Live) -> Seat {
    let connection = session.connection(live).for_container();
    Seat {
        image,
        upstream: format!("{}:{}", connection.host, connection.port),
        user: connection.user,
        database: connection.database,
        role: connection.role,
        ca: session.auth.ca.clone(),
        branch: session.target.path.to_string(),
        // Two forks of one name differ in the moment that they show. (In a form that no YAML takes for a time.)
        fork: live.branch.forked.map(|at| format!("fork-{}", at.as_nanosecond())).unwrap_or_default(),
        endpoint: live.endpoint.name.clone(),
    }
}

/// The seat of a command that asks nobody: as the last `up` left it.
pub fn last(before: Option<&str>, database: &str) -> Seat {
    before.and_then(|text| Seat::read(text, database)).unwrap_or_else(|| Seat {
        image: "lakebase-gateway".into(),
        upstream: MASK.into(),
        user: MASK.into(),
        database: MASK.into(),
        role: None,
        ca: None,
        branch: MASK.into(),
        fork: MASK.into(),
        endpoint: MASK.into(),
    })
}
