//! What a run came to.

use std::iter;

use brimful_core::Timestamp;

use super::Driver;
use crate::ledger::Stats;
use crate::server::Server;
use crate::virtual_run::report::{Report, least_time};
use crate::virtual_run::sample::Sample;
use crate::virtual_run::workload::Amount;

impl Driver<'_> {
    pub(super) fn into_report(mut self) -> Report {
        let server = self.servers[0].stats();
        let further: Vec<Stats> = self.servers[1..].iter().map(Server::stats).collect();
        if self.run.sample_every.is_some() {
            self.report
                .samples
                .push(Sample::new(self.now, &self.servers));
        }
        let (now, open) = (self.client_now(), self.in_use());
        let at_server = iter::once(&server).chain(&further);
        let at_server = at_server.map(|stats| stats.in_flight).sum();
        self.checks.ended_run(now, &self.engine, open, at_server);
        let last_admission = Timestamp::from_nanos(server.last_admission_ns.unwrap_or_default());
        let tally = self.report;
        let quickest = tally.quickest.unwrap_or_default();
        let tokens = tally.tokens.min(server.tokens_net);
        let by_limits = least_time(&self.run.server, tally.requests, tokens) + quickest;
        let places = self.run.server.concurrency.unwrap_or(u64::MAX) as f64;
        let by_places = tally.answering.div_f64(places.max(1.0));
        Report {
            seed: self.seed,
            trace_hash: self.trace.value(),
            steps: self.trace.steps,
            workload: match self.run.workload.amount {
                Amount::Requests(requests) => Some(requests),
                Amount::Saturated(_) => None,
            },
            submitted: tally.requests,
            answered: tally.answered,
            dead: tally.dead,
            never_fit: tally.never_fit,
            abandoned: tally.abandoned,
            attempts: tally.attempts,
            stopped: self.engine.stopped().cloned(),
            makespan: tally.last_end.since(Timestamp::ZERO),
            lower_bound: by_limits.max(by_places),
            tail: tally.last_end.since(last_admission),
            longest_wait: self.checks.longest_wait,
            violations: self.checks.violations,
            violated: self.checks.violated,
            samples: tally.samples,
            first_bytes: tally.first_bytes,
            server,
            further,
        }
    }
}
