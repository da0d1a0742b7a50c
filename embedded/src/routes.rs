//! The route table: a line a path.

use axum::routing::{delete, get, patch, post};
use axum::{Router, middleware};

use crate::app::App;
use crate::handlers::{
    branches, controls, credentials, databases, endpoints, faults, identity, oauth, operations, projects,
    roles,
};
use crate::http;

/// All routes of the server.
pub fn router(app: App) -> Router {
    let postgres = Router::new()
        .route("/projects", post(projects::create).get(projects::list))
        .route("/projects/{p}", get(projects::get).patch(projects::update).delete(projects::delete))
        .route("/projects/{p}/undelete", post(projects::undelete))
        .route("/projects/{p}/operations/{*o}", get(operations::get))
        .route("/projects/{p}/branches", post(branches::create).get(branches::list))
        .route(
            "/projects/{p}/branches/{b}",
            get(branches::get).patch(branches::update).delete(branches::delete),
        )
        .route("/projects/{p}/branches/{b}/undelete", post(branches::undelete))
        .route("/projects/{p}/branches/{b}/operations/{*o}", get(operations::get))
        .route("/projects/{p}/branches/{b}/endpoints", post(endpoints::create).get(endpoints::list))
        .route(
            "/projects/{p}/branches/{b}/endpoints/{e}",
            get(endpoints::get).patch(endpoints::update).delete(endpoints::delete),
        )
        .route("/projects/{p}/branches/{b}/endpoints/{e}/operations/{*o}", get(operations::get))
        .route("/projects/{p}/branches/{b}/databases", post(databases::create).get(databases::list))
        .route(
            "/projects/{p}/branches/{b}/databases/{d}",
            get(databases::get).patch(databases::update).delete(databases::delete),
        )
        .route("/projects/{p}/branches/{b}/databases/{d}/operations/{*o}", get(operations::get))
        .route("/projects/{p}/branches/{b}/roles", post(roles::create).get(roles::list))
        .route(
            "/projects/{p}/branches/{b}/roles/{r}",
            patch(roles::update).get(roles::get).delete(roles::delete),
        )
        .route("/projects/{p}/branches/{b}/roles/{r}/password", post(roles::password))
        .route("/projects/{p}/branches/{b}/roles/{r}/operations/{*o}", get(operations::get))
        .route("/credentials", post(credentials::create));
    let open = Router::new()
        .route("/.well-known/databricks-config", get(identity::config))
        .route("/oidc/.well-known/oauth-authorization-server", get(identity::oauth_server))
        .route("/oidc/v1/authorize", get(identity::no_browser))
        .route("/oidc/v1/token", post(oauth::token))
        .route("/embedded/github-oidc", get(oauth::github))
        .method_not_allowed_fallback(http::no_route);
    let own = Router::new()
        .route("/clock", get(controls::clock).patch(controls::set_clock))
        .route("/suspend", post(controls::suspend))
        .route("/faults", get(faults::list).post(faults::add).put(faults::replace).delete(faults::clear))
        .route("/faults/{id}", delete(faults::clear_one))
        .route("/calls", get(faults::calls))
        .layer(middleware::from_fn(http::developer_only));
    let closed = Router::new()
        .nest("/api/2.0/postgres", postgres)
        .route("/api/2.0/preview/scim/v2/Me", get(identity::me))
        .nest("/embedded", own)
        .fallback(http::no_route)
        .method_not_allowed_fallback(http::no_route);
    http::layers(closed, open, app)
}
