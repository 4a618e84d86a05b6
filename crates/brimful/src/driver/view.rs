//! What the driver tells of itself: progress, notes, why it ended.

use std::time::Instant;

use brimful_core::{LimitKind, StopReason, Timestamp};

use super::keep::note_of;
use super::{Driver, EndCause};
use crate::progress::{LimitProgress, Progress};

impl Driver<'_> {
    pub(super) fn end_cause(&mut self) -> Option<EndCause> {
        let left_nothing = self.source_finished && self.unanswered == 0;
        let planned = match self.cause.take() {
            Some(cause) if !cause.is_planned() => return Some(cause),
            planned => planned,
        };
        match self.engine.stopped() {
            // Reached while the last answers came: it has stopped nothing.
            None | Some(StopReason::Asked) => planned.filter(|_| !left_nothing),
            Some(reason) => Some(EndCause::Upstream {
                reason: reason.clone(),
                message: std::mem::take(&mut self.last_upstream_message),
            }),
        }
    }

    /// Rate × latency against what may be in flight: says so when connections, not the limit, bind.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of connections, told with two digits"
    )]
    pub(super) fn concurrency_note(&self) -> Option<String> {
        let limits = &self.options.engine.upstreams[0].limits;
        let allowed = limits
            .iter()
            .find(|limit| limit.kind == LimitKind::Concurrency)?
            .amount;
        let service = self.tally.mean_service()?.as_secs_f64();
        let rates = limits
            .iter()
            .filter(|limit| limit.kind == LimitKind::Requests);
        let per_second = rates
            .map(|limit| limit.amount as f64 / limit.window.as_secs_f64())
            .min_by(f64::total_cmp)?;
        let needed = (per_second * service).ceil() as u64;
        (needed > allowed).then(|| {
            format!(
                "answers take {service:.1} s, so the request limit needs about {needed} in flight; \
                 {allowed} are allowed (--concurrency, file descriptors)"
            )
        })
    }

    pub(super) fn limit_progress(&self) -> Vec<LimitProgress> {
        let limits = self.engine.limits().into_iter().enumerate();
        limits
            .map(|(index, status)| {
                let note = note_of(&self.options.limits, index, &status.spec);
                LimitProgress::new(status, &note)
            })
            .collect()
    }

    pub(super) fn progress(&self) -> Progress {
        let now = self.options.clock.now();
        let status = self.engine.status(now);
        let oldest = self
            .flights
            .iter()
            .flatten()
            .filter(|flight| flight.attempt.is_some());
        let oldest = oldest.map(|flight| flight.started).min();
        Progress {
            at: Instant::now(),
            elapsed: now.since(Timestamp::ZERO),
            counts: self.tally.counts(),
            queued: status.queued,
            backing_off: status.backing_off,
            in_flight: status.in_flight,
            oldest_in_flight: oldest.map(|started| now.since(started)),
            binding: status
                .binding
                .and_then(|index| self.limit_names.get(index).cloned()),
            cooldown: status.cooldown_until.map(|until| until.since(now)),
            limits: self.limit_progress(),
            stopping: self.stopping(),
            upstream_message: self.last_upstream_message.clone(),
            concurrency_note: self.concurrency_note(),
            notices: self.notices.clone(),
        }
    }
}
