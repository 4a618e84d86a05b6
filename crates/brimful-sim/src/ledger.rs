//! The server's own account of what it was asked and what it gave.

mod peaks;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use brimful_core::Timestamp;
use http::StatusCode;
use peaks::Peaks;
use serde::Serialize;

use crate::config::ServerConfig;
use crate::draw::Fault;
use crate::limits::Kind;
use crate::reply::{Ending, Held};

/// How long after the first arrival the start burst is counted.
const START: Duration = Duration::from_millis(100);

/// What the server saw since its start or since it was told to forget.
///
/// An *arrival* is a request to an endpoint that answers prompts, whatever became of it. An
/// *admission* is an arrival that passed all limits; it is charged even if a fault follows. Windows
/// slide continuously and are open at their start. Times are nanoseconds of the server's clock.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Everything handled, unknown paths included.
    pub requests: u64,
    /// Replies by status; hangs and resets have none.
    pub by_status: BTreeMap<u16, u64>,
    /// Faults dealt out.
    pub faults: FaultCounts,
    /// 429s for speed, by the limit that caused them.
    pub throttled: ThrottledCounts,
    /// 429s because no money was left.
    pub exhausted: u64,

    /// Arrivals.
    pub arrivals: u64,
    /// Admissions.
    pub requests_admitted: u64,
    /// Tokens charged at admission.
    pub tokens_reserved: u64,
    /// The same after the corrections of `refund`; equal without it.
    pub tokens_net: u64,
    /// Instant of the first admission.
    pub first_admission_ns: Option<u64>,
    /// Instant of the last admission.
    pub last_admission_ns: Option<u64>,
    /// (Requests admitted less the first) ÷ (rate × time from the first to the last admission), for
    /// the tighter of the request limits. `None` without such a limit or with fewer than two.
    pub utilisation_requests: Option<f64>,
    /// The same for tokens, net of refunds.
    pub utilisation_tokens: Option<f64>,

    /// Answers that were handed over whole.
    pub answered: u64,
    /// Admitted requests whose client left before the reply's end.
    pub abandoned: u64,
    /// Input tokens of the answers handed over.
    pub input_tokens: u64,
    /// Output tokens of the answers handed over.
    pub output_tokens: u64,
    /// Admitted requests that have not ended.
    pub in_flight: u64,
    /// The most of them at once.
    pub peak_in_flight: u64,

    /// Arrivals within 100 ms of the first, itself included.
    pub arrivals_first_100ms: u64,
    /// Whether the fields below are kept (`detailed_ledger`).
    pub detailed: bool,
    /// Most arrivals in any 1 s.
    pub most_arrivals_1s: u64,
    /// Most arrivals in any 60 s.
    pub most_arrivals_60s: u64,
    /// Most admissions in any 1 s.
    pub most_admissions_1s: u64,
    /// Most admissions in any 60 s.
    pub most_admissions_60s: u64,
    /// Whether these four are exact; beyond 4,194,304 in a minute they are lower bounds.
    pub most_exact: bool,
    /// Different prompts answered: path and body, by a 64-bit hash.
    pub prompts_answered: u64,
    /// Answers beyond the first to the same prompt.
    pub duplicate_answers: u64,
}

/// Faults by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FaultCounts {
    /// 500s.
    pub error: u64,
    /// 503s.
    pub overload: u64,
    /// Requests left without an answer.
    pub hang: u64,
    /// Connections reset.
    pub reset: u64,
    /// Answers broken off.
    pub truncate: u64,
    /// Answers that are not JSON.
    pub garbage: u64,
}

/// 429s for speed by limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ThrottledCounts {
    /// Requests a minute.
    pub requests_per_minute: u64,
    /// Requests a second.
    pub requests_per_second: u64,
    /// Tokens a minute.
    pub tokens_per_minute: u64,
    /// Requests in flight.
    pub concurrency: u64,
}

impl ThrottledCounts {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.requests_per_minute
            + self.requests_per_second
            + self.tokens_per_minute
            + self.concurrency
    }
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Rises when the ledger is cleared, so that older tickets are told apart.
    pub(crate) epoch: u64,
    counts: Stats,
    first_arrival: Option<Timestamp>,
    /// Net tokens of the first admission, which utilisation leaves out.
    first_tokens: u64,
    arrivals: Peaks,
    admissions: Peaks,
    prompts: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
}

impl Ledger {
    pub(crate) fn new(detailed: bool) -> Self {
        Self {
            counts: Stats {
                detailed,
                ..Stats::default()
            },
            ..Self::default()
        }
    }

    /// Forgets everything but what is in flight.
    pub(crate) fn clear(&mut self) {
        let in_flight = self.counts.in_flight;
        let mut fresh = Self::new(self.counts.detailed);
        fresh.epoch = self.epoch + 1;
        fresh.counts.in_flight = in_flight;
        fresh.counts.peak_in_flight = in_flight;
        *self = fresh;
    }

    pub(crate) const fn in_flight(&self) -> u64 {
        self.counts.in_flight
    }

    pub(crate) const fn requested(&mut self) {
        self.counts.requests += 1;
    }

    pub(crate) fn arrived(&mut self, now: Timestamp) {
        self.counts.arrivals += 1;
        let first = *self.first_arrival.get_or_insert(now);
        if now.since(first) < START {
            self.counts.arrivals_first_100ms += 1;
        }
        if self.counts.detailed {
            self.arrivals.note(now);
        }
    }

    /// Notes an admission and says whether it is the first.
    pub(crate) fn admitted(&mut self, now: Timestamp, tokens: u64) -> bool {
        let counts = &mut self.counts;
        let first = counts.first_admission_ns.is_none();
        if first {
            counts.first_admission_ns = Some(now.as_nanos());
            self.first_tokens = tokens;
        }
        counts.last_admission_ns = Some(now.as_nanos());
        counts.requests_admitted += 1;
        counts.tokens_reserved = counts.tokens_reserved.saturating_add(tokens);
        counts.tokens_net = counts.tokens_net.saturating_add(tokens);
        counts.in_flight += 1;
        counts.peak_in_flight = counts.peak_in_flight.max(counts.in_flight);
        if counts.detailed {
            self.admissions.note(now);
        }
        first
    }

    pub(crate) fn replied(&mut self, status: StatusCode) {
        *self.counts.by_status.entry(status.as_u16()).or_default() += 1;
    }

    pub(crate) const fn throttled(&mut self, kind: Kind) {
        let counts = &mut self.counts.throttled;
        match kind {
            Kind::RequestsPerMinute => counts.requests_per_minute += 1,
            Kind::RequestsPerSecond => counts.requests_per_second += 1,
            Kind::TokensPerMinute => counts.tokens_per_minute += 1,
            Kind::Concurrency => counts.concurrency += 1,
        }
    }

    pub(crate) const fn exhausted(&mut self) {
        self.counts.exhausted += 1;
    }

    pub(crate) const fn failed(&mut self, fault: Fault) {
        let counts = &mut self.counts.faults;
        match fault {
            Fault::Error => counts.error += 1,
            Fault::Overload => counts.overload += 1,
            Fault::Hang => counts.hang += 1,
            Fault::Reset => counts.reset += 1,
            Fault::Truncate => counts.truncate += 1,
            Fault::Garbage => counts.garbage += 1,
        }
    }

    pub(crate) fn finished(&mut self, held: &Held, ending: Ending, refund: bool) {
        let counts = &mut self.counts;
        counts.in_flight = counts.in_flight.saturating_sub(1);
        if held.epoch != self.epoch {
            return;
        }
        if refund {
            let settle = |tokens: u64| (tokens - held.tokens_reserved) + held.tokens_actual;
            counts.tokens_net = settle(counts.tokens_net);
            if held.first {
                self.first_tokens = settle(self.first_tokens);
            }
        }
        match ending {
            Ending::Vanished => counts.abandoned += 1,
            Ending::Sent if held.answers => {
                counts.answered += 1;
                counts.input_tokens += held.input_tokens;
                counts.output_tokens += held.output_tokens;
                if counts.detailed && !self.prompts.insert(held.prompt) {
                    counts.duplicate_answers += 1;
                }
            }
            Ending::Sent => {}
        }
    }

    pub(crate) fn stats(&self, config: &ServerConfig) -> Stats {
        let mut stats = self.counts.clone();
        stats.most_arrivals_1s = self.arrivals.most_1s;
        stats.most_arrivals_60s = self.arrivals.most_60s;
        stats.most_admissions_1s = self.admissions.most_1s;
        stats.most_admissions_60s = self.admissions.most_60s;
        stats.most_exact = stats.detailed && !self.arrivals.forgot && !self.admissions.forgot;
        stats.prompts_answered = self.prompts.len() as u64;
        let per_minute = config.rpm.map(|rpm| rpm as f64 / 60.0);
        let per_second = config.rps.map(|rps| rps as f64);
        let requests_rate = match (per_minute, per_second) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let tokens_rate = config.tpm.map(|tpm| tpm as f64 / 60.0);
        stats.utilisation_requests = self.utilisation(
            requests_rate,
            self.counts.requests_admitted.saturating_sub(1),
        );
        stats.utilisation_tokens = self.utilisation(
            tokens_rate,
            self.counts.tokens_net.saturating_sub(self.first_tokens),
        );
        stats
    }

    fn utilisation(&self, rate_per_s: Option<f64>, quantity: u64) -> Option<f64> {
        let (first, last) = (
            self.counts.first_admission_ns?,
            self.counts.last_admission_ns?,
        );
        let seconds = (last - first) as f64 / 1e9;
        let share = quantity as f64 / (rate_per_s? * seconds);
        share.is_finite().then_some(share)
    }
}

/// Takes a 64-bit hash for what it is.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(prompt: u64, reserved: u64, actual: u64) -> Held {
        Held {
            epoch: 0,
            prompt,
            answers: true,
            first: false,
            tokens_reserved: reserved,
            tokens_actual: actual,
            input_tokens: 1,
            output_tokens: actual - 1,
        }
    }

    fn config(rpm: u64, tpm: u64) -> ServerConfig {
        ServerConfig {
            rpm: Some(rpm),
            tpm: Some(tpm),
            ..ServerConfig::default()
        }
    }

    #[test]
    fn utilisation_leaves_out_the_first_admission_and_the_start_burst() {
        let mut ledger = Ledger::new(true);
        // 601 requests of 10 tokens, one each 100 ms: exactly 600 a minute.
        for tick in 0..=600 {
            ledger.admitted(Timestamp::from_millis(100 * tick + 5_000), 10);
        }
        let stats = ledger.stats(&config(600, 12_000));
        assert_eq!(stats.utilisation_requests, Some(1.0));
        assert_eq!(stats.utilisation_tokens, Some(0.5));
        assert_eq!(
            ledger.stats(&ServerConfig::default()).utilisation_requests,
            None
        );
    }

    #[test]
    fn one_admission_has_no_utilisation() {
        let mut ledger = Ledger::new(true);
        ledger.admitted(Timestamp::from_secs(1), 10);
        assert_eq!(ledger.stats(&config(1, 1)).utilisation_requests, None);
    }

    #[test]
    fn refunds_change_the_tokens_that_count_the_first_ones_too() {
        let mut ledger = Ledger::new(true);
        assert!(ledger.admitted(Timestamp::ZERO, 100));
        assert!(!ledger.admitted(Timestamp::from_secs(60), 100));
        ledger.finished(
            &Held {
                first: true,
                ..held(1, 100, 30)
            },
            Ending::Sent,
            true,
        );
        ledger.finished(&held(2, 100, 50), Ending::Sent, true);
        let stats = ledger.stats(&config(600, 100));
        assert_eq!((stats.tokens_reserved, stats.tokens_net), (200, 80));
        assert_eq!(stats.utilisation_tokens, Some(0.5));
    }

    #[test]
    fn only_answers_that_were_handed_over_count_as_answered() {
        let mut ledger = Ledger::new(true);
        for _ in 0..5 {
            ledger.admitted(Timestamp::ZERO, 1);
        }
        ledger.finished(&held(7, 1, 1), Ending::Vanished, false);
        ledger.finished(&held(7, 1, 1), Ending::Sent, false);
        ledger.finished(&held(7, 1, 1), Ending::Sent, false);
        ledger.finished(&held(8, 1, 1), Ending::Sent, false);
        ledger.finished(
            &Held {
                answers: false,
                ..held(8, 1, 1)
            },
            Ending::Sent,
            false,
        );
        let stats = ledger.stats(&ServerConfig::default());
        assert_eq!((stats.answered, stats.abandoned), (3, 1));
        assert_eq!((stats.prompts_answered, stats.duplicate_answers), (2, 1));
        assert_eq!((stats.in_flight, stats.peak_in_flight), (0, 5));
    }

    #[test]
    fn what_was_admitted_before_a_clear_only_frees_its_place() {
        let mut ledger = Ledger::new(true);
        ledger.admitted(Timestamp::ZERO, 9);
        ledger.clear();
        assert_eq!(ledger.stats(&ServerConfig::default()).in_flight, 1);
        ledger.finished(&held(7, 9, 3), Ending::Sent, true);
        let stats = ledger.stats(&ServerConfig::default());
        assert_eq!(
            (stats.in_flight, stats.answered, stats.tokens_net),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_start_burst_is_counted_from_the_first_arrival() {
        let mut ledger = Ledger::new(true);
        for millis in [500, 510, 599, 600, 700] {
            ledger.arrived(Timestamp::from_millis(millis));
        }
        assert_eq!(
            ledger.stats(&ServerConfig::default()).arrivals_first_100ms,
            3
        );
    }
}
