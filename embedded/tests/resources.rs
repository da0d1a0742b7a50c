//! What the API holds: projects, and the roles and databases inside a branch.

mod common;

use common::{IDENTITY, Server, check};
use serde_json::{Value, json};

#[test]
fn a_project_is_born_complete_and_can_be_changed_deleted_and_undeleted() {
    let server = Server::with_project();
    let project = server.get("/projects/shop");
    assert_eq!(project["status"]["owner"], IDENTITY);
    assert_eq!(project["status"]["default_branch"], "projects/shop/branches/production");
    assert_ne!(project["uid"], "shop");
    let (_, me) = server.request("GET", "/api/2.0/preview/scim/v2/Me", None, &Value::Null);
    assert_eq!(me["error_code"], 401);
    let role = server.get("/projects/shop/branches/production/roles")["roles"][0].clone();
    assert_eq!(role["status"]["postgres_role"], IDENTITY);
    assert_eq!(role["status"]["membership_roles"], json!(["DATABRICKS_SUPERUSER"]));
    let databases = server.get("/projects/shop/branches/production/databases");
    assert_eq!(databases["databases"].as_array().unwrap().len(), 1);
    assert_eq!(databases["databases"][0]["database_id"], "databricks-postgres");
    assert_eq!(databases["databases"][0]["status"]["postgres_database"], "databricks_postgres");
    assert_eq!(databases["databases"][0]["status"]["role"], role["name"]);
    let changed = server.operate(
        "PATCH",
        "/projects/shop?update_mask=spec.display_name",
        &json!({"spec": {"display_name": "The shop", "enable_pg_native_login": true}}),
    );
    assert_eq!(changed["status"]["display_name"], "The shop");
    assert_eq!(changed["status"]["enable_pg_native_login"], false, "what the mask does not name stays");
    // soft deletion
    server.operate("DELETE", "/projects/shop", &Value::Null);
    assert_eq!(server.get("/projects")["projects"], json!([]));
    assert!(server.get("/projects/shop")["delete_time"].is_string());
    assert_eq!(server.call("GET", "/projects/shop/branches", &Value::Null).0, 404);
    server.create("/projects/shop/undelete", json!({}));
    assert_eq!(server.query("production", "SELECT 1"), "1");
    // a version that is not there
    let (status, error) =
        server.refused("POST", "/projects?project_id=old", &json!({"spec": {"pg_version": 9}}));
    assert!(status == 400 && error["message"].as_str().unwrap().contains("installed:"), "{error}");
}

#[test]
fn databases_and_roles_are_those_of_postgres() {
    let server = Server::with_project();
    let branch = "/projects/shop/branches/production";
    let name = branch.trim_start_matches('/');
    // a role with a password, and a database of its own
    let spec = json!({"spec": {"postgres_role": "app \"quoted\"", "attributes": {"createdb": true}}});
    let role = server.create(&format!("{branch}/roles?role_id=app-role"), spec.clone());
    assert_eq!(role["status"]["auth_method"], "PG_PASSWORD_SCRAM_SHA_256");
    assert_eq!(
        role["status"]["attributes"],
        json!({"createdb": true, "createrole": false, "bypassrls": false})
    );
    check(
        server.refused("POST", &format!("{branch}/roles?role_id=app-role"), &spec),
        400,
        "BAD_REQUEST",
        "role with that name already exists",
    );
    check(
        server.refused("POST", &format!("{branch}/databases?database_id=orders"), &json!({"spec": {}})),
        400,
        "INVALID_PARAMETER_VALUE",
        "role",
    );
    let spec = json!({"spec": {"role": format!("{name}/roles/app-role"), "postgres_database": "orders_db"}});
    let database = server.create(&format!("{branch}/databases?database_id=orders"), spec.clone());
    assert_eq!(
        database["status"],
        json!({"database_id": "orders", "postgres_database": "orders_db", "role": role["name"]})
    );
    check(
        server.refused("POST", &format!("{branch}/databases?database_id=orders"), &spec),
        400,
        "BAD_REQUEST",
        "database with that name already exists",
    );
    // native login only where the project allows it
    let (_, revealed) = server.call("POST", &format!("{branch}/roles/app-role/password"), &json!({}));
    let mut psql = server.psql("production");
    psql.user = "app \"quoted\"".into();
    psql.database = "orders_db".into();
    psql.password = revealed["password"].as_str().unwrap().to_owned();
    assert!(psql.failure("SELECT 1").contains("OAuth: User is not authorized"));
    server.operate(
        "PATCH",
        "/projects/shop?update_mask=spec.enable_pg_native_login",
        &json!({"spec": {"enable_pg_native_login": true}}),
    );
    assert_eq!(psql.query("SELECT current_user"), "app \"quoted\"");
    psql.query("ALTER ROLE CURRENT_USER PASSWORD 'changed by SQL'");
    assert!(psql.failure("SELECT 1").contains("OAuth: User is not authorized"));
    psql.password = "changed by SQL".into();
    psql.query("CREATE TABLE t ()");
    // what SQL made is listed, too
    server.query("production", "CREATE ROLE by_sql NOLOGIN");
    server.query("production", "CREATE DATABASE by_sql_too");
    let ids = |list: &str, id: &str| -> Vec<String> {
        let entries = server.get(&format!("{branch}/{list}"))[list].as_array().unwrap().clone();
        entries.iter().map(|entry| entry[id].as_str().unwrap().to_owned()).collect()
    };
    assert!(ids("roles", "role_id").contains(&"by-sql".to_owned()));
    assert!(ids("databases", "database_id").contains(&"by-sql-too".to_owned()));
    assert!(!ids("roles", "role_id").iter().any(|id| id.contains("admin") || id.contains("superuser")));
    // a branch has them all
    server.branch("dev");
    assert_eq!(
        server.get("/projects/shop/branches/dev/databases/orders")["status"]["postgres_database"],
        "orders_db"
    );
    // changes
    let renamed = server.operate(
        "PATCH",
        &format!("{branch}/databases/orders?update_mask=spec.postgres_database"),
        &json!({"spec": {"postgres_database": "orders_2", "role": ""}}),
    );
    assert_eq!(renamed["status"]["postgres_database"], "orders_2");
    let altered = server.operate(
        "PATCH",
        &format!("{branch}/roles/app-role?update_mask=spec.attributes.createdb,spec.membership_roles"),
        &json!({"spec": {"attributes": {"createdb": false}, "membership_roles": ["DATABRICKS_SUPERUSER"]}}),
    );
    assert_eq!(altered["status"]["attributes"]["createdb"], false);
    assert_eq!(altered["status"]["membership_roles"], json!(["DATABRICKS_SUPERUSER"]));
    check(
        server.refused("PATCH", &format!("{branch}/roles/app-role?update_mask=spec.auth_method"), &json!({})),
        400,
        "INVALID_PARAMETER_VALUE",
        "auth_method",
    );
    // a role that owns things goes when an heir is named
    let delete = format!("{branch}/roles/app-role");
    assert_eq!(server.refused("DELETE", &delete, &Value::Null).0, 400);
    server.operate(
        "DELETE",
        &format!("{delete}?reassign_owned_to={name}/roles/developer-embedded-lakebase"),
        &Value::Null,
    );
    assert!(!ids("roles", "role_id").contains(&"app-role".to_owned()));
    server.operate("DELETE", &format!("{branch}/databases/orders"), &Value::Null);
    assert!(!ids("databases", "database_id").contains(&"orders".to_owned()));
    // the developer is no superuser
    assert!(server.psql("production").failure("CREATE EXTENSION file_fdw").contains("permission denied"));
}

#[test]
fn what_protection_a_mask_and_a_null_say_is_taken_at_its_word() {
    let server = Server::with_project();
    // an endpoint of a protected branch stays
    let spec = json!({"spec": {"no_expiry": true, "is_protected": true}});
    server.create("/projects/shop/branches?branch_id=kept", spec);
    let endpoints = "/projects/shop/branches/kept/endpoints";
    let spec = json!({"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_ONLY"}});
    server.create(&format!("{endpoints}?endpoint_id=reader"), spec);
    let delete = format!("{endpoints}/reader");
    check(server.refused("DELETE", &delete, &Value::Null), 400, "BAD_REQUEST", "protected branch");
    let free = json!({"spec": {"is_protected": false}});
    server.operate("PATCH", "/projects/shop/branches/kept?update_mask=spec.is_protected", &free);
    server.operate("DELETE", &delete, &Value::Null);
    // tags go when the mask names them and the body does not, as the official client sends it
    let tags = "/projects/shop?update_mask=spec.custom_tags";
    let tagged =
        server.operate("PATCH", tags, &json!({"spec": {"custom_tags": [{"key": "a", "value": "b"}]}}));
    assert_eq!(tagged["status"]["custom_tags"][0]["key"], "a");
    let kept =
        server.operate("PATCH", "/projects/shop?update_mask=*", &json!({"spec": {"display_name": "A"}}));
    assert_eq!(kept["status"]["custom_tags"][0]["key"], "a");
    let freed = server.operate("PATCH", tags, &json!({"spec": {}}));
    assert_eq!(freed["status"]["custom_tags"], Value::Null);
    // a null is nothing; a list is no body
    let branches = "/projects/shop/branches?branch_id=none";
    check(
        server.refused("POST", branches, &json!({"spec": null})),
        400,
        "INVALID_PARAMETER_VALUE",
        "Expiration must be specified",
    );
    check(server.refused("POST", branches, &json!([])), 400, "MALFORMED_REQUEST", "");
    // a path that is no text is refused in the API's own shape
    check(server.refused("GET", "/projects/%FF", &Value::Null), 400, "MALFORMED_REQUEST", "UTF-8");
}
