//! Which parts of a request's headers are secret.

use http::header::{AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION};
use http::{HeaderName, HeaderValue};
use secrecy::SecretString;

/// Headers whose value is a secret wherever it comes from.
const SECRET_HEADERS: [HeaderName; 6] = [
    AUTHORIZATION,
    PROXY_AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Where the value of a header was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// On the command line or in a configuration file, as it is.
    Typed,
    /// In a variable of the environment.
    Environment,
}

/// What a server must not be able to put into files by repeating this header: the value, what
/// stands behind the scheme in `Bearer KEY`, and the password in `Basic …`. Of other headers only
/// what comes from the environment and looks like a key: masking the name of a team, or a word that
/// is part of every answer, would destroy them.
#[must_use]
pub fn secrets_of_header(
    name: &HeaderName,
    value: &HeaderValue,
    origin: Origin,
) -> Vec<SecretString> {
    let by_name = SECRET_HEADERS.contains(name);
    let Ok(value) = str::from_utf8(value.as_bytes()) else {
        return Vec::new();
    };
    let mut parts = vec![value.to_owned()];
    if *name == COOKIE {
        // A cookie such as `theme=dark` is an ordinary word.
        let values = value.split(';').filter_map(|pair| pair.split_once('='));
        let keys = values.map(|(_, value)| value.trim());
        parts.extend(keys.filter(|key| looks_like_key(key)).map(str::to_owned));
    } else if let Some((scheme, rest)) = value.split_once(' ') {
        let rest = rest.trim();
        parts.push(rest.to_owned());
        if scheme.eq_ignore_ascii_case("basic") {
            parts.extend(basic_password(rest));
        }
    }
    if !by_name {
        parts.retain(|part| origin == Origin::Environment && looks_like_key(part));
    }
    parts.into_iter().map(SecretString::from).collect()
}

/// Long, in one piece, of letters and digits: no word that stands in answers by itself.
fn looks_like_key(text: &str) -> bool {
    text.len() >= 16
        && !text.contains(char::is_whitespace)
        && text.contains(|c: char| c.is_ascii_digit())
        && text.contains(|c: char| c.is_ascii_alphabetic())
}

/// The password of `Basic` credentials.
fn basic_password(encoded: &str) -> Option<String> {
    let plain = String::from_utf8(base64(encoded)?).ok()?;
    plain
        .split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Decodes standard base64, with or without padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.trim_end_matches('=').bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held).ok()?);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[track_caller]
    fn are_secret(header: &'static str, value: &'static str, origin: Origin, secrets: &[&str]) {
        let name = HeaderName::from_static(header);
        let found = secrets_of_header(&name, &HeaderValue::from_static(value), origin);
        let found: Vec<&str> = found.iter().map(ExposeSecret::expose_secret).collect();
        assert_eq!(found, secrets, "{header}: {value}");
    }

    #[test]
    fn headers_that_hold_keys_are_secret_wherever_they_come_from() {
        for origin in [Origin::Typed, Origin::Environment] {
            are_secret(
                "authorization",
                "Bearer sk-1",
                origin,
                &["Bearer sk-1", "sk-1"],
            );
            for name in ["x-api-key", "api-key", "x-goog-api-key"] {
                are_secret(name, "word", origin, &["word"]);
            }
            are_secret(
                "proxy-authorization",
                "Basic dXNlcjpwYXNzOndvcmQ=",
                origin,
                &[
                    "Basic dXNlcjpwYXNzOndvcmQ=",
                    "dXNlcjpwYXNzOndvcmQ=",
                    "pass:word",
                ],
            );
            are_secret(
                "cookie",
                "theme=dark; sid=0123456789abcdef",
                origin,
                &["theme=dark; sid=0123456789abcdef", "0123456789abcdef"],
            );
        }
    }

    #[test]
    fn other_headers_that_were_typed_are_not() {
        are_secret("x-team", "0123456789abcdef", Origin::Typed, &[]);
    }

    #[test]
    fn a_value_from_the_environment_is_secret_if_it_looks_like_a_key() {
        let from = Origin::Environment;
        are_secret("x-team", "choices", from, &[]);
        are_secret("x-team", "the-team-of-the-north", from, &[]);
        are_secret("x-team", "team 1 of the large north", from, &[]);
        are_secret("x-day", "2026-01-02T03:04", from, &["2026-01-02T03:04"]);
        are_secret("x-day", "2026-01-02", from, &[]);
        are_secret("x-number", "0123456789012345", from, &[]);
        are_secret("x-key", "0123456789abcdef", from, &["0123456789abcdef"]);
        are_secret(
            "x-key",
            "Token 0123456789abcdef",
            from,
            &["0123456789abcdef"],
        );
    }

    #[test]
    fn credentials_that_are_no_base64_do_no_harm() {
        for value in [
            "Basic",
            "Basic ===",
            "Basic \u{7e}",
            "Basic /////w",
            "Basic A",
        ] {
            let value = HeaderValue::from_static(value);
            let found = secrets_of_header(&AUTHORIZATION, &value, Origin::Typed);
            assert!(found.len() <= 2, "{value:?}");
        }
    }
}
