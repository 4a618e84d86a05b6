//! Shape `fixed`: the server counts anew from each edge, a window W apart.
//!
//! Where the edges lie is not known as a rule. Then no more than N in any W + J is what is safe,
//! which is the shape `sliding`. With a known edge, N in every window are: what is sent in the last
//! J before an edge may be admitted on either side of it and counts on both, so everything is sent
//! before that, evenly at N / (W − J), and there is a pause of J before each edge.

use std::time::Duration;

use super::counted::is_paced;
use super::pace::{Pace, nanos};
use super::sliding::jitter;
use super::window::UNITS_MAX;
use super::{LimitSpec, Taken};
use crate::time::Timestamp;

/// Windows whose edges are known.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    amount: u64,
    /// In nanoseconds.
    window: u64,
    /// The first edge, less than a window after the origin of time.
    first_edge: u64,
    /// How long after its edge a window may be left early: W − J.
    sure: u64,
    pace: Option<Pace>,
    /// When something was last counted, and the window of that instant.
    at: Timestamp,
    current: u64,
    /// Units in that window, and what of them may be admitted in the next one.
    counts: [u64; 2],
}

/// Where an instant lies among the windows.
#[derive(Clone, Copy)]
struct Place {
    /// Number of its window; 0 is the one that ends at the first edge.
    window: u64,
    /// Whether what is sent then may be admitted in the next window.
    either: bool,
}

impl Fixed {
    /// `None` without an edge, or where the jitter hides it.
    pub(super) fn new(spec: &LimitSpec) -> Option<Self> {
        let window = nanos(spec.window);
        let first_edge = spec.edge?.as_nanos() % window;
        let sure = window.checked_sub(nanos(jitter(spec)))?;
        if sure == 0 {
            return None;
        }
        let pace =
            is_paced(spec.window).then(|| Pace::new(spec.amount, spec.amount, sure, spec.burst));
        Some(Self {
            amount: spec.amount,
            window,
            first_edge,
            sure,
            pace,
            at: Timestamp::ZERO,
            current: 0,
            counts: [0; 2],
        })
    }

    #[inline]
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Result<Timestamp, u64> {
        if units > self.amount {
            return Err(self.amount);
        }
        let paced = self.pace.as_ref().map_or(now, |pace| pace.earliest(now));
        // Should the clock have stepped back, the newest window goes on.
        let mut place = self.place(paced.max(self.at));
        if self.fits(place, units) {
            return Ok(paced);
        }
        // What fits neither this window nor the next, in which a part may already count, fits the
        // one after: it is empty.
        for _ in 0..2 {
            place = Place {
                window: place.window + 1,
                either: false,
            };
            if self.fits(place, units) {
                break;
            }
        }
        Ok(self.begin(place.window))
    }

    /// The same for `units`, after `first` have been taken at `now`.
    pub(super) fn earliest_after(&self, now: Timestamp, first: u64, units: u64) -> Timestamp {
        let mut after = self.clone();
        after.take(now, first);
        after.earliest(now, units).unwrap_or(Timestamp::NEVER)
    }

    /// Goes on where `old` stands, whose numbers were others.
    pub(super) fn carry(&mut self, now: Timestamp, old: &Self) {
        if let (Some(pace), Some(old)) = (&mut self.pace, &old.pace) {
            pace.carry(now, old);
        }
        self.restore(now, &old.snapshot(now));
    }

    /// What counts in the window of `now`.
    pub(super) fn snapshot(&self, now: Timestamp) -> Vec<Taken> {
        let now = now.max(self.at);
        let units = self.counted(self.place(now).window);
        let age = now.since(self.at).min(self.since_edge(now));
        Vec::from_iter((units > 0).then_some(Taken { age, units }))
    }

    /// Counts what was taken before in this window, besides what is counted already.
    pub(super) fn restore(&mut self, now: Timestamp, before: &[Taken]) {
        self.count(now, 0);
        let since_edge = self.since_edge(now);
        for taken in before.iter().filter(|taken| taken.age <= since_edge) {
            let either = nanos(since_edge - taken.age) >= self.sure;
            let next = if either { taken.units } else { 0 };
            for (count, units) in self.counts.iter_mut().zip([taken.units, next]) {
                *count = count.saturating_add(units).min(UNITS_MAX);
            }
        }
    }

    /// How long the window of `now` has gone on.
    const fn since_edge(&self, now: Timestamp) -> Duration {
        let at = now.as_nanos();
        Duration::from_nanos(match at.checked_sub(self.first_edge) {
            Some(since) => since % self.window,
            None => at + self.window - self.first_edge,
        })
    }

    #[inline]
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        if let Some(pace) = &mut self.pace {
            pace.take(now, units);
        }
        self.count(now, units);
    }

    /// What is given back leaves the windows that it was counted in. What was used beyond the
    /// reservation counts from `now`.
    pub(super) fn settle(
        &mut self,
        now: Timestamp,
        taken_at: Timestamp,
        reserved: u64,
        actual: u64,
    ) {
        if let Some(pace) = &mut self.pace {
            pace.correct(now, i128::from(reserved) - i128::from(actual));
        }
        if actual > reserved {
            return self.count(now, actual - reserved);
        }
        let taken = self.place(taken_at);
        for (ahead, count) in (0..).zip(&mut self.counts) {
            let window = self.current + ahead;
            if window == taken.window || taken.either && window == taken.window + 1 {
                *count = count.saturating_sub(reserved - actual);
            }
        }
    }

    pub(super) fn resume(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.resume(now);
        }
    }

    pub(super) fn drain(&mut self, now: Timestamp) {
        if let Some(pace) = &mut self.pace {
            pace.drain(now);
        }
    }

    fn count(&mut self, now: Timestamp, units: u64) {
        let now = now.max(self.at);
        let place = self.place(now);
        self.counts = [self.counted(place.window), self.counted(place.window + 1)];
        self.at = now;
        self.current = place.window;
        let either = if place.either { units } else { 0 };
        for (count, units) in self.counts.iter_mut().zip([units, either]) {
            *count = count.saturating_add(units).min(UNITS_MAX);
        }
    }

    #[inline]
    fn fits(&self, place: Place, units: u64) -> bool {
        let fits = |window| self.counted(window) + units <= self.amount;
        fits(place.window) && (!place.either || fits(place.window + 1))
    }

    /// Units that count in a window. Later ones than the next are empty; earlier ones are over.
    #[inline]
    fn counted(&self, window: u64) -> u64 {
        match window.saturating_sub(self.current) {
            0 => self.counts[0],
            1 => self.counts[1],
            _ => 0,
        }
    }

    #[inline]
    const fn place(&self, at: Timestamp) -> Place {
        let at = at.as_nanos();
        let (window, since_edge) = match at.checked_sub(self.first_edge) {
            Some(since) => (since / self.window + 1, since % self.window),
            None => (0, at + self.window - self.first_edge),
        };
        Place {
            window,
            either: since_edge >= self.sure,
        }
    }

    /// The edge at which a window other than the first begins.
    const fn begin(&self, window: u64) -> Timestamp {
        let windows = window.saturating_sub(1).saturating_mul(self.window);
        Timestamp::from_nanos(self.first_edge.saturating_add(windows))
    }
}
