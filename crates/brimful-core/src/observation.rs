//! What a server says about its limits: on an answer by its headers, on a 429 by its numbers.

use std::time::Duration;

use crate::limit::LimitKind;

/// The levels that one reply names, as the server saw them when it admitted the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// One for each limit that is named.
    pub readings: Vec<Reading>,
    /// What the server says that it charged for this request in tokens (Mistral). `None` when it
    /// does not say.
    pub charged_tokens: Option<u64>,
}

/// One limit and its level, as far as the server tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the limit counts.
    pub kind: LimitKind,
    /// Its window; `None` when the server does not say. A limit and a reset may tell it.
    pub window: Option<Duration>,
    /// The whole limit in units of the kind; `None` when the server does not say.
    pub limit: Option<u64>,
    /// What is left of it; `None` when the server does not say.
    pub remaining: Option<u64>,
    /// When there will be more; `None` when the server does not say.
    pub reset: Option<Reset>,
    /// `remaining` is rounded to the nearest multiple of this. 1 when it is exact; never zero.
    pub granularity: u64,
}

/// What a server means by the reset of a limit, counted from the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Until the level is completely free again, if nothing else is sent (OpenAI, Groq, Anthropic).
    Full(Duration),
    /// Until the window restarts (Azure, the IETF draft).
    Restart(Duration),
    /// The provider does not define which of the two.
    Unclear(Duration),
}

/// The state of a limit at the instant at which it refused a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaNumbers {
    /// What the limit counts; `None` when the refusal does not say.
    pub kind: Option<LimitKind>,
    /// Its window; `None` when the refusal does not say.
    pub window: Option<Duration>,
    /// The whole limit in units of the kind; `None` when the refusal does not say.
    pub limit: Option<u64>,
    /// What was used of it; `None` when the refusal does not say.
    pub used: Option<u64>,
    /// What this request would have cost, by the server's own estimate; `None` when the refusal
    /// does not say.
    pub requested: Option<u64>,
    /// When it would have been admitted; `None` when the refusal does not say.
    pub wait: Option<Duration>,
}

impl QuotaNumbers {
    /// Whether the request is larger than the whole limit, so that no wait helps.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        matches!((self.requested, self.limit), (Some(needs), Some(most)) if needs > most)
    }
}
