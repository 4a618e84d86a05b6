//! Keeps secrets out of everything that is written or shown.

mod headers;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use memchr::memmem::Finder;
use secrecy::{ExposeSecret, SecretString};

pub use headers::{Origin, secrets_of_header};

const MASK: &[u8] = b"[redacted]";

/// Secrets shorter than this are not searched for: replacing, say, every `a` of an answer would
/// destroy it.
pub const SECRET_BYTES_MIN: usize = 6;
/// Secrets of nothing but letters that are shorter than this are words, such as the `ollama` that
/// servers without keys are given in the place of one. They are not searched for either.
pub const WORD_BYTES_MIN: usize = 12;

/// Replaces known secrets in text that a server sent.
#[derive(Clone, Default)]
pub struct Redactor {
    finders: Vec<Finder<'static>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} secrets)", self.finders.len())
    }
}

impl Redactor {
    /// Searches for these secrets, as they are and as they look inside a JSON string.
    #[must_use]
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut needles: Vec<Vec<u8>> = Vec::new();
        for secret in secrets {
            let plain = secret.expose_secret();
            let is_word = plain.bytes().all(|byte| byte.is_ascii_alphabetic());
            if is_word && plain.len() < WORD_BYTES_MIN {
                continue;
            }
            let quoted = serde_json::Value::from(plain).to_string();
            let escaped = &quoted[1..quoted.len() - 1];
            let slashes = escaped.replace('/', "\\/");
            for form in [plain, escaped, slashes.as_str()] {
                if form.len() >= SECRET_BYTES_MIN && !needles.iter().any(|n| n == form.as_bytes()) {
                    needles.push(form.as_bytes().to_vec());
                }
            }
        }
        // A secret that contains another is replaced first.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        Self {
            finders: needles
                .iter()
                .map(|n| Finder::new(n).into_owned())
                .collect(),
        }
    }

    /// `body` without secrets; untouched, and not copied, when there is none in it.
    #[must_use]
    pub fn body(&self, body: Bytes) -> Bytes {
        let mut clean = body;
        for finder in &self.finders {
            if finder.find(&clean).is_some() {
                clean = replace(finder, &clean).into();
            }
        }
        clean
    }

    /// `text` without secrets.
    #[must_use]
    pub fn text(&self, text: &str) -> String {
        let clean = self.body(Bytes::copy_from_slice(text.as_bytes()));
        String::from_utf8_lossy(&clean).into_owned()
    }

    /// Masks header values that hold a secret.
    pub fn headers(&self, headers: &mut HeaderMap) {
        for value in headers.values_mut() {
            if self
                .finders
                .iter()
                .any(|finder| finder.find(value.as_bytes()).is_some())
            {
                *value = HeaderValue::from_static("[redacted]");
            }
        }
    }
}

fn replace(finder: &Finder<'_>, body: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(body.len());
    let mut copied = 0;
    for at in finder.find_iter(body) {
        clean.extend_from_slice(&body[copied..at]);
        clean.extend_from_slice(MASK);
        copied = at + finder.needle().len();
    }
    clean.extend_from_slice(&body[copied..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(secrets: &[&str]) -> Redactor {
        let secrets: Vec<SecretString> = secrets.iter().map(|&s| SecretString::from(s)).collect();
        Redactor::new(&secrets)
    }

    #[test]
    fn every_occurrence_goes_plain_or_escaped() {
        let redactor = redactor(&["sk-a/b\"c", "sk-a/b\"c-long"]);
        let body = Bytes::from_static(br#"x sk-a/b"c y sk-a\/b\"c z sk-a/b\"c sk-a/b"c-long"#);
        let clean = String::from_utf8(redactor.body(body).to_vec()).unwrap();
        assert_eq!(clean, "x [redacted] y [redacted] z [redacted] [redacted]");
    }

    #[test]
    fn text_without_secrets_is_not_copied() {
        let body = Bytes::from_static(b"nothing here");
        let at = body.as_ptr();
        assert_eq!(redactor(&["sk-secret"]).body(body).as_ptr(), at);
    }

    #[test]
    fn a_secret_of_one_letter_does_not_destroy_answers() {
        let body = Bytes::from_static(b"banana");
        assert_eq!(redactor(&["a"]).body(body), "banana");
    }

    #[test]
    fn a_word_in_the_place_of_a_key_does_not_destroy_answers() {
        let body = Bytes::from_static(b"ollama is a word, correcthorsebattery is none");
        let clean = redactor(&["ollama", "correcthorsebattery"]).body(body);
        assert_eq!(clean, "ollama is a word, [redacted] is none");
    }

    #[test]
    fn headers_are_masked_whole() {
        let mut headers = HeaderMap::new();
        headers.insert("x-echo", HeaderValue::from_static("Bearer sk-secret"));
        headers.insert("x-fine", HeaderValue::from_static("1"));
        redactor(&["sk-secret"]).headers(&mut headers);
        assert_eq!(headers["x-echo"], "[redacted]");
        assert_eq!(headers["x-fine"], "1");
    }
}
