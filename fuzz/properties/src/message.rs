//! Bytes as an HTTP message: `name: value` lines, an empty line, a body.

use http::{HeaderMap, HeaderName, HeaderValue};

/// The first line, the headers and the body. Lines that are no headers are passed over.
pub(crate) fn split(data: &[u8]) -> (&[u8], HeaderMap, &[u8]) {
    let (first, mut rest) = line(data);
    let mut headers = HeaderMap::new();
    while !rest.is_empty() {
        let (text, after) = line(rest);
        rest = after;
        if text.is_empty() {
            break;
        }
        let mut parts = text.splitn(2, |&byte| byte == b':');
        let name = parts.next().map(HeaderName::from_bytes);
        let value = parts
            .next()
            .map(|value| HeaderValue::from_bytes(value.trim_ascii()));
        if let (Some(Ok(name)), Some(Ok(value))) = (name, value) {
            // The map has room for 2¹⁵ names, and more than fuzzers send.
            headers.append(name, value);
        }
    }
    (first, headers, rest)
}

/// The first line without its end, and what follows.
pub(crate) fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &[]),
    }
}
