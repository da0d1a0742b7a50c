//! One call of the API: sent, repeated where that is harmless, and read.

use backon::Retryable;
use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::wait::{self, Deadline};
use super::{ApiResult, Client, wire};
use crate::error::{Error, Kind};
use crate::secret::Secret;

/// Where the resources are.
const ROOT: &str = "/api/2.0/postgres/";
/// The identity behind a token.
pub(super) const ME: &str = "/api/2.0/preview/scim/v2/Me";
/// More pages than any project can have: a server that never ends a list is not believed.
const MOST_PAGES: usize = 1000;
/// Longer than any answer that is read here, in bytes.
const LONGEST_ANSWER: usize = 8 << 20;
/// A call without a body.
pub(super) const NO_BODY: Option<&()> = None;

impl Client {
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        resource: &str,
        query: &[(&str, &str)],
    ) -> ApiResult<T> {
        self.send(Method::GET, resource, query, NO_BODY).await
    }

    /// All pages of a list, as far as [`MOST_PAGES`].
    pub(super) async fn pages<P: DeserializeOwned, T>(
        &self,
        resource: &str,
        open: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> ApiResult<Vec<T>> {
        let (mut all, mut token) = (Vec::new(), String::new());
        for _ in 0..MOST_PAGES {
            let query: &[(&str, &str)] = &[("page_token", &token)];
            let (items, next) = open(self.get(resource, if token.is_empty() { &[] } else { query }).await?);
            all.extend(items);
            match next.filter(|next| !next.is_empty()) {
                Some(next) if next == token => break,
                Some(next) => token = next,
                None => return Ok(all),
            }
        }
        Err(ApiError::Transport { sent: true, why: format!("the list {resource} has no end") })
    }

    /// Sends a call that answers an operation.
    pub(super) async fn start(
        &self,
        method: Method,
        resource: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
    ) -> ApiResult<wire::Operation> {
        settled(self.send(method, resource, query, body).await?)
    }

    /// The same, and waits until the operation is done. One that the server forgot is over: what it was for tells how it
    /// ended.
    pub(super) async fn operate(
        &self,
        method: Method,
        resource: &str,
        query: &[(&str, &str)],
        body: Option<&serde_json::Value>,
        until: Deadline,
    ) -> ApiResult<()> {
        let mut operation = self.start(method, resource, query, body).await?;
        let mut pause = wait::Pause::new(until);
        while !operation.done {
            if !is_inert(&operation.name) {
                let why = "the operation's name is not what the API gives".to_owned();
                return Err(ApiError::Transport { sent: true, why });
            }
            pause.wait().await?;
            operation = match self.get(&operation.name, &[]).await {
                Err(error) if error.is_not_found() => return Ok(()),
                answer => settled(answer?)?,
            };
        }
        Ok(())
    }

    /// Makes `resource` by a POST to `list`, and waits until the operation is done. A POST whose answer was lost may have
    /// landed, so the resource is looked up before it is sent again.
    pub(super) async fn create(
        &self,
        list: &str,
        query: &[(&str, &str)],
        body: &serde_json::Value,
        resource: &str,
        until: Deadline,
    ) -> ApiResult<()> {
        let (mut pauses, mut again) = (wait::pauses(), false);
        loop {
            let error = match self.operate(Method::POST, list, query, Some(body), until).await {
                // What was sent before has landed after all.
                Err(error) if again && error.is_already_exists() => return Ok(()),
                Err(error) if error.is_transient() && self.is_worth_a_try(&error) => error,
                answer => return answer,
            };
            let Some(pause) = wait::asked(&error, pauses.next()) else { return Err(error) };
            tokio::time::sleep(pause).await;
            match self.get::<serde::de::IgnoredAny>(resource, &[]).await {
                Err(error) if error.is_not_found() => again = true,
                answer => return answer.map(drop),
            }
        }
    }

    /// One call of a resource below [`ROOT`], or of an absolute path; a call that may be repeated is, when it failed for the moment.
    pub(super) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> ApiResult<T> {
        let repeatable = method != Method::POST || path == "credentials" || path.ends_with("/password");
        (|| self.send_once(method.clone(), path, query, body))
            .retry(wait::tries())
            .when(|error| {
                (error.is_unheard() || (repeatable && error.is_transient())) && self.is_worth_a_try(error)
            })
            .adjust(wait::asked)
            .await
    }

    /// A program of this machine that does not listen does not come back by waiting.
    fn is_worth_a_try(&self, error: &ApiError) -> bool {
        !(self.auth.is_loopback() && matches!(error, ApiError::Transport { sent: false, .. }))
    }

    /// One call, with a fresh token where the workspace refuses one before its time: nothing was done then.
    async fn send_once<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> ApiResult<T> {
        let token = self.auth.token().await?;
        match self.send_as(&token, method.clone(), path, query, body).await {
            Err(error) if error.is_unauthorized() && self.auth.renews(&token).await => {
                self.send_as(&self.auth.token().await?, method, path, query, body).await
            }
            answer => answer,
        }
    }

    async fn send_as<T: DeserializeOwned>(
        &self,
        token: &Secret,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<&impl Serialize>,
    ) -> ApiResult<T> {
        let transport = |error: reqwest::Error| ApiError::Transport {
            sent: !error.is_connect() && !error.is_builder(),
            why: Error::new(Kind::Unreachable, "").because(&error.without_url()).causes.join(": "),
        };
        let separator = if path.starts_with('/') { "" } else { ROOT };
        let mut request = self
            .http
            .request(method, format!("{}{separator}{path}", self.auth.host))
            .bearer_auth(token.expose())
            .query(query);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut answer = request.send().await.map_err(transport)?;
        let status = answer.status();
        let retry_after =
            answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(transport)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST_ANSWER {
                let why = format!("the answer to {path} has no end");
                return Err(ApiError::Transport { sent: true, why });
            }
        }
        if !status.is_success() {
            return Err(ApiError::read(status, retry_after, &bytes));
        }
        // Not the parser's message: it could quote a part of the answer, which may hold a token.
        serde_json::from_slice(&bytes).map_err(|error| ApiError::Transport {
            sent: true,
            why: format!("the answer to {path} is not what the API gives (at byte {})", error.column()),
        })
    }
}

/// An operation that has not failed.
fn settled(operation: wire::Operation) -> ApiResult<wire::Operation> {
    match operation.error {
        Some(error) => Err(ApiError::of_operation(error)),
        None => Ok(operation),
    }
}

/// Whether a name from the server may go into a path: below a project, and without a way out of it. (Real
/// tails look base64 and hold `/ + =`.)
pub(super) fn is_inert(name: &str) -> bool {
    let part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_.+=~".contains(c))
    };
    name.starts_with("projects/") && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operations_name_leads_nowhere_else() {
        assert!(is_inert("projects/shop/branches/b/operations/AbC+/x=="));
        for bad in [
            "",
            "../x",
            "projects/../me",
            "projects//x",
            "projects/a?b=c",
            "projects/a#b",
            "https://x/",
            "projects/a\n",
        ] {
            assert!(!is_inert(bad), "{bad:?}");
        }
    }
}
