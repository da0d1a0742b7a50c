//! Random names and keys, from the system's generator.

use lakebase_gateway::random;

use crate::error::{Error, ErrorKind, Result};

const ADJECTIVES: [&str; 16] = [
    "quiet", "amber", "brave", "calm", "cold", "early", "fancy", "gentle", "green", "late", "lucky", "misty",
    "proud", "rapid", "silent", "young",
];
const NOUNS: [&str; 16] = [
    "lake", "bird", "brook", "cloud", "dawn", "field", "fire", "frost", "hill", "leaf", "moon", "rain",
    "river", "snow", "sun", "tree",
];
/// 32 letters that are hard to confuse.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N]> {
    random::bytes().ok_or_else(|| Error::new(ErrorKind::Io, "the system gives no random numbers"))
}

/// `2 * N` hexadecimal digits.
pub(crate) fn hex<const N: usize>() -> Result<String> {
    Ok(bytes::<N>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A uid as the service makes them: `br-quiet-lake-d1x2y3z4` for the prefix `br`.
pub(crate) fn uid(prefix: &str) -> Result<String> {
    let bytes = bytes::<10>()?;
    let tail: String = bytes[2..].iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    let adjective = ADJECTIVES[usize::from(bytes[0] % 16)];
    let noun = NOUNS[usize::from(bytes[1] % 16)];
    Ok(format!("{prefix}-{adjective}-{noun}-{tail}"))
}

/// Whether `text` is one that [`uid`] can make for the prefix.
pub(crate) fn is_uid(prefix: &str, text: &str) -> bool {
    let Some(rest) = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else { return false };
    let parts: Vec<&str> = rest.split('-').collect();
    let [adjective, noun, tail] = parts[..] else { return false };
    ADJECTIVES.contains(&adjective)
        && NOUNS.contains(&noun)
        && tail.len() == 8
        && tail.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// A random UUID (version 4).
pub(crate) fn uuid() -> Result<String> {
    let mut bytes = bytes::<16>()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_known_again() {
        let made = uid("br").unwrap();
        assert!(is_uid("br", &made) && !is_uid("ep", &made), "{made}");
        for other in
            ["br", "br-quiet-lake", "br-quiet-lake-short", "br-my-own-00000000", "br-quiet-lake-0000000o"]
        {
            assert!(!is_uid("br", other), "{other}");
        }
    }
}
