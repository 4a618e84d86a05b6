//! The same reply in the words of each provider.

use std::time::Duration;

use brimful_core::Timestamp;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

use super::Server;
use super::compose::X_REQUEST_ID;
use crate::anthropic;
use crate::config::RetryAfterStyle;
use crate::endpoint::{Dialect, Route};
use crate::gemini;
use crate::limits::{Kind, Wait};
use crate::rate_headers;
use crate::refusal::Refusal;
use crate::reply::Action;

const JSON_UTF8: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

impl Server {
    /// Turns the headers of a reply, which are OpenAI's, into those of `dialect`.
    pub(super) fn translate_headers(&self, dialect: Dialect, action: &mut Action) {
        let (Action::Respond { headers, .. }
        | Action::Stream { headers, .. }
        | Action::Truncate { headers, .. }) = action
        else {
            return;
        };
        match dialect {
            Dialect::OpenAi => {}
            Dialect::Anthropic => {
                if let Some(id) = headers.remove(X_REQUEST_ID) {
                    headers.insert(anthropic::REQUEST_ID, id);
                }
                if headers.contains_key(RETRY_AFTER) {
                    headers.remove(rate_headers::RETRY_AFTER_MS);
                }
                let told = rate_headers::remove_levels(headers);
                if told {
                    self.append_anthropic_levels(headers);
                }
            }
            Dialect::Gemini => {
                headers.remove(X_REQUEST_ID);
                headers.remove(RETRY_AFTER);
                headers.remove(rate_headers::RETRY_AFTER_MS);
                rate_headers::remove_levels(headers);
                if headers
                    .get(CONTENT_TYPE)
                    .is_some_and(|it| it == "application/json")
                {
                    headers.insert(CONTENT_TYPE, JSON_UTF8);
                }
            }
        }
    }

    fn append_anthropic_levels(&self, headers: &mut HeaderMap) {
        let since_epoch = self
            .config
            .wall_clock_origin
            .saturating_add(self.now.since(Timestamp::ZERO));
        let levels = [
            (
                anthropic::Told::Requests,
                self.limits
                    .requests_per_minute
                    .as_ref()
                    .or(self.limits.requests_per_second.as_ref()),
            ),
            (
                anthropic::Told::Tokens,
                self.limits.tokens_per_minute.as_ref(),
            ),
        ];
        for (told, bucket) in levels {
            let Some(bucket) = bucket else { continue };
            let remaining = u64::try_from(bucket.remaining()).unwrap_or(0);
            let full_at = since_epoch.saturating_add(bucket.until_full());
            anthropic::append_level(headers, told, bucket.amount(), remaining, full_at);
        }
    }

    pub(super) fn status_of(dialect: Dialect, refusal: &Refusal) -> StatusCode {
        match dialect {
            Dialect::OpenAi => refusal.status(),
            Dialect::Anthropic => anthropic::status(refusal),
            Dialect::Gemini => gemini::status(refusal),
        }
    }

    /// The body of an error about `model`; `headers` are those of the reply, still OpenAI's.
    pub(super) fn error_body(
        &self,
        refusal: &Refusal,
        headers: &HeaderMap,
        route: &Route<'_>,
        model: &str,
        authorization: Option<&str>,
    ) -> Vec<u8> {
        let decoration = self.decoration(authorization);
        match route.dialect {
            Dialect::OpenAi => refusal.body(route.path, model, &decoration),
            Dialect::Anthropic => {
                let id = headers.get(X_REQUEST_ID);
                let id = id.map_or(b"".as_slice(), HeaderValue::as_bytes);
                let message = anthropic::message(refusal, route.path, model);
                anthropic::error(refusal, &message, id, &decoration)
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
                (self.config.retry_after != RetryAfterStyle::Missing).then_some(*told)
            }
            _ => None,
        }
    }
}

fn quota(refusal: &Refusal) -> Option<gemini::Quota> {
    let Refusal::Throttled { denial, .. } = refusal else {
        return matches!(refusal, Refusal::Exhausted).then_some(gemini::Quota::EXHAUSTED);
    };
    let value = Some(denial.limit);
    Some(match denial.kind {
        Kind::TokensPerMinute => gemini::Quota {
            value,
            ..gemini::Quota::TOKENS
        },
        _ => gemini::Quota {
            value,
            ..gemini::Quota::REQUESTS
        },
    })
}
