//! From a path and a body to an endpoint and its prompt.

use http::{Method, StatusCode};

use super::Server;
use crate::answer;
use crate::endpoint::{Dialect, Route};
use crate::prompt::Body;
use crate::refusal::Refusal;
use crate::reply::{Action, IncomingRequest, Reply};

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
        route: &Route<'_>,
        request: &IncomingRequest<'_>,
    ) -> Result<Reply, Refused> {
        self.authorize(route.dialect, request.authorization)?;
        if route.path == "/v1/models" {
            return self.models(route, request);
        }
        let endpoint = route.endpoint.ok_or(Refusal::UnknownPath)?;
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
        let admitted = self.admit(endpoint, &body, prompt, route, request)?;
        Ok(self.reply(admitted, request.authorization))
    }

    fn authorize(&self, dialect: Dialect, authorization: Option<&str>) -> Result<(), Refusal> {
        let Some(key) = &self.config.auth else {
            return Ok(());
        };
        if authorization.is_some_and(|given| key.admits(given, dialect != Dialect::OpenAi)) {
            return Ok(());
        }
        Err(Refusal::Unauthorized {
            key_given: authorization.is_some(),
        })
    }

    fn models(
        &mut self,
        route: &Route<'_>,
        request: &IncomingRequest<'_>,
    ) -> Result<Reply, Refused> {
        if request.method != Method::GET {
            return Err(Refusal::WrongMethod.into());
        }
        let headers = self.headers(route, request.authorization);
        self.ledger.replied(StatusCode::OK);
        let body = self.lay_out(answer::models());
        Ok(Reply::at_once(Action::Respond {
            status: StatusCode::OK,
            headers,
            body,
        }))
    }
}
