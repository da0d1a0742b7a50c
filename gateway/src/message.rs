//! Start-up packets and typed messages: bytes to values and back. Pure but for the two readers.
//!
//! Lengths come from a client that has not said who it is, so every reader has a limit and allocates
//! nothing before the length was checked against it.

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest start-up packet PostgreSQL itself accepts (`MAX_STARTUP_PACKET_LENGTH` in its source), in bytes.
pub const MAX_STARTUP_LENGTH: usize = 10_000;
/// Longest password message accepted, in bytes. PostgreSQL's own limit for one is 65,535.
pub const MAX_PASSWORD_LENGTH: usize = 65_535;

/// Protocol 3.0, the one spoken towards both sides.
pub const PROTOCOL_3_0: u32 = 3 << 16;

/// "Authentication ok": the client is let in.
pub const AUTHENTICATION_OK: u32 = 0;
/// The request for a cleartext password.
pub const AUTHENTICATION_CLEARTEXT: u32 = 3;
/// The offer of SASL mechanisms.
pub const AUTHENTICATION_SASL: u32 = 10;
/// SASL's challenge.
pub const AUTHENTICATION_SASL_CONTINUE: u32 = 11;
/// SASL's outcome, sent before [`AUTHENTICATION_OK`].
pub const AUTHENTICATION_SASL_FINAL: u32 = 12;

const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;
const SSL_REQUEST: u32 = (1234 << 16) | 5679;
const GSSENC_REQUEST: u32 = (1234 << 16) | 5680;

/// What can be wrong with the bytes of a message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The connection ended or failed.
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    /// A length field outside of what is allowed here.
    #[error("invalid length of a message: {0} bytes")]
    Length(usize),
    /// Bytes that are no message of the protocol.
    #[error("invalid message: {0}")]
    Invalid(&'static str),
}

/// A packet without a type byte: the first ones of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// The client asks whether TLS is spoken; the answer is one byte.
    SslRequest,
    /// The client asks whether GSSAPI encryption is spoken; the answer is one byte.
    GssEncRequest,
    /// The client asks to cancel what another session runs. The key is opaque: 8 bytes in protocol 3.0, more later.
    Cancel {
        /// Process id and secret key as sent.
        key: Vec<u8>,
    },
    /// The client starts a session.
    Startup(Startup),
}

/// The start-up message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// Protocol version, major in the upper 16 bits.
    pub version: u32,
    /// Name and value pairs in the client's order, `user` among them.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The value of parameter `name`, where the client sent it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Names of protocol options (`_pq_.…`) that the client offered. None is supported.
    pub fn protocol_options(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(key, _)| key.as_str()).filter(|key| key.starts_with("_pq_."))
    }
}

/// Reads one start-up packet, at most [`MAX_STARTUP_LENGTH`] bytes long.
pub async fn read_startup<S: AsyncRead + Unpin>(stream: &mut S) -> Result<StartupPacket, MessageError> {
    let length = stream.read_u32().await? as usize;
    if !(8..=MAX_STARTUP_LENGTH).contains(&length) {
        return Err(MessageError::Length(length));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    parse_startup(&body)
}

/// Reads one typed message of at most `limit` bytes: its type and its body.
pub async fn read_message<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: usize,
) -> Result<(u8, Vec<u8>), MessageError> {
    let tag = stream.read_u8().await?;
    let length = stream.read_u32().await? as usize;
    if length < 4 || length > limit {
        return Err(MessageError::Length(length));
    }
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body).await?;
    Ok((tag, body))
}

/// Parses a start-up packet without its length field. Never panics, whatever the bytes are.
pub fn parse_startup(body: &[u8]) -> Result<StartupPacket, MessageError> {
    let (code, rest) = body.split_first_chunk::<4>().ok_or(MessageError::Length(body.len()))?;
    match u32::from_be_bytes(*code) {
        SSL_REQUEST => Ok(StartupPacket::SslRequest),
        GSSENC_REQUEST => Ok(StartupPacket::GssEncRequest),
        CANCEL_REQUEST if rest.len() >= 8 => Ok(StartupPacket::Cancel { key: rest.to_vec() }),
        CANCEL_REQUEST => Err(MessageError::Invalid("a cancel request without a key")),
        version if version >> 16 == 3 => {
            Ok(StartupPacket::Startup(Startup { version, parameters: parse_parameters(rest)? }))
        }
        _ => Err(MessageError::Invalid("unsupported protocol version")),
    }
}

fn parse_parameters(mut rest: &[u8]) -> Result<Vec<(String, String)>, MessageError> {
    let mut parameters = Vec::new();
    loop {
        let key = take_string(&mut rest)?;
        if key.is_empty() {
            // The list ends with an empty name, and nothing may follow it.
            return if rest.is_empty() {
                Ok(parameters)
            } else {
                Err(MessageError::Invalid("bytes after the last start-up parameter"))
            };
        }
        parameters.push((key, take_string(&mut rest)?));
    }
}

fn take_string(rest: &mut &[u8]) -> Result<String, MessageError> {
    let end = rest.iter().position(|byte| *byte == 0).ok_or(MessageError::Invalid("unterminated string"))?;
    let text =
        std::str::from_utf8(&rest[..end]).map_err(|_| MessageError::Invalid("a string that is not UTF-8"))?;
    let text = text.to_owned();
    *rest = &rest[end + 1..];
    Ok(text)
}

/// The text of a password message's body (one zero-terminated string).
pub fn parse_password(body: &[u8]) -> Result<String, MessageError> {
    let mut rest = body;
    let text = take_string(&mut rest)?;
    if rest.is_empty() { Ok(text) } else { Err(MessageError::Invalid("bytes after the password")) }
}

/// The mechanism's name and the data of a client's first SASL message. No data at all (length -1) reads as empty.
pub fn parse_sasl_initial(body: &[u8]) -> Result<(String, &[u8]), MessageError> {
    let mut rest = body;
    let mechanism = take_string(&mut rest)?;
    let (length, data) =
        rest.split_first_chunk::<4>().ok_or(MessageError::Invalid("a SASL message without a length"))?;
    let expected = match u32::from_be_bytes(*length) {
        u32::MAX => 0,
        length => length as usize,
    };
    if data.len() == expected {
        Ok((mechanism, data))
    } else {
        Err(MessageError::Invalid("a SASL message of another length than it says"))
    }
}

/// Writes a start-up message of protocol 3.0. A zero byte inside a string would start another parameter and is an error.
pub fn write_startup(parameters: &[(String, String)]) -> Result<Vec<u8>, MessageError> {
    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    for text in parameters.iter().flat_map(|(key, value)| [key, value]) {
        if text.contains('\0') {
            return Err(MessageError::Invalid("a zero byte in a start-up parameter"));
        }
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    Ok(with_length(None, &body))
}

/// Writes the request to encrypt, sent before a start-up message.
pub fn write_ssl_request() -> Vec<u8> {
    with_length(None, &SSL_REQUEST.to_be_bytes())
}

/// Writes a cancel request with the opaque `key` that a client sent.
pub fn write_cancel(key: &[u8]) -> Vec<u8> {
    let mut body = CANCEL_REQUEST.to_be_bytes().to_vec();
    body.extend_from_slice(key);
    with_length(None, &body)
}

/// Writes an authentication message: its `code` and what belongs to it (see the `AUTHENTICATION_…` constants).
pub fn write_authentication(code: u32, data: &[u8]) -> Vec<u8> {
    let mut body = code.to_be_bytes().to_vec();
    body.extend_from_slice(data);
    with_length(Some(b'R'), &body)
}

/// Writes the offer of SASL mechanisms, the preferred one first.
pub fn write_sasl_offer(mechanisms: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    for mechanism in mechanisms {
        data.extend_from_slice(mechanism.as_bytes());
        data.push(0);
    }
    data.push(0);
    write_authentication(AUTHENTICATION_SASL, &data)
}

/// Writes a password message. A zero byte would end the password early and is an error.
pub fn write_password(password: &str) -> Result<Vec<u8>, MessageError> {
    if password.contains('\0') {
        return Err(MessageError::Invalid("a zero byte in a password"));
    }
    let mut body = password.as_bytes().to_vec();
    body.push(0);
    Ok(with_length(Some(b'p'), &body))
}

/// Writes "I speak 3.0 and none of these options", the answer to a newer client.
pub fn write_negotiate_version<'a>(unsupported: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let names: Vec<&str> = unsupported.collect();
    let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
    // At most MAX_STARTUP_LENGTH bytes of names arrived, so the count fits.
    body.extend_from_slice(&u32::try_from(names.len()).unwrap_or(u32::MAX).to_be_bytes());
    for name in names {
        body.extend_from_slice(name.as_bytes());
        body.push(0);
    }
    with_length(Some(b'v'), &body)
}

/// Puts the type byte (typed messages only) and the length before `body`.
pub fn with_length(tag: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(body.len() + 5);
    message.extend(tag);
    // Every message written here is far below 4 GiB.
    message.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[a-zA-Z_.]{1,20}", "[^\0]{0,30}"), 0..8)
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse_startup(&bytes);
            let _ = parse_password(&bytes);
            let _ = parse_sasl_initial(&bytes);
        }

        #[test]
        fn hostile_bytes_after_a_version_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut packet = PROTOCOL_3_0.to_be_bytes().to_vec();
            packet.extend(bytes);
            let _ = parse_startup(&packet);
        }

        #[test]
        fn what_is_written_is_read_back(parameters in pairs()) {
            let written = write_startup(&parameters).unwrap();
            let read = parse_startup(&written[4..]).unwrap();
            prop_assert_eq!(read, StartupPacket::Startup(Startup { version: PROTOCOL_3_0, parameters }));
        }
    }

    #[test]
    fn a_zero_byte_cannot_smuggle_a_parameter() {
        let smuggled = [("user".to_owned(), "a\0replication\0true".to_owned())];
        assert!(write_startup(&smuggled).is_err());
    }

    #[tokio::test]
    async fn a_length_over_the_limit_is_refused_before_it_is_allocated() {
        // given a packet that claims four gigabytes
        let mut stream: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0];
        // when it is read, then only its length was looked at
        assert!(matches!(read_startup(&mut stream).await, Err(MessageError::Length(_))));
        let mut stream: &[u8] = &[b'p', 0x7f, 0xff, 0xff, 0xff];
        assert!(matches!(read_message(&mut stream, 100).await, Err(MessageError::Length(_))));
    }

    #[test]
    fn a_cancel_request_keeps_its_key() {
        let key = vec![1, 2, 3, 4, 5, 6, 7, 8];
        let packet = write_cancel(&key);
        assert_eq!(parse_startup(&packet[4..]).unwrap(), StartupPacket::Cancel { key });
    }
}
