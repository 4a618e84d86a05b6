//! How each provider is reached: address, key, headers, endpoint. Everything by the names that the
//! provider's own SDK uses.

use brimful_providers::dialect::{Endpoint, Wire};
use http::{HeaderName, HeaderValue};

use super::usage;
use crate::args::{Provider, RunArgs};

/// The last version that is generally available, for who does not set `OPENAI_API_VERSION`.
/// <https://learn.microsoft.com/azure/ai-services/openai/api-version-deprecation>
const AZURE_API_VERSION: &str = "2024-10-21";
const AZURE_API_VERSION_VARIABLE: &str = "OPENAI_API_VERSION";

/// What is known of a provider's API.
#[derive(Debug)]
pub(super) struct Api {
    /// Where it is; `None` where everybody has an address of their own.
    url: Option<&'static str>,
    /// Says where it is, instead.
    pub(super) url_variable: &'static str,
    /// Hold the key, the first that is set.
    pub(super) key_variables: &'static [&'static str],
    key_header: KeyHeader,
    /// Sent with every request, unless a header of that name is given.
    header: Option<(HeaderName, HeaderValue)>,
    endpoint: Endpoint,
}

/// Where the key goes.
#[derive(Debug)]
enum KeyHeader {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// The key alone in this header.
    Named(HeaderName),
}

impl Api {
    /// The API that the flags name. One without a name speaks as OpenAI does.
    pub(super) const fn of(args: &RunArgs) -> Self {
        match args.target.provider {
            Some(Provider::Anthropic) => Self {
                url: Some("https://api.anthropic.com"),
                url_variable: "ANTHROPIC_BASE_URL",
                key_variables: &["ANTHROPIC_API_KEY"],
                key_header: KeyHeader::Named(HeaderName::from_static("x-api-key")),
                header: Some((
                    HeaderName::from_static("anthropic-version"),
                    HeaderValue::from_static("2023-06-01"),
                )),
                endpoint: Endpoint::Messages,
            },
            Some(Provider::Gemini) => Self {
                url: Some("https://generativelanguage.googleapis.com"),
                url_variable: "GOOGLE_GEMINI_BASE_URL",
                key_variables: &["GOOGLE_API_KEY", "GEMINI_API_KEY"],
                key_header: KeyHeader::Named(HeaderName::from_static("x-goog-api-key")),
                header: None,
                endpoint: Endpoint::GenerateContent,
            },
            Some(Provider::Azure) => Self {
                url: None,
                url_variable: "AZURE_OPENAI_ENDPOINT",
                key_variables: &["AZURE_OPENAI_API_KEY"],
                key_header: KeyHeader::Named(HeaderName::from_static("api-key")),
                header: None,
                endpoint: Endpoint::Chat,
            },
            Some(Provider::Openai | Provider::Mock) | None => Self {
                url: Some("https://api.openai.com/v1"),
                url_variable: "OPENAI_BASE_URL",
                key_variables: &["OPENAI_API_KEY"],
                key_header: KeyHeader::Bearer,
                header: None,
                endpoint: Endpoint::Chat,
            },
        }
    }

    /// Where requests go: what was typed, else what the environment says, else the provider's own.
    pub(super) fn base_url(&self, args: &RunArgs) -> anyhow::Result<String> {
        let found = args
            .target
            .base_url
            .clone()
            .or_else(|| variable(self.url_variable));
        found
            .or_else(|| self.url.map(str::to_owned))
            .ok_or_else(|| {
                let name = self.url_variable;
                usage(format!(
                    "{name} is not set: set it, or give the address by --base-url"
                ))
            })
    }

    /// Whether requests go to the provider itself and not to something that speaks like it.
    pub(super) fn is_own(&self, base_url: &str) -> bool {
        self.url == Some(base_url)
    }

    /// Name and value of the header that holds the key.
    pub(super) fn key_header(&self, key: &str) -> anyhow::Result<(HeaderName, HeaderValue)> {
        let (name, value) = match &self.key_header {
            KeyHeader::Bearer => (http::header::AUTHORIZATION, format!("Bearer {key}")),
            KeyHeader::Named(name) => (name.clone(), key.to_owned()),
        };
        let mut value = HeaderValue::from_str(&value)
            .map_err(|_| usage("the key has characters that a header cannot hold"))?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    /// Whether a header of this name brings the key along.
    pub(super) fn is_key_header(&self, name: &str) -> bool {
        let own = match &self.key_header {
            KeyHeader::Bearer => "authorization",
            KeyHeader::Named(own) => own.as_str(),
        };
        [own, "authorization"]
            .iter()
            .any(|own| name.eq_ignore_ascii_case(own))
    }

    /// The header that every request has beside the key.
    pub(super) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        self.header.clone()
    }

    /// How requests are changed when they are sent.
    pub(super) fn wire(&self, args: &RunArgs, base_url: &str) -> Wire {
        let mut wire = Wire::default();
        // Below `/openai/v1` Azure speaks as OpenAI does.
        let has_deployments = !base_url.trim_end_matches('/').ends_with("/openai/v1");
        if args.target.provider == Some(Provider::Azure) && has_deployments {
            let version = variable(AZURE_API_VERSION_VARIABLE);
            wire.azure_api_version = Some(version.unwrap_or_else(|| AZURE_API_VERSION.to_owned()));
        }
        wire
    }
}

/// Where requests of rows go when no flag says it.
pub(super) fn default_endpoint(args: &RunArgs) -> Endpoint {
    Api::of(args).endpoint
}

/// A variable that is set to something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.trim().is_empty())
}
