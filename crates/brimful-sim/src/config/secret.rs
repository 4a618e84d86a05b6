//! The key that requests must bear.

use std::fmt;

/// A key that its owner may not want to see in a log: `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct BearerKey(String);

impl BearerKey {
    /// Whether a key header has this key. Only in `x-api-key` and its like does it stand `bare`,
    /// without the word Bearer.
    pub(crate) fn admits(&self, header: &str, bare: bool) -> bool {
        match header.split_once(' ') {
            // The scheme's name has no case (RFC 9110, section 11.1).
            Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => key.trim() == self.0,
            _ => bare && header.trim() == self.0,
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
    use super::*;
    use crate::config::ServerConfig;

    #[test]
    fn the_scheme_may_be_written_in_any_case_and_may_be_missing_only_where_it_is_unusual() {
        let key = BearerKey::from("k");
        assert!(key.admits("bearer k", false) && key.admits("Bearer  k ", false));
        assert!(key.admits("k", true) && !key.admits("k", false));
        assert!(!key.admits("Basic k", true) && !key.admits("Bearer kk", true));
    }

    #[test]
    fn debug_hides_the_key() {
        let config = ServerConfig {
            auth: Some("sk-secret".into()),
            ..ServerConfig::default()
        };
        assert!(!format!("{config:?}").contains("sk-secret"));
    }
}
