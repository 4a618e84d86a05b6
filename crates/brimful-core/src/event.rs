//! What happened, in the past tense. Reporters consume events and nothing else.

use std::time::Duration;

use crate::engine::{RequestId, StopReason};
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
    /// Nothing starts any more.
    Stopped {
        /// Why.
        reason: StopReason,
    },
}
