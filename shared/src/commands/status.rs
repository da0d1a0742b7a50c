//! `status`: the observation, and where each setting comes from; or how the branch's id came about.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::freshness::{self, Inspection};
use super::session::{Session, SettingArgs, World};
use crate::branch::{BranchId, Step};
use crate::config::Key;
use crate::ensure::{self, Observation};
use crate::error::Result;
use crate::freshness::Freshness;
use crate::identity::{Found, GitIdentity};
use crate::mask::Mark;
use crate::ui;

/// Arguments of `status`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Show how the branch's id came about, without asking the workspace
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// Looks and prints; changes nothing. A branch that does not exist yet is no failure.
///
/// # Errors
/// Those of the session and of [`ensure::observe`]; of git alone where the id is to be explained.
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    if args.explain {
        return explain(args.json, world);
    }
    let session = Session::open(args.settings, world)?;
    let client = session.client().await?;
    let seen = ensure::observe(&client, &session.target).await?;
    let inspected = session.inspect(&client, &seen).await;
    if args.json {
        world.ui.json(&document(&session, &seen, &inspected));
    } else {
        for (name, value) in lines(&session, &seen, &inspected) {
            world.ui.data(&format!("{name:<16} {}", ui::visible(&value)));
        }
    }
    Ok(())
}

fn explain(json: bool, world: &mut World<'_>) -> Result<()> {
    let found = Found::discover(&world.cwd, world.env)?;
    let steps = steps(&found);
    if json {
        let id = BranchId::of(&found.identity).to_string();
        world.ui.json(&json!({"branch_id": id, "steps": steps}));
        return Ok(());
    }
    for Step { what, value, why } in steps {
        let value = if value.is_empty() { "(none)" } else { &value };
        world.ui.data(&format!("{what:<16} {}  ({})", ui::visible(value), ui::visible(&why)));
    }
    Ok(())
}

/// From git's configuration and HEAD to the id.
fn steps(found: &Found) -> Vec<Step> {
    let GitIdentity { user, email, branch } = &found.identity;
    let step = |what, value: &str, why: &str| Step { what, value: value.to_owned(), why: why.to_owned() };
    let mut steps = vec![
        step("user", user, &found.user_from),
        step("e-mail", email, &found.email_from),
        step("git branch", branch, &found.branch_from),
    ];
    steps.extend(BranchId::explain(&found.identity));
    if let Some(old) = &found.renamed_from {
        let before = GitIdentity { branch: old.clone(), ..found.identity.clone() };
        let why = format!(
            "the git branch was `{old}` before it was renamed; that Lakebase branch goes when it expires"
        );
        steps.push(step("id before", BranchId::of(&before).id().as_str(), &why));
    }
    steps
}

type Inspected = Result<Inspection, String>;

fn document(session: &Session, seen: &Observation, inspected: &Inspected) -> Value {
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
        "freshness": inspected.as_ref().ok().map(|found| found.tools.iter().map(Freshness::document).collect::<Vec<_>>()),
        "masked": inspected.as_ref().ok().and_then(|found| found.mark).map(|mark| mark == Mark::Same),
        "not_inspected": inspected.as_ref().err(),
        "settings": settings,
    })
}

fn lines(session: &Session, seen: &Observation, inspected: &Inspected) -> Vec<(&'static str, String)> {
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
    match inspected {
        Ok(found) => {
            lines.extend(found.tools.iter().map(|found| ("migrations", freshness::words(found))));
            lines.extend(found.mark.map(|mark| ("masked", masked(mark).to_owned())));
        }
        Err(why) if seen.branch.is_some() => lines.push(("migrations", format!("not looked at: {why}"))),
        Err(_) => {}
    }
    for key in Key::ALL {
        if let Some(setting) = session.project.settings.get(key) {
            lines.push((key.name(), format!("{} ({})", setting.value, setting.origin)));
        }
    }
    lines
}

fn masked(mark: Mark) -> &'static str {
    match mark {
        Mark::Same => "yes",
        Mark::Other => "by other files than those of today, or as another role",
        Mark::None => "no",
    }
}
