//! What makes two requests the same request.
//!
//! A fingerprint is stable for ever: journals written by one release are resumed by the next, so
//! nothing here may change without a new version in the domain strings.

mod canonical;

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use brimful_providers::dialect::Json;

pub use canonical::write_canonical_json;

/// Separates requests of version 1 from everything else that is hashed.
const REQUEST_DOMAIN: &[u8] = b"brimful request fingerprint, version 1";
/// Separates unreadable rows from requests, so that no row can pose as a request.
const BAD_ROW_DOMAIN: &[u8] = b"brimful bad row fingerprint, version 1";
const HEX: &[u8; 16] = b"0123456789abcdef";
/// A buffer larger than this is given back after use: one huge body must not be kept for ever.
const BUFFER_KEPT_BYTES: usize = 1 << 20;

thread_local! {
    static CANONICAL: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Identity of a request: version 1, 128 bits of BLAKE3 over length-prefixed explicit id, method,
/// URL path and canonical JSON body. Shown as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

impl Fingerprint {
    /// Fingerprint of a request whose body is already canonical (see [`write_canonical_json`]).
    ///
    /// `explicit_id` is the id that the input gives the request; `None` and an empty id are the
    /// same. A row number is not an explicit id: it changes when the input is edited.
    #[must_use]
    pub fn of_request(
        explicit_id: Option<&str>,
        method: &str,
        path: &str,
        canonical_body: &[u8],
    ) -> Self {
        let id = explicit_id.unwrap_or_default();
        of_fields(
            REQUEST_DOMAIN,
            &[
                id.as_bytes(),
                method.as_bytes(),
                path.as_bytes(),
                canonical_body,
            ],
        )
    }

    /// Fingerprint of a request whose body is any JSON value: the order of keys does not matter,
    /// the order of arrays does.
    #[must_use]
    pub fn of_request_json(
        explicit_id: Option<&str>,
        method: &str,
        path: &str,
        body: &Json<'_>,
    ) -> Self {
        CANONICAL.with_borrow_mut(|buffer| {
            buffer.clear();
            write_canonical_json(body, buffer);
            let fingerprint = Self::of_request(explicit_id, method, path, buffer);
            buffer.shrink_to(BUFFER_KEPT_BYTES);
            fingerprint
        })
    }

    /// Fingerprint of a row that cannot be made into a request, over its raw bytes.
    #[must_use]
    pub fn of_bad_row(raw: &[u8]) -> Self {
        of_fields(BAD_ROW_DOMAIN, &[raw])
    }

    /// As it is shown: 32 lower-case hexadecimal digits.
    pub(crate) fn to_hex(self) -> [u8; 32] {
        let mut digits = [0; 32];
        for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(self.0) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        digits
    }

    /// Reads 32 hexadecimal digits, of either case.
    pub(crate) fn from_hex(digits: &[u8]) -> Option<Self> {
        let digits: &[u8; 32] = digits.try_into().ok()?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 32 hexadecimal digits")]
pub struct ParseFingerprintError;

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(text.as_bytes()).ok_or(ParseFingerprintError)
    }
}

/// Every field is preceded by its length, so that no two lists of fields hash the same bytes.
fn of_fields(domain: &[u8], fields: &[&[u8]]) -> Fingerprint {
    let mut hasher = blake3::Hasher::new();
    for field in std::iter::once(&domain).chain(fields) {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    Fingerprint(bytes)
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn of(id: Option<&str>, method: &str, path: &str, body: &Value) -> Fingerprint {
        Fingerprint::of_request_json(id, method, path, &Json::from(body))
    }

    #[test]
    fn version_one_never_changes() {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "héllo\n"}]});
        let known = of(Some("row-1"), "POST", "/v1/chat/completions", &body);
        assert_eq!(known.to_string(), KNOWN_REQUEST);
        assert_eq!(
            Fingerprint::of_bad_row(b"{broken").to_string(),
            KNOWN_BAD_ROW
        );
        assert_eq!(of(None, "POST", "/", &json!({})).to_string(), KNOWN_EMPTY);
    }
    const KNOWN_REQUEST: &str = "474c3c940964b232a2f6abedab605a5a";
    const KNOWN_BAD_ROW: &str = "aeabd294d0bc69685c48b81cd7627633";
    const KNOWN_EMPTY: &str = "d23aff355289a6d2288bbc64cd567d64";

    #[test]
    fn the_recipe_is_the_documented_one() {
        let mut bytes = Vec::new();
        for field in [
            "brimful request fingerprint, version 1",
            "x",
            "POST",
            "/p",
            r#"{"a":1}"#,
        ] {
            bytes.extend((field.len() as u64).to_le_bytes());
            bytes.extend(field.as_bytes());
        }
        let digest = blake3::hash(&bytes).to_hex();
        let fingerprint = Fingerprint::of_request(Some("x"), "POST", "/p", br#"{"a":1}"#);
        assert_eq!(fingerprint.to_string(), digest.as_str()[..32]);
    }

    #[test]
    fn moving_a_byte_over_a_field_boundary_changes_the_fingerprint() {
        let one = Fingerprint::of_request(Some("a"), "b", "c", b"d");
        assert_ne!(one, Fingerprint::of_request(Some("ab"), "", "c", b"d"));
        assert_ne!(one, Fingerprint::of_request(Some("a"), "bc", "", b"d"));
        assert_ne!(one, Fingerprint::of_request(Some("a"), "b", "cd", b""));
        assert_ne!(one, Fingerprint::of_request(Some(""), "ab", "c", b"d"));
    }

    #[test]
    fn no_id_is_the_empty_id_and_any_other_id_counts() {
        let body = json!({"a": 1});
        assert_eq!(
            of(None, "POST", "/p", &body),
            of(Some(""), "POST", "/p", &body)
        );
        assert_ne!(
            of(None, "POST", "/p", &body),
            of(Some("1"), "POST", "/p", &body)
        );
    }

    #[test]
    fn key_order_does_not_matter_at_any_depth_but_array_order_does() {
        let one: Value = serde_json::from_str(r#"{"a":{"x":1,"y":[1,2]},"b":2}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{ "b":2, "a":{"y":[1,2],"x":1} }"#).unwrap();
        let three: Value = serde_json::from_str(r#"{"a":{"x":1,"y":[2,1]},"b":2}"#).unwrap();
        assert_eq!(of(None, "POST", "/p", &one), of(None, "POST", "/p", &two));
        assert_ne!(of(None, "POST", "/p", &one), of(None, "POST", "/p", &three));
    }

    #[test]
    fn a_bad_row_never_equals_a_request_over_the_same_bytes() {
        assert_ne!(
            Fingerprint::of_bad_row(b""),
            Fingerprint::of_request(None, "", "", b"")
        );
    }

    #[test]
    fn only_thirty_two_hexadecimal_digits_are_a_fingerprint() {
        let text = "00112233445566778899aabbccddeeff";
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
        assert_eq!(
            text.to_uppercase()
                .parse::<Fingerprint>()
                .unwrap()
                .to_string(),
            text
        );
        for bad in [
            "",
            "0011",
            "00112233445566778899aabbccddeeff0",
            "g0112233445566778899aabbccddeeff",
        ] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(ParseFingerprintError));
        }
        assert!(
            "+0112233445566778899aabbccddeeff"
                .parse::<Fingerprint>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn text_and_fingerprint_are_inverse(bytes: [u8; 16]) {
            let fingerprint = Fingerprint(bytes);
            prop_assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
            prop_assert_eq!(fingerprint.to_string().into_bytes(), fingerprint.to_hex());
        }
    }
}
