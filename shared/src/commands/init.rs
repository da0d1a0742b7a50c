//! `init`: project, production endpoint, database and configuration, each made where it is missing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::session::{Project, SettingArgs, Source, World};
use crate::api::{BranchPath, Client, Deadline};
use crate::auth::Auth;
use crate::branch::ResourceId;
use crate::config::{Key, Settings, file, manifest};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::{ensure, env_file, identity};

/// A project's first endpoint may take minutes.
const WITHIN: Duration = Duration::from_secs(600);

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingArgs,
}

/// Idempotent: a second run changes nothing.
///
/// # Errors
/// Those of configuration and credentials, the API's own, and [`Kind::Io`].
pub async fn run(args: Args, world: &mut World<'_>) -> Result<()> {
    let project = Project::load(args.settings, world.env, &world.cwd)?;
    let settings = &project.settings;
    let root = identity::worktree_root(&world.cwd)?;
    for setting in Key::ALL.into_iter().filter_map(|key| settings.get(key)) {
        if !file::is_writable(&setting.value) {
            return Err(Error::new(
                Kind::BadConfig,
                format!("{:?} can't be written to a file", setting.value),
            )
            .because_of(format!(
                "it comes from {}, and has a quote or a control character",
                setting.origin
            )));
        }
    }
    let id = match settings.text(Key::ProjectName) {
        Some(_) => settings.project()?,
        None => name_of(&world.cwd)?,
    };
    let auth = Auth::resolve(settings, world.env, world.embedded)?;
    let client = Client::new(auth).await?;
    let parent = BranchPath { project: id.clone(), branch: settings.parent_branch()? };
    let until = Deadline::after(WITHIN);

    let uid = project_uid(&client, &id, settings.text(Key::ProjectId), until, world).await?;
    let ready = ensure::ready(&client, &parent, until).await;
    world.ui.rest();
    ready?;
    let made = database(&client, &parent, settings.database(), until, world).await;
    world.ui.rest();
    made?;

    let path = write(&project, &id, &uid, &world.cwd, &root)?;
    world.ui.note(&format!("Project {id} is ready; its configuration is in {}", path.display()));
    Ok(())
}

/// The project's id where nothing names one: after the folder.
fn name_of(folder: &Path) -> Result<ResourceId> {
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ResourceId::from_words(&name).ok_or_else(|| {
        Error::new(Kind::NoConfig, format!("the folder's name {name:?} gives no project id"))
            .hint("name the project: `init --project-name ID`")
    })
}

async fn project_uid(
    client: &Client,
    id: &ResourceId,
    configured: Option<&str>,
    until: Deadline,
    world: &mut World<'_>,
) -> Result<String> {
    let found = match client.project(id).await {
        Err(error) if error.is_not_found() && configured.is_some() => {
            let error = error.into_error(&format!("reading project {id}"));
            return Err(Error { kind: Kind::NoProject, ..error }.hint(
                "LAKEBASE_PROJECT_ID says that it existed: check the workspace, or delete that line to make it anew",
            ));
        }
        Err(error) if error.is_not_found() => {
            world.ui.event(&Event::CreatingProject { project: id.to_string() });
            match client.create_project(id, until).await {
                Err(error) if error.is_already_exists() => {}
                answer => answer.map_err(|error| error.into_error(&format!("creating project {id}")))?,
            }
            client.project(id).await
        }
        answer => answer,
    };
    let found = found.map_err(|error| error.into_error(&format!("reading project {id}")))?;
    ensure::same_project(id.as_str(), configured, &found.uid)?;
    Ok(found.uid)
}

async fn database(
    client: &Client,
    parent: &BranchPath,
    name: &str,
    until: Deadline,
    world: &mut World<'_>,
) -> Result<()> {
    let doing = format!("making the database {name}");
    let fail = |error: crate::api::ApiError| error.into_error(&doing);
    if client.databases(parent).await.map_err(fail)?.iter().any(|known| known == name) {
        return Ok(());
    }
    world.ui.event(&Event::CreatingDatabase { database: name.to_owned() });
    let user = client.me().await.map_err(fail)?;
    let owner = client.role(parent, &user).await.map_err(fail)?.ok_or_else(|| {
        Error::new(Kind::Denied, format!("{doing} failed: branch {} has no role for {user}", parent.branch))
            .hint("ask a manager of the Lakebase project to add you")
    })?;
    // The API's ids of databases have at least four characters.
    let id = ResourceId::from_words(name)
        .filter(|id| id.as_str().len() >= 4)
        .or_else(|| ResourceId::from_words(&format!("database-{name}")))
        .ok_or_else(|| Error::new(Kind::BadConfig, format!("{name:?} gives no database id")))?;
    match client.create_database(parent, &id, name, &owner.name, until).await {
        Err(error) if error.is_already_exists() => Ok(()),
        answer => answer.map_err(fail),
    }
}

/// Writes the project's uid into the one configuration file, which is made where there is none. Gives its
/// path.
fn write(project: &Project, id: &ResourceId, uid: &str, cwd: &Path, root: &Path) -> Result<PathBuf> {
    let path = match &project.source {
        Some(source) => source.path().to_owned(),
        None => cwd.join(file::NAME),
    };
    let read = || {
        std::fs::read_to_string(&path)
            .map_err(|error| Error::io(format!("reading `{}`", path.display()), &error))
    };
    let (old, new) = match &project.source {
        Some(Source::Manifest(path)) => {
            let old = read()?;
            let new = manifest::with(path, &old, Key::ProjectName, id.as_str())?;
            let new = manifest::with(path, &new, Key::ProjectId, uid)?;
            (old, new)
        }
        Some(Source::Config(_)) => {
            let old = read()?;
            let new = file::with(&old, Key::ProjectName, id.as_str());
            (old, file::with(&new, Key::ProjectId, uid))
        }
        None => (String::new(), first_file(&project.settings, id, uid)),
    };
    if new != old {
        let mode = std::fs::metadata(&path)
            .map_or(0o644, |data| std::os::unix::fs::PermissionsExt::mode(&data.permissions()) & 0o777);
        // A link in the user's tree is written through, not replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.clone());
        env_file::replace(&target, &new, mode)?;
    }
    Ok(path.strip_prefix(root).map(Path::to_owned).unwrap_or(path))
}

/// A new `lakebase.config`: what was decided, nothing that the defaults say already.
fn first_file(settings: &Settings, id: &ResourceId, uid: &str) -> String {
    let mut text = String::from(
        "# Lakebase for this project; read by `docker compose lakebase` and `cargo lakebase`.\n",
    );
    let mut add = |key: Key, value: &str| {
        text = file::with(&text, key, value);
    };
    add(Key::ProjectName, id.as_str());
    for key in [
        Key::ParentBranch,
        Key::Database,
        Key::Profile,
        Key::Ttl,
        Key::DatabaseService,
        Key::Connect,
        Key::Role,
    ] {
        if let Some(setting) = settings.get(key).filter(|s| s.origin != crate::config::Origin::Default) {
            add(key, &setting.value);
        }
    }
    add(Key::ProjectId, uid);
    text
}
