//! How many requests at once bring a server that never refuses the most tokens: one that serves
//! from its own memory, such as vLLM, and lets what it cannot serve wait.
//!
//! With n in flight, such a server gives n × tokens ÷ (time that these took) a second: Little's
//! law, of attempts that lived under this n alone. Raw latency says nothing, because answers are
//! of different lengths. The number doubles while that brings more, and then the smallest one is
//! looked for that brings about as much. A first byte that takes much longer than it did with
//! little to do says that requests wait in a queue, whatever the tokens say.

use std::time::Duration;

use crate::outcome::Usage;
use crate::time::Timestamp;

use super::tally::Sent;

const FIRST: u64 = 4;
const MOST: u64 = 4_096;
/// Attempts that have to end under a number before it is judged, and at least as many as the
/// number, so that every place is in it.
const ENDS_LEAST: u64 = 64;
/// Doubling that brings less is the last.
const GAIN_LEAST: f64 = 1.05;
/// A number that brings this part of the most is as good.
const AS_GOOD: f64 = 0.97;
/// First bytes may take so many times as long as with little to do. The aim is twice.
const FIRST_BYTE_MOST: f64 = 1.85;
/// So many numbers, each an eighth less, must bring first bytes down to such a part of what they
/// took before: else it is not a queue that they wait in. A third fewer places leave a queue at two
/// thirds at most.
const SHRINKS: u32 = 3;
const SHRUNK: f64 = 0.85;
/// Steps between two numbers, one of which is too small.
const HALVINGS: u32 = 2;
/// How long a number is kept before another is tried; doubles up to [`AGAIN_LATEST`].
const AGAIN_FIRST: Duration = Duration::from_secs(120);
const AGAIN_LATEST: Duration = Duration::from_secs(960);
/// What is tried then: an eighth more and less, by turns.
const ASIDE: f64 = 0.125;
/// A server that gives so much less than it did is not the one that was measured.
const CHANGED: f64 = 0.7;

/// The search for a number of requests in flight.
#[derive(Clone, Debug)]
pub(super) struct Places {
    allowed: u64,
    in_flight: u64,
    /// Attempts that started before belong to another number.
    since: Timestamp,
    sums: Sums,
    /// What was measured, by number; ordered.
    known: Vec<Known>,
    phase: Phase,
    again_after: Duration,
    /// Fewer places are tried because first bytes take long: what the first of them brought, and
    /// how many there were since.
    shrunk: Option<(Known, u32)>,
}

/// Sums over the attempts of one number.
#[derive(Clone, Debug, Default)]
struct Sums {
    ends: u64,
    tokens: u64,
    time: Duration,
    first_bytes: Vec<Duration>,
}

/// What a number brings.
#[derive(Clone, Copy, Debug)]
struct Known {
    places: u64,
    tokens_per_s: f64,
    /// 90th percentile; `None` where first bytes are not known.
    first_byte: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Doubling,
    /// Between a number that is too small and one that is good enough.
    Halving {
        left: u32,
    },
    Settled {
        at: Timestamp,
        up: bool,
    },
    /// Another number than `settled` is tried.
    Aside {
        settled: Known,
        up: bool,
    },
}

impl Places {
    pub(super) const fn new() -> Self {
        Self {
            allowed: FIRST,
            in_flight: 0,
            since: Timestamp::ZERO,
            sums: Sums {
                ends: 0,
                tokens: 0,
                time: Duration::ZERO,
                first_bytes: Vec::new(),
            },
            known: Vec::new(),
            phase: Phase::Doubling,
            again_after: AGAIN_FIRST,
            shrunk: None,
        }
    }

    /// Begins with a number that an earlier run has found.
    pub(super) fn known(places: u64) -> Self {
        Self {
            allowed: places.clamp(1, MOST),
            phase: Phase::Settled {
                at: Timestamp::ZERO,
                up: true,
            },
            ..Self::new()
        }
    }

    /// The number that was found; `None` while it is searched.
    pub(super) const fn found(&self) -> Option<u64> {
        match self.phase {
            Phase::Settled { .. } => Some(self.allowed),
            Phase::Aside { settled, .. } => Some(settled.places),
            Phase::Doubling | Phase::Halving { .. } => None,
        }
    }

    pub(super) const fn has_place(&self) -> bool {
        self.in_flight < self.allowed
    }

    pub(super) const fn sent(&mut self) {
        self.in_flight += 1;
    }

    /// The first byte of a streamed answer came so long after its start.
    pub(super) fn first_byte(&mut self, sent: &Sent, after: Duration) {
        if self.counts(sent) {
            self.sums.first_bytes.push(after);
        }
    }

    /// An attempt is over; `answer` is its usage, if it was answered.
    pub(super) fn ended(&mut self, now: Timestamp, sent: &Sent, answer: Option<Option<Usage>>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        let Some(usage) = answer.filter(|_| self.counts(sent)) else {
            return;
        };
        self.sums.ends += 1;
        // Where usage is not told, answers count alike.
        let tokens = usage.map_or(1, |usage| usage.output.max(1));
        self.sums.tokens = self.sums.tokens.saturating_add(tokens);
        self.sums.time += now.since(sent.at);
        if self.sums.ends >= self.allowed.max(ENDS_LEAST) {
            self.judge(now);
        }
    }

    /// The server has refused an attempt that was one of `sent.in_flight`: it has no more places.
    pub(super) fn refused(&mut self, now: Timestamp, sent: &Sent) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if sent.at < self.since {
            return;
        }
        let fit = sent.in_flight.min(self.allowed).saturating_sub(1).max(1);
        self.known.retain(|known| known.places <= fit);
        self.settle(now, fit, false);
    }

    /// Whether the attempt has lived under the present number, all places taken.
    fn counts(&self, sent: &Sent) -> bool {
        sent.at >= self.since && sent.in_flight + 1 >= self.allowed
    }

    fn judge(&mut self, now: Timestamp) {
        let sums = std::mem::take(&mut self.sums);
        let seconds = sums.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let measured = Known {
            places: self.allowed,
            tokens_per_s: self.allowed as f64 * sums.tokens as f64 / seconds,
            first_byte: percentile_90(sums.first_bytes),
        };
        match self.phase {
            Phase::Doubling => {
                let before = self.known.last().copied();
                let gain = before.map_or(2.0, |before| measured.tokens_per_s / before.tokens_per_s);
                self.learn(measured);
                let more = gain >= GAIN_LEAST && !self.waits(&measured) && self.allowed < MOST;
                if more {
                    self.set(now, self.allowed * 2);
                } else {
                    self.narrow(now, HALVINGS);
                }
            }
            Phase::Halving { left } => {
                self.learn(measured);
                self.narrow(now, left - 1);
            }
            Phase::Settled { at, up } => {
                let lost = self
                    .known_of(self.allowed)
                    .is_some_and(|known| measured.tokens_per_s < known.tokens_per_s * CHANGED);
                self.learn(measured);
                let waits = self.waits(&measured);
                if !waits {
                    self.shrunk = None;
                }
                if lost {
                    self.start_again(now);
                } else if waits && (self.allowed > 1 || self.shrunk.is_some()) {
                    self.shrink(now, measured, up);
                } else if now.since(at) >= self.again_after {
                    self.aside(now, measured, up);
                }
            }
            Phase::Aside { settled, up } => self.compare(now, settled, measured, up),
        }
    }

    /// Gives up places, for first bytes take long. Where that does not help, it is the requests
    /// that have become others: what first bytes took before is no measure then.
    fn shrink(&mut self, now: Timestamp, measured: Known, up: bool) {
        let (before, shrinks) = self.shrunk.unwrap_or((measured, 0));
        let in_vain = match (measured.first_byte, before.first_byte) {
            (Some(now), Some(before)) => shrinks >= SHRINKS && now > before.mul_f64(SHRUNK),
            _ => false,
        };
        if in_vain {
            self.known.retain(|known| known.places == measured.places);
            self.settle(now, before.places, up);
        } else {
            self.settle(now, (self.allowed * 7 / 8).max(1), up);
            self.shrunk = Some((before, shrinks + 1));
        }
    }

    /// Tries a number beside the one that was found.
    fn aside(&mut self, now: Timestamp, settled: Known, up: bool) {
        let step = ((self.allowed as f64 * ASIDE) as u64).max(1);
        let places = if up {
            self.allowed + step
        } else {
            self.allowed.saturating_sub(step).max(1)
        };
        self.set(now, places.min(MOST));
        self.phase = Phase::Aside { settled, up };
    }

    fn compare(&mut self, now: Timestamp, settled: Known, measured: Known, up: bool) {
        let gain = measured.tokens_per_s / settled.tokens_per_s;
        let better = if up {
            gain >= 1.0 + ASIDE / 3.0 && !self.waits(&measured)
        } else {
            gain >= AS_GOOD + ASIDE / 8.0
        };
        self.learn(measured);
        if better {
            self.again_after = AGAIN_FIRST;
            self.settle(now, measured.places, up);
        } else {
            self.again_after = (self.again_after * 2).min(AGAIN_LATEST);
            self.settle(now, settled.places, !up);
        }
    }

    /// The smallest number that is good enough, or one between it and the next below.
    fn narrow(&mut self, now: Timestamp, left: u32) {
        let fine = |known: &&Known| !self.waits(known);
        let most = self
            .known
            .iter()
            .filter(fine)
            .map(|known| known.tokens_per_s);
        let most = most.fold(0.0, f64::max);
        let good = |known: &Known| known.tokens_per_s >= most * AS_GOOD && !self.waits(known);
        let good = self.known.iter().position(good).unwrap_or(0);
        let places = self.known[good].places;
        let low = good.checked_sub(1).map(|below| self.known[below].places);
        // Geometric middles, for what matters is a ratio.
        let middle = low.map(|low| ((low * places) as f64).sqrt().round() as u64);
        match (low, middle) {
            (Some(low), Some(middle)) if left > 0 && middle > low && middle < places => {
                self.set(now, middle);
                self.phase = Phase::Halving { left };
            }
            _ => self.settle(now, places, true),
        }
    }

    fn settle(&mut self, now: Timestamp, places: u64, up: bool) {
        self.set(now, places);
        self.shrunk = None;
        self.phase = Phase::Settled { at: now, up };
    }

    /// The server is another than the one that was measured.
    fn start_again(&mut self, now: Timestamp) {
        self.known.clear();
        self.again_after = AGAIN_FIRST;
        self.set(now, (self.allowed / 4).max(FIRST));
        self.phase = Phase::Doubling;
    }

    fn set(&mut self, now: Timestamp, places: u64) {
        self.allowed = places;
        self.since = now;
        self.sums = Sums::default();
    }

    fn learn(&mut self, measured: Known) {
        match self
            .known
            .binary_search_by_key(&measured.places, |known| known.places)
        {
            Ok(place) => self.known[place] = measured,
            Err(place) => self.known.insert(place, measured),
        }
    }

    fn known_of(&self, places: u64) -> Option<&Known> {
        self.known.iter().find(|known| known.places == places)
    }

    /// Whether first bytes take so long that requests must wait in a queue.
    fn waits(&self, measured: &Known) -> bool {
        let quickest = self.known.iter().filter_map(|known| known.first_byte).min();
        match (measured.first_byte, quickest) {
            (Some(now), Some(quickest)) => now > quickest.mul_f64(FIRST_BYTE_MOST),
            _ => false,
        }
    }
}

fn percentile_90(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let place = (times.len() * 9 / 10).min(times.len().checked_sub(1)?);
    Some(times[place])
}
