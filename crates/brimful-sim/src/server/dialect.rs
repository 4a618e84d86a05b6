//! The same reply in the words of each provider.

use std::time::Duration;

use brimful_core::Timestamp;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use super::Server;
use crate::anthropic;
use crate::config::{Measure, RetryAfterStyle};
use crate::endpoint::{Dialect, Route};
use crate::gemini;
use crate::hash::hash64;
use crate::json;
use crate::levels::Levels;
use crate::limits::{Denial, Wait};
use crate::rate_headers;
use crate::refusal::Refusal;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_ECHO_AUTHORIZATION: HeaderName = HeaderName::from_static("x-echo-authorization");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// A minute and a day, the windows that Gemini has names for.
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

impl Server {
    /// The headers of every reply.
    pub(super) fn headers(&mut self, route: &Route<'_>, authorization: Option<&str>) -> HeaderMap {
        let levels = self
            .snapshots
            .told(self.now, &mut self.limits, &self.config, &mut self.rng);
        let room = if levels == Levels::default() { 6 } else { 12 };
        let mut headers = HeaderMap::with_capacity(room);
        match route.dialect {
            Dialect::OpenAi => {
                headers.insert(CONTENT_TYPE, JSON);
                self.append_request_id(&mut headers, X_REQUEST_ID);
                rate_headers::append_levels(&mut headers, &levels);
            }
            Dialect::Anthropic => {
                headers.insert(CONTENT_TYPE, JSON);
                self.append_request_id(&mut headers, anthropic::REQUEST_ID);
                anthropic::append_levels(&mut headers, &levels, self.since_epoch());
            }
            // It tells no levels and names no request.
            Dialect::Gemini => {
                headers.insert(CONTENT_TYPE, JSON_UTF8);
            }
        }
        let echoed = authorization.filter(|_| self.config.echo_headers);
        if let Some(Ok(value)) = echoed.map(HeaderValue::from_str) {
            headers.insert(X_ECHO_AUTHORIZATION, value);
        }
        headers
    }

    fn append_request_id(&self, headers: &mut HeaderMap, name: HeaderName) {
        if let Ok(id) = HeaderValue::from_maybe_shared(Bytes::from(self.request_id())) {
            headers.insert(name, id);
        }
    }

    fn request_id(&self) -> Vec<u8> {
        let mut id = Vec::with_capacity(20);
        id.extend_from_slice(b"req_");
        json::push_hex(&mut id, hash64(self.seed, &self.sequence.to_le_bytes()), 16);
        id
    }

    fn since_epoch(&self) -> Duration {
        let since_start = self.now.since(Timestamp::ZERO);
        self.config.wall_clock_origin.saturating_add(since_start)
    }

    /// Says when to come back, where the dialect does that in headers.
    pub(super) fn append_retry_after(
        &self,
        headers: &mut HeaderMap,
        dialect: Dialect,
        wait: Duration,
    ) {
        if dialect == Dialect::Gemini {
            return;
        }
        rate_headers::append_retry_after(headers, &self.config, self.now, wait);
        if dialect == Dialect::Anthropic && headers.contains_key(RETRY_AFTER) {
            headers.remove(rate_headers::RETRY_AFTER_MS);
        }
    }

    pub(super) fn status_of(dialect: Dialect, refusal: &Refusal) -> StatusCode {
        match dialect {
            Dialect::OpenAi => refusal.status(),
            Dialect::Anthropic => anthropic::status(refusal),
            Dialect::Gemini => gemini::status(refusal),
        }
    }

    /// The body of an error about `model`.
    pub(super) fn error_body(
        &self,
        refusal: &Refusal,
        route: &Route<'_>,
        model: &str,
        authorization: Option<&str>,
    ) -> Vec<u8> {
        let decoration = self.decoration(authorization);
        match route.dialect {
            Dialect::OpenAi => refusal.body(route.path, model, &decoration),
            Dialect::Anthropic => {
                let message = anthropic::message(refusal, route.path, model);
                anthropic::error(refusal, &message, &self.request_id(), &decoration)
            }
            Dialect::Gemini => {
                let message = gemini::message(refusal, route.path, model);
                let details = gemini::Details {
                    quota: quota(refusal),
                    model,
                    retry_delay: self.retry_delay(refusal),
                };
                gemini::error(refusal, &message, details, &decoration)
            }
        }
    }

    /// What Gemini puts in place of Retry-After.
    fn retry_delay(&self, refusal: &Refusal) -> Option<Duration> {
        match refusal {
            Refusal::Throttled { denial, told } if matches!(denial.wait, Wait::Time(_)) => {
                told.filter(|_| self.config.retry_after != RetryAfterStyle::Missing)
            }
            _ => None,
        }
    }
}

fn quota(refusal: &Refusal) -> Option<gemini::Quota> {
    if matches!(refusal, Refusal::Throttled { told: None, .. }) {
        return None;
    }
    let Refusal::Throttled { denial, .. } = refusal else {
        return matches!(refusal, Refusal::Exhausted).then_some(gemini::Quota::EXHAUSTED);
    };
    let value = Some(denial.limit);
    let quota = match *denial {
        Denial {
            measure: Some(Measure::Requests),
            window: DAY,
            ..
        } => gemini::Quota::EXHAUSTED,
        Denial {
            measure: Some(Measure::Requests),
            window: MINUTE,
            ..
        } => gemini::Quota::REQUESTS,
        Denial {
            measure: None | Some(Measure::Requests),
            ..
        } => gemini::Quota::OTHER_REQUESTS,
        Denial { window: MINUTE, .. } => gemini::Quota::TOKENS,
        Denial { .. } => gemini::Quota::OTHER_TOKENS,
    };
    Some(gemini::Quota { value, ..quota })
}
