//! What the driver tells of itself: progress, notes, why it ended.

use std::time::Instant;

use brimful_core::{Class, LimitKind, StopReason, Timestamp, UpstreamState};

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
            None | Some(StopReason::Asked) => {
                let left = planned.filter(|_| !left_nothing);
                left.or_else(|| self.unserved.then(|| self.no_upstream()))
            }
            Some(reason) => Some(EndCause::Upstream {
                reason: reason.clone(),
                message: std::mem::take(&mut self.last_upstream_message),
            }),
        }
    }

    /// Some requests have no upstream, though others had: theirs are out, or none serves them.
    fn no_upstream(&mut self) -> EndCause {
        let now = self.options.clock.now();
        let mut states = self.engine.upstreams(now).into_iter();
        let out = states.find_map(|upstream| match upstream.state {
            UpstreamState::Out(class) => Some(class),
            _ => None,
        });
        let message = match out {
            Some(_) => std::mem::take(&mut self.last_upstream_message),
            None => "no upstream serves the models of some requests".to_owned(),
        };
        let reason = StopReason::Upstream(out.unwrap_or(Class::Fatal));
        EndCause::Upstream { reason, message }
    }

    /// Rate × latency against what may be in flight: says so when connections, not the limit, bind.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of connections, told with two digits"
    )]
    pub(super) fn concurrency_note(&self) -> Option<String> {
        // Of several, each may have places of its own.
        let [upstream] = &*self.options.engine.upstreams else {
            return None;
        };
        let limits = &upstream.limits;
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
            .filter(|(_, status)| !status.retired)
            .map(|(index, status)| {
                let note = note_of(&self.options.limits, index, &status.spec);
                let mut limit = LimitProgress::new(status, &note);
                if let Some(name) = self.limit_names.get(index) {
                    limit.name.clone_from(name);
                }
                limit
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
            upstreams: self.upstream_progress(),
            stopping: self.stopping(),
            upstream_message: self.last_upstream_message.clone(),
            concurrency_note: self.concurrency_note(),
            notices: self.notices.clone(),
        }
    }
}
