//! `doctor`: which credential counts and why, and everything else that a first user trips over.
//!
//! Each file below looks at one thing: it gathers facts, and a pure part makes findings of them. What is independent runs
//! side by side, each with an end in time. Nothing is changed, and no branch is made.

pub mod check;
mod configuration;
mod database;
mod git;
mod ownership;
pub mod programs;
mod project;
mod report;
mod workspace;

use std::path::Path;

use jiff::Timestamp;

use self::check::{Check, skipped};
use super::session::{Project, SettingArgs, World};
use crate::api::BranchPath;
use crate::auth::Auth;
use crate::branch::BranchId;
use crate::config::{Connect, Key, Settings};
use crate::env_vars::Env;
use crate::error::{Error, Result};
use crate::identity::GitIdentity;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Look at the owners of tables in the parent branch itself, reading only
    #[arg(long)]
    parent: bool,
    #[command(flatten)]
    settings: SettingArgs,
}

/// What a face may want to know for its own findings.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The environment.
    pub env: &'a Env,
    /// The folder of the call.
    pub cwd: &'a Path,
    /// The settings, where they can be read.
    pub settings: Option<&'a Settings>,
}

/// What is wrong with a setting, in the eyes of a crate that this one does not know.
pub type Problem = fn(Key, &Settings) -> Option<Error>;

/// Looks at everything and prints it. `face` makes the findings that are the face's own, and `problem` reads the settings
/// that nobody here does.
///
/// # Errors
/// [`crate::error::Kind::Unwell`] where something failed.
pub async fn run(
    args: Args,
    world: &mut World<'_>,
    problem: Problem,
    face: impl AsyncFnOnce(Known<'_>) -> Vec<Check>,
) -> Result<()> {
    let project = Project::load(args.settings, world.env, &world.cwd);
    let folder = match &project {
        Ok(project) => project.folder(&world.cwd),
        Err(_) => &world.cwd,
    };
    let settings = project.as_ref().ok().map(|project| &project.settings);
    let stays = settings.is_some_and(|settings| matches!(settings.connect(), Ok(Connect::Password)));
    let git = git::Facts::look(&world.cwd, folder, stays, world.env);
    let mut checks = git.checks();
    checks.extend(configuration::checks(&project, folder, problem));
    let known = Known { env: world.env, cwd: &world.cwd, settings };
    let service = async {
        match &project {
            Ok(project) => {
                let auth = Auth::resolve(&project.settings, world.env, world.embedded);
                of_service(project, auth, git.identity().as_ref(), args.parent).await
            }
            Err(_) => {
                let why = "the configuration can't be read";
                let mut checks = skipped(&[("credential.source", "the credential")], why);
                checks.extend(nothing_of_the_project(why));
                checks
            }
        }
    };
    let (of_face, of_service) = tokio::join!(face(known), service);
    checks.extend(of_face);
    checks.extend(of_service);
    report::print(&checks, args.json, world.ui)
}

/// Everything from the credential to the database.
async fn of_service(
    configured: &Project,
    auth: Result<Auth>,
    identity: Option<&GitIdentity>,
    reads_parent: bool,
) -> Vec<Check> {
    let found = workspace::look(auth).await;
    let mut checks = found.checks;
    let Some((client, user)) = found.reached else {
        checks.extend(nothing_of_the_project("the workspace is out of reach"));
        return checks;
    };
    let settings = &configured.settings;
    let (Ok(project), Ok(parent)) = (settings.project(), settings.parent_branch()) else {
        checks.extend(nothing_of_the_project("the configuration does not name it"));
        return checks;
    };
    let path = identity
        .map(|identity| BranchPath { project: project.clone(), branch: BranchId::of(identity).id().clone() });
    let target =
        project::Target { project: configured, parent: BranchPath { project, branch: parent }, path };
    let facts = project::Facts::ask(&client, &target).await;
    checks.extend(facts.checks(&target, Timestamp::now()));
    let looking =
        |read| database::Look { client: &client, settings, user: &user, read, parent: &target.parent };
    let not = database::not_looked_at;
    checks.extend(match (&target.path, &facts.endpoint) {
        _ if reads_parent => match client.endpoint(&target.parent).await {
            Ok(Some(endpoint)) => looking(&target.parent).checks(&endpoint).await,
            _ => not("the parent branch takes no logins"),
        },
        (Some(path), Ok(Some(endpoint))) if !endpoint.disabled => looking(path).checks(endpoint).await,
        (Some(_), Ok(Some(_))) => not("the endpoint is switched off"),
        (Some(_), Ok(None)) => not("there is no branch yet: run `up` first, or add `--parent`"),
        _ => not("the branch is not known"),
    });
    checks
}

fn nothing_of_the_project(why: &str) -> Vec<Check> {
    let mut checks = skipped(&project::ALL, why);
    checks.extend(database::not_looked_at(why));
    checks
}
