//! Random bytes, from the system's generator.

use ring::rand::{SecureRandom, SystemRandom};

/// `N` random bytes; `None` where the system gives none.
pub fn bytes<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let (one, two): ([u8; 32], [u8; 32]) = (bytes().unwrap(), bytes().unwrap());
        assert_ne!(one, two);
        assert_ne!(one, [0; 32]);
    }
}
