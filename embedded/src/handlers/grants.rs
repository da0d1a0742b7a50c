//! The roles of identities inside a branch.

use jiff::Timestamp;

use super::roles::{OAUTH, derived_id, unique};
use crate::api_error::ApiResult;
use crate::app::App;
use crate::catalog::{self, Attributes};
use crate::identities::Identity;
use crate::state::{self, Phase};

/// What the state says of an identity's role, beside roles whose ids are `taken`.
pub(crate) fn record(identity: &Identity, taken: &[String], now: Timestamp) -> state::Role {
    state::Role {
        id: unique(&derived_id(&identity.user_name), taken),
        postgres_role: identity.user_name.clone(),
        identity_type: Some(identity.identity_type().to_owned()),
        auth_method: OAUTH.to_owned(),
        password: None,
        created: now,
        updated: now,
    }
}

/// What an identity has in a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// A role that it logs in as: one that the API made.
    Tied,
    /// A role of its name that is nobody's: one that SQL made, or one with a password.
    Foreign,
    /// None.
    None,
}

/// Sees to it that an identity has its role in a branch where it is to get one: a member of `databricks_superuser`, as the
/// creator of a project is, who owns nothing of what others made. A branch that is still being made gets it later.
pub(crate) async fn ensure(app: &App, uid: &str, identity: &Identity) -> ApiResult<Grant> {
    let (state, name) = (app.state(), &identity.user_name);
    let branch = state.by_uid(uid).map(|(_, branch)| branch);
    let Some(branch) = branch.filter(|branch| branch.phase == Phase::Ready) else { return Ok(Grant::None) };
    if let Some(role) = branch.roles.iter().find(|role| &role.postgres_role == name) {
        return Ok(if role.auth_method == OAUTH { Grant::Tied } else { Grant::Foreign });
    }
    let control = app.control(uid, "postgres").await?;
    let is_there = catalog::is_role(&control.client, name).await?;
    if !identity.gets_roles {
        return Ok(if is_there { Grant::Foreign } else { Grant::None });
    }
    if !is_there {
        let attributes = Attributes { createdb: Some(true), createrole: Some(true), bypassrls: Some(true) };
        let made = catalog::create_role(&control.client, name, true, attributes, true, None).await;
        // Two who ask at once: the other one has made it.
        if made.is_err() && !catalog::is_role(&control.client, name).await? {
            made?;
        }
    }
    // One that was there may be ours from before a crash.
    if !catalog::is_identity_role(&control.client, name).await? {
        return Ok(Grant::Foreign);
    }
    let now = app.clock.now();
    app.update(|state| {
        if let Some(branch) = state.by_uid_mut(uid)
            && !branch.roles.iter().any(|role| &role.postgres_role == name)
        {
            let taken: Vec<String> = branch.roles.iter().map(|role| role.id.clone()).collect();
            branch.roles.push(record(identity, &taken, now));
        }
        Ok(Grant::Tied)
    })
    .await
}
