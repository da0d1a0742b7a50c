//! Observe, plan, apply: from a wanted branch to a live one, or to none.

mod gone;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::gone::delete;
pub use self::gone::{gone, gone_as_seen};
use crate::api::{ApiError, ApiResult, Branch, BranchPath, Client, Deadline, Endpoint, Pause, Project, Role};
use crate::error::{Error, Kind, Result};
use crate::event::Event;
use crate::plan::{self, Step, Wanted};
use crate::secret::Secret;

/// A branch and its endpoint must be there within this time; production's copy is instant, its endpoint
/// may take tens of seconds.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(300);

/// Which branch, of what, in which project.
#[derive(Debug, Clone)]
pub struct Target {
    /// The branch.
    pub path: BranchPath,
    /// The branch that it is a copy of.
    pub parent: BranchPath,
    /// The project's `uid` as configured, to be compared with the service's.
    pub project_uid: Option<String>,
    /// How long it shall live from now.
    pub ttl: SignedDuration,
    /// How old its copy of the rows may get.
    pub max_age: SignedDuration,
    /// The role that logs in with a password of its own; without one, a token is the login.
    pub native_role: Option<String>,
}

/// What the service says of a target.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The project.
    pub project: Project,
    /// The branch, if it exists.
    pub branch: Option<Branch>,
    /// Its read-write endpoint, if it has one.
    pub endpoint: Option<Endpoint>,
    /// The identity behind the API token, which is the database user too.
    pub user: String,
}

/// A branch that takes logins.
#[derive(Debug, Clone)]
pub struct Live {
    /// The branch.
    pub branch: Branch,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// The way in.
    pub login: Login,
    /// Whether this call made it.
    pub created: bool,
}

/// A database login.
#[derive(Debug, Clone)]
pub struct Login {
    /// The database user.
    pub user: String,
    /// The password.
    pub password: Secret,
    /// Until when it is accepted; `None` for a password that stays.
    pub expires: Option<Timestamp>,
}

/// What work tells on its way.
pub type Report<'a> = &'a mut dyn FnMut(Event);

/// Looks at everything that a decision needs, in one round trip.
///
/// # Errors
/// [`Kind::NoProject`], [`Kind::BadConfig`] where the project's uid is another, and the API's own.
pub async fn observe(client: &Client, target: &Target) -> Result<Observation> {
    let (project, branch, endpoint, user) = tokio::join!(
        client.project(&target.path.project),
        client.branch(&target.path),
        client.endpoint(&target.path),
        client.me(),
    );
    Ok(Observation {
        project: check_project(target, project)?,
        branch: if_any(branch.map(Some), "reading the branch")?,
        endpoint: if_any(endpoint, "reading the branch's endpoint")?,
        user: user.map_err(|error| error.into_error("asking who the credential belongs to"))?,
    })
}

/// The steps from what was observed to a live branch; `fresh` makes an existing one anew.
///
/// # Errors
/// Those of [`plan::to_live`].
pub fn steps(target: &Target, seen: &Observation, fresh: bool) -> Result<Vec<Step>> {
    let wanted =
        Wanted { parent: target.parent.to_string(), ttl: target.ttl, max_age: target.max_age, fresh };
    plan::to_live(&wanted, seen.branch.as_ref(), seen.endpoint.as_ref(), Timestamp::now())
}

/// Makes the branch live, from what was observed, and mints a login for it.
///
/// # Errors
/// Those of [`steps`], and the API's own.
pub async fn live(
    client: &Client,
    target: &Target,
    mut seen: Observation,
    mut fresh: bool,
    report: Report<'_>,
) -> Result<Live> {
    // A branch that somebody else deletes or makes at the same time is looked at again, and taken as it is then.
    for _ in 0..3 {
        match live_once(client, target, seen, fresh, report).await {
            Ok(Some(live)) => return Ok(live),
            Ok(None) => {}
            Err(error) if error.kind == Kind::NoBranch => {}
            Err(error) => return Err(error),
        }
        (seen, fresh) = (observe(client, target).await?, false);
    }
    live_once(client, target, seen, fresh, report).await?.ok_or_else(|| {
        Error::new(Kind::Api, format!("`{}` is made and deleted by somebody else all the time", target.path))
            .hint("see who else works as this git user on this git branch, then run the command again")
    })
}

/// `None` where somebody else was faster, so that what was seen is old.
async fn live_once(
    client: &Client,
    target: &Target,
    seen: Observation,
    fresh: bool,
    report: Report<'_>,
) -> Result<Option<Live>> {
    let steps = steps(target, &seen, fresh)?;
    let created = steps.contains(&Step::Create);
    if steps.contains(&Step::Delete) {
        // Before anything is deleted: without the parent there is nothing to make the branch anew from.
        check_parent(client, target).await?;
    }
    let until = Deadline::after(READY_WITHIN);
    let mut extend = None;
    for step in steps {
        match step {
            Step::Delete => {
                delete(client, &target.path, seen.branch.as_ref(), report).await?;
            }
            Step::Create => {
                if !create(client, target, seen.project.retention, until, report).await? {
                    return Ok(None);
                }
            }
            // The waiting itself is the same for a branch that was just made.
            Step::Await => report(Event::Waiting { branch: target.path.branch.to_string() }),
            Step::Extend(at) => extend = Some(at),
            Step::Wake => {}
        }
    }
    let (mut branch, endpoint) = match (seen.branch, seen.endpoint) {
        (Some(branch), Some(endpoint)) if !created && takes_logins(&branch, &endpoint) => (branch, endpoint),
        _ => ready(client, &target.path, until).await?,
    };
    // Neither waits for the other: the expiry is the branch's, the login the endpoint's.
    let extension = async {
        match extend {
            Some(at) => extended(client, target, &branch, at, seen.project.retention).await,
            None => Ok(branch.expires),
        }
    };
    let (expires, login) = tokio::join!(extension, login(client, target, &endpoint, seen.user));
    branch.expires = expires?;
    Ok(Some(Live { branch, endpoint, login: login?, created }))
}

/// Moves the branch's expiry to `at`, or as near to it as the workspace allows. Gives the expiry that holds then.
async fn extended(
    client: &Client,
    target: &Target,
    branch: &Branch,
    mut at: Timestamp,
    retention: Option<SignedDuration>,
) -> Result<Option<Timestamp>> {
    let now = Timestamp::now();
    loop {
        let error = match client.extend_branch(&target.path, at).await {
            Ok(()) => return Ok(Some(at)),
            Err(error) => error,
        };
        let shorter = error.is_life_too_long().then(|| plan::shorter(at.duration_since(now), retention));
        match shorter.flatten().map(|life| now + life) {
            // It lives longer already.
            Some(nearer) if branch.expires.is_some_and(|has| has >= nearer) => return Ok(branch.expires),
            Some(nearer) => at = nearer,
            None => return Err(error.into_error("extending the branch's life")),
        }
    }
}

/// A token for the API's own identity, or the native role's password.
async fn login(client: &Client, target: &Target, endpoint: &Endpoint, user: String) -> Result<Login> {
    let doing = "getting a login for the branch";
    let Some(role) = &target.native_role else {
        let minted = client.credential(&endpoint.name).await.map_err(|error| error.into_error(doing))?;
        return Ok(Login { user, password: minted.token, expires: Some(minted.expires) });
    };
    let (project, found) =
        tokio::join!(client.project(&target.path.project), client.role(&target.path, role));
    if !project.map_err(|error| error.into_error(doing))?.native_login {
        return Err(Error::new(
            Kind::Denied,
            format!("project `{}` allows no native login", target.path.project),
        )
        .because_of("`connect` is `password`, and the project's `enable_pg_native_login` is off")
        .hint("use `connect = \"gateway\"`, or have the project's owner allow native login"));
    }
    let found = found.map_err(|error| error.into_error(doing))?;
    let Some(Role { name, .. }) = found.as_ref().filter(|role| role.native) else {
        let why = if found.is_some() { "it has no password" } else { "the branch has no such role" };
        return Err(Error::new(Kind::BadConfig, format!("nobody can log in as `{role}` with a password"))
            .because_of(why)
            .hint("set `LAKEBASE_ROLE` to a role with native login, or use `connect = \"gateway\"`"));
    };
    let password = client.native_password(name).await.map_err(|error| error.into_error(doing))?;
    Ok(Login { user: role.clone(), password, expires: None })
}

/// A branch that takes logins, with one for this user.
///
/// # Errors
/// The API's own.
pub async fn login_to(
    client: &Client,
    target: &Target,
    (branch, endpoint): (Branch, Endpoint),
    user: String,
) -> Result<Live> {
    let login = login(client, target, &endpoint, user).await?;
    Ok(Live { branch, endpoint, login, created: false })
}

/// Mints another login for a live branch.
///
/// # Errors
/// The API's own.
pub async fn renew(client: &Client, target: &Target, live: &mut Live) -> Result<()> {
    live.login = login(client, target, &live.endpoint, live.login.user.clone()).await?;
    Ok(())
}

/// Waits until the branch is READY and its endpoint has an address.
///
/// # Errors
/// [`Kind::Unreachable`] when that takes longer than `until`, and the API's own.
pub async fn ready(client: &Client, path: &BranchPath, until: Deadline) -> Result<(Branch, Endpoint)> {
    let mut pause = Pause::new(until);
    loop {
        let (branch, endpoint) = tokio::join!(client.branch(path), client.endpoint(path));
        let (Some(branch), endpoint) = (
            if_any(branch.map(Some), "reading the branch")?,
            if_any(endpoint, "reading the branch's endpoint")?,
        ) else {
            return Err(Error::new(Kind::NoBranch, format!("`{path}` does not exist"))
                .because_of("it was deleted meanwhile, or never made")
                .hint("run the command again"));
        };
        match endpoint {
            Some(endpoint) if endpoint.disabled => {
                return Err(Error::new(
                    Kind::Guarded,
                    format!("`{}` is switched off, so it never wakes", endpoint.name),
                )
                .hint("enable the endpoint in the workspace, or make the branch anew with `--fresh`"));
            }
            Some(endpoint) if takes_logins(&branch, &endpoint) => return Ok((branch, endpoint)),
            _ => pause.wait().await?,
        }
    }
}

async fn check_parent(client: &Client, target: &Target) -> Result<()> {
    match client.branch(&target.parent).await {
        Err(error) if error.is_not_found() => {
            Err(Error::new(Kind::BadConfig, format!("there is no parent branch `{}`", target.parent))
                .hint("correct `LAKEBASE_PARENT_BRANCH`"))
        }
        answer => answer.map(drop).map_err(|error| error.into_error("reading the parent branch")),
    }
}

/// Whether a login can be tried: IDLE is fine, it wakes on connect.
fn takes_logins(branch: &Branch, endpoint: &Endpoint) -> bool {
    branch.state == "READY" && endpoint.state != "INIT" && !endpoint.disabled
}

/// Makes the branch. Gives whether it was this call: another terminal may have been first.
async fn create(
    client: &Client,
    target: &Target,
    retention: Option<SignedDuration>,
    until: Deadline,
    report: Report<'_>,
) -> Result<bool> {
    let (branch, parent) = (target.path.branch.to_string(), target.parent.branch.to_string());
    report(Event::Creating { branch: branch.clone(), parent });
    let mut ttl = target.ttl;
    loop {
        let error = match client.create_branch(&target.path, &target.parent, ttl, until).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is_already_exists() => return Ok(false),
            Err(error) => error,
        };
        match plan::shorter(ttl, retention) {
            Some(shorter) if error.is_life_too_long() => {
                ttl = shorter;
                report(Event::Shortened { life: ttl });
            }
            _ if error.is_not_found() => {
                // Its words name an id, but not which.
                check_parent(client, target).await?;
                return Err(error.into_error(&format!("creating branch {branch}")));
            }
            _ => return Err(error.into_error(&format!("creating branch {branch}"))),
        }
    }
}

/// An answer in which "not found" is no failure.
fn if_any<T>(answer: ApiResult<Option<T>>, doing: &str) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_not_found() => Ok(None),
        answer => answer.map_err(|error| error.into_error(doing)),
    }
}

/// Whether the answer is the project that is configured.
pub(crate) fn check_project(target: &Target, answer: ApiResult<Project>) -> Result<Project> {
    let id = &target.path.project;
    match answer {
        Err(error) if error.is_not_found() => {
            let cause = match error {
                ApiError::Refused { message, .. } => message,
                _ => String::new(),
            };
            Err(Error::new(Kind::NoProject, format!("there is no Lakebase project `{id}`"))
                .because_of(cause)
                .hint("run `docker compose lakebase init` or `cargo lakebase init` to make it")
                .hint("or correct `LAKEBASE_PROJECT_NAME`"))
        }
        Err(error) => Err(error.into_error(&format!("reading project {id}"))),
        Ok(project) => {
            same_project(id.as_str(), target.project_uid.as_deref(), &project.uid)?;
            Ok(project)
        }
    }
}

/// Compares the configured uid of a project with the service's.
///
/// # Errors
/// [`Kind::BadConfig`] where they differ: the id was given to another project, or the workspace is another.
pub fn same_project(id: &str, configured: Option<&str>, uid: &str) -> Result<()> {
    match configured {
        Some(wanted) if wanted != uid => Err(Error::new(
            Kind::BadConfig,
            format!("project `{id}` is not the one that is configured"),
        )
        .because_of(format!("its uid is {uid}, and LAKEBASE_PROJECT_ID is {wanted}"))
        .hint(
            "check the workspace; if the project was made anew, delete LAKEBASE_PROJECT_ID and run `init`",
        )),
        _ => Ok(()),
    }
}
