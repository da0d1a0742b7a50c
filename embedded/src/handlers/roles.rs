//! Roles inside a branch. PostgreSQL says which there are, also those made by SQL; what ties a role to an identity is ours.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;

use super::{Mask, Query, answer, body, branch_mut, flag, is_id, live_branch, operate, page};
use crate::api_error::{ApiError, ApiResult};
use crate::app::{App, Session};
use crate::catalog::{self, Attributes, RoleRow};
use crate::random;
use crate::state::{self, Outcome, Phase};
use crate::views;

pub(super) const OAUTH: &str = "LAKEBASE_OAUTH_V1";
const PASSWORD: &str = "PG_PASSWORD_SCRAM_SHA_256";
const NO_LOGIN: &str = "NO_LOGIN";
const SUPERUSER: &str = "DATABRICKS_SUPERUSER";

#[derive(Default, Deserialize)]
struct Body {
    role_id: Option<String>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    postgres_role: Option<String>,
    identity_type: Option<String>,
    auth_method: Option<String>,
    attributes: Option<AttributesSpec>,
    membership_roles: Option<Vec<String>>,
}

#[derive(Default, Clone, Copy, Deserialize)]
struct AttributesSpec {
    createdb: Option<bool>,
    createrole: Option<bool>,
    bypassrls: Option<bool>,
}

impl Spec {
    fn attributes(&self) -> Attributes {
        let given = self.attributes.unwrap_or_default();
        Attributes { createdb: given.createdb, createrole: given.createrole, bypassrls: given.bypassrls }
    }

    fn superuser(&self) -> ApiResult<Option<bool>> {
        let Some(roles) = &self.membership_roles else { return Ok(None) };
        match roles.iter().find(|role| *role != SUPERUSER) {
            Some(other) => Err(ApiError::invalid(format!("Field 'membership_roles' cannot hold '{other}'."))),
            None => Ok(Some(!roles.is_empty())),
        }
    }
}

/// The id of a role that was made by SQL, or that the client gave none: its name in the letters of an id.
pub(crate) fn derived_id(name: &str) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut id: String = name.chars().map(letters).collect();
    while id.contains("--") {
        id = id.replace("--", "-");
    }
    let id = id.trim_matches('-');
    let id = if id.starts_with(|c: char| c.is_ascii_lowercase()) { id.to_owned() } else { format!("r-{id}") };
    id[..id.len().min(63)].trim_end_matches('-').to_owned()
}

/// `id`, or `id-2`, `id-3`, … when it is taken.
pub(crate) fn unique(id: &str, taken: &[String]) -> String {
    let mut candidate = id.to_owned();
    let mut number = 1;
    while taken.contains(&candidate) {
        number += 1;
        let tail = format!("-{number}");
        candidate = format!("{}{tail}", id[..id.len().min(63 - tail.len())].trim_end_matches('-'));
    }
    candidate
}

/// The id that a client chose for a role or database, if it did: 4 to 63 characters of an id.
pub(crate) fn chosen_id(query: &Query, field: &str, in_body: Option<&str>) -> ApiResult<Option<String>> {
    let id = query.get(field).map(String::as_str).filter(|id| !id.is_empty()).or(in_body);
    match id {
        Some(id) if id.len() < 4 || !is_id(id) => Err(ApiError::bad_id(field, id)),
        id => Ok(id.map(str::to_owned)),
    }
}

async fn open(app: &App, project: &str, branch: &str) -> ApiResult<(Session, Timestamp, Vec<state::Role>)> {
    let state = app.state();
    let (_, branch) = live_branch(&state, project, branch)?;
    if branch.phase != Phase::Ready {
        return Err(ApiError::bad_request("branch is not ready"));
    }
    let control = app.control(&branch.uid, "postgres").await?;
    Ok((control, branch.created, branch.roles.clone()))
}

/// What both sides know of a branch's roles, in PostgreSQL's order.
pub(crate) async fn known(app: &App, project: &str, branch: &str) -> ApiResult<Vec<(RoleRow, state::Role)>> {
    let (control, created, known) = open(app, project, branch).await?;
    let rows = catalog::roles(&control.client).await?;
    let mut taken: Vec<String> = known.iter().map(|role| role.id.clone()).collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let found = known.iter().find(|role| role.postgres_role == row.name).cloned();
            let role = found.unwrap_or_else(|| {
                let id = unique(&derived_id(&row.name), &taken);
                taken.push(id.clone());
                state::Role {
                    id,
                    postgres_role: row.name.clone(),
                    identity_type: None,
                    auth_method: if row.can_login { PASSWORD } else { NO_LOGIN }.to_owned(),
                    password: None,
                    created,
                    updated: created,
                }
            });
            (row, role)
        })
        .collect())
}

async fn find(app: &App, project: &str, branch: &str, id: &str) -> ApiResult<(RoleRow, state::Role)> {
    let all = known(app, project, branch).await?;
    all.into_iter().find(|(_, role)| role.id == id).ok_or_else(|| ApiError::not_found("role"))
}

/// The id of the role with this name in PostgreSQL.
pub(crate) async fn id_of(app: &App, project: &str, branch: &str, name: &str) -> ApiResult<String> {
    let all = known(app, project, branch).await?;
    let found = all.into_iter().find(|(row, _)| row.name == name);
    Ok(found.map_or_else(|| derived_id(name), |(_, role)| role.id))
}

/// The name in PostgreSQL of the role with this resource name.
pub(crate) async fn postgres_role(app: &App, project: &str, branch: &str, name: &str) -> ApiResult<String> {
    let prefix = format!("{}/roles/", views::branch_name(project, branch));
    let id = name.strip_prefix(&prefix).ok_or_else(|| {
        ApiError::invalid(format!("Field 'role' must be a name such as '{prefix}{{role}}', got '{name}'."))
    })?;
    Ok(find(app, project, branch, id).await?.0.name)
}

/// `POST …/roles?role_id=&replace_existing=`.
pub(crate) async fn create(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    live_branch(&app.state(), &project, &branch)?;
    let chosen = chosen_id(&query, "role_id", wanted.role_id.as_deref())?;
    let replace = flag(&query, "replace_existing")? && chosen.is_some();
    let spec = wanted.spec;
    let superuser = spec.superuser()?;
    let all = known(&app, &project, &branch).await?;
    if let Some((row, role)) = all.iter().find(|(_, role)| replace && Some(&role.id) == chosen.as_ref()) {
        // Only what can change does; memberships are replaced, not merged.
        return change(
            &app,
            &project,
            &branch,
            (row.clone(), role.clone()),
            spec.attributes(),
            Some(superuser.unwrap_or(false)),
        )
        .await;
    }
    let name = spec.postgres_role.clone().filter(|name| !name.is_empty()).or_else(|| chosen.clone());
    let name = name.ok_or_else(|| ApiError::required("role.spec.postgres_role"))?;
    if !catalog::is_free_name(&name) {
        return Err(ApiError::invalid(format!("Field 'postgres_role' cannot be '{name}'.")));
    }
    let taken = |(row, role): &(RoleRow, state::Role)| row.name == name || Some(&role.id) == chosen.as_ref();
    if all.iter().any(taken) {
        return Err(ApiError::bad_request("role with that name already exists"));
    }
    let identity = match spec.identity_type.as_deref() {
        None | Some("" | "IDENTITY_TYPE_UNSPECIFIED") => None,
        Some(known @ ("USER" | "SERVICE_PRINCIPAL" | "GROUP")) => Some(known.to_owned()),
        Some(other) => {
            return Err(ApiError::invalid(format!("Field 'identity_type' is not known: '{other}'.")));
        }
    };
    let method = match (spec.auth_method.as_deref(), &identity) {
        (None | Some("" | "AUTH_METHOD_UNSPECIFIED"), Some(_)) | (Some(OAUTH), Some(_)) => OAUTH,
        (None | Some("" | "AUTH_METHOD_UNSPECIFIED"), None) | (Some(PASSWORD), _) => PASSWORD,
        (Some(NO_LOGIN), _) => NO_LOGIN,
        (Some(OAUTH), None) => return Err(ApiError::invalid("LAKEBASE_OAUTH_V1 needs an identity_type.")),
        (Some(other), _) => {
            return Err(ApiError::invalid(format!("Field 'auth_method' is not known: '{other}'.")));
        }
    };
    let password = if method == PASSWORD { Some(random::hex::<16>()?) } else { None };
    let (control, ..) = open(&app, &project, &branch).await?;
    let (login, member) = (method != NO_LOGIN, superuser.unwrap_or(false));
    catalog::create_role(&control.client, &name, login, spec.attributes(), member, password.as_deref())
        .await?;
    let ids: Vec<String> = all.into_iter().map(|(_, role)| role.id).collect();
    let now = app.clock.now();
    let role = state::Role {
        id: chosen.unwrap_or_else(|| unique(&derived_id(&name), &ids)),
        postgres_role: name,
        identity_type: identity,
        auth_method: method.to_owned(),
        password,
        created: now,
        updated: now,
    };
    finish(&app, &project, &branch, role).await
}

/// Keeps what only we know of a role and answers with its operation.
async fn finish(app: &App, project: &str, branch: &str, role: state::Role) -> ApiResult {
    let parent = views::branch_name(project, branch);
    let (control, ..) = open(app, project, branch).await?;
    let rows = catalog::roles(&control.client).await?;
    let row =
        rows.iter().find(|row| row.name == role.postgres_role).ok_or_else(|| ApiError::not_found("role"))?;
    let view = views::role(&parent, row, &role);
    let operation = app
        .update(|state| {
            let branch = branch_mut(state, project, branch)?;
            let name = format!("{parent}/roles/{}", role.id);
            branch.roles.retain(|other| other.id != role.id);
            branch.roles.push(role);
            operate(state, &name, "Role", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}

async fn change(
    app: &App,
    project: &str,
    branch: &str,
    (row, role): (RoleRow, state::Role),
    attributes: Attributes,
    superuser: Option<bool>,
) -> ApiResult {
    let (control, ..) = open(app, project, branch).await?;
    let superuser = superuser.filter(|wanted| *wanted != row.is_superuser);
    catalog::alter_role(&control.client, &row.name, attributes, superuser).await?;
    finish(app, project, branch, state::Role { updated: app.clock.now(), ..role }).await
}

/// `GET …/roles`.
pub(crate) async fn list(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let parent = views::branch_name(&project, &branch);
    let all = known(&app, &project, &branch).await?;
    page(&query, "roles", all.iter().map(|(row, role)| views::role(&parent, row, role)).collect())
}

/// `GET …/roles/{r}`.
pub(crate) async fn get(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let (row, role) = find(&app, &project, &branch, &id).await?;
    Ok(Json(views::role(&views::branch_name(&project, &branch), &row, &role)).into_response())
}

/// `PATCH …/roles/{r}?update_mask=`. `spec` alone changes what the body holds; `*`, or `spec` beside other paths, changes
/// everything, so that the three attributes must be there. Each of these forms replaces the memberships.
pub(crate) async fn update(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    const KNOWN: [&str; 5] = [
        "spec.membership_roles",
        "spec.attributes",
        "spec.attributes.createdb",
        "spec.attributes.createrole",
        "spec.attributes.bypassrls",
    ];
    let wanted: Body = body(&bytes)?;
    let found = find(&app, &project, &branch, &id).await?;
    let mask = Mask::read(&query, &KNOWN, &["spec.identity_type", "spec.auth_method", "spec.postgres_role"])?;
    let given = wanted.spec.attributes();
    let everything = mask.is_broad() && query.get("update_mask").map(String::as_str) != Some("spec");
    let whole = given.createdb.is_some() && given.createrole.is_some() && given.bypassrls.is_some();
    if everything && !whole {
        return Err(ApiError::invalid("All of createdb, createrole and bypassrls must be given."));
    }
    let pick = |path: &str, value: Option<bool>| {
        value.filter(|_| mask.has("spec.attributes", true) || mask.has(path, true))
    };
    let attributes = Attributes {
        createdb: pick("spec.attributes.createdb", given.createdb),
        createrole: pick("spec.attributes.createrole", given.createrole),
        bypassrls: pick("spec.attributes.bypassrls", given.bypassrls),
    };
    let superuser = if mask.has("spec.membership_roles", true) {
        Some(wanted.spec.superuser()?.unwrap_or(false))
    } else {
        None
    };
    change(&app, &project, &branch, found, attributes, superuser).await
}

/// `DELETE …/roles/{r}?reassign_owned_to=`.
pub(crate) async fn delete(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
    query: Query,
) -> ApiResult {
    let (row, _) = find(&app, &project, &branch, &id).await?;
    let heir = match query.get("reassign_owned_to").filter(|name| !name.is_empty()) {
        Some(name) => Some(postgres_role(&app, &project, &branch, name).await?),
        None => None,
    };
    let uid = live_branch(&app.state(), &project, &branch)?.1.uid.clone();
    let postgres = app.awake(&uid).await?;
    catalog::drop_role(&postgres, &row.name, heir.as_deref()).await?;
    let operation = app
        .update(|state| {
            branch_mut(state, &project, &branch)?.roles.retain(|role| role.id != id);
            let name = format!("{}/roles/{id}", views::branch_name(&project, &branch));
            operate(state, &name, "Role", Some(views::empty()))
        })
        .await?;
    Ok(answer(&operation))
}

/// `POST …/roles/{r}/password`: the password of a role with native login.
pub(crate) async fn password(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let (_, role) = find(&app, &project, &branch, &id).await?;
    match role.password {
        Some(password) => Ok(Json(json!({"password": password})).into_response()),
        None => Err(ApiError::bad_request("the role has no password that the server knows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_roles_made_by_sql_are_valid_and_unique() {
        assert_eq!(derived_id("developer@embedded.lakebase"), "developer-embedded-lakebase");
        for name in ["1", "Ä", "_x_", "a--b", &"Z".repeat(80), "…"] {
            assert!(is_id(&derived_id(name)), "{name}: {}", derived_id(name));
        }
        let taken = vec!["app".to_owned(), "app-2".to_owned()];
        assert_eq!(unique("app", &taken), "app-3");
        assert_eq!(unique(&"a".repeat(63), &["a".repeat(63)]).len(), 63);
    }
}
