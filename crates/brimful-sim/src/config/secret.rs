//! The key that requests must bear.

use std::fmt;

/// A key that its owner may not want to see in a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerKey(String);

impl BearerKey {
    /// Whether a key header has this key. Only in `x-api-key` and its like does it stand `bare`,
    /// without the word Bearer.
    pub(crate) fn admits(&self, header: &str, bare: bool) -> bool {
        match header.strip_prefix("Bearer ") {
            Some(key) => key.trim() == self.0,
            None => bare && header.trim() == self.0,
        }
    }
}

impl<T: Into<String>> From<T> for BearerKey {
    fn from(key: T) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for BearerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use crate::config::ServerConfig;

    #[test]
    fn debug_hides_the_key() {
        let config = ServerConfig {
            auth: Some("sk-secret".into()),
            ..ServerConfig::default()
        };
        assert!(!format!("{config:?}").contains("sk-secret"));
    }
}
