//! From a path and a body to an endpoint and its prompt.

use http::{Method, StatusCode};

use super::Server;
use crate::answer;
use crate::prompt::{Body, INPUTS_MAX, Text};
use crate::refusal::Refusal;
use crate::reply::{Action, IncomingRequest, Reply};

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Chat,
    Responses,
    Completions,
    Embeddings,
}

/// A refusal and the model that it speaks of.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) model: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            model: String::new(),
        }
    }
}

impl Server {
    pub(super) fn decide(
        &mut self,
        path: &str,
        request: &IncomingRequest<'_>,
    ) -> Result<Reply, Refused> {
        self.authorize(request.authorization)?;
        if path == "/v1/models" {
            return self.models(request);
        }
        let endpoint = match path {
            "/v1/chat/completions" => Endpoint::Chat,
            "/v1/responses" => Endpoint::Responses,
            "/v1/completions" => Endpoint::Completions,
            "/v1/embeddings" => Endpoint::Embeddings,
            _ => return Err(Refusal::UnknownPath.into()),
        };
        if request.method != Method::POST {
            return Err(Refusal::WrongMethod.into());
        }
        self.ledger.arrived(self.now);
        let body = Body::parse(request.body).map_err(|error| {
            let reason = format!("We could not parse the JSON body of your request: {error}.");
            Refused::from(Refusal::BadRequest(reason))
        })?;
        let prompt = endpoint.prompt(&body)?;
        if self
            .config
            .quota_after
            .is_some_and(|answers| self.promised >= answers)
        {
            return Err(Refusal::Exhausted.into());
        }
        let admitted = self.admit(endpoint, &body, prompt, path, request)?;
        Ok(self.reply(admitted, request.authorization))
    }

    fn authorize(&self, authorization: Option<&str>) -> Result<(), Refusal> {
        let Some(key) = &self.config.auth else {
            return Ok(());
        };
        if authorization.is_some_and(|given| key.admits(given)) {
            return Ok(());
        }
        Err(Refusal::Unauthorized {
            key_given: authorization.is_some(),
        })
    }

    fn models(&mut self, request: &IncomingRequest<'_>) -> Result<Reply, Refused> {
        if request.method != Method::GET {
            return Err(Refusal::WrongMethod.into());
        }
        let headers = self.headers(request.authorization);
        self.ledger.replied(StatusCode::OK);
        let body = self.lay_out(answer::models());
        Ok(Reply::at_once(Action::Respond {
            status: StatusCode::OK,
            headers,
            body,
        }))
    }
}

impl Endpoint {
    pub(super) const fn can_stream(self) -> bool {
        matches!(self, Self::Chat | Self::Completions)
    }

    /// The prompt of a body for this endpoint, or what is wrong with it.
    fn prompt<'a>(self, body: &'a Body<'_>) -> Result<&'a Text, Refusal> {
        let (name, prompt) = match self {
            Self::Chat => ("messages", &body.messages),
            Self::Completions => ("prompt", &body.prompt),
            Self::Responses | Self::Embeddings => ("input", &body.input),
        };
        let Some(prompt) = prompt else {
            let reason = format!("Missing required parameter: '{name}'.");
            return Err(Refusal::BadRequest(reason));
        };
        if self == Self::Responses && body.streams() {
            let reason = "This server does not stream responses: leave out 'stream'.";
            return Err(Refusal::BadRequest(reason.to_owned()));
        }
        if self == Self::Embeddings && prompt.tags.len() > INPUTS_MAX {
            let reason = format!("'input' has too many elements: at most {INPUTS_MAX}.");
            return Err(Refusal::BadRequest(reason));
        }
        Ok(prompt)
    }
}
