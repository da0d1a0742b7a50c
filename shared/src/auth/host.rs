//! The workspace's base URL, and which hosts are this machine.

use crate::error::{Error, Kind, Result};

/// The host as a base URL. `https` unless `http` is written; plain `http` only towards this machine.
pub(super) fn base_url(host: &str) -> Result<String> {
    let host = host.trim().trim_end_matches('/');
    let url = if host.contains("://") { host.to_owned() } else { format!("https://{host}") };
    let bad =
        |why: &str| Error::new(Kind::BadConfig, format!("{host:?} is no workspace host")).because_of(why);
    let parsed = reqwest::Url::parse(&url);
    // Before anything is shown: it could be a password.
    if host.contains('@') || parsed.as_ref().is_ok_and(|url| url.password().is_some()) {
        return Err(Error::new(Kind::BadConfig, "the workspace host can't carry a user or password"));
    }
    let parsed = parsed.map_err(|error| bad(&error.to_string()))?;
    let name = parsed.host_str().unwrap_or_default();
    match parsed.scheme() {
        "https" => {}
        "http" if is_loopback_host(name) => {}
        "http" => {
            return Err(bad("a token is sent over plain http to this machine only").hint("write https://"));
        }
        _ => return Err(bad("it must start with https://")),
    }
    let port = parsed.port().map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{name}{port}", parsed.scheme()))
}

/// Whether a secret may be sent to this URL: TLS, or this machine.
pub(super) fn is_safe(url: &reqwest::Url) -> bool {
    match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => url.host_str().is_some_and(is_loopback_host),
        _ => false,
    }
}

/// Whether a host name or address means this machine.
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_only() {
        let host = |host| base_url(host).map_err(|error| error.kind);
        assert_eq!(host("http://127.0.0.1:7432/"), Ok("http://127.0.0.1:7432".into()));
        assert_eq!(host("http://localhost"), Ok("http://localhost".into()));
        assert_eq!(host("http://[::1]:80/"), Ok("http://[::1]".into()));
        assert_eq!(host("http://127.0.0.1.example.com"), Err(Kind::BadConfig));
        assert_eq!(host("https://user:pass@w"), Err(Kind::BadConfig));
        assert_eq!(host("file:///etc"), Err(Kind::BadConfig));
        assert_eq!(host("dbc-1.cloud.databricks.com"), Ok("https://dbc-1.cloud.databricks.com".into()));
        assert_eq!(host("https://W.example:443/?o=1#x"), Ok("https://w.example".into()));
    }

    #[test]
    fn a_password_in_the_host_is_not_repeated() {
        for host in ["https://ada:hunter2@w", "ada:hunter2@w", "http://ada:hunter2@[", "hunter2@w"] {
            let error = base_url(host).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_safe_base_url_or_an_error(text in ".{0,40}") {
            if let Ok(url) = base_url(&text) {
                let parsed = reqwest::Url::parse(&url).unwrap();
                prop_assert!(is_safe(&parsed) && parsed.username().is_empty(), "{}", url);
                prop_assert_eq!(base_url(&url).unwrap(), url);
            }
        }
    }
}
