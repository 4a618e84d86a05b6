//! Which URL paths may be sent. Input files are not trusted: a path must not be able to leave the
//! base URL it is appended to.

/// Longest path that is sent, in bytes: the bound of common servers and proxies.
pub const MAX_PATH_BYTES: usize = 8192;

/// Why a URL is not a path that may be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not begin with `/`, for instance because it has a scheme and host.
    #[error(
        "the url must be a path that begins with `/`, such as /v1/chat/completions; give the host with --base-url"
    )]
    NotAPath,
    /// `//`: an empty segment, or a host where there must be none.
    #[error("the url has `//`; write each `/` once")]
    Empty,
    /// A backslash, which some servers and clients take for a slash.
    #[error("the url has a backslash; use `/`")]
    Backslash,
    /// `.` or `..` as a segment, plain or percent-encoded.
    #[error("the url has a `.` or `..` segment; write the path without it")]
    DotSegment,
    /// A percent-encoded slash, backslash, percent sign or control character.
    #[error("the url has `{0}`, an encoded character that can change the path; remove it")]
    Encoded(String),
    /// A percent sign without two hexadecimal digits.
    #[error("the url has a `%` without two hexadecimal digits; write it as %25 in the query")]
    Percent,
    /// `#…`.
    #[error("the url has a fragment (`#`); remove it")]
    Fragment,
    /// A space, control character, non-ASCII or otherwise forbidden character.
    #[error("the url has the character {0:?}; percent-encode it")]
    Character(char),
    /// Longer than [`MAX_PATH_BYTES`].
    #[error("the url is {0} bytes long; at most {MAX_PATH_BYTES} are sent")]
    TooLong(usize),
}

/// Accepts a URL that is a plain path with an optional query, and nothing else.
///
/// No scheme, host, `//`, backslash, dot segment (also percent-encoded or before a `;`), fragment,
/// space, control or non-ASCII character.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn check_path(url: &str) -> Result<(), PathError> {
    if !url.starts_with('/') {
        return Err(PathError::NotAPath);
    }
    if url.len() > MAX_PATH_BYTES {
        return Err(PathError::TooLong(url.len()));
    }
    if url.contains("//") {
        return Err(PathError::Empty);
    }
    check_characters(url)?;
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    check_escapes(path, true)?;
    check_escapes(query, false)?;
    if path.split('/').any(is_dot_segment) {
        return Err(PathError::DotSegment);
    }
    Ok(())
}

fn check_characters(url: &str) -> Result<(), PathError> {
    for c in url.chars() {
        match c {
            '\\' => return Err(PathError::Backslash),
            '#' => return Err(PathError::Fragment),
            // RFC 3986: unreserved, sub-delims, and what may stand in a path or query.
            'a'..='z'
            | 'A'..='Z'
            | '0'..='9'
            | '-'
            | '.'
            | '_'
            | '~'
            | '!'
            | '$'
            | '&'
            | '\''
            | '('
            | ')'
            | '*'
            | '+'
            | ','
            | ';'
            | '='
            | ':'
            | '@'
            | '/'
            | '?'
            | '%' => {}
            _ => return Err(PathError::Character(c)),
        }
    }
    Ok(())
}

fn check_escapes(part: &str, in_path: bool) -> Result<(), PathError> {
    for (at, _) in part.match_indices('%') {
        let escape = part.get(at..at + 3).ok_or(PathError::Percent)?;
        let byte = u8::from_str_radix(&escape[1..], 16).map_err(|_| PathError::Percent)?;
        // `from_str_radix` takes a sign, which is no hexadecimal digit.
        if !escape[1..].bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PathError::Percent);
        }
        let changes_path = matches!(byte, b'/' | b'\\' | b'%') && in_path;
        if changes_path || byte.is_ascii_control() {
            return Err(PathError::Encoded(escape.to_owned()));
        }
    }
    Ok(())
}

/// `..;x` counts too: servers that know path parameters cut them off before they resolve dots.
pub(super) fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let dots = name.replace("%2e", ".").replace("%2E", ".");
    !dots.is_empty() && dots.bytes().all(|b| b == b'.')
}

/// Appends `text` with everything percent-encoded but unreserved characters (RFC 3986) and those in
/// `kept`.
pub(super) fn push_encoded(path: &mut String, text: &str, kept: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in text.as_bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if is_plain || kept.contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push(char::from(DIGITS[usize::from(byte >> 4)]));
            path.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/v1/chat/completions",
            "/",
            "/chat/completions?api-version=2024-10-21",
            "/v1beta/models/gemini-2.0-flash:generateContent",
            "/v1/models/a%20b",
            "/v1/x?next=%2Fv1%2Fy&share=50%25",
            "/v1/a.b/c..d/.well-known",
        ] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn hostile_urls_are_refused() {
        let encoded = |escape: &str| PathError::Encoded(escape.to_owned());
        for (url, error) in [
            ("", PathError::NotAPath),
            ("v1/chat", PathError::NotAPath),
            ("http://127.0.0.1:9/", PathError::NotAPath),
            ("HTTPS:/evil", PathError::NotAPath),
            ("\\\\h\\x", PathError::NotAPath),
            (" /v1", PathError::NotAPath),
            ("@h/", PathError::NotAPath),
            (":80/", PathError::NotAPath),
            (".h/", PathError::NotAPath),
            ("//h/", PathError::Empty),
            ("/v1//x", PathError::Empty),
            ("/v1/x?u=http://h", PathError::Empty),
            ("/\\h", PathError::Backslash),
            ("/v1/x?a=\\", PathError::Backslash),
            ("/v1/../../x", PathError::DotSegment),
            ("/..", PathError::DotSegment),
            ("/./x", PathError::DotSegment),
            ("/v1/.../x", PathError::DotSegment),
            ("/v1/%2e%2E/x", PathError::DotSegment),
            ("/v1/.%2e/x", PathError::DotSegment),
            ("/v1/..;a=b/x", PathError::DotSegment),
            ("/v1/..?x", PathError::DotSegment),
            ("/%2f/h", encoded("%2f")),
            ("/%5Ch", encoded("%5C")),
            ("/v1/%252e%252e/x", encoded("%25")),
            ("/v1/%00", encoded("%00")),
            ("/v1/x?a=%0d%0aHost:h", encoded("%0d")),
            ("/v1/%2", PathError::Percent),
            ("/v1/%+1", PathError::Percent),
            ("/v1/%zz", PathError::Percent),
            ("/v1/x#y", PathError::Fragment),
            ("/v1/a b", PathError::Character(' ')),
            ("/v1/x\r\nHost: h", PathError::Character('\r')),
            ("/v1/x\u{0}", PathError::Character('\u{0}')),
            ("/v1/x\t", PathError::Character('\t')),
            ("/v1/é", PathError::Character('é')),
            ("/v1/\u{2215}\u{2215}h", PathError::Character('\u{2215}')),
            ("/v1/[x]", PathError::Character('[')),
        ] {
            assert_eq!(check_path(url), Err(error), "{url:?}");
        }
        let long = format!("/{}", "x".repeat(MAX_PATH_BYTES));
        assert_eq!(
            check_path(&long),
            Err(PathError::TooLong(MAX_PATH_BYTES + 1))
        );
    }

    proptest! {
        #[test]
        fn what_passes_is_a_path_to_the_http_library_and_cannot_leave_its_base(
            url in "[/a-z.%25eEfFcC;:@?#\\\\ ]{0,24}",
        ) {
            if check_path(&url).is_ok() {
                let joined: http::Uri = format!("http://base:80{url}").parse().expect("parses");
                prop_assert_eq!(joined.host(), Some("base"));
                prop_assert_eq!(joined.path_and_query().map(|p| p.as_str()), Some(url.as_str()));
                prop_assert!(!joined.path().split('/').any(|s| s == "." || s == ".."));
            }
        }
    }
}
