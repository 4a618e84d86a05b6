//! Error replies in the words of the OpenAI dialect.

use std::io::Write as _;
use std::time::Duration;

use http::StatusCode;

use crate::answer::Decoration;
use crate::config::Measure;
use crate::json::push_text;
use crate::limits::{Denial, Wait};
use crate::rate_headers::GoDuration;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No key, or the wrong one.
    Unauthorized { key_given: bool },
    /// No such path.
    UnknownPath,
    /// The path exists, but not for this method.
    WrongMethod,
    /// The body is not a request.
    BadRequest(String),
    /// The body is larger than the server reads.
    TooLong,
    /// A limit is exhausted; `told` is the wait that the message names, `None` when it names
    /// nothing.
    Throttled {
        denial: Denial,
        told: Option<Duration>,
    },
    /// No money is left.
    Exhausted,
    /// The server broke.
    Broken,
    /// The server has no capacity.
    Overloaded,
}

impl Refusal {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized { .. } => StatusCode::UNAUTHORIZED,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Throttled { .. } | Self::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Self::Broken => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The error object for a request about `model` to `path`.
    pub(crate) fn body(&self, path: &str, model: &str, decoration: &Decoration<'_>) -> Vec<u8> {
        let (kind, code) = self.kind_and_code();
        let mut body = Vec::with_capacity(320);
        body.extend_from_slice(br#"{"error":{"message":""#);
        push_text(&mut body, &self.message(path, model));
        decoration.write(&mut body);
        // Writing to a vector cannot fail.
        let _ = write!(body, r#"","type":"{kind}","param":null,"code":"#);
        let _ = match code {
            Some(code) => write!(body, r#""{code}"}}}}"#),
            None => write!(body, "null}}}}"),
        };
        body
    }

    const fn kind_and_code(&self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Unauthorized { .. } => ("invalid_request_error", Some("invalid_api_key")),
            Self::UnknownPath => ("invalid_request_error", Some("unknown_url")),
            Self::WrongMethod | Self::BadRequest(_) | Self::TooLong => {
                ("invalid_request_error", None)
            }
            Self::Throttled { told: None, .. } => ("rate_limit_error", None),
            Self::Throttled { denial, .. } => match denial.measure {
                None | Some(Measure::Requests) => ("requests", Some("rate_limit_exceeded")),
                Some(_) => ("tokens", Some("rate_limit_exceeded")),
            },
            Self::Exhausted => ("insufficient_quota", Some("insufficient_quota")),
            Self::Broken => ("server_error", None),
            Self::Overloaded => ("service_unavailable_error", Some("server_is_overloaded")),
        }
    }

    pub(crate) fn message(&self, path: &str, model: &str) -> String {
        match self {
            Self::Unauthorized { key_given: true } => "Incorrect API key provided.".to_owned(),
            Self::Unauthorized { key_given: false } => {
                "You didn't provide an API key. You need to provide your API key in an \
                 Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
                    .to_owned()
            }
            Self::UnknownPath => format!("Unknown request URL: {path}."),
            Self::WrongMethod => format!("Not allowed to use this method on {path}."),
            Self::BadRequest(reason) => reason.clone(),
            Self::TooLong => "The request body is too large.".to_owned(),
            Self::Throttled {
                denial,
                told: Some(told),
            } => throttled(denial, *told, model),
            Self::Throttled { told: None, .. } => format!("Rate limit reached for {model}."),
            Self::Exhausted => {
                "You exceeded your current quota, please check your plan and billing details."
                    .to_owned()
            }
            Self::Broken => {
                "The server had an error while processing your request. Sorry about that!"
                    .to_owned()
            }
            Self::Overloaded => {
                "The server is currently overloaded with other requests. Please try again later."
                    .to_owned()
            }
        }
    }
}

/// A limit as messages name it: `tokens per min (TPM)`, `requests per 10s`.
fn named(denial: &Denial) -> String {
    let (what, short) = match denial.measure {
        None => return "concurrent requests".to_owned(),
        Some(Measure::Requests) => ("requests", "R"),
        Some(Measure::Tokens) => ("tokens", "T"),
        Some(Measure::InputTokens) => ("input tokens", "IT"),
        Some(Measure::OutputTokens) => ("output tokens", "OT"),
    };
    match denial.window.as_nanos() {
        1_000_000_000 => format!("{what} per second ({short}PS)"),
        60_000_000_000 => format!("{what} per min ({short}PM)"),
        86_400_000_000_000 => format!("{what} per day ({short}PD)"),
        _ => format!("{what} per {}", GoDuration(denial.window)),
    }
}

impl Denial {
    /// What the limit counts, and in what time: `input tokens per minute`.
    pub(crate) fn in_words(&self) -> String {
        let what = match self.measure {
            None => return "concurrent requests".to_owned(),
            Some(Measure::Requests) => "requests",
            Some(Measure::Tokens) => "tokens",
            Some(Measure::InputTokens) => "input tokens",
            Some(Measure::OutputTokens) => "output tokens",
        };
        match self.window.as_nanos() {
            1_000_000_000 => format!("{what} per second"),
            60_000_000_000 => format!("{what} per minute"),
            86_400_000_000_000 => format!("{what} per day"),
            _ => format!("{what} per {}", GoDuration(self.window)),
        }
    }
}

fn throttled(denial: &Denial, told: Duration, model: &str) -> String {
    let Denial {
        limit,
        used,
        requested,
        wait,
        ..
    } = *denial;
    let on = named(denial);
    match wait {
        Wait::Forever => format!(
            "Request too large for {model} in organization org-mock on {on}: Limit {limit}, \
             Requested {requested}. The input or output tokens must be reduced in order to run \
             successfully."
        ),
        Wait::Slot => format!(
            "Rate limit reached for {model} in organization org-mock on {on}: Limit {limit}, \
             Used {used}, Requested {requested}. Please try again when a request has finished."
        ),
        Wait::Time(_) => format!(
            "Rate limit reached for {model} in organization org-mock on {on}: Limit {limit}, \
             Used {used}, Requested {requested}. Please try again in {}.",
            GoDuration(told)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(refusal: &Refusal) -> serde_json::Value {
        let body = refusal.body("/v1/x", "m\"1", &Decoration::default());
        let mut value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        value["error"].take()
    }

    #[test]
    fn a_429_names_limit_level_charge_and_wait() {
        let denial = Denial {
            measure: Some(Measure::Tokens),
            window: Duration::from_secs(60),
            limit: 10_000,
            used: 8_554,
            requested: 3_082,
            wait: Wait::Time(Duration::from_millis(9_816)),
        };
        let error = error(&Refusal::Throttled {
            denial,
            told: Some(Duration::from_millis(9_816)),
        });
        assert_eq!(
            error["message"],
            "Rate limit reached for m\"1 in organization org-mock on tokens per min (TPM): \
             Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s."
        );
        assert_eq!(
            (&error["type"], &error["code"]),
            (&"tokens".into(), &"rate_limit_exceeded".into())
        );
    }

    #[test]
    fn every_refusal_is_an_error_object_with_a_message() {
        let refusals = [
            Refusal::Unauthorized { key_given: true },
            Refusal::UnknownPath,
            Refusal::WrongMethod,
            Refusal::BadRequest("a \"quoted\"\nreason".to_owned()),
            Refusal::TooLong,
            Refusal::Exhausted,
            Refusal::Broken,
            Refusal::Overloaded,
        ];
        for refusal in refusals {
            let error = error(&refusal);
            assert!(
                error["message"]
                    .as_str()
                    .is_some_and(|text| !text.is_empty())
            );
            assert!(error["type"].is_string() && error.get("code").is_some());
        }
    }
}
