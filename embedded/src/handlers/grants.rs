//! The roles of identities inside a branch.

use jiff::Timestamp;

use super::roles::{OAUTH, derived_id, unique};
use crate::api_error::ApiResult;
use crate::app::App;
use crate::catalog::{self, Attributes};
use crate::identities::Identity;
use crate::state::{self, Branch, Phase};

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

/// Whether the branch has a role of this name that an identity logs in as: one that the API made. A role made by SQL is nobody's.
pub(crate) fn is_tied(branch: &Branch, user_name: &str) -> bool {
    branch.roles.iter().any(|role| role.postgres_role == user_name && role.auth_method == OAUTH)
}

/// Sees to it that an identity has its role in a branch where it is to get one: a member of `databricks_superuser`, as the
/// creator of a project is, who owns nothing of what others made.
pub(crate) async fn ensure(app: &App, branch: &Branch, identity: &Identity) -> ApiResult<()> {
    let name = &identity.user_name;
    let known = branch.roles.iter().any(|role| &role.postgres_role == name);
    if known || !identity.gets_roles || branch.phase != Phase::Ready {
        return Ok(());
    }
    let control = app.control(&branch.uid, "postgres").await?;
    if !catalog::is_identity_role(&control.client, name).await? {
        if catalog::is_role(&control.client, name).await? {
            return Ok(());
        }
        let attributes = Attributes { createdb: Some(true), createrole: Some(true), bypassrls: Some(true) };
        let made = catalog::create_role(&control.client, name, true, attributes, true, None).await;
        // Two who ask at once: the other one has made it.
        if made.is_err() && !catalog::is_identity_role(&control.client, name).await? {
            made?;
        }
    }
    let now = app.clock.now();
    app.update(|state| {
        if let Some(branch) = state.by_uid_mut(&branch.uid)
            && !branch.roles.iter().any(|role| &role.postgres_role == name)
        {
            let taken: Vec<String> = branch.roles.iter().map(|role| role.id.clone()).collect();
            branch.roles.push(record(identity, &taken, now));
        }
        Ok(())
    })
    .await
}
