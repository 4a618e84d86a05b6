//! Lines of OpenAI's Batch format: whole requests.

use std::sync::Arc;

use brimful_providers::dialect::check_path;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::shown;

/// A line that may be sent.
#[derive(Debug)]
pub(super) struct Line<'a> {
    pub(super) path: Arc<str>,
    /// The body byte for byte.
    pub(super) body: &'a str,
}

/// The fields as they stand; unknown ones are passed over. A field that stands twice is an error.
#[derive(Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow, default)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(line: &'a str) -> Result<Self, String> {
        if !line.trim_start().starts_with('{') {
            return Err("the line is no JSON object; write {\"custom_id\": …}".to_owned());
        }
        serde_json::from_str(line).map_err(|error| json_reason(&error))
    }

    /// The id, when it is a string that says something.
    pub(super) fn id(&self) -> Result<String, String> {
        let id = text_field(
            "custom_id",
            self.custom_id,
            "give every line one of its own",
        )?;
        if id.is_empty() {
            return Err("`custom_id` is empty; give every line one of its own".to_owned());
        }
        Ok(id)
    }

    /// Everything but the id. `last` is the path of the line before, which is most often the same.
    pub(super) fn request(&self, last: &mut Option<Arc<str>>) -> Result<Line<'a>, String> {
        let method = text_field("method", self.method, "write \"POST\"")?;
        if method != "POST" {
            return Err(format!(
                "`method` is {}; only \"POST\" is sent",
                shown(&method)
            ));
        }
        let url = text_field(
            "url",
            self.url,
            "write a path such as \"/v1/chat/completions\"",
        )?;
        let path = match last {
            Some(last) if **last == *url => Arc::clone(last),
            _ => {
                check_path(&url).map_err(|error| format!("`url` {}: {error}", shown(&url)))?;
                Arc::clone(last.insert(url.into()))
            }
        };
        let body = self
            .body
            .ok_or("the line has no `body`; write {\"model\": …}")?
            .get();
        if !body.starts_with('{') {
            return Err("`body` is no JSON object; write {\"model\": …}".to_owned());
        }
        Ok(Line { path, body })
    }
}

fn text_field(name: &str, field: Option<&RawValue>, remedy: &str) -> Result<String, String> {
    let Some(raw) = field else {
        return Err(format!("the line has no `{name}`; {remedy}"));
    };
    serde_json::from_str(raw.get()).map_err(|_| format!("`{name}` is no string; {remedy}"))
}

/// What is wrong with a line of JSON. `serde_json` counts lines within the line: always 1.
pub(super) fn json_reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.split(" at line ").next().unwrap_or_default();
    let remedy = if error.is_eof() {
        "the line is cut off"
    } else {
        "correct or remove the line"
    };
    format!(
        "invalid JSON at column {}: {}; {remedy}",
        error.column(),
        super::plain(text)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<(String, String), String> {
        let fields = Fields::parse(line)?;
        fields.id()?;
        let request = fields.request(&mut None)?;
        Ok((request.path.to_string(), request.body.to_owned()))
    }

    #[test]
    fn the_body_is_kept_byte_for_byte_and_extra_keys_are_tolerated() {
        let line =
            r#" {"custom_id":"a","x":[1],"method":"POST","url":"/v1/x","body":{"b" : 1.0}} "#;
        assert_eq!(
            request(line),
            Ok(("/v1/x".to_owned(), r#"{"b" : 1.0}"#.to_owned()))
        );
    }

    #[test]
    fn every_defect_is_named() {
        let rest = r#""method":"POST","url":"/v1/x","body":{}"#;
        for (line, words) in [
            ("[1]".to_owned(), "no JSON object"),
            (r#"["a","POST","/v1/x",{}]"#.to_owned(), "no JSON object"),
            ("{\"custom_id\": \"a".to_owned(), "cut off"),
            ("{\"custom_id\": x}".to_owned(), "column 15"),
            (format!("{{{rest}}}"), "no `custom_id`"),
            (
                format!("{{\"custom_id\":1,{rest}}}"),
                "`custom_id` is no string",
            ),
            (
                format!("{{\"custom_id\":\"\",{rest}}}"),
                "`custom_id` is empty",
            ),
            (
                format!("{{\"custom_id\":\"a\",\"custom_id\":\"b\",{rest}}}"),
                "duplicate field",
            ),
            (r#"{"custom_id":"a"}"#.to_owned(), "no `method`"),
            (
                r#"{"custom_id":"a","method":"GET"}"#.to_owned(),
                "only \"POST\"",
            ),
            (
                r#"{"custom_id":"a","method":"POST"}"#.to_owned(),
                "no `url`",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"//h/"}"#.to_owned(),
                "`//`",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":""}"#.to_owned(),
                "must be a path",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/v1/x"}"#.to_owned(),
                "no `body`",
            ),
            (
                r#"{"custom_id":"a","method":"POST","url":"/x","body":[]}"#.to_owned(),
                "`body` is no JSON object",
            ),
        ] {
            let reason = request(&line).expect_err(&line);
            assert!(reason.contains(words), "{line} gives {reason}");
        }
    }
}
