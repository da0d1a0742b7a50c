//! `status`: the observation, and where each setting comes from.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::session::{Session, SettingArgs, World};
use crate::config::Key;
use crate::ensure::{self, Observation};
use crate::error::Result;
use crate::ui;

/// Arguments of `status`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Looks and prints; changes nothing. A branch that does not exist yet is no failure.
///
/// # Errors
/// Those of the session and of [`ensure::observe`].
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let session = Session::open(args.settings, world)?;
    let client = session.client().await?;
    let seen = ensure::observe(&client, &session.target).await?;
    if args.json {
        world.ui.json(&document(&session, &seen));
    } else {
        for (name, value) in lines(&session, &seen) {
            world.ui.data(&format!("{name:<16} {}", ui::visible(&value)));
        }
    }
    Ok(())
}

fn document(session: &Session, seen: &Observation) -> Value {
    let settings: Map<String, Value> = Key::ALL
        .into_iter()
        .filter_map(|key| {
            let setting = session.project.settings.get(key)?;
            Some((
                key.name().to_owned(),
                json!({"value": setting.value, "origin": setting.origin.to_string()}),
            ))
        })
        .collect();
    let branch = seen.branch.as_ref().map(|branch| {
        json!({
            "state": branch.state,
            "parent": branch.parent,
            "forked": branch.forked.map(|at| at.to_string()),
            "expires": branch.expires.map(|at| at.to_string()),
            "size_bytes": branch.size,
        })
    });
    let endpoint = seen.endpoint.as_ref();
    json!({
        "workspace": {"host": session.auth.host, "credential": session.auth.source, "user": seen.user},
        "git": {"user": session.identity.user, "email": session.identity.email, "branch": session.identity.branch},
        "branch_id": session.id.to_string(),
        "branch_path": session.target.path.to_string(),
        "branch": branch,
        "endpoint": endpoint.map(|at| json!({"host": at.host, "port": at.port, "state": at.state})),
        "settings": settings,
    })
}

fn lines(session: &Session, seen: &Observation) -> Vec<(&'static str, String)> {
    let now = Timestamp::now();
    let mut lines = vec![
        ("workspace", format!("{} ({})", session.auth.host, session.auth.source)),
        ("user", seen.user.clone()),
        (
            "git",
            format!("{} <{}> on {}", session.identity.user, session.identity.email, session.identity.branch),
        ),
        ("branch", session.target.path.to_string()),
    ];
    match &seen.branch {
        None => lines.push(("state", "not made yet; `up` makes it".into())),
        Some(branch) => {
            lines.push(("state", branch.state.clone()));
            if let Some(at) = branch.forked {
                let age = ui::duration(now.duration_since(at));
                lines.push(("forked", format!("{age} ago from {}", branch.parent.as_deref().unwrap_or("?"))));
            }
            if let Some(at) = branch.expires {
                lines.push((
                    "expires",
                    format!("in {} ({})", ui::duration(at.duration_since(now)), ui::clock(at)),
                ));
            }
            if let Some(bytes) = branch.size {
                lines.push(("size", format!("{:.1} MB", bytes as f64 / 1e6)));
            }
        }
    }
    if let Some(endpoint) = &seen.endpoint {
        lines.push(("endpoint", format!("{}:{} ({})", endpoint.host, endpoint.port, endpoint.state)));
    }
    for key in Key::ALL {
        if let Some(setting) = session.project.settings.get(key) {
            lines.push((key.name(), format!("{} ({})", setting.value, setting.origin)));
        }
    }
    lines
}
