//! The server's own account of what it was asked and what it gave.

mod peaks;

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::time::Duration;

use brimful_core::Timestamp;
use http::StatusCode;
use peaks::Peaks;
use serde::Serialize;

use crate::config::Measure;
use crate::draw::Fault;
use crate::limits::{LimitStats, Limits, Wait};
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
    /// Requests that met an outage.
    pub outage: u64,
    /// Steps of the script that were carried out.
    pub script_steps: u64,
    /// Steps that could not be, after other changes.
    pub script_steps_refused: u64,

    /// Arrivals.
    pub arrivals: u64,
    /// Admissions.
    pub requests_admitted: u64,
    /// Tokens charged at admission.
    pub tokens_reserved: u64,
    /// The same after the corrections of `refund` and `failed_requests_count`, and with output
    /// charged as it is generated; equal without these.
    pub tokens_net: u64,
    /// Instant of the first admission.
    pub first_admission_ns: Option<u64>,
    /// Instant of the last admission.
    pub last_admission_ns: Option<u64>,
    /// (Requests admitted less the first) ÷ (rate × time from the first to the last admission), for
    /// the tightest of the request limits. `None` without such a limit or with fewer than two.
    pub utilisation_requests: Option<f64>,
    /// The same for the tightest limit on tokens of input and output together, net of refunds.
    pub utilisation_tokens: Option<f64>,
    /// Each rate limit's own account.
    pub limits: Vec<LimitStats>,

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
    /// Requests a day.
    pub requests_per_day: u64,
    /// Tokens a minute.
    pub tokens_per_minute: u64,
    /// Input tokens a minute.
    pub input_tokens_per_minute: u64,
    /// Output tokens a minute.
    pub output_tokens_per_minute: u64,
    /// Requests in flight.
    pub concurrency: u64,
    /// All limits that have no field of their own.
    pub other: u64,
}

impl ThrottledCounts {
    fn of(limits: &Limits) -> Self {
        let mut counts = Self::default();
        for (name, throttled) in limits.throttled() {
            let count = match name {
                "rpm" => &mut counts.requests_per_minute,
                "rps" => &mut counts.requests_per_second,
                "rpd" => &mut counts.requests_per_day,
                "tpm" => &mut counts.tokens_per_minute,
                "itpm" => &mut counts.input_tokens_per_minute,
                "otpm" => &mut counts.output_tokens_per_minute,
                "concurrency" => &mut counts.concurrency,
                _ => &mut counts.other,
            };
            *count += throttled;
        }
        counts
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.requests_per_minute
            + self.requests_per_second
            + self.requests_per_day
            + self.tokens_per_minute
            + self.input_tokens_per_minute
            + self.output_tokens_per_minute
            + self.concurrency
            + self.other
    }
}

/// An arrival as the limits saw it, for checks of the server by its own record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arrival {
    /// When.
    pub at: Timestamp,
    /// Tokens charged at admission, or asked for in vain.
    pub tokens: u64,
    /// Whether it was admitted.
    pub admitted: bool,
    /// Of a refused one, after exactly which time it would be admitted if nobody else came. `None`
    /// where time alone does not help, and for admitted ones.
    pub wait: Option<Duration>,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Rises when the ledger is cleared, so that older tickets are told apart.
    pub(crate) epoch: u64,
    counts: Stats,
    first_arrival: Option<Timestamp>,
    /// The first arrivals at the limits, as many as are to be logged.
    log: Vec<Arrival>,
    log_max: usize,
    arrivals: Peaks,
    admissions: Peaks,
    prompts: HashSet<u64, BuildHasherDefault<AlreadyHashed>>,
}

impl Ledger {
    pub(crate) fn new(detailed: bool, log_max: usize) -> Self {
        Self {
            log_max,
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
        let mut fresh = Self::new(self.counts.detailed, self.log_max);
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

    /// Notes what the limits said of an arrival.
    pub(crate) fn judged(&mut self, at: Timestamp, tokens: u64, judged: Result<(), Wait>) {
        if self.log.len() < self.log_max {
            self.log.push(Arrival {
                at,
                tokens,
                admitted: judged.is_ok(),
                wait: match judged {
                    Err(Wait::Time(time)) => Some(time),
                    Ok(()) | Err(Wait::Slot | Wait::Forever) => None,
                },
            });
        }
    }

    pub(crate) fn log(&self) -> &[Arrival] {
        &self.log
    }

    pub(crate) const fn met_outage(&mut self) {
        self.counts.outage += 1;
    }

    pub(crate) const fn script_step(&mut self, done: bool) {
        if done {
            self.counts.script_steps += 1;
        } else {
            self.counts.script_steps_refused += 1;
        }
    }

    pub(crate) const fn produced(&mut self, tokens: u64) {
        self.counts.tokens_net = self.counts.tokens_net.saturating_add(tokens);
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

    /// Whether what belongs to `epoch` belongs to this account.
    pub(crate) const fn is_of(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    /// Notes an end, after which `tokens` of what it reserved stay charged.
    pub(crate) fn finished(&mut self, held: &Held, ending: Ending, tokens: u64) {
        let counts = &mut self.counts;
        counts.in_flight = counts.in_flight.saturating_sub(1);
        if held.epoch != self.epoch {
            return;
        }
        let reserved = counts.tokens_net.saturating_sub(held.reserved.tokens);
        counts.tokens_net = reserved.saturating_add(tokens);
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

    pub(crate) fn stats(&self, limits: &Limits) -> Stats {
        let mut stats = self.counts.clone();
        stats.most_arrivals_1s = self.arrivals.most_1s;
        stats.most_arrivals_60s = self.arrivals.most_60s;
        stats.most_admissions_1s = self.admissions.most_1s;
        stats.most_admissions_60s = self.admissions.most_60s;
        stats.most_exact = stats.detailed && !self.arrivals.forgot && !self.admissions.forgot;
        stats.prompts_answered = self.prompts.len() as u64;
        stats.throttled = ThrottledCounts::of(limits);
        stats.limits = limits.stats();
        stats.utilisation_requests = tightest(&stats.limits, Measure::Requests);
        stats.utilisation_tokens = tightest(&stats.limits, Measure::Tokens);
        stats
    }
}

/// The utilisation of the limit on `measure` with the lowest rate.
fn tightest(limits: &[LimitStats], measure: Measure) -> Option<f64> {
    let of_measure = limits.iter().filter(|limit| limit.measure == measure);
    let rate = |limit: &&LimitStats| limit.amount as f64 / limit.window_ns as f64;
    let tightest = of_measure.min_by(|a, b| rate(a).total_cmp(&rate(b)));
    tightest.and_then(|limit| limit.utilisation)
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
    use crate::config::ServerConfig;
    use crate::limits::Charges;

    fn held(prompt: u64, reserved: u64, output_tokens: u64) -> Held {
        let reserved = Charges {
            tokens: reserved,
            ..Charges::default()
        };
        Held {
            epoch: 0,
            at: Timestamp::ZERO,
            prompt,
            answers: true,
            failed: false,
            first: false,
            reserved,
            actual: Charges::default(),
            input_tokens: 1,
            output_tokens,
            growing: None,
        }
    }

    fn stats(ledger: &Ledger) -> Stats {
        ledger.stats(&Limits::new(&ServerConfig::default(), 7))
    }

    #[test]
    fn what_stays_charged_at_the_end_is_what_counts() {
        let mut ledger = Ledger::new(true, 0);
        assert!(ledger.admitted(Timestamp::ZERO, 100));
        assert!(!ledger.admitted(Timestamp::from_secs(60), 100));
        ledger.finished(&held(1, 100, 3), Ending::Sent, 30);
        ledger.finished(&held(2, 100, 3), Ending::Vanished, 150);
        ledger.produced(5);
        let stats = stats(&ledger);
        assert_eq!((stats.tokens_reserved, stats.tokens_net), (200, 185));
    }

    #[test]
    fn arrivals_are_logged_up_to_the_bound() {
        let mut ledger = Ledger::new(true, 2);
        for second in 0..3 {
            let judged = if second == 0 { Ok(()) } else { Err(Wait::Slot) };
            ledger.judged(Timestamp::from_secs(second), 10 + second, judged);
        }
        let log = ledger.log().iter();
        let log: Vec<_> = log
            .map(|a| (a.at.as_nanos(), a.tokens, a.admitted))
            .collect();
        assert_eq!(log, [(0, 10, true), (1_000_000_000, 11, false)]);
        ledger.clear();
        ledger.judged(Timestamp::from_secs(9), 1, Ok(()));
        assert_eq!(ledger.log().len(), 1);
    }

    #[test]
    fn only_answers_that_were_handed_over_count_as_answered() {
        let mut ledger = Ledger::new(true, 0);
        for _ in 0..5 {
            ledger.admitted(Timestamp::ZERO, 1);
        }
        ledger.finished(&held(7, 1, 1), Ending::Vanished, 1);
        ledger.finished(&held(7, 1, 1), Ending::Sent, 1);
        ledger.finished(&held(7, 1, 1), Ending::Sent, 1);
        ledger.finished(&held(8, 1, 1), Ending::Sent, 1);
        ledger.finished(
            &Held {
                answers: false,
                ..held(8, 1, 1)
            },
            Ending::Sent,
            1,
        );
        let stats = stats(&ledger);
        assert_eq!((stats.answered, stats.abandoned), (3, 1));
        assert_eq!((stats.prompts_answered, stats.duplicate_answers), (2, 1));
        assert_eq!((stats.in_flight, stats.peak_in_flight), (0, 5));
    }

    #[test]
    fn what_was_admitted_before_a_clear_only_frees_its_place() {
        let mut ledger = Ledger::new(true, 0);
        ledger.admitted(Timestamp::ZERO, 9);
        ledger.clear();
        assert_eq!(stats(&ledger).in_flight, 1);
        ledger.finished(&held(7, 9, 3), Ending::Sent, 3);
        let stats = stats(&ledger);
        assert_eq!(
            (stats.in_flight, stats.answered, stats.tokens_net),
            (0, 0, 0)
        );
    }

    #[test]
    fn the_start_burst_is_counted_from_the_first_arrival() {
        let mut ledger = Ledger::new(true, 0);
        for millis in [500, 510, 599, 600, 700] {
            ledger.arrived(Timestamp::from_millis(millis));
        }
        assert_eq!(stats(&ledger).arrivals_first_100ms, 3);
    }
}
