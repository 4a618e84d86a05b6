//! Which endpoint a path names, and in whose dialect it is answered.

use crate::prompt::{Body, INPUTS_MAX, Text};
use crate::refusal::Refusal;

/// Whose words and shapes a reply has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Dialect {
    #[default]
    OpenAi,
    Anthropic,
    Gemini,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Responses,
    Completions,
    Embeddings,
    /// Anthropic's.
    Messages,
    /// Gemini's, answered whole.
    Generate,
    /// Gemini's, answered in pieces: server-sent events, or the elements of one JSON array.
    GenerateStream {
        sse: bool,
    },
}

/// A path, understood.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Route<'a> {
    /// Without the query, which may hold a key.
    pub(crate) path: &'a str,
    /// Also of paths that lead nowhere: the error is in the words that the client understands.
    pub(crate) dialect: Dialect,
    /// `None` for a path that answers no prompts.
    pub(crate) endpoint: Option<Endpoint>,
    /// The model, where the path names it.
    pub(crate) model: Option<&'a str>,
    /// The key, where the query names it.
    pub(crate) key: Option<&'a str>,
}

impl<'a> Route<'a> {
    pub(crate) fn of(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let route = |dialect, endpoint| Self {
            path,
            dialect,
            endpoint,
            ..Self::default()
        };
        match path {
            "/v1/chat/completions" => route(Dialect::OpenAi, Some(Endpoint::Chat)),
            "/v1/responses" => route(Dialect::OpenAi, Some(Endpoint::Responses)),
            "/v1/completions" => route(Dialect::OpenAi, Some(Endpoint::Completions)),
            "/v1/embeddings" => route(Dialect::OpenAi, Some(Endpoint::Embeddings)),
            "/v1/messages" => route(Dialect::Anthropic, Some(Endpoint::Messages)),
            _ if path.starts_with("/v1/messages/") => route(Dialect::Anthropic, None),
            _ if path.starts_with("/v1beta/") || path.contains(':') => {
                let (model, endpoint) = generation(path, query);
                Self {
                    model,
                    key: value_of(query, "key"),
                    ..route(Dialect::Gemini, endpoint)
                }
            }
            _ => route(Dialect::OpenAi, None),
        }
    }
}

/// Model and endpoint of `/v1beta/models/MODEL:METHOD` (also below `/v1`).
fn generation<'a>(path: &'a str, query: &str) -> (Option<&'a str>, Option<Endpoint>) {
    let below = path
        .strip_prefix("/v1beta/models/")
        .or_else(|| path.strip_prefix("/v1/models/"));
    let Some((model, method)) = below.and_then(|below| below.rsplit_once(':')) else {
        return (None, None);
    };
    let endpoint = match method {
        "generateContent" => Some(Endpoint::Generate),
        "streamGenerateContent" => {
            let sse = value_of(query, "alt") == Some("sse");
            Some(Endpoint::GenerateStream { sse })
        }
        _ => None,
    };
    (Some(model), endpoint.filter(|_| !model.is_empty()))
}

fn value_of<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

impl Endpoint {
    /// Whether the answer to `body` comes in pieces.
    pub(crate) fn streams(self, body: &Body<'_>) -> bool {
        match self {
            Self::Chat | Self::Completions | Self::Messages => body.streams(),
            Self::GenerateStream { .. } => true,
            Self::Responses | Self::Embeddings | Self::Generate => false,
        }
    }

    /// The prompt of a body for this endpoint, or what is wrong with it.
    pub(crate) fn prompt<'a>(self, body: &'a Body<'_>) -> Result<&'a Text, Refusal> {
        let (name, prompt) = match self {
            Self::Chat | Self::Messages => ("messages", &body.messages),
            Self::Completions => ("prompt", &body.prompt),
            Self::Responses | Self::Embeddings => ("input", &body.input),
            Self::Generate | Self::GenerateStream { .. } => ("contents", &body.contents),
        };
        let wrong = |reason: String| Err(Refusal::BadRequest(reason));
        let Some(prompt) = prompt else {
            return wrong(self.missing(name));
        };
        match self {
            Self::Responses if body.streams() => {
                wrong("This server does not stream responses: leave out 'stream'.".to_owned())
            }
            Self::Embeddings if prompt.tags.len() > INPUTS_MAX => wrong(format!(
                "'input' has too many elements: at most {INPUTS_MAX}."
            )),
            Self::Messages if body.max_output().is_none() => wrong(self.missing("max_tokens")),
            _ => Ok(prompt),
        }
    }

    fn missing(self, name: &str) -> String {
        match self {
            Self::Messages => format!("{name}: Field required"),
            Self::Generate | Self::GenerateStream { .. } => {
                format!("* GenerateContentRequest.{name}: {name} is not specified")
            }
            _ => format!("Missing required parameter: '{name}'."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(target: &str) -> (Dialect, Option<Endpoint>, Option<&str>, Option<&str>) {
        let route = Route::of(target);
        (route.dialect, route.endpoint, route.model, route.key)
    }

    #[test]
    fn each_providers_paths_lead_to_its_own_dialect() {
        use Dialect::{Anthropic, Gemini, OpenAi};
        assert_eq!(
            found("/v1/chat/completions?x=1"),
            (OpenAi, Some(Endpoint::Chat), None, None)
        );
        assert_eq!(
            found("/v1/messages?beta=true"),
            (Anthropic, Some(Endpoint::Messages), None, None)
        );
        assert_eq!(
            found("/v1beta/models/gemini-3:generateContent"),
            (Gemini, Some(Endpoint::Generate), Some("gemini-3"), None)
        );
        let stream = Some(Endpoint::GenerateStream { sse: true });
        assert_eq!(
            found("/v1/models/tuned:a:streamGenerateContent?alt=sse&key=k1"),
            (Gemini, stream, Some("tuned:a"), Some("k1"))
        );
        let array = Some(Endpoint::GenerateStream { sse: false });
        assert_eq!(found("/v1beta/models/m:streamGenerateContent").1, array);
    }

    #[test]
    fn paths_that_lead_nowhere_still_have_a_dialect() {
        use Dialect::{Anthropic, Gemini, OpenAi};
        for (target, dialect) in [
            ("/", OpenAi),
            ("", OpenAi),
            ("/v1/models", OpenAi),
            ("/v1/messages/batches", Anthropic),
            ("/v1beta/models/m:embedContent", Gemini),
            ("/v1beta/models/:generateContent", Gemini),
            ("/v1beta/models", Gemini),
            ("/:generateContent", Gemini),
        ] {
            let route = Route::of(target);
            assert_eq!((route.dialect, route.endpoint), (dialect, None), "{target}");
        }
    }
}
