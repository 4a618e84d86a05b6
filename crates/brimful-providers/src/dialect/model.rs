//! Which model a request asks for.

use std::borrow::Cow;

use super::Json;

/// The model that a request for `path` with this body asks for: what the body says, else what the
/// path says (`…/models/MODEL:generateContent`, `/model/MODEL/converse`,
/// `…/deployments/MODEL/…`). `None` when neither does.
#[must_use]
pub fn model_of<'a>(path: &'a str, body: &'a Json<'_>) -> Option<Cow<'a, str>> {
    let in_body = body.get("model").and_then(Json::as_str);
    if let Some(model) = in_body.filter(|model| !model.is_empty()) {
        return Some(Cow::Borrowed(model));
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let after = |mark: &str| path.split_once(mark).map(|(_, rest)| rest);
    let segment = |rest: &'a str| rest.split('/').next();
    let encoded = after("/models/")
        .or_else(|| after("/tunedModels/"))
        .and_then(|rest| rest.rsplit_once(':'))
        .map(|(model, _)| model)
        .or_else(|| after("/model/").and_then(segment))
        .or_else(|| after("/deployments/").and_then(segment));
    encoded.filter(|model| !model.is_empty()).map(decoded)
}

/// Without percent-encoding; as it is where that gives no text.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).map_or(Cow::Borrowed(text), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Endpoint;

    fn model(path: &str, body: &str) -> Option<String> {
        let body = Json::parse(body).unwrap();
        model_of(path, &body).map(Cow::into_owned)
    }

    #[test]
    fn the_body_comes_before_the_path() {
        for (path, body, found) in [
            ("/v1/chat/completions", r#"{"model":"b"}"#, Some("b")),
            ("/v1beta/models/g:generateContent", "{}", Some("g")),
            (
                "/v1beta/models/g:streamGenerateContent?alt=sse",
                "{}",
                Some("g"),
            ),
            (
                "/v1beta/models/g:generateContent",
                r#"{"model":"b"}"#,
                Some("b"),
            ),
            (
                "/openai/deployments/d/chat/completions?api-version=1",
                "{}",
                Some("d"),
            ),
            ("/model/a.b%3A0/invoke", r#"{"model":""}"#, Some("a.b:0")),
            ("/model/a%zz%e9/converse", "{}", Some("a%zz%e9")),
            ("/v1/models/", "{}", None),
            ("/v1/messages", "{}", None),
            ("/v1/messages", r#"{"model":7}"#, None),
            ("/model//converse", "{}", None),
        ] {
            assert_eq!(model(path, body).as_deref(), found, "{path}");
        }
    }

    #[test]
    fn a_path_gives_back_the_model_that_it_was_built_for() {
        for name in ["anthropic.claude-v1:0", "arn:aws:bedrock:x:1:p/é %"] {
            let path = Endpoint::Converse.path_for(Some(name), false).unwrap();
            assert_eq!(model(&path, "{}").as_deref(), Some(name));
        }
    }
}
