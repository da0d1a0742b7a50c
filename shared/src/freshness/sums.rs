//! Sums of files: our own, and those that several tools share.

use sha2::{Digest, Sha256, Sha384};

/// Our own digest: 16 hexadecimal digits are enough to see an edit.
pub fn digest(bytes: &[u8]) -> String {
    let mut text = hex(&Sha256::digest(bytes));
    text.truncate(16);
    text
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// SHA-384 in hexadecimal digits.
pub fn sha384(bytes: &[u8]) -> String {
    hex(&Sha384::digest(bytes))
}

/// The text as it is, and with the other two kinds of line ends: git may have changed them since it ran elsewhere.
pub fn with_any_line_ends(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut plain = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        if !(*byte == b'\r' && bytes.get(at + 1) == Some(&b'\n')) {
            plain.push(*byte);
        }
    }
    let mut windows = Vec::with_capacity(plain.len());
    for byte in &plain {
        if *byte == b'\n' {
            windows.push(b'\r');
        }
        windows.push(*byte);
    }
    let mut all = vec![bytes.to_vec(), plain, windows];
    all.dedup();
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
