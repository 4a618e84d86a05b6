//! What happened, in the past tense. Reporters consume events and nothing else.

use std::time::Duration;

use crate::engine::{RequestId, StopReason};
use crate::learned::LearnedCharge;
use crate::limit::LimitKind;
use crate::outcome::Class;
use crate::time::Timestamp;

/// Something that a reporter may want to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An attempt failed and the request will be tried again.
    Retried {
        /// The request.
        request: RequestId,
        /// Why the attempt failed.
        class: Class,
        /// How long it waits at least; zero when it goes back to the queue at once.
        wait: Duration,
    },
    /// The upstream said 429: nothing starts until then.
    CooldownStarted {
        /// The end of the cooldown.
        until: Timestamp,
    },
    /// The server has named a limit that was not known.
    LimitLearned {
        /// Its name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// What is counted.
        kind: LimitKind,
        /// How much of it, in units of the kind, is allowed in each window.
        amount: u64,
        /// The window.
        window: Duration,
    },
    /// A limit that the server names has become another one.
    LimitChanged {
        /// Its name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// What was allowed in each window, in units of the kind.
        from: u64,
        /// What is allowed now.
        to: u64,
    },
    /// Others use a limit too, and how much has changed since it was last told.
    ForeignUse {
        /// The limit's name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// What they take, in thousandths of the limit's rate.
        permille: u32,
    },
    /// The server takes something else for a request than was declared.
    ChargeLearned {
        /// The kind of limit.
        kind: LimitKind,
        /// How it counts.
        rule: LearnedCharge,
        /// What it takes for a unit of ours, in thousandths.
        permille: u32,
    },
    /// What the server says of a limit contradicts itself and is no longer believed, or is again.
    HeadersDoubted {
        /// The limit's name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// Whether it is doubted from now on.
        doubted: bool,
    },
    /// Nothing starts any more.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}
