//! What `doctor` asks of a project's model.

use std::path::Path;

use lakebase::compose::{files, overlay};
use lakebase::config::{Connect, Settings};
use lakebase::env_vars::Env;
use lakebase::error::{Error, Result};

use super::{Said, is_published_to_all, read};
use crate::call::Call;
use crate::real::Real;

/// A project's model, looked at without changing anything.
pub struct Examined {
    /// The Compose project's name.
    pub project: String,
    /// The service that is the local database.
    pub database: String,
    /// Whether the database is published to the network.
    pub is_published: bool,
    /// Why the gateway can't take the database's seat.
    pub trouble: Option<Error>,
    /// Why an inactive profile was left out.
    pub broken_profile: Option<String>,
}

/// Looks at the model as `up` would; `None` where no Compose file is named and none is found.
///
/// # Errors
/// Those of Compose and of the model.
pub async fn examine(
    real: &Real,
    call: &Call,
    settings: &Settings,
    env: &Env,
    cwd: &Path,
) -> Result<Option<Examined>> {
    let Some(files) = files::find_any(&call.choice(), env, cwd)? else { return Ok(None) };
    let Said { model, database, broken_profile, .. } = read(real, call, &files, settings, cwd).await?;
    let by_gateway = settings.connect()? == Connect::Gateway;
    Ok(Some(Examined {
        project: model.name.clone(),
        is_published: by_gateway && is_published_to_all(&model, &database),
        trouble: if by_gateway { overlay::seat::fits(&model, &database).err() } else { None },
        database,
        broken_profile,
    }))
}
