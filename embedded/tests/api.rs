//! The API's answers: shapes of errors, lists and operations.

mod common;

use common::{Server, TTL, check};
use serde_json::{Value, json};

#[test]
fn without_the_token_nothing_is_answered() {
    let server = Server::start();
    for token in [None, Some("wrong"), Some("")] {
        for path in ["/api/2.0/postgres/projects", "/api/2.0/preview/scim/v2/Me", "/api/2.0/nothing"] {
            let (status, error) = server.request("GET", path, token, &Value::Null);
            assert_eq!((status, &error["error_code"]), (401, &json!(401)), "{path}");
            let message = error["message"].as_str().unwrap();
            assert!(
                message.starts_with(
                    "Credential was not sent or was of an unsupported type for this API. [ReqId: "
                )
            );
        }
    }
    // discovery comes before any token
    let (status, found) = server.request("GET", "/.well-known/databricks-config", None, &Value::Null);
    assert_eq!(status, 200);
    assert!(found["oidc_endpoint"].as_str().unwrap().ends_with("/oidc"));
    assert_eq!(
        server.request("GET", "/oidc/.well-known/oauth-authorization-server", None, &Value::Null).0,
        200
    );
}

#[test]
fn a_method_that_a_route_has_not_is_an_error_in_the_shape_of_the_service() {
    let server = Server::with_project();
    let branch = "/api/2.0/postgres/projects/shop/branches/production";
    for (method, path) in [
        ("PUT", "/api/2.0/postgres/projects".to_owned()),
        ("PUT", "/api/2.0/postgres/projects/shop".to_owned()),
        ("PUT", branch.to_owned()),
        ("PUT", format!("{branch}/endpoints")),
        ("POST", format!("{branch}/endpoints/primary")),
        ("GET", "/api/2.0/postgres/credentials".to_owned()),
        ("POST", "/api/2.0/preview/scim/v2/Me".to_owned()),
        ("PUT", "/embedded/clock".to_owned()),
        ("GET", "/embedded/suspend".to_owned()),
        ("PUT", "/oidc/v1/token".to_owned()),
        ("POST", "/.well-known/databricks-config".to_owned()),
        ("DELETE", "/embedded/github-oidc".to_owned()),
    ] {
        let shown = path.strip_prefix("/api/2.0").unwrap_or(&path);
        let said = json!({"error_code": "ENDPOINT_NOT_FOUND", "message": format!("No API found for '{method} {shown}'")});
        assert_eq!(server.control(method, &path, &Value::Null), (404, said), "{method} {path}");
    }
}

#[test]
fn every_error_has_the_shape_of_the_service() {
    let server = Server::with_project();
    let spec = json!({"spec": {"ttl": TTL}});
    let branches = "/projects/shop/branches";
    // what is missing, parents first
    check(
        server.refused("GET", "/projects/none", &Value::Null),
        404,
        "NOT_FOUND",
        "project id not found [TraceId: ",
    );
    check(server.refused("GET", "/projects/none/branches/b", &Value::Null), 404, "NOT_FOUND", "project id");
    check(
        server.refused("GET", &format!("{branches}/none"), &Value::Null),
        404,
        "NOT_FOUND",
        "branch id not found [TraceId: ",
    );
    check(
        server.refused("GET", &format!("{branches}/none/endpoints/e"), &Value::Null),
        404,
        "NOT_FOUND",
        "branch id",
    );
    check(
        server.refused("GET", &format!("{branches}/production/endpoints/e"), &Value::Null),
        404,
        "NOT_FOUND",
        "endpoint id",
    );
    check(
        server.refused("GET", &format!("{branches}/production/operations/x/y=="), &Value::Null),
        404,
        "NOT_FOUND",
        "operation id not found",
    );
    check(
        server.refused("GET", "/nothing", &Value::Null),
        404,
        "ENDPOINT_NOT_FOUND",
        "No API found for 'GET /postgres/nothing'",
    );
    check(
        server.refused("PUT", "/projects", &Value::Null),
        404,
        "ENDPOINT_NOT_FOUND",
        "No API found for 'PUT /postgres/projects'",
    );
    // ids
    check(
        server.refused("POST", branches, &spec),
        400,
        "INVALID_PARAMETER_VALUE",
        "Field 'branch_id' is required, expected non-default value (not \"\")!",
    );
    check(
        server.refused("POST", &format!("{branches}?branch_id=Bad_Id"), &spec),
        400,
        "INVALID_PARAMETER_VALUE",
        "Field branch_id must match pattern ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$, got 'Bad_Id'.",
    );
    check(
        server.refused("POST", "/projects?project_id=shop", &json!({})),
        409,
        "ALREADY_EXISTS",
        "project with such id already exists",
    );
    check(
        server.refused("POST", &format!("{branches}?branch_id=production"), &spec),
        409,
        "ALREADY_EXISTS",
        "branch with such id already exists",
    );
    // expiry
    let create =
        |spec: Value| server.refused("POST", &format!("{branches}?branch_id=dev"), &json!({"spec": spec}));
    let unspecified = "Expiration must be specified when creating a branch";
    check(create(json!({})), 400, "INVALID_PARAMETER_VALUE", unspecified);
    check(create(json!({"ttl": "60s", "no_expiry": true})), 400, "INVALID_PARAMETER_VALUE", unspecified);
    check(create(json!({"no_expiry": false})), 400, "INVALID_PARAMETER_VALUE", unspecified);
    check(
        create(json!({"ttl": "2592001s"})),
        400,
        "INVALID_PARAMETER_VALUE",
        "expiration time exceeds the maximum expiration time [TraceId: ",
    );
    check(create(json!({"ttl": "1h"})), 400, "INVALID_PARAMETER_VALUE", "'1h'");
    check(
        create(json!({"ttl": TTL, "source_branch": "projects/shop/branches/none"})),
        404,
        "NOT_FOUND",
        "branch id",
    );
    check(create(json!({"ttl": 5})), 400, "MALFORMED_REQUEST", "");
    // what can't go
    let delete = |path: &str| server.refused("DELETE", &format!("{branches}/production{path}"), &Value::Null);
    let root = delete("?purge=true");
    assert_eq!(root.1["details"][0]["reason"], "RESOURCE_CONFLICT");
    assert_eq!(root.1["details"][0]["domain"], "databricks.com");
    assert_eq!(root.1["details"][0]["metadata"]["declarative_context"], "MANAGED_BY_PARENT");
    assert!(root.1["details"][1]["@type"].as_str().unwrap().ends_with("RequestInfo"));
    check(
        root,
        400,
        "BAD_REQUEST",
        "Cannot delete root branch 'projects/shop/branches/production'. Root branches cannot be deleted independently.",
    );
    check(delete("/endpoints/primary"), 400, "BAD_REQUEST", "Cannot delete primary endpoint");
    let second = json!({"spec": {"endpoint_type": "ENDPOINT_TYPE_READ_WRITE"}});
    check(
        server.refused("POST", &format!("{branches}/production/endpoints?endpoint_id=second"), &second),
        400,
        "BAD_REQUEST",
        "read_write endpoint already exists",
    );
    // protection, and children of what expires
    server.branch("dev");
    check(create(json!({"ttl": TTL})), 409, "ALREADY_EXISTS", "branch with such id already exists");
    let child = json!({"spec": {"ttl": TTL, "source_branch": "projects/shop/branches/dev"}});
    check(
        server.refused("POST", &format!("{branches}?branch_id=child"), &child),
        400,
        "BAD_REQUEST",
        "Branches with an expiration date cannot have child branches",
    );
    server.create(
        &format!("{branches}?branch_id=safe"),
        json!({"spec": {"no_expiry": true, "is_protected": true}}),
    );
    check(
        server.refused("DELETE", &format!("{branches}/safe?purge=true"), &Value::Null),
        400,
        "BAD_REQUEST",
        "cannot delete protected branch",
    );
    let mask = format!("{branches}/safe?update_mask=spec.is_protected");
    server.operate("PATCH", &mask, &json!({"spec": {"is_protected": false}}));
    server.operate("DELETE", &format!("{branches}/safe?purge=true"), &Value::Null);
    // masks
    check(
        server.refused("PATCH", &format!("{branches}/dev"), &json!({})),
        400,
        "INVALID_PARAMETER_VALUE",
        "'update_mask'",
    );
    check(
        server.refused("PATCH", &format!("{branches}/dev?update_mask=spec.x"), &json!({})),
        400,
        "INVALID_PARAMETER_VALUE",
        "spec.x",
    );
    // bodies
    let large = json!({"spec": {"ttl": "x".repeat(300_000)}});
    assert_eq!(server.refused("POST", &format!("{branches}?branch_id=big"), &large).0, 413);
    // credentials
    let endpoint = "projects/shop/branches/dev/endpoints/primary";
    for ttl in ["299s", "3601s", "-1s"] {
        let (status, _) = server.refused("POST", "/credentials", &json!({"endpoint": endpoint, "ttl": ttl}));
        assert_eq!(status, 400, "{ttl}");
    }
    check(server.refused("POST", "/credentials", &json!({})), 400, "INVALID_PARAMETER_VALUE", "'endpoint'");
    check(
        server.refused(
            "POST",
            "/credentials",
            &json!({"endpoint": "projects/shop/branches/none/endpoints/primary"}),
        ),
        404,
        "NOT_FOUND",
        "branch id",
    );
}

#[test]
fn the_eleventh_branch_is_one_too_many() {
    let server = Server::with_project();
    let operations: Vec<Value> = (1..10)
        .map(|number| {
            server
                .call(
                    "POST",
                    &format!("/projects/shop/branches?branch_id=dev-{number}"),
                    &json!({"spec": {"ttl": TTL}}),
                )
                .1
        })
        .collect();
    let eleventh = "/projects/shop/branches?branch_id=dev-10";
    check(
        server.refused("POST", eleventh, &json!({"spec": {"ttl": TTL}})),
        400,
        "QUOTA_EXCEEDED",
        "10 of 10",
    );
    for operation in &operations {
        assert!(
            server.wait_for(operation["name"].as_str().unwrap()).get("error").is_none(),
            "{}",
            server.log()
        );
    }
    // lists come in pages, in the order of creation
    let mut seen = Vec::new();
    let mut path = "/projects/shop/branches?page_size=4".to_owned();
    loop {
        let page = server.get(&path);
        seen.extend(
            page["branches"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| it["branch_id"].as_str().unwrap().to_owned()),
        );
        let Some(token) = page["next_page_token"].as_str() else { break };
        path = format!("/projects/shop/branches?page_size=4&page_token={token}");
    }
    let expected: Vec<String> =
        std::iter::once("production".to_owned()).chain((1..10).map(|n| format!("dev-{n}"))).collect();
    assert_eq!(seen, expected);
    assert_eq!(server.refused("GET", "/projects/shop/branches?page_token=x", &Value::Null).0, 400);
    // and a freed slot can be used
    server.operate("DELETE", "/projects/shop/branches/dev-5?purge=true", &Value::Null);
    server.create(eleventh, json!({"spec": {"ttl": TTL}}));
}

#[test]
fn operations_outlive_what_they_worked_on_and_the_server() {
    let mut server = Server::with_project();
    let (_, creation) =
        server.call("POST", "/projects/shop/branches?branch_id=dev", &json!({"spec": {"ttl": TTL}}));
    let created = server.wait_for(creation["name"].as_str().unwrap());
    assert_eq!(
        created["metadata"]["@type"],
        "type.googleapis.com/databricks.postgres.v1.BranchOperationMetadata"
    );
    let (_, deletion) = server.call("DELETE", "/projects/shop/branches/dev?purge=true", &Value::Null);
    assert_eq!(deletion["done"], false);
    let deleted = server.wait_for(deletion["name"].as_str().unwrap());
    assert_eq!(deleted["response"], json!({"@type": "type.googleapis.com/google.protobuf.Empty"}));
    let (_, removal) = server.call("DELETE", "/projects/shop?purge=true", &Value::Null);
    server.wait_for(removal["name"].as_str().unwrap());
    assert_eq!(server.call("GET", "/projects/shop", &Value::Null).0, 404);
    assert_eq!(std::fs::read_dir(server.home().join("branches")).unwrap().count(), 0);
    assert!(server.run(&["stop"]).status.success());
    server.start_again();
    for operation in [created, deleted] {
        assert_eq!(server.get(&format!("/{}", operation["name"].as_str().unwrap())), operation);
    }
}
