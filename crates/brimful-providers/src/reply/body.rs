//! One JSON object, with the members that decide about a reply still unparsed.

use brimful_core::Usage;
use serde_json::value::RawValue;

use super::pick::pick;
use super::usage::read_usage;

const KEYS: [&str; 15] = [
    "usage",
    "error",
    "object",
    "type",
    "status",
    "message",
    "usageMetadata",
    "request_id",
    "detail",
    "code",
    "error_type",
    "__type",
    "statusCode",
    "raw_status_code",
    "requestId",
];

/// The members of a reply's body that somebody gives a meaning to.
#[derive(Debug)]
pub(super) struct Body<'a> {
    usage: Option<&'a RawValue>,
    object: Option<&'a RawValue>,
    pub error: Option<&'a RawValue>,
    pub kind: Option<&'a RawValue>,
    pub status: Option<&'a RawValue>,
    pub message: Option<&'a RawValue>,
    pub request_id: Option<&'a RawValue>,
    pub detail: Option<&'a RawValue>,
    pub code: Option<&'a RawValue>,
    pub error_type: Option<&'a RawValue>,
    pub aws_type: Option<&'a RawValue>,
    pub status_code: Option<&'a RawValue>,
    pub raw_status_code: Option<&'a RawValue>,
}

impl<'a> Body<'a> {
    /// Validates all of `text` as one JSON object.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        let [
            usage,
            error,
            object,
            kind,
            status,
            message,
            usage_metadata,
            request_id,
            detail,
            code,
            error_type,
            aws_type,
            status_code,
            raw_status_code,
            request_id_camel,
        ] = pick(text, &KEYS)?;
        Ok(Self {
            usage: usage.or(usage_metadata),
            object,
            error,
            kind,
            status,
            message,
            request_id: request_id.or(request_id_camel),
            detail,
            code,
            error_type,
            aws_type,
            status_code,
            raw_status_code,
        })
    }

    /// Whether the body reports a failure, whatever the status says.
    pub(super) fn is_failure(&self) -> bool {
        self.error.is_some_and(|raw| !is_void(raw))
            || is(self.object, "error")
            || is(self.kind, "error")
            || (is(self.status, "failed") && is(self.object, "response"))
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage.and_then(read_usage)
    }
}

/// `"error": null` is what OpenAI's Responses say on success; others write its equals.
fn is_void(raw: &RawValue) -> bool {
    let text = raw.get();
    matches!(text, "null" | "false" | "\"\"" | "0")
        || (text.len() <= 16
            && matches!(text.as_bytes(), [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']']
                if inner.iter().all(u8::is_ascii_whitespace)))
}

fn is(raw: Option<&RawValue>, word: &str) -> bool {
    raw.is_some_and(|raw| {
        raw.get()
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            == Some(word)
    })
}
