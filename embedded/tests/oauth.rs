//! OAuth for machines: a client's secret, and GitHub's word, in exchange for an access token.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use common::Server;
use serde_json::{Value, json};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const SUBJECT: &str = "repo:acme/shop:ref:refs/heads/main";

/// The answer to a request for a token: its head, its status, its body.
struct Answer {
    head: String,
    status: u16,
    body: Value,
}

impl Answer {
    fn is(&self, status: u16, error: &str) -> bool {
        self.status == status && self.body["error"] == error && self.body["error_description"].is_string()
    }
}

/// Asks for a token with a form, and with a client and its secret in the header where they are given.
fn ask(server: &Server, basic: Option<(&str, &str)>, form: &[(&str, &str)]) -> Answer {
    let encoded = |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let form: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let basic = basic.map(|(id, secret)| format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))));
    let kind = ("Content-Type".to_owned(), "application/x-www-form-urlencoded".to_owned());
    let authorization = basic.map(|basic| ("Authorization".to_owned(), basic));
    let headers: Vec<(String, String)> = authorization.into_iter().chain([kind]).collect();
    let answer = server.send("POST", "/oidc/v1/token", &headers, &form.join("&"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        head: head.to_owned(),
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: serde_json::from_str(body).unwrap(),
    }
}

fn by_secret(server: &Server, id: &str, secret: &str) -> Answer {
    ask(server, Some((id, secret)), &[("grant_type", "client_credentials"), ("scope", "all-apis")])
}

fn me(server: &Server, token: &str) -> (u16, Value) {
    server.request("GET", "/api/2.0/preview/scim/v2/Me", Some(token), &Value::Null)
}

/// What GitHub answers a job that asks for a token for `audience`.
fn job_token(server: &Server, job: &HashMap<String, String>, audience: &str) -> String {
    let url = format!("{}&audience={audience}", job["ACTIONS_ID_TOKEN_REQUEST_URL"]);
    let path = url.split_once("://").unwrap().1.split_once('/').unwrap().1;
    let token = &job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
    let (status, body) = server.request("GET", &format!("/{path}"), Some(token), &Value::Null);
    assert_eq!(status, 200, "{body}");
    body["value"].as_str().unwrap().to_owned()
}

fn by_job(server: &Server, client: &str, token: &str) -> Answer {
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token_type", JWT),
        ("subject_token", token),
        ("client_id", client),
        ("scope", "all-apis"),
    ];
    ask(server, None, &form)
}

#[test]
fn a_service_principals_secret_gives_a_token_that_the_api_takes_until_it_ends() {
    let server = Server::with_project();
    let machine = server.add_user(&["pipeline", "--service-principal"]);
    let (id, secret) = (&machine["DATABRICKS_CLIENT_ID"], &machine["DATABRICKS_CLIENT_SECRET"]);
    // given its token, by its secret in the header; in the form it is the same
    let granted = by_secret(&server, id, secret);
    assert_eq!((granted.status, &granted.body["token_type"]), (200, &json!("Bearer")), "{}", granted.body);
    assert_eq!(granted.body["expires_in"], 3600);
    assert!(granted.head.contains("cache-control: no-store"), "{}", granted.head);
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "all-apis"),
        ("client_id", id),
        ("client_secret", secret),
    ];
    assert_eq!(ask(&server, None, &form).status, 200);
    let token = granted.body["access_token"].as_str().unwrap();
    // then the API knows it, and it logs in as itself
    let (_, itself) = me(&server, token);
    assert_eq!((&itself["userName"], &itself["displayName"]), (&json!(id), &json!("pipeline")));
    server.branch("dev");
    assert_eq!(server.psql_as(id, token, "dev").query("SELECT current_user"), *id);
    let roles = server.get("/projects/shop/branches/dev/roles")["roles"].clone();
    assert!(
        roles.as_array().unwrap().iter().any(|role| role["status"]["postgres_role"] == json!(id)
            && role["status"]["identity_type"] == "SERVICE_PRINCIPAL"),
        "{roles}"
    );
    // and the token is no database password, nor a database password a token
    let mut login = server.psql_as(id, token, "dev");
    assert_eq!(me(&server, &login.password).0, 401);
    login.password = token.to_owned();
    assert!(login.failure("SELECT 1").contains("OAuth: User is not authorized"));
    // when its time is over, then it is refused
    server.skew(3000);
    assert_eq!(me(&server, token).0, 200);
    server.skew(3601);
    assert_eq!(me(&server, token).0, 401);
    server.skew(0);
    // and a shorter life is said, and kept
    assert!(server.run(&["fault", "add", "expire-tokens=60"]).status.success());
    let short = by_secret(&server, id, secret);
    assert_eq!(short.body["expires_in"], 60);
    server.skew(61);
    assert_eq!(me(&server, short.body["access_token"].as_str().unwrap()).0, 401);
    server.skew(0);
    // when it is removed, then secret and token are worth nothing
    assert_eq!(me(&server, token).0, 200);
    assert!(server.run(&["user", "remove", "pipeline"]).status.success());
    assert_eq!(me(&server, token).0, 401);
    assert!(by_secret(&server, id, secret).is(401, "invalid_client"));
    // and neither was written down
    assert!(!server.log().contains(token) && !server.log().contains(secret));
}

#[test]
fn a_job_of_github_signs_in_as_the_client_that_trusts_its_subject() {
    let server = Server::with_project();
    let job = server.add_user(&["deploy", "--github", SUBJECT]);
    let id = &job["DATABRICKS_CLIENT_ID"];
    let (_, config) = server.request("GET", "/.well-known/databricks-config", None, &Value::Null);
    let audience = config["token_federation_default_oidc_audiences"][0].as_str().unwrap();
    let (_, discovered) =
        server.request("GET", "/oidc/.well-known/oauth-authorization-server", None, &Value::Null);
    assert_eq!(discovered["token_endpoint"], audience);
    // when the job's token is exchanged
    let token = job_token(&server, &job, audience);
    let granted = by_job(&server, id, &token);
    // then the API knows the client
    assert_eq!(granted.status, 200, "{}", granted.body);
    let access = granted.body["access_token"].as_str().unwrap();
    let (_, itself) = me(&server, access);
    assert_eq!((&itself["userName"], &itself["displayName"]), (&json!(id), &json!("deploy")));
    assert_eq!(server.psql_as(id, access, "production").query("SELECT current_user"), *id);
    // but a token for somebody else, of another job, of another kind or time is no good
    let other = server.add_user(&["other", "--github", "repo:acme/shop:pull_request"]);
    let credential = server.credential("production");
    server.skew(301);
    let late = by_job(&server, id, &token);
    assert!(late.is(400, "invalid_grant"), "{}", late.body);
    server.skew(0);
    for wrong in [
        job_token(&server, &job, "https://github.com/acme"),
        job_token(&server, &other, audience),
        access.to_owned(),
        credential,
        format!("{token}x"),
        "nonsense".into(),
    ] {
        assert!(by_job(&server, id, &wrong).is(400, "invalid_grant"), "{wrong}");
    }
    assert!(by_job(&server, &other["DATABRICKS_CLIENT_ID"], &token).is(400, "invalid_grant"));
    // nor are a job's tokens tokens of the API
    for wrong in [&token, &job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"]] {
        assert_eq!(me(&server, wrong).0, 401);
    }
    // and who is no job gets none
    for stranger in [None, Some("wrong"), Some(access)] {
        let path = "/embedded/github-oidc?audience=x";
        assert_eq!(server.request("GET", path, stranger, &Value::Null).0, 401);
    }
    // and a client that trusts GitHub has no secret
    let request_token = &job["ACTIONS_ID_TOKEN_REQUEST_TOKEN"];
    assert!(by_secret(&server, id, request_token).is(401, "invalid_client"));
}

#[test]
fn what_is_refused_is_refused_as_oauth_says() {
    let server = Server::start();
    let machine = server.add_user(&["pipeline", "--service-principal"]);
    let (id, secret) =
        (machine["DATABRICKS_CLIENT_ID"].as_str(), machine["DATABRICKS_CLIENT_SECRET"].as_str());
    let grant = ("grant_type", "client_credentials");
    let scope = ("scope", "all-apis");
    // a client that is not known, or does not say who it is
    for (id, secret) in [(id, "wrong"), ("nobody", secret), (id, ""), ("", "")] {
        let refused = by_secret(&server, id, secret);
        assert!(refused.is(401, "invalid_client"), "{}", refused.body);
        assert!(refused.head.contains("www-authenticate: Basic"), "{}", refused.head);
    }
    assert!(ask(&server, None, &[grant, scope]).is(401, "invalid_client"));
    // a person's token is no client's secret
    let ada = server.add_user(&["ada@example.com"]);
    assert!(by_secret(&server, "ada@example.com", &ada["DATABRICKS_TOKEN"]).is(401, "invalid_client"));
    // what it asks for
    let client = Some((id, secret));
    assert!(ask(&server, client, &[scope]).is(400, "invalid_request"));
    assert!(ask(&server, client, &[("grant_type", "password"), scope]).is(400, "unsupported_grant_type"));
    assert!(ask(&server, client, &[grant]).is(400, "invalid_scope"));
    assert!(ask(&server, client, &[grant, ("scope", "sql")]).is(400, "invalid_scope"));
    assert!(ask(&server, client, &[grant, scope, ("client_secret", secret)]).is(400, "invalid_request"));
    let exchange = ("grant_type", EXCHANGE);
    for form in [
        &[exchange, scope][..],
        &[exchange, scope, ("client_id", id)],
        &[exchange, scope, ("client_id", id), ("subject_token", "x")],
        &[exchange, scope, ("client_id", id), ("subject_token", "x"), ("subject_token_type", "saml")],
    ] {
        assert!(ask(&server, None, form).is(400, "invalid_request"), "{form:?}");
    }
    // and what is no form at all
    let (status, error) = server.request("POST", "/oidc/v1/token", None, &json!({"grant_type": "x"}));
    assert_eq!((status, &error["error"]), (400, &json!("invalid_request")));
    // and a subject that can't be one
    assert!(!server.run(&["user", "add", "deploy", "--github", ""]).status.success());
}
