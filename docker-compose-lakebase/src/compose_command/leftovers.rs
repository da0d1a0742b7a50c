//! What stands under the local database's name before a command changes anything: the database, or a gateway.

use lakebase::compose::overlay;
use lakebase::error::Result;

use crate::real::Real;

/// A container under the database's name that is there now.
pub struct Leftover {
    /// Its id.
    pub id: String,
    /// Whether it runs.
    pub running: bool,
    /// Whether it is a gateway.
    pub gateway: bool,
    /// Whether it is one that has had no login for some time, and the branch that it stands for.
    pub without_login: Option<String>,
    /// Volumes of a local database that the engine named; Compose takes no such volume over to another image's container.
    pub nameless_volumes: Vec<String>,
}

/// What stands under the database's name in this project.
pub async fn leftovers(real: &Real, project: &str, database: &str) -> Result<Vec<Leftover>> {
    let label = |key: &str, value: &str| format!("label=com.docker.compose.{key}={value}");
    let (project, service) = (label("project", project), label("service", database));
    let format = format!(
        "{{{{.ID}}}}\t{{{{.State}}}}\t{{{{json (.Label \"{}\")}}}}\t{{{{.Mounts}}}}\t{{{{.Status}}}}",
        overlay::seat::BRANCH
    );
    let all = ["ps", "--all", "--no-trunc", "--filter", &project, "--filter", &service, "--format", &format];
    let listed = real.docker(&all).await?;
    let container = |line: &str| {
        let mut fields = line.split('\t');
        let (id, state, branch, mounts) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let status = fields.next()?;
        // As JSON: an image may bring a label of that name, with tabs and line ends in it.
        let branch: String = serde_json::from_str(branch).ok()?;
        let gateway = !branch.is_empty();
        // The engine's own names are 64 hexadecimal digits.
        let nameless = |mount: &&str| mount.len() == 64 && mount.chars().all(|c| c.is_ascii_hexdigit());
        let mounts = mounts.split(',').filter(nameless).map(str::to_owned);
        Some(Leftover {
            id: id.to_owned(),
            running: state != "exited" && state != "created",
            gateway,
            without_login: (gateway && status.contains("(unhealthy)")).then_some(branch),
            nameless_volumes: if gateway { Vec::new() } else { mounts.collect() },
        })
    };
    Ok(listed.lines().filter_map(container).collect())
}
