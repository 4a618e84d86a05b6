//! The OpenAI dialect, outgoing: endpoints, bodies, and what a request will cost.
//!
//! Deliberately not here: what a reply means (see [`crate::reply`]) and where it is sent.

mod body;
mod estimate;
mod json;
mod path;
mod text;

use std::fmt;
use std::str::FromStr;

pub use body::{BodyError, Prompt, build_body};
pub use estimate::{Estimate, LOW_DETAIL_TOKENS, MEDIA_TOKENS, estimate};
pub use json::{Json, JsonText};
pub use path::{MAX_PATH_BYTES, PathError, check_path};
pub use text::response_text;

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
    /// Any other path; it has passed [`check_path`] when it came through [`FromStr`].
    Path(String),
}

impl Endpoint {
    /// The URL path, with its leading `/v1` where it is one of OpenAI's own.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Path(path) => path,
        }
    }

    /// True when a body can be built from a prompt alone; otherwise a body template is needed.
    #[must_use]
    pub fn has_known_body(&self) -> bool {
        Shape::of_path(self.path()).is_some()
    }

    /// True when the endpoint takes a system prompt beside the prompt.
    #[must_use]
    pub fn takes_system(&self) -> bool {
        matches!(
            Shape::of_path(self.path()),
            Some(Shape::Chat | Shape::Responses)
        )
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
        "unknown endpoint `{0}`: use chat, responses, completions, embeddings or a path that begins with `/`"
    )]
    Unknown(String),
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
}

impl Shape {
    const ALL: [Self; 4] = [
        Self::Chat,
        Self::Responses,
        Self::Completions,
        Self::Embeddings,
    ];

    fn of_path(path: &str) -> Option<Self> {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        if path.ends_with("/chat/completions") {
            Some(Self::Chat)
        } else if path.ends_with("/responses") {
            Some(Self::Responses)
        } else if path.ends_with("/completions") {
            Some(Self::Completions)
        } else if path.ends_with("/embeddings") {
            Some(Self::Embeddings)
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
        ] {
            assert_eq!(name.parse(), Ok(endpoint.clone()));
            assert_eq!(endpoint.path().parse(), Ok(endpoint));
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
    }
}
