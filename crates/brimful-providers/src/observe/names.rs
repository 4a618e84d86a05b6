//! The headers of each provider.

use brimful_core::LimitKind;
use http::HeaderName;

use super::named::Meaning::{ByForm, Full, Restart, Unclear};
use super::named::Window::{Inferred, Secs, Unknown};
use super::named::{Meaning, Named, Window};

use LimitKind::{InputTokens, OutputTokens, Requests, TotalTokens};

const MINUTE: Window = Secs(60);
const HOUR: Window = Secs(3_600);
const DAY: Window = Secs(86_400);

const fn row(names: [&'static str; 3], kind: LimitKind, window: Window, meaning: Meaning) -> Named {
    let [limit, remaining, reset] = names;
    Named {
        limit: HeaderName::from_static(limit),
        remaining: HeaderName::from_static(remaining),
        reset: HeaderName::from_static(reset),
        kind,
        window,
        meaning,
        granularity: 1,
    }
}

/// The three names of a limit that differ in one word.
macro_rules! names {
    ($before:literal, $after:literal) => {
        [
            concat!($before, "limit", $after),
            concat!($before, "remaining", $after),
            concat!($before, "reset", $after),
        ]
    };
}

const REQUESTS: [&str; 3] = names!("x-ratelimit-", "-requests");
const TOKENS: [&str; 3] = names!("x-ratelimit-", "-tokens");
const PROJECT_TOKENS: [&str; 3] = names!("x-ratelimit-", "-project-tokens");
const PROJECT_REQUESTS: [&str; 3] = names!("x-ratelimit-", "-project-requests");
const INPUT_TOKENS: [&str; 3] = names!("x-ratelimit-", "-input-tokens");
const OUTPUT_TOKENS: [&str; 3] = names!("x-ratelimit-", "-output-tokens");
const USAGE_BASED: [&str; 3] = names!("x-ratelimit-", "-tokens_usage_based");
/// As Azure has been seen to spell it.
pub(super) static MISSPELT_RESET: HeaderName = HeaderName::from_static("x-rate-limit-reset-tokens");

pub(super) static OPENAI: [Named; 7] = [
    row(REQUESTS, Requests, Inferred, Full),
    row(TOKENS, TotalTokens, Inferred, Full),
    row(PROJECT_TOKENS, TotalTokens, Inferred, Full),
    row(PROJECT_REQUESTS, Requests, Inferred, Full),
    row(USAGE_BASED, TotalTokens, Inferred, Full),
    row(INPUT_TOKENS, InputTokens, Inferred, Full),
    row(OUTPUT_TOKENS, OutputTokens, Inferred, Full),
];

/// Requests are counted in 1 or 10 seconds, of which the headers say nothing.
pub(super) static AZURE: [Named; 2] = [
    row(REQUESTS, Requests, Unknown, Restart),
    row(TOKENS, TotalTokens, MINUTE, Restart),
];

pub(super) static ANY_OPENAI: [Named; 7] = [
    row(REQUESTS, Requests, Inferred, ByForm),
    row(TOKENS, TotalTokens, Inferred, ByForm),
    row(PROJECT_TOKENS, TotalTokens, Inferred, ByForm),
    row(PROJECT_REQUESTS, Requests, Inferred, ByForm),
    row(USAGE_BASED, TotalTokens, Inferred, ByForm),
    row(INPUT_TOKENS, InputTokens, Inferred, ByForm),
    row(OUTPUT_TOKENS, OutputTokens, Inferred, ByForm),
];

pub(super) static GROQ: [Named; 2] = [
    row(REQUESTS, Requests, DAY, Full),
    row(TOKENS, TotalTokens, MINUTE, Full),
];

const fn anthropic(names: [&'static str; 3], kind: LimitKind, granularity: u64) -> Named {
    let [limit, remaining, reset] = names;
    Named {
        limit: HeaderName::from_static(limit),
        remaining: HeaderName::from_static(remaining),
        reset: HeaderName::from_static(reset),
        kind,
        window: MINUTE,
        meaning: Full,
        granularity,
    }
}

macro_rules! anthropic_names {
    ($class:literal) => {
        [
            concat!("anthropic-ratelimit-", $class, "-limit"),
            concat!("anthropic-ratelimit-", $class, "-remaining"),
            concat!("anthropic-ratelimit-", $class, "-reset"),
        ]
    };
}

/// Not here: `anthropic-priority-*` and `anthropic-fast-*`, which are pools of their own.
pub(super) static ANTHROPIC: [Named; 4] = [
    anthropic(anthropic_names!("requests"), Requests, 1),
    anthropic(anthropic_names!("input-tokens"), InputTokens, 1_000),
    anthropic(anthropic_names!("output-tokens"), OutputTokens, 1_000),
    anthropic(anthropic_names!("tokens"), TotalTokens, 1_000),
];

pub(super) static MISTRAL: [Named; 4] = [
    row(
        names!("x-ratelimit-", "-req-minute"),
        Requests,
        MINUTE,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-req-second"),
        Requests,
        Secs(1),
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-minute"),
        TotalTokens,
        MINUTE,
        Unclear,
    ),
    row(names!("ratelimitbysize-", ""), TotalTokens, MINUTE, Unclear),
];
pub(super) static MISTRAL_COST: HeaderName =
    HeaderName::from_static("x-ratelimit-tokens-query-cost");
pub(super) static MISTRAL_COST_BY_SIZE: HeaderName =
    HeaderName::from_static("ratelimitbysize-query-cost");

/// Cerebras, and whoever else puts the window into the name.
pub(super) static WITH_WINDOW: [Named; 6] = [
    row(
        names!("x-ratelimit-", "-requests-minute"),
        Requests,
        MINUTE,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-requests-hour"),
        Requests,
        HOUR,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-requests-day"),
        Requests,
        DAY,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-minute"),
        TotalTokens,
        MINUTE,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-hour"),
        TotalTokens,
        HOUR,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-day"),
        TotalTokens,
        DAY,
        Unclear,
    ),
];

/// The reset is the same for all of them.
pub(super) static TOGETHER: [Named; 4] = [
    row(names!("x-ratelimit-", ""), Requests, Unknown, Unclear),
    row(
        [
            "x-ratelimit-limit-dynamic",
            "x-ratelimit-remaining-dynamic",
            "x-ratelimit-reset",
        ],
        Requests,
        Unknown,
        Unclear,
    ),
    row(
        [
            "x-tokenlimit-limit",
            "x-tokenlimit-remaining",
            "x-ratelimit-reset",
        ],
        TotalTokens,
        Unknown,
        Unclear,
    ),
    row(
        [
            "x-tokenlimit-limit-dynamic",
            "x-tokenlimit-remaining-dynamic",
            "x-ratelimit-reset",
        ],
        TotalTokens,
        Unknown,
        Unclear,
    ),
];

/// Its own page gives the limits of a minute and says that the headers are tokens a second; a
/// test by others saw amounts of a minute. So the window stays open.
pub(super) static FIREWORKS: [Named; 3] = [
    row(
        names!("x-ratelimit-", "-tokens-cache-adjusted-prompt"),
        InputTokens,
        Unknown,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-prompt"),
        InputTokens,
        Unknown,
        Unclear,
    ),
    row(
        names!("x-ratelimit-", "-tokens-generated"),
        OutputTokens,
        Unknown,
        Unclear,
    ),
];

pub(super) static OPENROUTER: [Named; 1] =
    [row(names!("x-ratelimit-", ""), Requests, Unknown, Restart)];
