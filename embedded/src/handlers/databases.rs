//! Databases inside a branch. PostgreSQL says which there are, also those made by SQL.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::{Mask, Query, answer, body, branch_mut, flag, live_branch, operate, page, roles};
use crate::api_error::{ApiError, ApiResult};
use crate::app::{App, Session};
use crate::catalog::{self, DatabaseRow};
use crate::state::{self, Outcome, Phase};
use crate::views;

#[derive(Default, Deserialize)]
struct Body {
    database_id: Option<String>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
struct Spec {
    postgres_database: Option<String>,
    role: Option<String>,
}

/// The id of a database that was made by SQL, or that the client gave none.
pub(crate) fn derived_id(name: &str) -> String {
    roles::derived_id(name)
}

/// What both sides know of a branch's databases, in PostgreSQL's order.
async fn known(app: &App, project: &str, branch: &str) -> ApiResult<Vec<(DatabaseRow, state::Database)>> {
    let (control, created, known) = open(app, project, branch).await?;
    let rows = catalog::databases(&control.client).await?;
    let mut taken: Vec<String> = known.iter().map(|database| database.id.clone()).collect();
    Ok(rows
        .into_iter()
        .map(|row| {
            let found = known.iter().find(|database| database.postgres_database == row.name).cloned();
            let database = found.unwrap_or_else(|| {
                let id = roles::unique(&derived_id(&row.name), &taken);
                taken.push(id.clone());
                state::Database { id, postgres_database: row.name.clone(), created, updated: created }
            });
            (row, database)
        })
        .collect())
}

async fn open(
    app: &App,
    project: &str,
    branch: &str,
) -> ApiResult<(Session, Timestamp, Vec<state::Database>)> {
    let state = app.state();
    let (_, branch) = live_branch(&state, project, branch)?;
    if branch.phase != Phase::Ready {
        return Err(ApiError::bad_request("branch is not ready"));
    }
    let control = app.control(&branch.uid, "postgres").await?;
    Ok((control, branch.created, branch.databases.clone()))
}

async fn view(
    app: &App,
    project: &str,
    branch: &str,
    row: &DatabaseRow,
    database: &state::Database,
) -> ApiResult<Value> {
    let owner = roles::id_of(app, project, branch, &row.owner).await?;
    Ok(views::database(&views::branch_name(project, branch), row, database, &owner))
}

async fn find(app: &App, project: &str, branch: &str, id: &str) -> ApiResult<(DatabaseRow, state::Database)> {
    let all = known(app, project, branch).await?;
    all.into_iter().find(|(_, database)| database.id == id).ok_or_else(|| ApiError::not_found("database"))
}

fn check_name(name: &str) -> ApiResult<()> {
    if catalog::is_free_name(name) {
        Ok(())
    } else {
        Err(ApiError::invalid(format!("Field 'postgres_database' cannot be '{name}'.")))
    }
}

/// `POST …/databases?database_id=&replace_existing=`.
pub(crate) async fn create(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    live_branch(&app.state(), &project, &branch)?;
    let chosen = roles::chosen_id(&query, "database_id", wanted.database_id.as_deref())?;
    let replace = flag(&query, "replace_existing")?;
    let owner = wanted.spec.role.as_deref().filter(|role| !role.is_empty());
    let owner = owner.ok_or_else(|| ApiError::required("database.spec.role"))?;
    let owner = roles::postgres_role(&app, &project, &branch, owner).await?;
    let name = match (wanted.spec.postgres_database.filter(|name| !name.is_empty()), &chosen) {
        (Some(name), _) => name,
        (None, Some(id)) => id.clone(),
        (None, None) => return Err(ApiError::required("database.spec.postgres_database")),
    };
    check_name(&name)?;
    let all = known(&app, &project, &branch).await?;
    let ids: Vec<String> = all.iter().map(|(_, database)| database.id.clone()).collect();
    let existing =
        all.iter().find(|(row, database)| row.name == name || Some(&database.id) == chosen.as_ref());
    let (control, ..) = open(&app, &project, &branch).await?;
    let now = app.clock.now();
    let database = match existing {
        Some((row, database)) if replace => {
            catalog::alter_database(&control.client, &row.name, Some(&name), Some(&owner)).await?;
            state::Database { postgres_database: name.clone(), updated: now, ..database.clone() }
        }
        Some(_) => return Err(ApiError::bad_request("database with that name already exists")),
        None => {
            catalog::create_database(&control.client, &name, &owner).await?;
            let id = chosen.unwrap_or_else(|| roles::unique(&derived_id(&name), &ids));
            state::Database { id, postgres_database: name.clone(), created: now, updated: now }
        }
    };
    finish(&app, &project, &branch, DatabaseRow { name, owner }, database).await
}

/// Keeps what only we know of a database and answers with its operation.
async fn finish(
    app: &App,
    project: &str,
    branch: &str,
    row: DatabaseRow,
    database: state::Database,
) -> ApiResult {
    let view = view(app, project, branch, &row, &database).await?;
    let name = format!("{}/databases/{}", views::branch_name(project, branch), database.id);
    let operation = app
        .update(|state| {
            let parent = branch_mut(state, project, branch)?;
            parent.databases.retain(|other| other.id != database.id);
            parent.databases.push(database);
            operate(state, &name, "Database", Some(Outcome::Response(view)))
        })
        .await?;
    Ok(answer(&operation))
}

/// `GET …/databases`.
pub(crate) async fn list(
    State(app): State<App>,
    Path((project, branch)): Path<(String, String)>,
    query: Query,
) -> ApiResult {
    let owners = roles::known(&app, &project, &branch).await?;
    let parent = views::branch_name(&project, &branch);
    let shown = known(&app, &project, &branch).await?.into_iter().map(|(row, database)| {
        let owner = owners.iter().find(|(role, _)| role.name == row.owner);
        let owner = owner.map_or_else(|| roles::derived_id(&row.owner), |(_, role)| role.id.clone());
        views::database(&parent, &row, &database, &owner)
    });
    page(&query, "databases", shown.collect())
}

/// `GET …/databases/{d}`.
pub(crate) async fn get(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let (row, database) = find(&app, &project, &branch, &id).await?;
    Ok(Json(view(&app, &project, &branch, &row, &database).await?).into_response())
}

/// `PATCH …/databases/{d}?update_mask=`: another name or another owner.
pub(crate) async fn update(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
    query: Query,
    bytes: Bytes,
) -> ApiResult {
    let wanted: Body = body(&bytes)?;
    let (row, database) = find(&app, &project, &branch, &id).await?;
    let mask = Mask::read(&query, &["spec.postgres_database", "spec.role"], &[])?;
    let name = wanted.spec.postgres_database.filter(|_| mask.has("spec.postgres_database", true));
    if let Some(name) = &name {
        check_name(name)?;
    }
    let owner = match wanted.spec.role.filter(|_| mask.has("spec.role", true)) {
        Some(role) => Some(roles::postgres_role(&app, &project, &branch, &role).await?),
        None => None,
    };
    let (control, ..) = open(&app, &project, &branch).await?;
    catalog::alter_database(&control.client, &row.name, name.as_deref(), owner.as_deref()).await?;
    let row = DatabaseRow { name: name.unwrap_or(row.name), owner: owner.unwrap_or(row.owner) };
    let database =
        state::Database { postgres_database: row.name.clone(), updated: app.clock.now(), ..database };
    finish(&app, &project, &branch, row, database).await
}

/// `DELETE …/databases/{d}`.
pub(crate) async fn delete(
    State(app): State<App>,
    Path((project, branch, id)): Path<(String, String, String)>,
) -> ApiResult {
    let (row, _) = find(&app, &project, &branch, &id).await?;
    let (control, ..) = open(&app, &project, &branch).await?;
    catalog::drop_database(&control.client, &row.name).await?;
    let operation = app
        .update(|state| {
            branch_mut(state, &project, &branch)?.databases.retain(|database| database.id != id);
            let name = format!("{}/databases/{id}", views::branch_name(&project, &branch));
            operate(state, &name, "Database", Some(views::empty()))
        })
        .await?;
    Ok(answer(&operation))
}
