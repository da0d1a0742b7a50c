//! OAuth of the workspace: tokens for a service principal, by its secret or by the job of GitHub that it trusts.

use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use super::host::is_safe;
use super::token::Token;
use super::words::shown;
use crate::env_vars;
use crate::error::{Error, Kind, Result};
use crate::secret::Secret;

/// Where a workspace says what its OAuth can do.
const DISCOVERY: &str = "/oidc/.well-known/oauth-authorization-server";
/// Where a workspace says what it is.
const METADATA: &str = "/.well-known/databricks-config";
/// Pauses before a call is sent again that was not heard, or answered for the moment only. Each of them may be repeated.
const PAUSES: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(1000)];
/// A server that asks for more patience than this does not get it.
const LONGEST_PAUSE: u64 = 5;
/// Longer than any answer that is read here, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// A workspace's OAuth.
pub(super) struct OAuth<'a> {
    pub(super) http: &'a reqwest::Client,
    /// The workspace's base URL.
    pub(super) host: &'a str,
    /// What a token is for.
    pub(super) scopes: &'a str,
}

/// A job of GitHub Actions that can have a token of its own made.
pub(super) struct Job<'a> {
    pub(super) url: &'a str,
    pub(super) token: &'a Secret,
    /// Whom it shall be made out to, where that is said.
    pub(super) audience: Option<&'a str>,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    token_federation_default_oidc_audiences: Vec<String>,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    /// A number, and from some servers a text.
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Signed {
    value: String,
}

impl OAuth<'_> {
    /// A token by the client's own secret.
    ///
    /// # Errors
    /// [`Kind::Denied`] in the server's words, [`Kind::Unreachable`], [`Kind::NoCredential`] where it has no OAuth.
    pub(super) async fn by_secret(&self, id: &str, secret: &Secret) -> Result<Token> {
        let endpoint = self.token_endpoint().await?;
        let form = [("grant_type", "client_credentials"), ("scope", self.scopes)];
        let request = || self.http.post(endpoint.clone()).basic_auth(id, Some(secret.expose())).form(&form);
        self.grant(id, &request, &[secret]).await.map_err(|error| match error.kind {
            Kind::Denied if error.hints.is_empty() => error
                .hint(format!(
                    "check {} and {}",
                    env_vars::DATABRICKS_CLIENT_ID,
                    env_vars::DATABRICKS_CLIENT_SECRET
                ))
                .hint("the secret may have ended: a service principal's page in the workspace makes another"),
            _ => error,
        })
    }

    /// A token in exchange for one that GitHub signs for the job.
    ///
    /// # Errors
    /// As for [`OAuth::by_secret`], and the same of GitHub.
    pub(super) async fn by_job(&self, id: &str, job: &Job<'_>) -> Result<Token> {
        let endpoint = self.token_endpoint().await?;
        let audience = match job.audience {
            Some(audience) => audience.to_owned(),
            None => self.default_audience().await.unwrap_or_else(|| endpoint.to_string()),
        };
        let signed = self.signed(job, &audience).await?;
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("subject_token", signed.expose()),
            ("client_id", id),
            ("scope", self.scopes),
        ];
        let request = || self.http.post(endpoint.clone()).form(&form);
        self.grant(id, &request, &[&signed, job.token]).await.map_err(|error| match error.kind {
            Kind::Denied if error.hints.is_empty() => error.hint(format!(
                "check {}, and the federation policy of that service principal: issuer https://token.actions.githubusercontent.com, audience {audience}",
                env_vars::DATABRICKS_CLIENT_ID
            )),
            _ => error,
        })
    }

    /// Where tokens are had: on the workspace's own host, else the secret would go to somebody else.
    async fn token_endpoint(&self) -> Result<Url> {
        let failed = || Error::new(Kind::NoCredential, format!("{} offers no OAuth", self.host));
        let hint = format!("check that {} is a workspace", env_vars::DATABRICKS_HOST);
        let request = || self.http.get(format!("{}{DISCOVERY}", self.host));
        let answer = send(&request, "asking the workspace for its OAuth").await?;
        if answer.status != StatusCode::OK {
            return Err(failed().because_of(format!("{DISCOVERY} answered {}", answer.status)).hint(hint));
        }
        let found: Discovered = serde_json::from_slice(&answer.body)
            .map_err(|_| failed().because_of(format!("{DISCOVERY} names no token endpoint")).hint(hint))?;
        let parsed = Url::parse(&found.token_endpoint).ok();
        let ours = Url::parse(self.host).ok();
        parsed.filter(|url| ours.is_some_and(|ours| url.origin() == ours.origin())).ok_or_else(|| {
            Error::new(Kind::Denied, "the workspace names a token endpoint on another host")
                .because_of(format!("{} names {}", self.host, shown(&found.token_endpoint, &[])))
                .hint("nothing was sent there; check the workspace host")
        })
    }

    /// Whom GitHub's token is made out to where nothing says so, as the workspace has it.
    async fn default_audience(&self) -> Option<String> {
        let answer = send(&|| self.http.get(format!("{}{METADATA}", self.host)), "").await.ok()?;
        let metadata: Metadata = serde_json::from_slice(&answer.body).ok()?;
        metadata.token_federation_default_oidc_audiences.into_iter().find(|audience| !audience.is_empty())
    }

    /// The token that GitHub signs for the job.
    async fn signed(&self, job: &Job<'_>, audience: &str) -> Result<Secret> {
        let failed = |kind| Error::new(kind, "GitHub gave this job no token of its own");
        let mut url = Url::parse(job.url).ok().filter(is_safe).ok_or_else(|| {
            let name = env_vars::ACTIONS_ID_TOKEN_REQUEST_URL;
            failed(Kind::NoCredential)
                .because_of(format!("${name} is no https URL"))
                .hint("leave it as GitHub sets it")
        })?;
        url.query_pairs_mut().append_pair("audience", audience);
        let request = || self.http.get(url.clone()).bearer_auth(job.token.expose());
        let answer = send(&request, "asking GitHub for a token").await?;
        let hint = "give the job `permissions: id-token: write`";
        if answer.status != StatusCode::OK {
            return Err(failed(Kind::Denied).because_of(refusal(&answer, &[job.token])).hint(hint));
        }
        let signed: Option<Signed> = serde_json::from_slice(&answer.body).ok();
        let signed = signed.filter(|signed| !signed.value.is_empty());
        signed
            .map(|signed| Secret::new(signed.value))
            .ok_or_else(|| failed(Kind::NoCredential).because_of("its answer has no token in it").hint(hint))
    }

    async fn grant(
        &self,
        id: &str,
        request: &impl Fn() -> RequestBuilder,
        secrets: &[&Secret],
    ) -> Result<Token> {
        let failed = |kind| Error::new(kind, format!("{} gave no token for the client `{id}`", self.host));
        let answer = send(request, "asking the workspace for a token").await?;
        if answer.status != StatusCode::OK {
            let why = refusal(&answer, secrets);
            let of_scopes = why.starts_with("invalid_scope");
            let refused = failed(Kind::Denied).because_of(why);
            return Err(if of_scopes { refused.hint("check `scopes` of the profile") } else { refused });
        }
        // Not the parser's message: it could quote a part of the answer.
        let unusable = || failed(Kind::Api).because_of("its answer is not a token that can be used");
        let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
        if granted.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(unusable());
        }
        let seconds = granted.expires_in.and_then(|value| match value {
            Value::String(text) => text.trim().parse().ok(),
            number => number.as_i64().or_else(|| number.as_f64().map(|seconds| seconds as i64)),
        });
        Token::for_seconds(&granted.access_token, seconds).ok_or_else(unusable)
    }
}

/// Sends a call that may be repeated, again where that may help.
async fn send(request: &impl Fn() -> RequestBuilder, doing: &str) -> Result<Answer> {
    let mut pauses = PAUSES.into_iter();
    loop {
        let (error, wish) = match once(request()).await {
            Ok((answer, _)) if !is_for_the_moment(answer.status) => return Ok(answer),
            Ok((answer, wish)) => (format!("the answer was {}", answer.status), wish),
            Err(error) => (error, None),
        };
        let pause = match (pauses.next(), wish) {
            (Some(_), Some(seconds)) if seconds <= LONGEST_PAUSE => Duration::from_secs(seconds),
            (Some(pause), None) => pause,
            _ => {
                return Err(Error::new(Kind::Unreachable, format!("{doing} failed"))
                    .because_of(error)
                    .hint("check the workspace host and the network, then run the same command again"));
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn once(request: RequestBuilder) -> std::result::Result<(Answer, Option<u64>), String> {
    // Without the URL, and never with a body or header.
    let words = |error: reqwest::Error| {
        Error::new(Kind::Unreachable, "").because(&error.without_url()).causes.join(": ")
    };
    let mut answer = request.send().await.map_err(words)?;
    let status = answer.status();
    let wish = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(words)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_ANSWER {
            return Err("the answer has no end".to_owned());
        }
    }
    Ok((Answer { status, body }, wish))
}

fn is_for_the_moment(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

/// A refusal in the server's words, without the secrets that it may repeat.
fn refusal(answer: &Answer, secrets: &[&Secret]) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |names: &[&str]| names.iter().find_map(|name| body.get(name)?.as_str()).unwrap_or_default();
    let code = text(&["error", "errorCode", "error_code"]);
    let why = text(&["error_description", "errorSummary", "message"]);
    match (code, why) {
        ("", "") => format!("the answer was {}", answer.status),
        ("", words) | (words, "") => shown(words, secrets),
        (code, why) => shown(&format!("{code}: {why}"), secrets),
    }
}
