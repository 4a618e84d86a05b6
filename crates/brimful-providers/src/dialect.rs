//! Requests in the dialects of OpenAI, Anthropic, Gemini and Bedrock: endpoints, bodies, and what a
//! request will cost.
//!
//! Deliberately not here: what a reply means (see [`crate::reply`]), how a streamed one becomes
//! whole (see [`crate::stream`]) and where a request is sent.

mod body;
mod estimate;
mod json;
mod model;
mod path;
mod text;
mod wire;

use std::fmt;
use std::str::FromStr;

pub use body::{BodyError, MESSAGES_MAX_TOKENS, Prompt, build_body};
pub use estimate::{Estimate, LOW_DETAIL_TOKENS, MEDIA_TOKENS, estimate, estimate_by};
pub use json::{Json, JsonText};
pub use model::model_of;
pub use path::{MAX_PATH_BYTES, PathError, check_path};
pub use text::response_text;
pub use wire::{Wire, streams};

use path::{is_dot_segment, push_encoded};

/// Where a request goes and therefore what its body looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    #[default]
    Chat,
    /// `/v1/responses`.
    Responses,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// Anthropic's `/v1/messages`.
    Messages,
    /// Gemini's `/v1beta/models/MODEL:generateContent`.
    GenerateContent,
    /// Bedrock's `/model/MODEL/converse`.
    Converse,
    /// Any other path; it has passed [`check_path`] when it came through [`FromStr`].
    Path(String),
}

impl Endpoint {
    /// The URL path, with its leading `/v1` where it is one of OpenAI's own. Where the model is a
    /// part of it, `{model}` stands in its place: see [`Endpoint::path_for`].
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Messages => "/v1/messages",
            Self::GenerateContent => "/v1beta/models/{model}:generateContent",
            Self::Converse => "/model/{model}/converse",
            Self::Path(path) => path,
        }
    }

    /// The URL path of requests for `model`. With `streams` it is the one that answers in pieces,
    /// where a path and not the body says so.
    ///
    /// # Errors
    /// The model is a part of the path and is missing, or is none that a path can hold. It does not
    /// depend on the row.
    pub fn path_for(&self, model: Option<&str>, streams: bool) -> Result<String, EndpointError> {
        if !self.names_model() {
            return Ok(self.path().to_owned());
        }
        let missing = || EndpointError::NoModel(self.to_string());
        let model = model
            .filter(|model| !model.is_empty())
            .ok_or_else(missing)?;
        if model.split('/').any(is_dot_segment) {
            return Err(PathError::DotSegment.into());
        }
        let mut path = String::new();
        if *self == Self::Converse {
            path.push_str("/model/");
            // An ARN has slashes, which are no separators here.
            push_encoded(&mut path, model, b"");
            path.push_str("/converse");
        } else {
            path.push_str("/v1beta/");
            if !model.contains('/') {
                path.push_str("models/");
            }
            push_encoded(&mut path, model, b"/");
            path.push_str(match streams {
                true => ":streamGenerateContent?alt=sse",
                false => ":generateContent",
            });
        }
        match check_path(&path) {
            // The slash of an ARN.
            Err(PathError::Encoded(_)) if *self == Self::Converse => Ok(path),
            checked => checked.map(|()| path).map_err(EndpointError::from),
        }
    }

    /// True when the path says which model answers, and the body does not.
    #[must_use]
    pub const fn names_model(&self) -> bool {
        matches!(self, Self::GenerateContent | Self::Converse)
    }

    /// True when a body can be built from a prompt alone; otherwise a body template is needed.
    #[must_use]
    pub fn has_known_body(&self) -> bool {
        Shape::of_path(self.path()).is_some()
    }

    /// True when the endpoint takes a system prompt beside the prompt.
    #[must_use]
    pub fn takes_system(&self) -> bool {
        let shape = Shape::of_path(self.path());
        shape.is_some_and(|shape| !matches!(shape, Shape::Completions | Shape::Embeddings))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path())
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "chat" | "/v1/chat/completions" => Ok(Self::Chat),
            "responses" | "/v1/responses" => Ok(Self::Responses),
            "completions" | "/v1/completions" => Ok(Self::Completions),
            "embeddings" | "/v1/embeddings" => Ok(Self::Embeddings),
            "messages" | "/v1/messages" => Ok(Self::Messages),
            "generate-content" => Ok(Self::GenerateContent),
            "converse" => Ok(Self::Converse),
            path if path.starts_with('/') => {
                check_path(path)?;
                Ok(Self::Path(path.to_owned()))
            }
            other => Err(EndpointError::Unknown(other.to_owned())),
        }
    }
}

/// Why a text names no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither a known name nor a path.
    #[error(
        "unknown endpoint `{0}`: use chat, responses, completions, embeddings, messages, \
         generate-content, converse or a path that begins with `/`"
    )]
    Unknown(String),
    /// The path of this endpoint needs a model.
    #[error("`{0}` names the model; give --model")]
    NoModel(String),
    /// A path, but not one that may be sent.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// The families of bodies and answers that are understood, whatever stands before them in the path
/// (`/v1/…`, `/openai/deployments/NAME/…`, nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Chat,
    Responses,
    Completions,
    Embeddings,
    /// Anthropic's.
    Messages,
    /// Gemini's.
    Generate,
    /// Bedrock's.
    Converse,
}

impl Shape {
    const ALL: [Self; 7] = [
        Self::Chat,
        Self::Responses,
        Self::Completions,
        Self::Embeddings,
        Self::Messages,
        Self::Generate,
        Self::Converse,
    ];

    fn of_path(path: &str) -> Option<Self> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        // OpenAI has other `…/messages`, below threads.
        let is_messages = path.ends_with("/v1/messages") || path == "/messages";
        let ends = |ends: &[&str]| ends.iter().any(|end| path.ends_with(end));
        if ends(&["/chat/completions"]) {
            Some(Self::Chat)
        } else if ends(&["/responses"]) {
            Some(Self::Responses)
        } else if ends(&["/completions"]) {
            Some(Self::Completions)
        } else if ends(&["/embeddings"]) {
            Some(Self::Embeddings)
        } else if is_messages {
            Some(Self::Messages)
        } else if ends(&[":generateContent", ":streamGenerateContent"]) {
            Some(Self::Generate)
        } else if ends(&["/converse", "/converse-stream"]) {
            Some(Self::Converse)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_paths_are_the_same_endpoint() {
        for (name, endpoint) in [
            ("chat", Endpoint::Chat),
            ("responses", Endpoint::Responses),
            ("completions", Endpoint::Completions),
            ("embeddings", Endpoint::Embeddings),
            ("messages", Endpoint::Messages),
        ] {
            assert_eq!(name.parse(), Ok(endpoint.clone()));
            assert_eq!(endpoint.path_for(None, true), Ok(endpoint.path().into()));
            assert_eq!(endpoint.path().parse(), Ok(endpoint));
        }
        assert_eq!("generate-content".parse(), Ok(Endpoint::GenerateContent));
        assert_eq!("converse".parse(), Ok(Endpoint::Converse));
    }

    #[test]
    fn a_model_in_the_path_stays_one_segment_of_it() {
        let gemini = |model| Endpoint::GenerateContent.path_for(Some(model), false);
        let converse = |model| Endpoint::Converse.path_for(Some(model), false);
        for (path, expected) in [
            (gemini("g-2.5"), "/v1beta/models/g-2.5:generateContent"),
            (gemini("models/g"), "/v1beta/models/g:generateContent"),
            (
                gemini("tunedModels/g"),
                "/v1beta/tunedModels/g:generateContent",
            ),
            (
                gemini("g?key=x"),
                "/v1beta/models/g%3Fkey%3Dx:generateContent",
            ),
            (converse("a.b-v1:0"), "/model/a.b-v1%3A0/converse"),
            (converse("arn:x/y%"), "/model/arn%3Ax%2Fy%25/converse"),
            (
                Endpoint::GenerateContent.path_for(Some("g"), true),
                "/v1beta/models/g:streamGenerateContent?alt=sse",
            ),
        ] {
            assert_eq!(path.as_deref(), Ok(expected));
        }
        for bad in [
            gemini("../x"),
            gemini("..%2Fx"),
            gemini("a\n"),
            gemini("a//b"),
            converse(".."),
            converse("..;a"),
        ] {
            assert!(matches!(bad, Err(EndpointError::Path(_))), "{bad:?}");
        }
        for endpoint in [Endpoint::GenerateContent, Endpoint::Converse] {
            for model in [None, Some("")] {
                let error = endpoint.path_for(model, false).expect_err("no model");
                assert!(error.to_string().contains("--model"), "{error}");
            }
        }
    }

    #[test]
    fn any_other_path_is_kept_and_a_bad_one_is_refused() {
        assert_eq!(
            "/v2/rerank".parse(),
            Ok(Endpoint::Path("/v2/rerank".into()))
        );
        assert_eq!(
            "//host/x".parse::<Endpoint>(),
            Err(EndpointError::Path(PathError::Empty))
        );
        let error = "chats"
            .parse::<Endpoint>()
            .expect_err("not an endpoint")
            .to_string();
        assert!(
            error.contains("`chats`") && error.contains("embeddings"),
            "{error}"
        );
    }

    #[test]
    fn the_body_is_known_by_the_end_of_the_path() {
        let azure = "/openai/deployments/d/chat/completions?api-version=2024-10-21";
        assert!(Endpoint::Path(azure.into()).has_known_body());
        assert!(Endpoint::Path(azure.into()).takes_system());
        assert!(!Endpoint::Path("/v1/rerank".into()).has_known_body());
        assert!(!Endpoint::Embeddings.takes_system());
        for endpoint in [
            Endpoint::Messages,
            Endpoint::GenerateContent,
            Endpoint::Converse,
        ] {
            assert!(
                endpoint.has_known_body() && endpoint.takes_system(),
                "{endpoint}"
            );
        }
        let thread = Endpoint::Path("/v1/threads/t/messages".into());
        assert!(!thread.has_known_body());
    }
}
