//! The API's bearer token, and what is signed with a key of this home: database credentials, access tokens, and those of a GitHub
//! that is not there.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, IoContext, Result, embedded_command};
use crate::home::{Home, replace_file};
use crate::random;

/// Shortest and longest life of a database credential, in seconds.
pub const CREDENTIAL_SECONDS: std::ops::RangeInclusive<i64> = 300..=3600;
/// The `aud` of access tokens.
pub const WORKSPACE: &str = "workspace";

/// What a signed token is good for, and for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The password at the endpoint that is its `aud`.
    Database,
    /// A bearer token of the API.
    Workspace,
    /// GitHub's word for the job that is its `sub`.
    GitHub,
}

impl Purpose {
    /// The `iss` that says so.
    fn issuer(self) -> &'static str {
        match self {
            Self::Database => "lakebase-embedded",
            Self::Workspace => "lakebase-embedded/oidc",
            Self::GitHub => "lakebase-embedded/github",
        }
    }
}

/// Both keys of a home.
pub struct Tokens {
    bearer: String,
    key: hmac::Key,
}

/// Why a token is not valid. The client gets one answer for all of them; the log says which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not three parts, or parts that are not what they should be.
    #[error("not a token of this kind")]
    Malformed,
    /// Signed with another key.
    #[error("signed by somebody else")]
    Signature,
    /// Made for another endpoint, or another audience.
    #[error("made for another endpoint")]
    Endpoint,
    /// A token of another kind.
    #[error("made for something else")]
    Purpose,
    /// Its time is over.
    #[error("expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
}

impl Tokens {
    /// Reads both keys, or makes them on a home's first start.
    pub fn load_or_create(home: &Home) -> Result<Self> {
        let bearer = load_or(&home.token_file(), || Ok(format!("dapi{}", random::hex::<16>()?)))?;
        let signing = load_or(&home.signing_key_file(), random::hex::<32>)?;
        Ok(Self { bearer, key: hmac::Key::new(hmac::HMAC_SHA256, signing.as_bytes()) })
    }

    /// Whether `offered` is the bearer token. Takes the same time for every wrong one.
    pub fn is_bearer(&self, offered: &str) -> bool {
        same(self.bearer.as_bytes(), offered.as_bytes())
    }

    /// Signs a token of `subject` for `audience` (a credential's is the uid of its endpoint), valid until `expires`.
    pub fn sign(
        &self,
        purpose: Purpose,
        subject: &str,
        audience: &str,
        now: Timestamp,
        expires: Timestamp,
    ) -> Result<String> {
        let claims = Claims {
            iss: purpose.issuer().to_owned(),
            sub: subject.to_owned(),
            aud: audience.to_owned(),
            iat: now.as_second(),
            exp: expires.as_second(),
            jti: random::uuid()?,
        };
        let claims = serde_json::to_vec(&claims)
            .map_err(|error| Error::new(ErrorKind::State, "can't write a credential").because(error))?;
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","typ":"JWT"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, signed.as_bytes()));
        Ok(format!("{signed}.{signature}"))
    }

    /// Checks signature, purpose, audience and expiry of a token; gives its subject.
    pub fn verify(
        &self,
        purpose: Purpose,
        token: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, Rejected> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Rejected::Malformed)?;
        let (_, claims) = signed.split_once('.').ok_or(Rejected::Malformed)?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Rejected::Malformed)?;
        hmac::verify(&self.key, signed.as_bytes(), &signature).map_err(|_| Rejected::Signature)?;
        // What follows was written by this server: the header needs no look, there is one algorithm.
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Rejected::Malformed)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Rejected::Malformed)?;
        if claims.iss != purpose.issuer() {
            return Err(Rejected::Purpose);
        }
        if claims.aud != audience {
            return Err(Rejected::Endpoint);
        }
        if claims.exp <= now.as_second() {
            return Err(Rejected::Expired);
        }
        Ok(claims.sub)
    }
}

/// Reads the bearer token of a home that has one.
pub(crate) fn read_bearer(home: &Home) -> Result<String> {
    let path = home.token_file();
    Ok(fs::read_to_string(&path).doing(|| format!("can't read `{}`", path.display()))?.trim().to_owned())
}

fn load_or(path: &Path, make: impl FnOnce() -> Result<String>) -> Result<String> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= 16 => Ok(text.trim().to_owned()),
        Ok(_) => Err(Error::new(ErrorKind::State, format!("`{}` holds no key", path.display()))
            .hint(format!("restore the file, or start anew with {}", embedded_command("reset")))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = make()?;
            replace_file(path, text.as_bytes()).doing(|| format!("can't write `{}`", path.display()))?;
            Ok(text)
        }
        Err(error) => Err(error).doing(|| format!("can't read `{}`", path.display())),
    }
}

/// Compares without telling by its time where the difference is: ring compares signatures that way.
fn same(left: &[u8], right: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"comparison");
    hmac::verify(&key, left, hmac::sign(&key, right).as_ref()).is_ok()
}

/// Whether `password` matches PostgreSQL's stored SCRAM-SHA-256 verifier
/// (`SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, RFC 5802 with SHA-256).
pub fn matches_scram_verifier(verifier: &str, password: &str) -> bool {
    let check = || -> Option<bool> {
        let rest = verifier.strip_prefix("SCRAM-SHA-256$")?;
        let (parameters, keys) = rest.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored, _) = keys.split_once(':')?;
        let decode = |text| base64::engine::general_purpose::STANDARD.decode(text).ok();
        let (salt, stored) = (decode(salt)?, decode(stored)?);
        let mut salted = [0; 32];
        pbkdf2::derive(
            pbkdf2::PBKDF2_HMAC_SHA256,
            iterations.parse().ok()?,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let client = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &salted), b"Client Key");
        Some(same(digest::digest(&digest::SHA256, client.as_ref()).as_ref(), &stored))
    };
    check().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::plus_seconds;

    fn tokens() -> Tokens {
        let signing = random::hex::<32>().unwrap();
        Tokens { bearer: "b".repeat(36), key: hmac::Key::new(hmac::HMAC_SHA256, signing.as_bytes()) }
    }

    #[test]
    fn a_credential_is_for_one_endpoint_one_identity_and_a_time() {
        // given a credential for ep-1
        let (tokens, now) = (tokens(), Timestamp::now());
        let token =
            tokens.sign(Purpose::Database, "ada@example.org", "ep-1", now, plus_seconds(now, 300)).unwrap();
        // then it is good there and then only
        assert_eq!(tokens.verify(Purpose::Database, &token, "ep-1", now).unwrap(), "ada@example.org");
        assert_eq!(tokens.verify(Purpose::Database, &token, "ep-2", now), Err(Rejected::Endpoint));
        assert_eq!(
            tokens.verify(Purpose::Database, &token, "ep-1", plus_seconds(now, 300)),
            Err(Rejected::Expired)
        );
        // nor is it a token of another kind
        for purpose in [Purpose::Workspace, Purpose::GitHub] {
            assert_eq!(tokens.verify(purpose, &token, "ep-1", now), Err(Rejected::Purpose));
        }
    }

    #[test]
    fn a_changed_or_foreign_credential_is_rejected() {
        let (mine, other, now) = (tokens(), tokens(), Timestamp::now());
        let token =
            mine.sign(Purpose::Database, "ada@example.org", "ep-1", now, plus_seconds(now, 300)).unwrap();
        assert_eq!(other.verify(Purpose::Database, &token, "ep-1", now), Err(Rejected::Signature));
        let forged = token.replacen('.', ".A", 1);
        assert_eq!(mine.verify(Purpose::Database, &forged, "ep-1", now), Err(Rejected::Signature));
        for nonsense in ["", ".", "..", "a.b.c", "secret"] {
            assert!(mine.verify(Purpose::Database, nonsense, "ep-1", now).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_password_is_checked_against_postgres_own_verifier() {
        // given what PostgreSQL 15 stored for the password `pencil`
        let verifier = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        // then only that password matches (the example of RFC 7677)
        assert!(matches_scram_verifier(verifier, "pencil"));
        assert!(!matches_scram_verifier(verifier, "Pencil"));
        assert!(!matches_scram_verifier("md5abc", "pencil"));
        assert!(!matches_scram_verifier("", ""));
    }
}
