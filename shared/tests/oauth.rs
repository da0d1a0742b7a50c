//! Tokens for a service principal, from a workspace and a GitHub that listen in this process.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected ends there")]

mod common;

use common::{Answer, Request, Server, resolve, run, words};
use lakebase::api::Client;
use lakebase::auth::Auth;
use lakebase::error::{Kind, Result};
use serde_json::json;

const DISCOVERY: &str = "/oidc/.well-known/oauth-authorization-server";
const METADATA: &str = "/.well-known/databricks-config";
const TOKEN: &str = "/oidc/v1/token";
const ME: &str = "/api/2.0/preview/scim/v2/Me";

/// What a workspace answers where a test says nothing else. `nth` token is `token-nth`.
fn workspace(request: &Request, nth: usize, host: &str) -> Answer {
    match request.path.as_str() {
        DISCOVERY => Answer::ok(&json!({"token_endpoint": format!("{host}{TOKEN}")})),
        TOKEN => Answer::ok(
            &json!({"access_token": format!("token-{nth}"), "token_type": "Bearer", "expires_in": 3600}),
        ),
        ME => Answer::ok(&json!({"userName": "6f1c2e34-0000-4000-8000-123456789abc"})),
        _ => Answer::status(404, "{}"),
    }
}

/// A workspace where `other` may answer first.
fn start(other: impl Fn(&Request, usize, &str) -> Option<Answer> + Send + 'static) -> Server {
    let port = std::sync::Arc::new(std::sync::OnceLock::new());
    let known = std::sync::Arc::clone(&port);
    let server = Server::start(move |request, nth| {
        let host = format!("http://127.0.0.1:{}", known.wait());
        other(request, nth, &host).unwrap_or_else(|| workspace(request, nth, &host))
    });
    port.set(server.port).expect("set once");
    server
}

fn principal(host: &str) -> Result<Auth> {
    let client = [("DATABRICKS_CLIENT_ID", "ada"), ("DATABRICKS_CLIENT_SECRET", "hunter2")];
    resolve(None, &[&[("DATABRICKS_HOST", host)], &client[..]].concat())
}

fn token(auth: &Auth) -> Result<String> {
    run(auth.token()).map(|token| token.expose().to_owned())
}

#[test]
fn a_service_principal_gets_a_token_and_keeps_it() {
    let server = start(|_, _, _| None);
    let auth = principal(&server.host()).unwrap();
    run(async {
        let client = Client::new(auth).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.me().await.unwrap(), "6f1c2e34-0000-4000-8000-123456789abc");
        }
    });
    let me = format!("GET {ME}");
    let expected = [format!("GET {DISCOVERY}"), format!("POST {TOKEN}"), me.clone(), me.clone(), me];
    assert_eq!(server.calls(), expected);
    let heard = server.heard();
    // printf ada:hunter2 | base64
    assert_eq!(heard[1].authorization, "Basic YWRhOmh1bnRlcjI=");
    assert_eq!(heard[1].body, "grant_type=client_credentials&scope=all-apis");
    assert_eq!(heard[2].authorization, "Bearer token-0");
}

#[test]
fn calls_at_the_same_time_fetch_one_token() {
    let server = start(|_, _, _| None);
    let auth = principal(&server.host()).unwrap();
    run(async {
        let again = auth.clone();
        let (a, b, c) = tokio::join!(auth.token(), again.token(), auth.token());
        assert!([a, b, c].into_iter().all(|token| token.unwrap().expose() == "token-0"));
    });
    assert_eq!(server.count(TOKEN), 1);
}

#[test]
fn a_token_that_ended_is_fetched_anew() {
    let server = start(|request, nth, _| {
        let body = json!({"access_token": format!("token-{nth}"), "expires_in": if nth == 0 { "0" } else { "3600" }});
        (request.path == TOKEN).then(|| Answer::ok(&body))
    });
    let auth = principal(&server.host()).unwrap();
    assert_eq!(token(&auth).unwrap(), "token-0");
    assert_eq!([token(&auth).unwrap(), token(&auth).unwrap()], ["token-1", "token-1"]);
}

/// A workspace that refuses the first tokens.
fn refuses(first: usize) -> Server {
    start(move |request, _, _| {
        let number = request.authorization.strip_prefix("Bearer token-")?.parse::<usize>().ok()?;
        (number < first).then(|| Answer::status(401, r#"{"error_code": 401, "message": "ended"}"#))
    })
}

#[test]
fn a_token_that_is_refused_before_its_end_is_replaced_once() {
    let server = refuses(1);
    run(async {
        let client = Client::new(principal(&server.host()).unwrap()).await.unwrap();
        client.me().await.unwrap();
        client.me().await.unwrap();
    });
    assert_eq!((server.count(TOKEN), server.count(ME)), (2, 3));

    let server = refuses(9);
    run(async {
        let client = Client::new(principal(&server.host()).unwrap()).await.unwrap();
        let error = client.me().await.unwrap_err().into_error("asking");
        assert_eq!(error.kind, Kind::Denied);
    });
    assert_eq!((server.count(TOKEN), server.count(ME)), (2, 2), "one fresh try");
}

#[test]
fn a_token_that_is_all_there_is_is_not_tried_again() {
    let server = start(|_, _, _| Some(Answer::status(401, "{}")));
    let host = server.host();
    let auth = resolve(None, &[("DATABRICKS_HOST", &host), ("DATABRICKS_TOKEN", "token-0")]).unwrap();
    run(async {
        let error = Client::new(auth).await.unwrap().me().await.unwrap_err();
        assert!(error.is_unauthorized());
    });
    assert_eq!(server.calls(), [format!("GET {ME}")]);
}

#[test]
fn whoever_had_the_same_credential_goes_on_with_its_token() {
    let server = start(|_, _, _| None);
    let first = principal(&server.host()).unwrap();
    token(&first).unwrap();
    let second = principal(&server.host()).unwrap().after(&first);
    assert_eq!(token(&second).unwrap(), "token-0");
    let host = server.host();
    let other = [
        ("DATABRICKS_HOST", host.as_str()),
        ("DATABRICKS_CLIENT_ID", "ada"),
        ("DATABRICKS_CLIENT_SECRET", "new"),
    ];
    assert_eq!(token(&resolve(None, &other).unwrap().after(&second)).unwrap(), "token-1");
}

#[test]
fn the_secret_goes_to_no_other_host() {
    let thief = Server::start(|_, _| Answer::ok(&json!({"access_token": "t"})));
    let (same_name, elsewhere) = (format!("http://localhost:{}{TOKEN}", thief.port), thief.host());
    for endpoint in
        [format!("{elsewhere}{TOKEN}"), same_name, "ftp://127.0.0.1/x".to_owned(), "nonsense".to_owned()]
    {
        let named = endpoint.clone();
        let server = start(move |request, _, _| {
            (request.path == DISCOVERY).then(|| Answer::ok(&json!({"token_endpoint": named})))
        });
        let error = token(&principal(&server.host()).unwrap()).unwrap_err();
        assert_eq!(error.kind, Kind::Denied, "{endpoint}: {error}");
        assert_eq!(server.calls(), [format!("GET {DISCOVERY}")]);
    }
    // Nor by a redirect.
    for path in [DISCOVERY, TOKEN] {
        let target = format!("{elsewhere}{path}");
        let server = start(move |request, _, _| {
            (request.path == path).then(|| Answer(307, vec![("Location", target.clone())], String::new()))
        });
        token(&principal(&server.host()).unwrap()).unwrap_err();
    }
    assert_eq!(thief.calls(), Vec::<String>::new());
}

#[test]
fn a_refusal_is_told_in_the_servers_words_without_the_secret() {
    let server = start(|request, _, _| {
        let body = json!({"error": "invalid_client", "error_description": "no hunter2 \u{1b}[31mhere\u{7}"});
        (request.path == TOKEN).then(|| Answer::status(401, &body.to_string()))
    });
    let error = token(&principal(&server.host()).unwrap()).unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert_eq!(error.causes, ["invalid_client: no **** here"]);
    assert!(words(&error).contains("`ada`") && words(&error).contains("DATABRICKS_CLIENT_SECRET"), "{error}");
    assert_eq!(server.count(TOKEN), 1, "a refusal is not repeated");
}

#[test]
fn what_fails_for_the_moment_is_tried_again() {
    let server = start(|request, nth, _| match (request.path.as_str(), nth) {
        (DISCOVERY, 0) => Some(Answer::status(503, "away")),
        (TOKEN, 0) => Some(Answer(429, vec![("Retry-After", "0".to_owned())], String::new())),
        _ => None,
    });
    assert_eq!(token(&principal(&server.host()).unwrap()).unwrap(), "token-1");
    let server = start(|request, _, _| {
        (request.path == TOKEN).then(|| Answer(429, vec![("Retry-After", "3600".to_owned())], String::new()))
    });
    let error = token(&principal(&server.host()).unwrap()).unwrap_err();
    assert_eq!((error.kind, server.count(TOKEN)), (Kind::Unreachable, 1));
}

#[test]
fn nobody_there_is_told_apart_from_a_refusal() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(token(&principal(&host).unwrap()).unwrap_err().kind, Kind::Unreachable);
}

#[test]
fn an_answer_that_is_none_is_an_error_and_not_shown() {
    let cases = [
        (DISCOVERY, 404, "hunter3"),
        (DISCOVERY, 200, "hunter3"),
        (DISCOVERY, 200, r#"{"hunter3": 1}"#),
        (TOKEN, 200, "hunter3"),
        (TOKEN, 200, r#"{"access_token": ""}"#),
        (TOKEN, 200, r#"{"access_token": "hunter3\nX-Evil: 1"}"#),
        (TOKEN, 200, r#"{"access_token": "hunter3", "token_type": "mac"}"#),
        (TOKEN, 500, r#"{"message": "hunter3"}"#),
    ];
    for (path, status, body) in cases {
        let server = start(move |request, _, _| (request.path == path).then(|| Answer::status(status, body)));
        let error = token(&principal(&server.host()).unwrap()).unwrap_err();
        assert!(!words(&error).contains("hunter3"), "{body}: {error}");
        assert!(!error.message.is_empty() && !error.causes.is_empty(), "{body}: {error:?}");
    }
}

#[test]
fn a_strange_life_of_a_token_is_survived() {
    for life in [json!(null), json!(-1), json!(i64::MAX), json!(1e300), json!("soon"), json!([])] {
        let body = json!({"access_token": "t", "expires_in": life});
        let server = start(move |request, _, _| (request.path == TOKEN).then(|| Answer::ok(&body)));
        assert_eq!(token(&principal(&server.host()).unwrap()).unwrap(), "t");
    }
}

/// A GitHub that signs, and the variables of its job.
fn job(github: &Server, host: &str, more: &[(&str, &str)]) -> Result<Auth> {
    let url = format!("{}/sign?api-version=2", github.host());
    let base = [
        ("DATABRICKS_HOST", host),
        ("DATABRICKS_CLIENT_ID", "ada"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", &url),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-token"),
    ];
    resolve(None, &[&base[..], more].concat())
}

#[test]
fn a_job_of_github_exchanges_its_token() {
    let github = Server::start(|_, _| Answer::ok(&json!({"value": "signed.by.github"})));
    let server = start(|_, _, _| None);
    assert_eq!(token(&job(&github, &server.host(), &[]).unwrap()).unwrap(), "token-0");
    let asked = &github.heard()[0];
    let endpoint: String = format!("{}{TOKEN}", server.host()).replace(':', "%3A").replace('/', "%2F");
    assert_eq!(asked.path, format!("/sign?api-version=2&audience={endpoint}"));
    assert_eq!(asked.authorization, "Bearer job-token");
    let exchanged = server.heard().into_iter().find(|request| request.path == TOKEN).unwrap();
    assert_eq!(
        exchanged.body,
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Ajwt&subject_token=signed.by.github&client_id=ada&scope=all-apis"
    );
    assert_eq!(exchanged.authorization, "", "there is no secret");
}

#[test]
fn the_audience_is_the_users_else_the_workspaces() {
    let github = Server::start(|_, _| Answer::ok(&json!({"value": "signed"})));
    let server = start(|request, _, _| {
        let body = json!({"token_federation_default_oidc_audiences": ["", "theirs"]});
        (request.path == METADATA).then(|| Answer::ok(&body))
    });
    token(&job(&github, &server.host(), &[]).unwrap()).unwrap();
    token(&job(&github, &server.host(), &[("DATABRICKS_TOKEN_AUDIENCE", "ours & only")]).unwrap()).unwrap();
    assert_eq!(
        github.calls(),
        ["GET /sign?api-version=2&audience=theirs", "GET /sign?api-version=2&audience=ours+%26+only"]
    );
}

#[test]
fn a_refusal_of_github_or_of_the_policy_says_what_to_do() {
    let server = start(|request, _, _| {
        let body = json!({"error": "invalid_grant", "error_description": "no policy for signed-by-github"});
        (request.path == TOKEN).then(|| Answer::status(400, &body.to_string()))
    });
    let github = Server::start(|_, _| Answer::ok(&json!({"value": "signed-by-github"})));
    let error = token(&job(&github, &server.host(), &[]).unwrap()).unwrap_err();
    assert_eq!((error.kind, error.causes[0].as_str()), (Kind::Denied, "invalid_grant: no policy for ****"));
    assert!(words(&error).contains("federation policy"), "{error:?}");

    for (status, body) in [(403, r#"{"message": "job-token is bad"}"#), (200, "{}"), (200, "nonsense")] {
        let github = Server::start(move |_, _| Answer::status(status, body));
        let error = token(&job(&github, &server.host(), &[]).unwrap()).unwrap_err();
        let words = words(&error);
        assert!(words.contains("GitHub") && words.contains("id-token: write"), "{words}");
        assert!(!words.contains("job-token"), "{words}");
    }
}

#[test]
fn githubs_own_token_travels_by_tls_only() {
    let server = start(|_, _, _| None);
    let host = server.host();
    for url in ["http://github.example/sign", "nonsense", "file:///etc"] {
        let env = [
            ("DATABRICKS_HOST", host.as_str()),
            ("DATABRICKS_CLIENT_ID", "ada"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "job-token"),
        ];
        let error = token(&resolve(None, &env).unwrap()).unwrap_err();
        assert!(error.to_string().contains("is no https URL"), "{error}");
    }
}
