//! Where and how to send, and what replies say.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Evidence;
use crate::observe::HeaderGrammar;

/// Where a provider answers.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Address {
    /// The base URL; `{…}` stands for what the user has to fill in. `None` where there is no
    /// default at all.
    pub base_url: Option<String>,
    /// The variable from which the provider's own SDK takes it; `None` where there is none.
    pub variable: Option<String>,
    /// The variables that fill the braces of the base URL, each under its word: the first that is
    /// set counts.
    #[serde(default)]
    pub placeholders: BTreeMap<String, Vec<String>>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

impl Address {
    /// The base URL with its braces filled from the environment that `read` knows.
    ///
    /// # Errors
    /// The variables of which one has to be set.
    pub fn fill(
        &self,
        read: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<String>, Vec<String>> {
        let Some(mut url) = self.base_url.clone() else {
            return Ok(None);
        };
        for (word, variables) in &self.placeholders {
            let Some(value) = variables.iter().find_map(|variable| read(variable)) else {
                return Err(variables.clone());
            };
            url = url.replace(&format!("{{{word}}}"), &value);
        }
        Ok(Some(url))
    }
}

/// How a key is shown.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Login {
    /// The way.
    pub auth: Auth,
    /// Variables that hold the key; the first that is set counts.
    #[serde(default)]
    pub variables: Vec<String>,
    /// Whether nothing is answered without one.
    pub required: bool,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

/// Where the key stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// `x-api-key: KEY` (Anthropic).
    XApiKey,
    /// `api-key: KEY` (Azure).
    ApiKey,
    /// `x-goog-api-key: KEY` (Gemini).
    XGoogApiKey,
    /// Each request is signed (AWS Signature Version 4); `AWS_BEARER_TOKEN_BEDROCK`, where it is
    /// set, is sent as a bearer token instead.
    Sigv4,
    /// Nowhere.
    None,
}

impl Auth {
    /// The header that holds the key; `None` where requests are signed or there is no key.
    #[must_use]
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::Bearer => Some("authorization"),
            Self::XApiKey => Some("x-api-key"),
            Self::ApiKey => Some("api-key"),
            Self::XGoogApiKey => Some("x-goog-api-key"),
            Self::Sigv4 | Self::None => None,
        }
    }

    /// What stands in that header for a key.
    #[must_use]
    pub fn value(self, key: &str) -> String {
        match self {
            Self::Bearer => format!("Bearer {key}"),
            _ => key.to_owned(),
        }
    }
}

/// How requests and answers look.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dialect {
    /// Whose.
    pub name: DialectName,
    /// The endpoints that are known, as `--endpoint` has them; the first is the default for rows.
    pub endpoints: Vec<String>,
    /// Headers that each request must have, with their usual values.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The `api-version` that Azure wants in the query; `None` for all others.
    pub api_version: Option<String>,
    /// Whether a streamed chat may ask for its usage by `stream_options`. Default: yes.
    #[serde(default = "yes")]
    pub stream_usage_option: bool,
    /// Whose batch files it reads and writes; `None` where it has none.
    pub batch: Option<String>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}

const fn yes() -> bool {
    true
}

/// A family of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DialectName {
    /// OpenAI's, which most others speak.
    Openai,
    /// OpenAI's with deployments in the path.
    Azure,
    /// Anthropic's Messages.
    Anthropic,
    /// Google's `generateContent`.
    Gemini,
    /// AWS Bedrock's Converse.
    Bedrock,
}

/// What replies say of limits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Replies {
    /// The names and meanings of its headers.
    pub headers: HeaderGrammar,
    /// Whether it refuses at all what is too fast. Where not, the number of requests in flight is
    /// what has to be found.
    pub refuses: bool,
    /// Whether requests that fail count against the limits; `None` where nobody says.
    pub failed_requests_count: Option<bool>,
    /// Names one of the profile's sources.
    pub source: String,
    /// How well it is founded.
    #[serde(default)]
    pub evidence: Evidence,
}
