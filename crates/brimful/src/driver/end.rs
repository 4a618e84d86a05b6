//! How and why a run ended.

use brimful_core::{Class, Failure, Scope, StopReason};

use super::Driver;
use crate::outputs::WriteError;
use crate::progress::{LimitProgress, Notice};
use crate::report::Tally;
use crate::upstreams::UpstreamProgress;

/// Replies of 404 and 405, with no answer before them, after which the address is taken for wrong.
const MISDIRECTED_MAX: u32 = 10;

/// Why a run ended before its input did.
#[derive(Debug)]
pub enum EndCause {
    /// The engine stopped: the last failure's words say why.
    Upstream {
        /// Why.
        reason: StopReason,
        /// What the provider said.
        message: String,
    },
    /// An answer or a dead letter could not be written.
    Output(WriteError),
    /// The input could not be read on.
    Source(String),
    /// The address answers, but not to requests: the first replies were all 404 or 405.
    Misdirected(String),
    /// The spending cap was reached.
    SpendingCap,
    /// The deadline was reached.
    Deadline,
}

impl EndCause {
    /// Whether the user asked for it.
    pub(super) const fn is_planned(&self) -> bool {
        matches!(self, Self::SpendingCap | Self::Deadline)
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct DriverReport {
    pub(crate) tally: Tally,
    pub(crate) limits: Vec<LimitProgress>,
    pub(crate) upstreams: Vec<UpstreamProgress>,
    pub(crate) cause: Option<EndCause>,
    /// Ids of requests whose attempts were given up in flight.
    pub(crate) abandoned_ids: Vec<String>,
    /// Ids whose answers arrived and could not be written.
    pub(crate) unwritten_ids: Vec<String>,
    /// Requests that were read but not answered.
    pub(crate) unanswered: u64,
    pub(crate) source_finished: bool,
    /// What the provider said with the last 429.
    pub(crate) throttled_message: String,
    /// Said when not a limit but `--concurrency` holds the run back.
    pub(crate) concurrency_note: Option<String>,
    /// What people were to know, in order.
    pub(crate) notices: Vec<Notice>,
}

impl Driver<'_> {
    /// Keeps what a failure says of the upstream as a whole.
    pub(super) fn upstream_said(
        &mut self,
        failure: &Failure,
        status: Option<u16>,
        unreachable: bool,
        said: String,
    ) {
        if let Some(status @ (404 | 405)) = status
            && self.tally.nothing_answered()
        {
            self.misdirected += 1;
            if self.misdirected >= MISDIRECTED_MAX {
                self.stop_for(EndCause::Misdirected(format!("{status} {said}")));
            }
        }
        if failure.class == Class::Throttled {
            self.throttled_message.clone_from(&said);
        }
        if failure.scope == Scope::Upstream || failure.class == Class::Throttled || unreachable {
            self.last_upstream_message = said;
        }
    }

    pub(super) fn spending_cap_reached(&self) -> bool {
        let cap = self.options.spending_cap_usd;
        cap.zip(self.tally.cost_usd())
            .is_some_and(|(cap, cost)| cost >= cap)
    }
}
