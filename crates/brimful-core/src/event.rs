//! What happened, in the past tense. Reporters consume events and nothing else.

use std::time::Duration;

use crate::engine::{EngineConfigError, RequestId, StopReason};
use crate::learned::LearnedCharge;
use crate::limit::LimitKind;
use crate::outcome::Class;
use crate::time::Timestamp;
use crate::upstream::UpstreamId;

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
    /// An upstream said 429, or cannot be reached: nothing goes there until then.
    CooldownStarted {
        /// The upstream.
        upstream: UpstreamId,
        /// The end of the cooldown.
        until: Timestamp,
    },
    /// The server has named a limit that was not known.
    LimitLearned {
        /// The upstream.
        upstream: UpstreamId,
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
        /// The upstream.
        upstream: UpstreamId,
        /// Its name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// What was allowed in each window, in units of the kind.
        from: u64,
        /// What is allowed now.
        to: u64,
    },
    /// Others use a limit too, and how much has changed since it was last told.
    ForeignUse {
        /// The upstream.
        upstream: UpstreamId,
        /// The limit's name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// What they take, in thousandths of the limit's rate.
        permille: u32,
    },
    /// The server takes something else for a request than was declared.
    ChargeLearned {
        /// The upstream.
        upstream: UpstreamId,
        /// The kind of limit.
        kind: LimitKind,
        /// How it counts.
        rule: LearnedCharge,
        /// What it takes for a unit of ours, in thousandths.
        permille: u32,
    },
    /// What the server says of a limit contradicts itself and is no longer believed, or is again.
    HeadersDoubted {
        /// The upstream.
        upstream: UpstreamId,
        /// The limit's name in [`Engine::limits`](crate::Engine::limits).
        limit: String,
        /// Whether it is doubted from now on.
        doubted: bool,
    },
    /// A quota of an upstream is used up; it pauses until it resets.
    UpstreamParked {
        /// The upstream.
        upstream: UpstreamId,
        /// When its quota resets.
        until: Timestamp,
    },
    /// An upstream failed too often in a row: it gets nothing until then while others are left.
    UpstreamIll {
        /// The upstream.
        upstream: UpstreamId,
        /// When it is tried again.
        until: Timestamp,
    },
    /// An upstream that was ill is used again without reserve.
    UpstreamWell {
        /// The upstream.
        upstream: UpstreamId,
    },
    /// An upstream is of no use to any request: wrong key, empty wallet.
    UpstreamOut {
        /// The upstream.
        upstream: UpstreamId,
        /// What it says.
        class: Class,
    },
    /// A new configuration is in force, or was refused and changed nothing.
    Reconfigured {
        /// Why it was refused. `None`: it is in force.
        refused: Option<EngineConfigError>,
    },
    /// Nothing starts any more.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}
