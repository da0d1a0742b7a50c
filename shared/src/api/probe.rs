//! One look at a workspace, for whoever wants to know what is wrong with it: asked once, and not again.

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use reqwest::header::DATE;

use super::error::ApiError;
use super::transport::ME;
use super::{ApiResult, Client, printable, unreadable, wire};
use crate::error::{Error, Kind};

/// Longer than what is said of any user, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// What a workspace that answers says.
#[derive(Debug)]
pub struct Probe {
    /// Who the credential belongs to.
    pub user: ApiResult<String>,
    /// How far its clock is ahead of ours, to a second; behind, where it is negative. None where it does not tell the time.
    pub ahead: Option<SignedDuration>,
}

impl Client {
    /// Asks who the credential belongs to, once.
    ///
    /// # Errors
    /// [`ApiError::Transport`] where no answer came at all, and what getting a token may end in.
    pub async fn probe(&self) -> ApiResult<Probe> {
        let token = self.auth.token().await?;
        let before = Timestamp::now();
        let request = self.http.get(format!("{}{ME}", self.auth.host)).bearer_auth(token.expose());
        let mut answer = request.send().await.map_err(|error| ApiError::Transport {
            sent: !error.is_connect() && !error.is_builder(),
            why: Error::new(Kind::Unreachable, "").because(&error.without_url()).causes.join(": "),
        })?;
        let ahead =
            answer.headers().get(DATE).and_then(|date| ahead(date.to_str().ok()?, before, Timestamp::now()));
        let status = answer.status();
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > LONGEST_ANSWER {
                break;
            }
        }
        let user = match serde_json::from_slice::<wire::Me>(&body) {
            // A token that ended before its time may be renewed for a call.
            _ if status == StatusCode::UNAUTHORIZED => self.me().await,
            _ if !status.is_success() => Err(ApiError::read(status, None, &body)),
            Ok(me) => printable(me.user_name, "the user's name"),
            Err(_) => Err(unreadable("what answers is no Databricks workspace")),
        };
        Ok(Probe { user, ahead })
    }
}

/// How far a `Date` header is ahead of the middle of a call. It names the second that has begun.
fn ahead(date: &str, before: Timestamp, after: Timestamp) -> Option<SignedDuration> {
    let theirs = rfc2822::parse(date).ok()?.timestamp() + SignedDuration::from_millis(500);
    let ours = before + after.duration_since(before) / 2;
    Some(theirs.duration_since(ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_call() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (before, after) = (at("1994-11-06T08:49:37Z"), at("1994-11-06T08:49:39Z"));
        let said = |date| ahead(date, before, after).map(|ahead| ahead.as_millis());
        assert_eq!(said("Sun, 06 Nov 1994 08:49:38 GMT"), Some(500));
        assert_eq!(said("Sun, 06 Nov 1994 09:49:38 GMT"), Some(3_600_500));
        assert_eq!(said("Sun, 06 Nov 1994 08:48:38 GMT"), Some(-59_500));
        assert_eq!(said("soon"), None);
    }
}
