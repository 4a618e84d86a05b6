//! Lines of the batch files of Anthropic, Gemini, Bedrock and Mistral: an id and a body, but
//! neither method nor path, which the provider knows.

use std::sync::Arc;

use brimful_providers::dialect::{Endpoint, Json};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::batch::json_reason;

/// Whose batch files, other than OpenAI's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchForm {
    /// `{"custom_id","params"}`, also as the document `{"requests":[…]}`.
    Anthropic,
    /// `{"key","request"}`.
    Gemini,
    /// `{"recordId","modelInput"}`.
    Bedrock,
    /// `{"custom_id","body"}`.
    Mistral,
}

impl BatchForm {
    /// Names of the id and of the body.
    #[must_use]
    pub const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Anthropic => ("custom_id", "params"),
            Self::Gemini => ("key", "request"),
            Self::Bedrock => ("recordId", "modelInput"),
            Self::Mistral => ("custom_id", "body"),
        }
    }

    pub(super) const fn described(self) -> &'static str {
        match self {
            Self::Anthropic => "Anthropic's batch format",
            Self::Gemini => "Gemini's batch format",
            Self::Bedrock => "Bedrock's batch format",
            Self::Mistral => "Mistral's batch format",
        }
    }

    /// Whether the path says which model answers.
    pub(super) const fn names_model(self) -> bool {
        matches!(self, Self::Gemini | Self::Bedrock)
    }

    /// The path of a request with this body. `endpoint` is where Mistral's go, whose files leave
    /// that to the job.
    pub(super) fn path(
        self,
        endpoint: &Endpoint,
        model: Option<&str>,
        body: &Json<'_>,
    ) -> Result<Arc<str>, String> {
        let endpoint = match self {
            Self::Anthropic => &Endpoint::Messages,
            Self::Gemini => &Endpoint::GenerateContent,
            Self::Bedrock => &Endpoint::Converse,
            Self::Mistral => endpoint,
        };
        let path = endpoint
            .path_for(model, false)
            .map_err(|error| error.to_string())?;
        let path = match path.strip_suffix("/converse") {
            Some(model) if self == Self::Bedrock && !is_converse(body) => format!("{model}/invoke"),
            _ => path,
        };
        Ok(path.into())
    }
}

/// Whether a `modelInput` is one of Converse. Bedrock says that by the job; the models' own forms
/// name a version or have strings, or parts with a type, where Converse has parts without one.
fn is_converse(body: &Json<'_>) -> bool {
    let is_own = ["anthropic_version", "schemaVersion"]
        .iter()
        .any(|name| body.get(name).is_some());
    let message = first(body.get("messages"));
    let part = message.and_then(|message| first(message.get("content")));
    !is_own
        && part.is_some_and(|part| matches!(part, Json::Object(_)) && part.get("type").is_none())
}

fn first<'j, 'a>(value: Option<&'j Json<'a>>) -> Option<&'j Json<'a>> {
    match value {
        Some(Json::Array(items)) => items.first(),
        _ => None,
    }
}

/// The fields as they stand; unknown ones are passed over. A field that stands twice is an error.
#[derive(Deserialize)]
pub(super) struct Fields<'a> {
    #[serde(borrow, default)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "recordId")]
    record_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default)]
    request: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "modelInput")]
    model_input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
    #[serde(borrow, default)]
    url: Option<&'a RawValue>,
}

impl<'a> Fields<'a> {
    pub(super) fn parse(line: &'a str) -> Result<Self, String> {
        if !line.trim_start().starts_with('{') {
            return Err("the line is no JSON object".to_owned());
        }
        serde_json::from_str(line).map_err(|error| json_reason(&error))
    }

    /// The id, when it is a string that says something.
    pub(super) fn id(&self, form: BatchForm) -> Result<String, String> {
        let (name, _) = form.names();
        let raw = match form {
            BatchForm::Anthropic | BatchForm::Mistral => self.custom_id,
            BatchForm::Gemini => self.key,
            BatchForm::Bedrock => self.record_id,
        };
        let remedy = "give every line one of its own";
        let raw = raw.ok_or_else(|| format!("the line has no `{name}`; {remedy}"))?;
        let id: String = serde_json::from_str(raw.get())
            .map_err(|_| format!("`{name}` is no string; {remedy}"))?;
        match id.is_empty() {
            true => Err(format!("`{name}` is empty; {remedy}")),
            false => Ok(id),
        }
    }

    /// The body byte for byte.
    pub(super) fn body(&self, form: BatchForm) -> Result<&'a str, String> {
        let (_, name) = form.names();
        let raw = match form {
            BatchForm::Anthropic => self.params,
            BatchForm::Gemini => self.request,
            BatchForm::Bedrock => self.model_input,
            BatchForm::Mistral => self.body,
        };
        if form == BatchForm::Mistral && self.url.is_some() {
            let reason =
                "the line has a `url`, as OpenAI's batch files have; give --input-format batch";
            return Err(reason.to_owned());
        }
        let body = raw
            .ok_or_else(|| format!("the line has no `{name}`"))?
            .get();
        match body.starts_with('{') {
            true => Ok(body),
            false => Err(format!("`{name}` is no JSON object")),
        }
    }
}
