//! A request in the client's hands, and what the client makes of what it sees.

use std::time::Duration;

use brimful_core::{AttemptId, AttemptResult, Charge, Class, Failure, Input, Timestamp};
use brimful_providers::observe::{HeaderGrammar, observe};
use brimful_providers::reply::{self, read_reply};
use bytes::BytesMut;

use crate::reply::{Action, Ticket};

use super::checks::Mark;
use super::network::Way;
use super::workload::Size;

/// A request that the engine holds.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its place in the workload, from 0.
    pub(super) number: u64,
    pub(super) size: Size,
    pub(super) charge: Charge,
    pub(super) mark: Mark,
    pub(super) started: bool,
    pub(super) sent: Option<Sent>,
}

/// An attempt in flight.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) attempt: AttemptId,
    /// Unlike any other attempt's.
    pub(super) serial: u64,
    /// The upstream that it went to.
    pub(super) upstream: usize,
    pub(super) started: Timestamp,
    pub(super) way: Way,
    pub(super) ticket: Ticket,
    /// What the client will see; `None` when that is a broken connection.
    pub(super) action: Option<Action>,
}

/// What the client reads of the limits, by the code of production.
pub(super) fn listen(sent: &Sent, grammar: HeaderGrammar, wall_clock: Duration) -> Option<Input> {
    let unix_ms = i64::try_from(wall_clock.as_millis()).unwrap_or(i64::MAX);
    let observation = match sent.action.as_ref()? {
        Action::Respond { headers, .. }
        | Action::Stream { headers, .. }
        | Action::Truncate { headers, .. } => observe(headers, grammar, unix_ms)?,
        Action::Reset | Action::Hang => return None,
    };
    Some(Input::Observed {
        attempt: sent.attempt,
        observation,
    })
}

/// What the client makes of what it sees, by the code of production.
pub(super) fn read(action: Option<Action>, wall_clock: Duration) -> AttemptResult {
    let unix_ms = i64::try_from(wall_clock.as_millis()).unwrap_or(i64::MAX);
    let reply = match action {
        Some(Action::Respond {
            status,
            headers,
            body,
        }) => read_reply(status.as_u16(), &headers, &body, unix_ms),
        Some(Action::Stream {
            status,
            headers,
            chunks,
            complete: true,
        }) => {
            let mut body = BytesMut::new();
            for chunk in &chunks {
                body.extend_from_slice(&chunk.bytes);
            }
            read_reply(status.as_u16(), &headers, &body, unix_ms)
        }
        _ => return AttemptResult::Failed(Failure::new(Class::Transient)),
    };
    match reply.outcome {
        reply::Outcome::Answer { usage } => AttemptResult::Answered(usage),
        reply::Outcome::Failure(failed) => AttemptResult::Failed(failed.failure),
    }
}
