//! What a failure means for the next attempt: codes and phrases before the status.

use brimful_core::{Class, Scope};

use super::error::{ErrorBody, Violation};
use super::numbers::quota_numbers;
use crate::duration::wait_in_text;

/// The meaning of one failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub class: Class,
    pub scope: Scope,
    /// The code that decided; `None` when it was a phrase or the status.
    pub code: Option<String>,
    pub reason: Reason,
}

/// What a verdict rests on, as far as it matters for waits and for `x-should-retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something whose meaning is known.
    Known,
    /// A 4xx that nothing here knows: the server's advice is better than ours.
    Unknown,
    /// A daily quota that starts anew at midnight in California; Google's retryDelay misleads.
    PacificDay,
    /// A quota of zero: no wait helps, whatever the server says.
    NoQuota,
}

const BY_CODE: [(Class, Scope, &[&str]); 6] = [
    (
        Class::Exhausted,
        Scope::Upstream,
        &[
            "insufficient_quota",
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "enforced_spend_limit_reached",
            "billing_hard_limit_reached",
            "billing_not_active",
            "billing_error",
            "payment_required",
        ],
    ),
    (
        Class::Fatal,
        Scope::Upstream,
        &[
            "invalid_api_key",
            "API_KEY_INVALID",
            "authentication_error",
            "unsupported_country_region_territory",
            "UnrecognizedClientException",
            "ExpiredTokenException",
        ],
    ),
    (
        Class::Fatal,
        Scope::Request,
        &[
            "context_length_exceeded",
            "content_filter",
            "content_policy_violation",
            "ResponsibleAIPolicyViolation",
            "request_too_large",
            "model_not_found",
            "conflict_error",
            "ServiceQuotaExceededException",
        ],
    ),
    (
        Class::Overloaded,
        Scope::Request,
        &[
            "slow_down",
            "server_is_overloaded",
            "service_unavailable_error",
            "overloaded_error",
            "overloaded",
            "engine_overloaded",
            "provider_overloaded",
            "capacity_exceeded",
            "resource_unavailable",
            "MODEL_CAPACITY_EXHAUSTED",
            "UNAVAILABLE",
            "ModelNotReadyException",
            "ServiceUnavailableException",
            "temporary-reduced-capacity",
        ],
    ),
    (
        Class::Transient,
        Scope::Request,
        &[
            "provider_unavailable",
            "ModelTimeoutException",
            "InternalServerException",
            "ModelErrorException",
            "ModelStreamErrorException",
        ],
    ),
    (
        Class::Throttled,
        Scope::Request,
        &[
            "rate_limit_exceeded",
            "rate_limit_error",
            "rate_limited",
            "RESOURCE_EXHAUSTED",
            "ThrottlingException",
            "TooManyRequestsException",
            "dynamic_request_limited",
            "dynamic_token_limited",
            "too_many_requests",
            "quota-exceeded",
            "abnormal-usage-detected",
        ],
    ),
];

/// Codes too vague to overrule a status that says more: Fireworks calls a 429
/// `invalid_request_error`. They count where the status says 200.
const BY_VAGUE_CODE: [(Class, &[&str]); 2] = [
    (
        Class::Fatal,
        &[
            "invalid_request_error",
            "permission_error",
            "permission_denied",
            "not_found_error",
            "BadRequestError",
            "INVALID_ARGUMENT",
            "FAILED_PRECONDITION",
            "NOT_FOUND",
            "refusal",
        ],
    ),
    (
        Class::Transient,
        &["server_error", "api_error", "timeout_error", "INTERNAL"],
    ),
];

/// Judges a failure. `status` is the HTTP status, or the one in the body where HTTP says success.
pub(super) fn classify(status: u16, error: &ErrorBody, now_unix_ms: i64) -> Verdict {
    let message = error.message.to_ascii_lowercase();
    if let Some(verdict) = impossible(status, error, &message) {
        return verdict;
    }
    let mut verdict = match google_quota(error).or_else(|| by_code(error)) {
        Some(verdict) if verdict.class != Class::Throttled => verdict,
        // Only a phrase tells a provider without capacity from a limit that is full.
        throttled => by_phrase(status, &message)
            .or(throttled)
            .unwrap_or_else(|| by_status(status, error)),
    };
    if verdict.class == Class::Throttled
        && names_long_window(&message)
        // OpenAI's and Groq's daily limits drain all day long and say when the next request fits.
        && wait_in_text(&message, now_unix_ms).is_none()
    {
        verdict.class = Class::Exhausted;
        verdict.scope = Scope::Upstream;
    }
    verdict
}

fn known(class: Class, scope: Scope, code: Option<&str>) -> Verdict {
    Verdict {
        class,
        scope,
        code: code.map(str::to_owned),
        reason: Reason::Known,
    }
}

/// A request larger than a whole limit comes under the code of a full limit, or as 413.
fn impossible(status: u16, error: &ErrorBody, message: &str) -> Option<Verdict> {
    let too_large = matches!(status, 0..400 | 413 | 429)
        && (message.starts_with("request too large")
            || quota_numbers(&error.message).is_some_and(|numbers| numbers.never_fits()));
    too_large.then(|| known(Class::Fatal, Scope::Request, Some("request_too_large")))
}

fn google_quota(error: &ErrorBody) -> Option<Verdict> {
    if error.violations.is_empty() || error.says("MODEL_CAPACITY_EXHAUSTED") {
        return None;
    }
    let exhausted = |violation: &Violation, reason| Verdict {
        class: Class::Exhausted,
        scope: Scope::Upstream,
        code: Some(violation.quota_id.clone()).filter(|id| !id.is_empty()),
        reason,
    };
    let find = |test: &dyn Fn(&Violation) -> bool| error.violations.iter().find(|v| test(v));
    find(&|v| v.quota_value == Some(0))
        .map(|v| exhausted(v, Reason::NoQuota))
        .or_else(|| {
            find(&|v| v.quota_id.contains("PerDay")).map(|v| exhausted(v, Reason::PacificDay))
        })
}

/// Meanings that some providers give only in prose. The status guards against prose that quotes
/// the request.
fn by_phrase(status: u16, message: &str) -> Option<Verdict> {
    let any = |phrases: &[&str]| phrases.iter().any(|phrase| message.contains(phrase));
    match status {
        // Anthropic's empty wallet is a 400 of type invalid_request_error.
        400 | 403
            if any(&[
                "credit balance is too low",
                "reached your specified api usage limit",
            ]) =>
        {
            Some(known(Class::Exhausted, Scope::Upstream, None))
        }
        // OpenAI's flex tier, Azure, TGI, vLLM: no capacity, though the status says too fast.
        429 if any(&[
            "resource unavailable",
            "high demand",
            "model is overloaded",
            "queue is full",
        ]) =>
        {
            Some(known(Class::Overloaded, Scope::Request, None))
        }
        _ => None,
    }
}

fn by_code(error: &ErrorBody) -> Option<Verdict> {
    let spend_limit = error.words.iter().find(|word| word.contains("spend_limit"));
    if let Some(word) = spend_limit {
        return Some(known(Class::Exhausted, Scope::Upstream, Some(word)));
    }
    BY_CODE.iter().find_map(|(class, scope, codes)| {
        let is_listed = |word: &str| codes.iter().any(|code| code.eq_ignore_ascii_case(word));
        let word = error.words.iter().find(|word| is_listed(word))?;
        Some(known(*class, *scope, Some(word)))
    })
}

fn by_status(status: u16, error: &ErrorBody) -> Verdict {
    let (class, scope) = match status {
        401 => (Class::Fatal, Scope::Upstream),
        402 => (Class::Exhausted, Scope::Upstream),
        // Not the upstream's fault as far as one reply tells: a batch may mix models.
        403 | 404 | 413 | 422 | 300..400 => (Class::Fatal, Scope::Request),
        408 | 409 => (Class::Transient, Scope::Request),
        429 => (Class::Throttled, Scope::Request),
        // 498 is Groq's flex tier, 529 Anthropic's own.
        498 | 503 | 529 => (Class::Overloaded, Scope::Request),
        400..500 => {
            let is_known = BY_VAGUE_CODE
                .iter()
                .flat_map(|(_, codes)| *codes)
                .any(|code| error.says(code));
            let reason = if is_known {
                Reason::Known
            } else {
                Reason::Unknown
            };
            return Verdict {
                reason,
                ..known(Class::Fatal, Scope::Request, None)
            };
        }
        200..300 => (in_success(error), Scope::Request),
        _ => (Class::Transient, Scope::Request),
    };
    known(class, scope, None)
}

/// An error under a 2xx whose code says little: the request's fault only if it says so.
fn in_success(error: &ErrorBody) -> Class {
    BY_VAGUE_CODE
        .iter()
        .find(|(_, codes)| codes.iter().any(|code| error.says(code)))
        .map(|(class, _)| *class)
        .or_else(|| {
            error
                .words
                .iter()
                .any(|word| word.starts_with("invalid_"))
                .then_some(Class::Fatal)
        })
        .unwrap_or(Class::Transient)
}

fn names_long_window(message: &str) -> bool {
    [
        "per day",
        "per-day",
        "daily",
        "/ day",
        "per month",
        "per-month",
        "monthly",
        "/ month",
    ]
    .iter()
    .any(|window| message.contains(window))
}
