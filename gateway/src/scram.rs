//! SCRAM-SHA-256, the server's side (RFC 5802, RFC 7677; the PostgreSQL manual, chapter "SASL Authentication").
//!
//! The user's name inside the SCRAM messages is ignored, as PostgreSQL does: the start-up message holds it.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use thiserror::Error;

use crate::random;

/// The mechanism without channel binding.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The mechanism that is bound to the TLS connection's certificate.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// Longest SASL message accepted, in bytes (`PG_MAX_SASL_MESSAGE_LENGTH` in PostgreSQL's source).
pub const MAX_MESSAGE_LENGTH: usize = 1024;

/// PostgreSQL's default, `SCRAM_SHA_256_DEFAULT_ITERATIONS` in its source.
const ITERATIONS: NonZeroU32 = NonZeroU32::MIN.saturating_add(4095);
/// Bytes of randomness in a salt; PostgreSQL's `SCRAM_DEFAULT_SALT_LEN`.
const SALT_LENGTH: usize = 16;
/// Bytes of randomness in the server's nonce; PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
const NONCE_LENGTH: usize = 18;
/// Bytes of a SHA-256 digest.
const KEY_LENGTH: usize = 32;
/// The one type of channel binding that PostgreSQL speaks.
const BINDING_TYPE: &str = "tls-server-end-point";

/// Why an exchange ended without a login.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum ScramError {
    /// Bytes that are no SCRAM message, or one that the offer did not allow.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The proof is not that of the password.
    #[error("the password is another one")]
    WrongPassword,
    /// The system gives no random bytes.
    #[error("no randomness")]
    Randomness,
}

/// What is kept of a password to check a login. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Verifier {
    salt: [u8; SALT_LENGTH],
    stored_key: [u8; KEY_LENGTH],
    server_key: [u8; KEY_LENGTH],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(****)")
    }
}

impl Verifier {
    /// Makes the verifier of `password` with a new salt.
    ///
    /// The password is normalised by SASLprep where that is possible, and taken byte by byte where it is not: libpq and
    /// PostgreSQL do the same.
    pub fn new(password: &str) -> Result<Self, ScramError> {
        let salt: [u8; SALT_LENGTH] = random::bytes().ok_or(ScramError::Randomness)?;
        let normal = stringprep::saslprep(password).unwrap_or(password.into());
        let mut salted = [0; KEY_LENGTH];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, normal.as_bytes(), &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Ok(Self { salt, stored_key: sha256(&client_key), server_key: sign(&salted, b"Server Key") })
    }

    /// A verifier that no password fits, for a user who does not exist: the exchange then looks like any other. The same
    /// `user` and `key` give the same salt, as a real user's salt stays the same.
    pub fn decoy(user: &str, key: &[u8; KEY_LENGTH]) -> Self {
        let digest = sign(key, user.as_bytes());
        let mut salt = [0; SALT_LENGTH];
        salt.copy_from_slice(&digest[..SALT_LENGTH]);
        // Nobody can have the pre-image of a digest that was never made from one.
        Self { salt, stored_key: sign(key, &digest), server_key: sign(key, &salt) }
    }
}

/// An exchange that waits for the client's last message.
#[derive(Debug)]
pub struct Challenge<'a> {
    verifier: &'a Verifier,
    /// The challenge itself, to be sent.
    pub message: String,
    /// The client's first message without its channel binding header.
    client_first: String,
    nonce: String,
    /// What the client has to repeat as its channel binding, decoded.
    binding: Vec<u8>,
}

/// Takes the client's first message and gives the challenge.
///
/// `mechanism` is the one that the client chose; `end_point` the digest of the certificate of its TLS connection, where
/// the mechanism with channel binding was offered.
pub fn challenge<'a>(
    verifier: &'a Verifier,
    mechanism: &str,
    end_point: Option<&[u8]>,
    first: &[u8],
) -> Result<Challenge<'a>, ScramError> {
    let nonce: [u8; NONCE_LENGTH] = random::bytes().ok_or(ScramError::Randomness)?;
    challenge_with(verifier, mechanism, end_point, first, &STANDARD.encode(nonce))
}

fn challenge_with<'a>(
    verifier: &'a Verifier,
    mechanism: &str,
    end_point: Option<&[u8]>,
    first: &[u8],
    server_nonce: &str,
) -> Result<Challenge<'a>, ScramError> {
    let first = text(first)?;
    let mut parts = first.splitn(3, ',');
    let flag = parts.next().unwrap_or_default();
    let identity = parts.next().ok_or(ScramError::Malformed("no channel binding header"))?;
    let bare = parts.next().ok_or(ScramError::Malformed("no channel binding header"))?;
    let header = &first[..first.len() - bare.len()];
    let mut binding = header.as_bytes().to_vec();
    match (mechanism, flag, end_point) {
        (MECHANISM, "n", _) | (MECHANISM, "y", None) => {}
        // It could bind and thinks that we can't, though we offered: somebody in between took the offer away.
        (MECHANISM, "y", Some(_)) => return Err(ScramError::Malformed("channel binding was offered")),
        (MECHANISM_PLUS, _, Some(digest)) if flag.strip_prefix("p=") == Some(BINDING_TYPE) => {
            binding.extend_from_slice(digest);
        }
        _ => return Err(ScramError::Malformed("another channel binding than was offered")),
    }
    if !identity.is_empty() {
        return Err(ScramError::Malformed("an authorization identity"));
    }
    let mut attributes = bare.split(',');
    // `m=` would stand first: an extension that must be understood, and none is.
    if !attributes.next().is_some_and(|name| name.starts_with("n=")) {
        return Err(ScramError::Malformed("no user name"));
    }
    let client_nonce = attribute(attributes.next(), "r=")?;
    if client_nonce.is_empty() || !client_nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ScramError::Malformed("an unreadable nonce"));
    }
    let nonce = format!("{client_nonce}{server_nonce}");
    let message = format!("r={nonce},s={},i={ITERATIONS}", STANDARD.encode(verifier.salt));
    Ok(Challenge { verifier, message, client_first: bare.to_owned(), nonce, binding })
}

impl Challenge<'_> {
    /// Checks the client's last message; gives the server's, which proves to the client that the server knows the password.
    pub fn finish(&self, last: &[u8]) -> Result<String, ScramError> {
        let last = text(last)?;
        let (unsigned, proof) = last.rsplit_once(",p=").ok_or(ScramError::Malformed("no proof"))?;
        let mut attributes = unsigned.split(',');
        let binding = attribute(attributes.next(), "c=")?;
        if STANDARD.decode(binding).ok().as_deref() != Some(&self.binding) {
            return Err(ScramError::Malformed("another channel binding than announced"));
        }
        if attribute(attributes.next(), "r=")? != self.nonce {
            return Err(ScramError::Malformed("another nonce"));
        }
        let proof: [u8; KEY_LENGTH] = STANDARD
            .decode(proof)
            .ok()
            .and_then(|proof| proof.try_into().ok())
            .ok_or(ScramError::Malformed("a proof of another length"))?;
        let signed = format!("{},{},{unsigned}", self.client_first, self.message);
        let signature = sign(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = proof;
        client_key.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
        // Compared in constant time: the sum of all differences.
        let differs =
            sha256(&client_key).iter().zip(self.verifier.stored_key).fold(0, |sum, (a, b)| sum | (a ^ b));
        if differs != 0 {
            return Err(ScramError::WrongPassword);
        }
        Ok(format!("v={}", STANDARD.encode(sign(&self.verifier.server_key, signed.as_bytes()))))
    }
}

/// The digest of a certificate (DER) that channel binding of type `tls-server-end-point` uses, for certificates that are
/// signed with SHA-256.
pub fn end_point(certificate: &[u8]) -> [u8; KEY_LENGTH] {
    sha256(certificate)
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

fn attribute<'a>(part: Option<&'a str>, name: &'static str) -> Result<&'a str, ScramError> {
    part.and_then(|part| part.strip_prefix(name)).ok_or(ScramError::Malformed("an attribute is missing"))
}

fn sign(key: &[u8], message: &[u8]) -> [u8; KEY_LENGTH] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = [0; KEY_LENGTH];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

fn sha256(bytes: &[u8]) -> [u8; KEY_LENGTH] {
    let mut result = [0; KEY_LENGTH];
    result.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 7677, section 3.
    fn rfc() -> Verifier {
        let salt: [u8; SALT_LENGTH] =
            STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let mut salted = [0; KEY_LENGTH];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, &salt, b"pencil", &mut salted);
        let client_key = sign(&salted, b"Client Key");
        Verifier { salt, stored_key: sha256(&client_key), server_key: sign(&salted, b"Server Key") }
    }

    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const PROOF: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    #[test]
    fn the_rfcs_own_example_passes() {
        let verifier = rfc();
        let challenge = challenge_with(&verifier, MECHANISM, None, FIRST, SERVER_NONCE).unwrap();
        assert_eq!(
            challenge.message,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = challenge.finish(PROOF.as_bytes()).unwrap();
        assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn another_passwords_proof_and_a_decoy_are_refused_alike() {
        for verifier in [Verifier::new("pen").unwrap(), Verifier::decoy("user", &[7; KEY_LENGTH])] {
            let challenge = challenge_with(&verifier, MECHANISM, None, FIRST, SERVER_NONCE).unwrap();
            assert_eq!(challenge.finish(PROOF.as_bytes()), Err(ScramError::WrongPassword));
        }
    }

    #[test]
    fn the_channel_binding_flag_must_fit_the_offer() {
        let verifier = rfc();
        let digest = [9; KEY_LENGTH];
        let ask = |mechanism, end_point: Option<&[u8]>, flag: &str| {
            let first = format!("{flag},,n=,r=abc");
            challenge(&verifier, mechanism, end_point, first.as_bytes()).is_ok()
        };
        // not offered: both flags without binding pass
        assert!(ask(MECHANISM, None, "n") && ask(MECHANISM, None, "y"));
        // offered: `y` is a downgrade
        assert!(ask(MECHANISM, Some(&digest), "n") && !ask(MECHANISM, Some(&digest), "y"));
        assert!(ask(MECHANISM_PLUS, Some(&digest), "p=tls-server-end-point"));
        assert!(!ask(MECHANISM_PLUS, Some(&digest), "p=tls-unique"));
        assert!(!ask(MECHANISM_PLUS, Some(&digest), "n"));
        assert!(!ask(MECHANISM_PLUS, None, "p=tls-server-end-point"));
        assert!(!ask("SCRAM-SHA-1", None, "n"));
    }

    proptest! {
        #[test]
        fn hostile_messages_never_panic(
            first in proptest::collection::vec(any::<u8>(), 0..200),
            last in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let verifier = Verifier::decoy("x", &[1; KEY_LENGTH]);
            let _ = challenge(&verifier, MECHANISM, None, &first);
            let started = challenge(&verifier, MECHANISM, None, FIRST).unwrap();
            prop_assert!(started.finish(&last).is_err());
        }

        #[test]
        fn messages_made_of_the_right_pieces_never_panic(
            first in "[nyp]?(=[a-z-]{0,8})?,(a=[a-z]{0,3})?,([nrm]=[!-~]{0,9},?){0,4}",
            last in "([crp]=[A-Za-z0-9+/=]{0,12},?){0,5}",
        ) {
            let verifier = Verifier::decoy("x", &[1; KEY_LENGTH]);
            if let Ok(started) = challenge(&verifier, MECHANISM, None, first.as_bytes()) {
                prop_assert!(started.finish(last.as_bytes()).is_err());
            }
        }
    }
}
